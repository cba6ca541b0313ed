//! The log in memory: events, command keys and claims, as plain data under the caller's lock.
//!
//! `MemoryStore` keeps its log in it. A store that keeps everything in memory, and writes a journal
//! of [`Appended`], can do the same.

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

use super::pages::within;
use super::version_check::{Current, PastCommand, Plan, Row, confirmation, plan};
use crate::command::{Claim, ClaimName, CommandKey};
use crate::event::{GlobalPosition, RecordedEvent, StreamId, StreamVersion, Tip};
use crate::store::contract::{Append, Confirmation, Filter, Page, PageLimit};

/// Events by position, and indexes of them.
#[derive(Debug, Clone, Default)]
pub struct EventLog {
    events: Vec<Arc<RecordedEvent>>,
    streams: HashMap<StreamId, Vec<usize>>,
    ids: HashMap<Uuid, (StreamId, Tip)>,
    commands: HashMap<String, (PastCommand, OffsetDateTime)>,
    claims: HashMap<ClaimName, StreamId>,
}

/// Rows of a plan, owned, so that they can be written to a journal.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Appended {
    /// Events in the order of their positions.
    pub events: Vec<RecordedEvent>,
    /// Command keys with their outcome and the time they were recorded at.
    pub commands: Vec<(String, PastCommand, OffsetDateTime)>,
    /// Kind and value of the claims that changed hands, and their holder; `None` if released.
    pub claims: Vec<(String, String, Option<StreamId>)>,
}

impl Appended {
    /// Rows of this plan.
    pub fn of(planned: &Plan<'_>, now: impl Fn() -> OffsetDateTime) -> Self {
        // Owned and not borrowed, because a journal writes the rows before they are in the log.
        let event = |row: &Row<'_>| {
            let Row { position, stream, version, event } = *row;
            RecordedEvent::new(event.clone(), stream.clone(), version, position, now())
        };
        let commands = planned.commands.iter().map(|kept| {
            let past = PastCommand { fingerprint: kept.key.fingerprint, tip: kept.tip };
            (kept.key.id.clone(), past, now())
        });
        let claims = planned.changed_claims().map(|((kind, value), _, holder)| {
            (kind.to_string(), value.to_string(), holder.cloned())
        });
        Self {
            events: planned.rows.iter().map(event).collect(),
            commands: commands.collect(),
            claims: claims.collect(),
        }
    }
}

impl EventLog {
    /// Runs the version check against this log. Nothing is stored before [`EventLog::apply`].
    pub fn plan<'a>(&self, appends: &'a [Append]) -> Plan<'a> {
        plan(appends, self.current(appends))
    }

    /// Adds rows that were planned on this very state of the log.
    pub fn apply(&mut self, appended: Appended) {
        for event in appended.events {
            let tip = Tip { version: event.version, position: event.position };
            self.ids.insert(event.event_id, (event.stream.clone(), tip));
            self.streams.entry(event.stream.clone()).or_default().push(self.events.len());
            self.events.push(Arc::new(event));
        }
        for (id, past, recorded_at) in appended.commands {
            self.commands.insert(id, (past, recorded_at));
        }
        for (kind, value, holder) in appended.claims {
            let name: ClaimName = (kind.into(), value.into());
            match holder {
                Some(holder) => drop(self.claims.insert(name, holder)),
                None => drop(self.claims.remove(&name)),
            }
        }
    }

    /// See `EventStore::head`.
    pub fn head(&self) -> GlobalPosition {
        GlobalPosition(self.events.len() as u64)
    }

    /// See `EventStore::confirm`.
    pub fn confirm(
        &self,
        stream: &StreamId,
        version: StreamVersion,
        command: Option<&CommandKey>,
    ) -> Confirmation {
        let past = command.and_then(|key| self.commands.get(&key.id).map(|(past, _)| (key, past)));
        confirmation(past, self.tip(stream).version, version)
    }

    /// See `EventStore::read_stream`.
    pub fn read_stream(
        &self,
        stream: &StreamId,
        after: StreamVersion,
        limit: PageLimit,
    ) -> Vec<RecordedEvent> {
        let indexes = self.streams.get(stream).map_or(&[][..], Vec::as_slice);
        let rest = indexes.iter().skip(after.0 as usize).map(|index| &*self.events[*index]);
        within(limit, rest, |event| event.bytes()).cloned().collect()
    }

    /// See `EventStore::read_all`.
    pub fn read_all(&self, after: GlobalPosition, filter: &Filter, limit: PageLimit) -> Page {
        let admitted = |from: GlobalPosition| {
            let rest = self.events.iter().skip(from.0 as usize);
            rest.filter(|event| filter.admits(event.stream.aggregate_type()))
        };
        let events: Vec<_> = within(limit, admitted(after), |e| e.bytes()).cloned().collect();
        let last = events.last().map_or(after, |last| last.position);
        // Everything up to the first event that found no room, or to the end of the log.
        let is_cut = limit.events == 0 || admitted(last).next().is_some();
        Page { events, scanned_to: if is_cut { last } else { self.head().max(after) } }
    }

    /// See `EventStore::claim_holder`.
    pub fn claim_holder(&self, kind: &str, value: &str) -> Option<StreamId> {
        self.claims.get(&(kind.into(), value.into())).cloned()
    }

    /// Ids of the oldest command keys that were recorded before this time, at most `at_most`.
    pub fn old_commands(&self, recorded_before: OffsetDateTime, at_most: usize) -> Vec<String> {
        let old = self.commands.iter().filter(|(_, (_, at))| *at < recorded_before);
        let mut old: Vec<_> = old.map(|(id, (_, at))| (*at, id.clone())).collect();
        old.sort();
        old.into_iter().take(at_most).map(|(_, id)| id).collect()
    }

    /// Forgets command keys with these ids.
    pub fn forget_commands(&mut self, ids: &[String]) {
        for id in ids {
            self.commands.remove(id);
        }
    }

    fn tip(&self, stream: &StreamId) -> Tip {
        let last = self.streams.get(stream).and_then(|indexes| indexes.last());
        last.map_or_else(Tip::default, |index| {
            let event = &self.events[*index];
            Tip { version: event.version, position: event.position }
        })
    }

    fn current(&self, appends: &[Append]) -> Current {
        let events = appends.iter().flat_map(|append| &append.events);
        let held = |claim: &Claim| (claim.name.clone(), self.claims.get(&claim.name).cloned());
        let stored = |id: &Uuid| self.ids.get(id).map(|place| (*id, place.clone()));
        let past = |key: &CommandKey| {
            self.commands.get(&key.id).map(|(past, _)| (key.id.clone(), past.clone()))
        };
        Current {
            head: self.head(),
            tips: appends.iter().map(|a| (a.stream.clone(), self.tip(&a.stream))).collect(),
            commands: appends.iter().filter_map(|a| past(a.command.as_ref()?)).collect(),
            claims: appends.iter().flat_map(|a| &a.claims).map(held).collect(),
            // Looked up always, which costs nothing in memory; a database looks only if there is reason to.
            stored: events.filter_map(|event| stored(&event.event_id)).collect(),
        }
    }
}
