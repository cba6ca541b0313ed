//! One round of decisions: pure, without the store.
//!
//! Each command is decided on the state the one before left, and its events are folded at once.
//! The state is therefore ahead of the log until the round is settled; if anything comes out
//! otherwise it is thrown away.

use std::collections::VecDeque;
use std::sync::Arc;

use super::deciding::Deciding;
use super::guard::guarded;
use super::load::Loaded;
use super::mailbox::Request;
use crate::aggregate::Aggregate;
use crate::command::CommandOptions;
use crate::event::{Metadata, NewEvent};
use crate::event_store::Append;
use crate::stream::{ExpectedVersion, StreamId, StreamVersion, Tip};

/// How many commands one round takes; the rest wait for the next.
const MOST: usize = 1000;

/// When a round's events are enough: a store takes only so much in one call.
const ENOUGH_BYTES: usize = 8 << 20;

/// What was decided for one request.
pub(crate) enum Decision<E> {
    /// The round's next append carries it.
    Append,
    /// There is nothing to do.
    Nothing,
    Refused(E),
    /// The aggregate is not at the version the caller expects.
    NotExpected,
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
    /// User code panicked: the state may be half changed.
    pub(crate) broken: bool,
    /// The end of the stream before the round.
    pub(crate) tip: Tip,
}

/// Decides the requests in order, until one panics or there is enough to store.
pub(crate) fn decide<A: Aggregate>(
    deciding: &Deciding<A>,
    stream: &StreamId,
    loaded: &mut Loaded<A>,
    mut requests: VecDeque<Request<A>>,
) -> Round<A> {
    let undecided = requests.split_off(requests.len().min(MOST));
    let tip = loaded.tip;
    let mut round =
        Round { decided: Vec::new(), appends: Vec::new(), undecided, broken: false, tip };
    let (mut at, mut bytes) = (loaded.tip.version, 0);
    while let Some(request) = requests.pop_front() {
        let decision = decide_one(deciding, stream, &mut loaded.aggregate, at, &request);
        let (decision, append) = decision.unwrap_or_else(|failed| (failed, None));
        round.broken = matches!(decision, Decision::Panicked(_) | Decision::Unstorable(_));
        let decided_at = at;
        if let Some(mut append) = append {
            append.chained = !round.appends.is_empty();
            at = StreamVersion(at.0 + append.events.len() as u64);
            bytes +=
                append.events.iter().map(|e| e.payload.len() + e.metadata.len()).sum::<usize>();
            round.appends.push(append);
        }
        round.decided.push(Decided { request, decision, at: decided_at });
        if round.broken || bytes >= ENOUGH_BYTES {
            requests.append(&mut round.undecided);
            round.undecided = requests;
            break;
        }
    }
    round
}

type OneDecision<E> = Result<(Decision<E>, Option<Append>), Decision<E>>;

fn decide_one<A: Aggregate>(
    deciding: &Deciding<A>,
    stream: &StreamId,
    aggregate: &mut A,
    at: StreamVersion,
    request: &Request<A>,
) -> OneDecision<A::Error> {
    let options = &request.options;
    if !options.expected.admits(at) {
        return Err(Decision::NotExpected);
    }
    let command = request.command.clone();
    let events = guarded(|| aggregate.handle(command))
        .map_err(Decision::Panicked)?
        .map_err(Decision::Refused)?;
    if events.is_empty() && options.key.is_none() {
        return Err(Decision::Nothing);
    }
    let metadata = metadata(deciding, options)?;
    let mut written = Vec::with_capacity(events.len());
    for event in &events {
        let encoded = guarded(|| deciding.codec.encode(event)).map_err(Decision::Panicked)?;
        let encoded = encoded.map_err(|error| Decision::Unstorable(error.to_string()))?;
        guarded(|| aggregate.apply(event)).map_err(Decision::Panicked)?;
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
        chained: false,
    };
    Ok((Decision::Append, Some(append)))
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
