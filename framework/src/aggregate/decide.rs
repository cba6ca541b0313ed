//! Decides one round of commands, without access to the store.
//!
//! Decided events are encoded, decoded again and folded into a copy of the state. So the next
//! command is decided on the state that any process will read from the log. The state itself
//! changes only after the round is committed. A panic of user code ends the round and has no other
//! effect.

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

/// Maximum number of commands in a round. The rest wait for the next round.
const MOST: usize = 1000;

/// A round ends when its events have this many bytes. Even with one more append of the maximum
/// size, the round still fits into one call of a store.
const ENOUGH_BYTES: usize = 8 << 20;

/// Outcome of `handle` for one request, before anything is stored.
pub(crate) enum Decision<E> {
    /// The events are in the next append of the round. The stream has this version after it.
    Append(StreamVersion),
    /// The command has no events and no key, so nothing is stored.
    Nothing,
    Refused(E),
    /// The aggregate does not have the version that the caller expects.
    NotExpected,
    /// The caller's `decide_by` passed before the decision.
    TooLate,
    Panicked(String),
    Unstorable(String),
}

/// A request with its decision and the version of the state that it was decided on.
pub(crate) struct Decided<A: Aggregate> {
    pub(crate) request: Request<A>,
    pub(crate) decision: Decision<A::Error>,
    pub(crate) at: StreamVersion,
}

/// The decisions of one round and the appends that they lead to.
pub(crate) struct Round<A: Aggregate> {
    pub(crate) decided: Vec<Decided<A>>,
    pub(crate) appends: Vec<Append>,
    /// Requests that are left for the next round.
    pub(crate) undecided: VecDeque<Request<A>>,
    /// User code panicked, so the state in memory may be inconsistent and must be loaded again.
    pub(crate) broken: bool,
    /// End of the stream before the round.
    pub(crate) tip: Tip,
}

/// Decides requests in order until one panics or the round is full. Returns the round, and the
/// state after it has been committed if the round has events.
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
            continue; // the caller has withdrawn it
        }
        let decided_at = at;
        // All decisions of a round build on the same copy of the state, made at the first event.
        let decide = || decide_one(deciding, stream, aggregate, &mut ahead, at, &request);
        let decision = spans::within(&request.span, decide);
        let decision = match decision {
            Ok(append) => {
                at = StreamVersion(at.0 + append.events.len() as u64);
                bytes += append.bytes();
                // Chained: if the append before it fails, the store refuses this one too, because
                // it was decided on a state that then never existed.
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

/// Decides one request and folds the decided events into `ahead`. The decision is made on `ahead`,
/// the state after the earlier decisions of the round, or on `state` if there is none.
fn decide_one<A: Aggregate>(
    deciding: &Deciding<A>,
    stream: &StreamId,
    state: &Isolated<A>,
    ahead: &mut Option<Isolated<A>>,
    at: StreamVersion,
    request: &Request<A>,
) -> OneDecision<A> {
    let options = &request.options;
    // The state was loaded before this check, so an event stored after the check makes the append
    // conflict.
    if options.decide_by.is_some_and(|by| by <= Instant::now()) {
        return Err(Decision::TooLate);
    }
    let current: &A = ahead.as_ref().unwrap_or(state);
    // Authorisation comes before the version check, because the version must not be revealed to an
    // actor without permission.
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
    // A command with a key is appended even without events, because its outcome must be stored for
    // retries.
    if events.is_empty() && options.key.is_none() {
        return Err(Decision::Nothing);
    }
    let metadata = metadata(deciding, options)?;
    let Stored { events, decoded, claims } = store(deciding, stream, &events, metadata)?;
    // Folding before the append finds an event that `apply` cannot fold while it is not stored yet.
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

/// Events in the form for the store, and decoded again in the form that every reader of the log
/// will get.
struct Stored<E> {
    events: Vec<NewEvent>,
    decoded: Isolated<Vec<E>>,
    claims: Vec<Claim>,
}

/// Encodes the events. Each event is decoded again and refused if it is not equal to the original.
/// Otherwise the state in memory would differ from the fold of the log after a restart.
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
        // Checked here as well as in the store, so that only this command fails, and before more
        // events are encoded.
        if bytes > MAX_APPEND_BYTES {
            return Err(Decision::Unstorable(format!(
                "the command's {} events have more than {MAX_APPEND_BYTES} bytes in total",
                events.len()
            )));
        }
        stored.push(event);
    }
    let claims = guarded(|| decoded.iter().flat_map(A::claims).collect());
    Ok(Stored { events: stored, decoded, claims: claims.map_err(Decision::Panicked)? })
}

/// Encodes the metadata of a command. The default correlation id is the command's key, or a new id
/// if it has none.
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
