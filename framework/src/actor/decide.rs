//! One round of decisions: pure, without the store.
//!
//! The state in memory stays what the log says, whatever becomes of the round: what is decided is
//! folded into a copy, so that the next command is decided on it, and an event that cannot be
//! folded is found before it is stored.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use super::deciding::Deciding;
use super::load::Loaded;
use super::mailbox::Request;
use crate::aggregate::Aggregate;
use crate::command::CommandOptions;
use crate::event::{Metadata, NewEvent};
use crate::event_store::Append;
use crate::guard::guarded;
use crate::stream::{ExpectedVersion, StreamId, StreamVersion, Tip};

/// How many commands one round takes; the rest wait for the next.
const MOST: usize = 1000;

/// When a round's events are enough: a store takes only so much in one call.
const ENOUGH_BYTES: usize = 8 << 20;

/// What was decided for one request.
pub(crate) enum Decision<E> {
    /// The round's next append carries it, and leads to this version.
    Append(StreamVersion),
    /// There is nothing to do.
    Nothing,
    Refused(E),
    /// The aggregate is not at the version the caller expects.
    NotExpected,
    /// It waited for longer than its caller lets it.
    TooLate,
    Panicked(String),
    Unstorable(String),
}

/// A request, what was decided, and the version it was decided at.
pub(crate) struct Decided<A: Aggregate> {
    pub(crate) request: Request<A>,
    pub(crate) decision: Decision<A::Error>,
    pub(crate) at: StreamVersion,
}

pub(crate) struct Round<A: Aggregate> {
    pub(crate) decided: Vec<Decided<A>>,
    pub(crate) appends: Vec<Append>,
    /// Not decided: to be decided in the next round.
    pub(crate) undecided: VecDeque<Request<A>>,
    /// User code panicked: the state is not to be relied on.
    pub(crate) broken: bool,
    /// The end of the stream before the round.
    pub(crate) tip: Tip,
}

/// Decides the requests in order, until one panics or there is enough to store. Also answers what the state becomes when all
/// comes out as decided, if anything is to be stored.
pub(crate) fn decide<A: Aggregate>(
    deciding: &Deciding<A>,
    stream: &StreamId,
    loaded: &Loaded<A>,
    mut requests: VecDeque<Request<A>>,
) -> (Round<A>, Option<A>) {
    let undecided = requests.split_off(requests.len().min(MOST));
    let Loaded { aggregate, tip, .. } = loaded;
    let mut round =
        Round { decided: Vec::new(), appends: Vec::new(), undecided, broken: false, tip: *tip };
    let mut ahead = None;
    let (mut at, mut bytes) = (tip.version, 0);
    while let Some(request) = requests.pop_front() {
        let decided_at = at;
        let state = ahead.as_ref().unwrap_or(aggregate);
        let decision = decide_one(deciding, stream, state, at, &request);
        let decision = decision.and_then(|(append, events)| {
            let fold = || {
                for event in &events {
                    ahead.get_or_insert_with(|| aggregate.clone()).apply(event);
                }
            };
            guarded(fold).map(|()| append).map_err(Decision::Panicked)
        });
        let decision = match decision {
            Ok(append) => {
                at = StreamVersion(at.0 + append.events.len() as u64);
                let size = |e: &NewEvent| e.payload.len() + e.metadata.len();
                bytes += append.events.iter().map(size).sum::<usize>();
                round.appends.push(Append { chained: !round.appends.is_empty(), ..append });
                Decision::Append(at)
            }
            Err(stored_nothing) => stored_nothing,
        };
        round.broken = matches!(decision, Decision::Panicked(_));
        round.decided.push(Decided { request, decision, at: decided_at });
        if round.broken || bytes >= ENOUGH_BYTES {
            requests.append(&mut round.undecided);
            round.undecided = requests;
            break;
        }
    }
    (round, ahead)
}

type OneDecision<A> =
    Result<(Append, Vec<<A as Aggregate>::Event>), Decision<<A as Aggregate>::Error>>;

fn decide_one<A: Aggregate>(
    deciding: &Deciding<A>,
    stream: &StreamId,
    state: &A,
    at: StreamVersion,
    request: &Request<A>,
) -> OneDecision<A> {
    let options = &request.options;
    // On a state that was loaded before: what was stored later makes its append conflict.
    if options.decide_by.is_some_and(|by| by <= Instant::now()) {
        return Err(Decision::TooLate);
    }
    let command = request.command.clone();
    // First: who may not act on it is not told its version either.
    if let Some(actor) = &options.metadata.actor {
        guarded(|| state.authorise(actor, &command))
            .map_err(Decision::Panicked)?
            .map_err(Decision::Refused)?;
    }
    if !options.expected.admits(at) {
        return Err(Decision::NotExpected);
    }
    let events = guarded(|| state.handle(command))
        .map_err(Decision::Panicked)?
        .map_err(Decision::Refused)?;
    if events.is_empty() && options.key.is_none() {
        return Err(Decision::Nothing);
    }
    let claims = guarded(|| events.iter().flat_map(A::claims).collect());
    let claims = claims.map_err(Decision::Panicked)?;
    let metadata = metadata(deciding, options)?;
    let mut written = Vec::with_capacity(events.len());
    for event in &events {
        let encoded = guarded(|| deciding.codec.encode(event)).map_err(Decision::Panicked)?;
        let encoded = encoded.map_err(|error| Decision::Unstorable(error.to_string()))?;
        written.push(NewEvent {
            event_id: deciding.clock.new_id(),
            event_type: encoded.event_type.into(),
            schema_version: encoded.schema_version,
            payload: encoded.payload.into(),
            metadata: Arc::clone(&metadata),
        });
    }
    let append = Append {
        stream: stream.clone(),
        expected: ExpectedVersion::Exact(at),
        events: written,
        command: options.key.clone(),
        claims,
        chained: false,
    };
    Ok((append, events))
}

/// The metadata of a command's events; its story begins with itself unless it says otherwise.
fn metadata<A: Aggregate, E>(
    deciding: &Deciding<A>,
    options: &CommandOptions,
) -> Result<Arc<str>, Decision<E>> {
    let given = &options.metadata;
    let id = || match &options.key {
        Some(key) => key.id.clone(),
        None => deciding.clock.new_id().to_string(),
    };
    let correlation_id = Some(given.correlation_id.clone().unwrap_or_else(id));
    let metadata = Metadata { correlation_id, ..given.clone() };
    match serde_json::to_string(&metadata) {
        Ok(text) => Ok(text.into()),
        Err(error) => Err(Decision::Unstorable(format!("the metadata: {error}"))),
    }
}
