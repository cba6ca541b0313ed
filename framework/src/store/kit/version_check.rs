//! The version check: one pure function for every store.
//!
//! [`plan`] takes a batch of appends and what the log says of their streams and command ids, and
//! answers the rows to write and one outcome for each append. No store compares versions itself.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::claims;
use super::claims::{Holders, Touched};
use crate::command::{Claim, ClaimName, CommandKey, Committed, InvalidCommandId};
use crate::event::{GlobalPosition, NewEvent, StreamId, StreamVersion, Tip, invalid_event_type};
use crate::store::contract::{
    Append, AppendOutcome, Confirmation, MAX_APPEND_BYTES, MAX_METADATA_BYTES, MAX_PAYLOAD_BYTES,
    NotCommitted,
};

/// Maximum depth of JSON. serde_json does not read back what is deeper.
const MAX_JSON_DEPTH: usize = 127;

/// A command that was carried out: the digest of its request, and the version and position it led to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PastCommand {
    /// See [`CommandKey::fingerprint`].
    pub fingerprint: [u8; 16],
    /// End of its stream after the command.
    pub tip: Tip,
}

/// State of the log, read under its writer lock, of everything that a batch touches. A stream or
/// command id that is absent does not exist yet; a claim that is absent is free.
#[derive(Debug, Clone, Default)]
pub struct Current {
    /// The last position of the log.
    pub head: GlobalPosition,
    /// Ends of the streams.
    pub tips: HashMap<StreamId, Tip>,
    /// Commands that were carried out, by id.
    pub commands: HashMap<String, PastCommand>,
    /// Holders of claims.
    pub claims: Holders,
    /// Places of events that are stored already, by id. Like commands, a store that would refuse
    /// the rows looks them up only when there is reason to believe it: the batch is sent again, the
    /// database refused a row, or an append is refused.
    pub stored: HashMap<Uuid, (StreamId, Tip)>,
}

/// An event with its place.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Row<'a> {
    /// Sequence number in the log.
    pub position: GlobalPosition,
    /// Stream of the event.
    pub stream: &'a StreamId,
    /// Sequence number in the stream.
    pub version: StreamVersion,
    /// The event.
    pub event: &'a NewEvent,
}

/// A command key to keep with its outcome.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct KeptCommand<'a> {
    /// The key.
    pub key: &'a CommandKey,
    /// Stream that the command was for.
    pub stream: &'a StreamId,
    /// End of the stream after the command.
    pub tip: Tip,
}

/// Rows to write, and the outcome of each append once they are written.
#[derive(Debug, Default)]
pub struct Plan<'a> {
    /// Events, in the order of their positions.
    pub rows: Vec<Row<'a>>,
    /// Command keys.
    pub commands: Vec<KeptCommand<'a>>,
    /// Every claim that a stored append names. Its present holder is in `after`.
    pub claims: BTreeMap<&'a ClaimName, Touched<'a>>,
    /// One for each append, in order. They hold once the rows are committed.
    pub outcomes: Vec<AppendOutcome>,
    /// The log and the touched streams after the rows.
    pub after: Current,
}

impl Plan<'_> {
    /// The claims that changed hands, and who holds them now.
    pub fn changed_claims(
        &self,
    ) -> impl Iterator<Item = (&ClaimName, &Touched<'_>, Option<&StreamId>)> {
        let holder = |name: &ClaimName| self.after.claims.get(name)?.as_ref();
        let claims = self.claims.iter().map(move |(name, touched)| (*name, touched, holder(name)));
        claims.filter(|(_, touched, holder)| touched.before.as_ref() != *holder)
    }

    /// Checks that an append was refused. If its command and event ids were not looked up, it may
    /// be stored already: look them up and plan again.
    pub fn has_refusals(&self) -> bool {
        self.outcomes.iter().any(|outcome| matches!(outcome, AppendOutcome::NotCommitted(_)))
    }
}

/// Gives every admissible append its versions and positions, dense and in order.
///
/// An append that is refused takes no position, so refusals leave no hole. Later appends of the
/// batch see what earlier ones of the same batch did.
pub fn plan(appends: &[Append], current: Current) -> Plan<'_> {
    let mut plan = Plan { after: current, ..Plan::default() };
    let mut stored = None;
    for append in appends {
        // Each append is judged on the state that those before it leave, so that several appends to one
        // stream in one call see one another.
        let follows = stored == Some(&append.stream);
        let verdict = judge(append, &plan.after, follows);
        stored = matches!(verdict, Verdict::Write(_)).then_some(&append.stream);
        let outcome = match verdict {
            Verdict::Write(tip) => AppendOutcome::Committed(write(append, tip, &mut plan)),
            Verdict::Done(tip) => AppendOutcome::Committed(committed(tip, true)),
            Verdict::Refuse(reason) => AppendOutcome::NotCommitted(reason),
        };
        plan.outcomes.push(outcome);
    }
    plan
}

enum Verdict {
    Write(Tip),
    Done(Tip),
    Refuse(NotCommitted),
}

/// `follows`: the append directly before this one is to the same stream and is being stored now.
fn judge(append: &Append, current: &Current, follows: bool) -> Verdict {
    // First of all, because a retry must get its first outcome whatever has become of its stream since
    // then.
    if let Some(key) = &append.command
        && let Some(past) = current.commands.get(&key.id)
    {
        return match past.fingerprint == key.fingerprint {
            true => Verdict::Done(past.tip),
            false => Verdict::Refuse(NotCommitted::KeyReused),
        };
    }
    // Before the version: after a conflict the caller would decide and send it again, although it can
    // never be stored.
    if let Err(reason) = storable(append) {
        return Verdict::Refuse(NotCommitted::Invalid(reason));
    }
    // Also without a command key an append that was stored is recognised, by the ids of its events.
    if let Some(tip) = stands(append, current) {
        return Verdict::Done(tip);
    }
    let tip = current.tips.get(&append.stream).copied().unwrap_or_default();
    if !append.expected.admits(tip.version) || (append.chained && !follows) {
        return Verdict::Refuse(NotCommitted::Conflict { actual: tip.version });
    }
    // A doubled id would make the database refuse the whole batch, and with it the neighbours.
    let mut own = HashSet::with_capacity(append.events.len());
    for NewEvent { event_id, .. } in &append.events {
        if current.stored.contains_key(event_id) || !own.insert(event_id) {
            let reason = format!("the event id {event_id} stands in the log already");
            return Verdict::Refuse(NotCommitted::Invalid(reason));
        }
    }
    // After the version, because an outdated decision says nothing about who should hold a claim.
    match claims::refuse(&append.claims, &append.stream, &current.claims) {
        Some(reason) => Verdict::Refuse(reason),
        None => Verdict::Write(tip),
    }
}

/// Place of the append's last event, if all of its events are stored in a row in its stream.
fn stands(append: &Append, current: &Current) -> Option<Tip> {
    let mut last: Option<Tip> = None;
    for event in &append.events {
        let (stream, tip) = current.stored.get(&event.event_id)?;
        let follows = last.is_none_or(|last| last.version.next() == tip.version);
        last = (*stream == append.stream && follows).then_some(Some(*tip))?;
    }
    last
}

fn write<'a>(append: &'a Append, mut tip: Tip, plan: &mut Plan<'a>) -> Committed {
    for event in &append.events {
        tip = Tip { version: tip.version.next(), position: plan.after.head.next() };
        plan.after.head = tip.position;
        plan.after.stored.insert(event.event_id, (append.stream.clone(), tip));
        let (position, version) = (tip.position, tip.version);
        plan.rows.push(Row { position, stream: &append.stream, version, event });
    }
    if !append.events.is_empty() {
        plan.after.tips.insert(append.stream.clone(), tip);
    }
    let Append { stream, claims, .. } = append;
    let (holders, touched) = (&mut plan.after.claims, &mut plan.claims);
    claims::carry_out(claims, stream, tip.position, holders, touched);
    if let Some(key) = &append.command {
        plan.commands.push(KeptCommand { key, stream: &append.stream, tip });
        let past = PastCommand { fingerprint: key.fingerprint, tip };
        plan.after.commands.insert(key.id.clone(), past);
    }
    committed(tip, false)
}

fn committed(tip: Tip, replayed: bool) -> Committed {
    Committed::new(tip.version, tip.position, replayed)
}

fn storable(append: &Append) -> Result<(), String> {
    if let Some(key) = append.command.as_ref().filter(|key| !key.is_valid()) {
        return Err(InvalidCommandId { bytes: key.id.len() }.to_string());
    }
    if let Some(reason) = append.claims.iter().find_map(Claim::invalid) {
        return Err(reason);
    }
    if append.events.is_empty() && !append.claims.is_empty() {
        return Err("claims are taken and released by events; here are none".to_owned());
    }
    let limit = |what: &str, bytes: usize, most: usize| match bytes > most {
        true => Err(format!("{what} has {bytes} bytes; at most {most} are allowed")),
        false => Ok(()),
    };
    for event in &append.events {
        let name = &event.event_type;
        if let Some(reason) = invalid_event_type(name) {
            return Err(reason);
        }
        limit(&format!("the payload of {name}"), event.payload.len(), MAX_PAYLOAD_BYTES)?;
        limit(&format!("the metadata of {name}"), event.metadata.len(), MAX_METADATA_BYTES)?;
        for (what, text) in [("payload", &*event.payload), ("metadata", &*event.metadata)] {
            if let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(text) {
                return Err(format!("the {what} of {name} is no JSON: {error}"));
            }
            if text.trim_ascii().len() != text.len() {
                return Err(format!("the {what} of {name} has blanks around its JSON"));
            }
            if depth(text) > MAX_JSON_DEPTH {
                return Err(format!("the {what} of {name} nests deeper than {MAX_JSON_DEPTH}"));
            }
        }
    }
    limit("the append", append.bytes(), MAX_APPEND_BYTES)
}

/// Depth to which the arrays and objects of a JSON text nest.
fn depth(json: &str) -> usize {
    let (mut depth, mut deepest, mut in_text, mut escaped) = (0usize, 0, false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => in_text = !in_text,
            b'[' | b'{' if !in_text => depth += 1,
            b']' | b'}' if !in_text => depth -= 1,
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

/// Reply to `confirm` of a store that found this `past` command and `actual` version.
pub fn confirmation(
    past: Option<(&CommandKey, &PastCommand)>,
    actual: StreamVersion,
    decided_at: StreamVersion,
) -> Confirmation {
    match past {
        Some((key, past)) if key.fingerprint != past.fingerprint => Confirmation::KeyReused,
        Some((_, past)) => Confirmation::Replayed(committed(past.tip, true)),
        None if actual == decided_at => Confirmation::Current,
        None => Confirmation::Stale { actual },
    }
}
