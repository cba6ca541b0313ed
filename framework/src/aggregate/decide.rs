//! One round of decisions: pure, without the store.
//!
//! Decided events are encoded, decoded again and folded into a copy of the state, so that the next
//! command is decided on what any process will read from the log. The state itself changes only once
//! the round is committed. Panics of user code end the round and nothing else.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use super::Aggregate;
use super::deciding::Deciding;
use super::load::Loaded;
use super::mailbox::Request;
use crate::catch_panic::{Isolated, guarded};
use crate::command::{Claim, CommandOptions};
use crate::event::codec::Encoded;
use crate::event::{ExpectedVersion, Metadata, NewEvent, StreamId, StreamVersion, Tip};
use crate::spans;
use crate::store::contract::{Append, MAX_APPEND_BYTES, event_bytes};

/// Most commands that one round decides; the rest wait for the next.
const MOST: usize = 1000;

/// Bytes of events that end a round. With one more append of the largest size allowed, a round still
/// fits in one call of a store.
const ENOUGH_BYTES: usize = 8 << 20;

/// The decision on one request.
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

/// A request, the decision on it, and the version that decision was made at.
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

/// Decides requests in order until one panics or the round is full. Returns the round, and the state
/// after it has been committed if it stores anything.
pub(crate) fn decide<A: Aggregate>(
    deciding: &Deciding<A>,
    stream: &StreamId,
    loaded: &Loaded<A>,
    mut requests: VecDeque<Request<A>>,
) -> (Round<A>, Option<Isolated<A>>) {
    let undecided = requests.split_off(requests.len().min(MOST));
    let Loaded { aggregate, tip, .. } = loaded;
    let mut round =
        Round { decided: Vec::new(), appends: Vec::new(), undecided, broken: false, tip: *tip };
    let mut ahead = None;
    let (mut at, mut bytes) = (tip.version, 0);
    while let Some(request) = requests.pop_front() {
        if !request.ticket.begin() {
            continue; // its caller has withdrawn it
        }
        let decided_at = at;
        let decide = || decide_one(deciding, stream, aggregate, &mut ahead, at, &request);
        let decision = spans::within(&request.span, decide);
        let decision = match decision {
            Ok(append) => {
                at = StreamVersion(at.0 + append.events.len() as u64);
                bytes += append.bytes();
                round.appends.push(Append { chained: !round.appends.is_empty(), ..append });
                Decision::Append(at)
            }
            Err(stored_nothing) => {
                request.ticket.stored_nothing();
                stored_nothing
            }
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

type OneDecision<A> = Result<Append, Decision<<A as Aggregate>::Error>>;

/// Decides one request on the state `ahead` of the log, or on `state` if nothing is, and folds the
/// decided events into `ahead`.
fn decide_one<A: Aggregate>(
    deciding: &Deciding<A>,
    stream: &StreamId,
    state: &Isolated<A>,
    ahead: &mut Option<Isolated<A>>,
    at: StreamVersion,
    request: &Request<A>,
) -> OneDecision<A> {
    let options = &request.options;
    // The state was loaded before this check, so anything stored after it makes the append conflict.
    if options.decide_by.is_some_and(|by| by <= Instant::now()) {
        return Err(Decision::TooLate);
    }
    let current: &A = ahead.as_ref().unwrap_or(state);
    // Before the version, which a caller without permission must not learn.
    if let Some(actor) = &options.metadata.actor {
        guarded(|| current.authorise(actor, &request.command))
            .map_err(Decision::Panicked)?
            .map_err(Decision::Refused)?;
    }
    if !options.expected.admits(at) {
        return Err(Decision::NotExpected);
    }
    let decided = guarded(|| current.handle((*request.command).clone()));
    let events = decided.map_err(Decision::Panicked)?.map_err(Decision::Refused)?;
    let events = Isolated::new(events);
    if events.is_empty() && options.key.is_none() {
        return Err(Decision::Nothing);
    }
    let metadata = metadata(deciding, options)?;
    let Stored { events, decoded, claims } = store(deciding, stream, &events, metadata)?;
    let fold = || {
        for event in &*decoded {
            ahead.get_or_insert_with(|| Isolated::new((**state).clone())).apply(event);
        }
    };
    guarded(fold).map_err(Decision::Panicked)?;
    Ok(Append {
        stream: stream.clone(),
        expected: ExpectedVersion::Exact(at),
        events,
        command: options.key.clone(),
        claims,
        chained: false,
    })
}

/// Events as the store gets them, and as every reader of the log will decode them.
struct Stored<E> {
    events: Vec<NewEvent>,
    decoded: Isolated<Vec<E>>,
    claims: Vec<Claim>,
}

/// Encodes the events. Each is decoded again, and refused if it does not come back equal: else the
/// state in memory would differ from the fold of the log after a restart.
fn store<A: Aggregate>(
    deciding: &Deciding<A>,
    stream: &StreamId,
    events: &[A::Event],
    metadata: Arc<str>,
) -> Result<Stored<A::Event>, Decision<A::Error>> {
    let mut stored = Vec::with_capacity(events.len());
    let mut decoded = Isolated::new(Vec::with_capacity(events.len()));
    let mut bytes = 0;
    for event in events {
        let trip = guarded(|| deciding.codec.round_trip(event)).map_err(Decision::Panicked)?;
        let (encoded, back) = trip.map_err(|error| Decision::Unstorable(error.to_string()))?;
        decoded.push(back);
        let Encoded { event_type, schema_version, payload } = encoded;
        let event = NewEvent {
            event_id: deciding.clock.new_id(),
            event_type: event_type.into(),
            schema_version,
            payload: payload.into(),
            metadata: Arc::clone(&metadata),
        };
        bytes += event_bytes(stream, &event);
        // Here and not in the store, so that it fails this command alone and takes no more memory.
        if bytes > MAX_APPEND_BYTES {
            return Err(Decision::Unstorable(format!(
                "the command decided {} events of more than {MAX_APPEND_BYTES} bytes together",
                events.len()
            )));
        }
        stored.push(event);
    }
    let claims = guarded(|| decoded.iter().flat_map(A::claims).collect());
    Ok(Stored { events: stored, decoded, claims: claims.map_err(Decision::Panicked)? })
}

/// The stored form of a command's metadata. Without a correlation id of the caller's, the command's
/// key or a new id is taken.
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
    metadata.encode().map_err(Decision::Unstorable)
}
