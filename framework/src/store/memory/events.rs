//! The log itself: events, streams, command keys and claims, in the order of their positions.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use async_trait::async_trait;
use time::OffsetDateTime;
use tokio::sync::watch;
use uuid::Uuid;

use super::{MemoryStore, within};
use crate::clock::Clock;
use crate::command::{Claim, ClaimName, CommandKey};
use crate::error::StoreError;
use crate::event::{GlobalPosition, RecordedEvent, StreamId, StreamVersion, Tip};
use crate::store::contract::{
    Append, AppendOutcome, Confirmation, EventStore, Filter, LogIdentity, Page, PageLimit, Snapshot,
};
use crate::store::kit::version_check::{Current, PastCommand, Row, confirmation, plan};

#[derive(Default)]
pub(super) struct Log {
    events: Vec<Arc<RecordedEvent>>,
    streams: HashMap<StreamId, Vec<usize>>,
    ids: HashMap<Uuid, (StreamId, Tip)>,
    commands: HashMap<String, (PastCommand, OffsetDateTime)>,
    claims: HashMap<ClaimName, StreamId>,
    pub(super) snapshots: HashMap<StreamId, Snapshot>,
    program: Option<String>,
}

impl Log {
    fn head(&self) -> GlobalPosition {
        GlobalPosition(self.events.len() as u64)
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
        Current {
            head: self.head(),
            tips: appends.iter().map(|a| (a.stream.clone(), self.tip(&a.stream))).collect(),
            commands: appends.iter().filter_map(|a| self.past(a.command.as_ref()?)).collect(),
            claims: appends.iter().flat_map(|a| &a.claims).map(held).collect(),
            stored: events.filter_map(|event| stored(&event.event_id)).collect(),
        }
    }

    fn append(&mut self, appends: &[Append], clock: &dyn Clock) -> Vec<AppendOutcome> {
        let planned = plan(appends, self.current(appends));
        for (name, _, holder) in planned.changed_claims() {
            match holder {
                Some(holder) => drop(self.claims.insert(name.clone(), holder.clone())),
                None => drop(self.claims.remove(name)),
            }
        }
        for Row { position, stream, version, event } in planned.rows {
            self.ids.insert(event.event_id, (stream.clone(), Tip { version, position }));
            self.streams.entry(stream.clone()).or_default().push(self.events.len());
            self.events.push(Arc::new(RecordedEvent {
                position,
                stream: stream.clone(),
                version,
                event_id: event.event_id,
                event_type: event.event_type.to_string(),
                schema_version: event.schema_version,
                payload: event.payload.to_string(),
                metadata: event.metadata.to_string(),
                recorded_at: clock.now(),
            }));
        }
        for kept in planned.commands {
            let past = PastCommand { fingerprint: kept.key.fingerprint, tip: kept.tip };
            self.commands.insert(kept.key.id.clone(), (past, clock.now()));
        }
        planned.outcomes
    }

    fn past(&self, key: &CommandKey) -> Option<(String, PastCommand)> {
        self.commands.get(&key.id).map(|(past, _)| (key.id.clone(), past.clone()))
    }
}

#[async_trait]
impl EventStore for MemoryStore {
    async fn append(&self, appends: Vec<Append>) -> Vec<AppendOutcome> {
        let mut log = self.log();
        let outcomes = log.append(&appends, &*self.clock);
        self.head.send_if_modified(|head| std::mem::replace(head, log.head()) != log.head());
        outcomes
    }

    async fn confirm(
        &self,
        stream: &StreamId,
        version: StreamVersion,
        command: Option<&CommandKey>,
    ) -> Result<Confirmation, StoreError> {
        let log = self.log();
        let past = command.and_then(|key| log.commands.get(&key.id).map(|(past, _)| (key, past)));
        Ok(confirmation(past, log.tip(stream).version, version))
    }

    async fn read_stream(
        &self,
        stream: &StreamId,
        after: StreamVersion,
        limit: PageLimit,
    ) -> Result<Vec<RecordedEvent>, StoreError> {
        let log = self.log();
        let indexes = log.streams.get(stream).map_or(&[][..], Vec::as_slice);
        let rest = indexes.iter().skip(after.0 as usize).map(|index| &log.events[*index]);
        let page = within(limit, rest, |event| event.bytes());
        Ok(page.map(|event| RecordedEvent::clone(event)).collect())
    }

    async fn read_all(
        &self,
        after: GlobalPosition,
        filter: &Filter,
        limit: PageLimit,
    ) -> Result<Page, StoreError> {
        let log = self.log();
        let rest = log.events.iter().skip(after.0 as usize);
        let mut admitted = rest.filter(|event| filter.admits(event.stream.aggregate_type()));
        let events: Vec<_> = within(limit, admitted.by_ref(), |e| e.bytes()).cloned().collect();
        // Everything up to the first event that found no room, or to the end of the log.
        let last = events.last().map_or(after, |last| last.position);
        let is_cut = log.events[(last.0 as usize).min(log.events.len())..]
            .iter()
            .any(|event| filter.admits(event.stream.aggregate_type()));
        let scanned_to = if is_cut || limit.events == 0 { last } else { log.head().max(after) };
        Ok(Page { events, scanned_to })
    }

    async fn read_positions(
        &self,
        positions: &[GlobalPosition],
        limit: PageLimit,
    ) -> Result<Vec<Arc<RecordedEvent>>, StoreError> {
        let log = self.log();
        let asked: BTreeSet<_> = positions.iter().filter(|position| position.0 > 0).collect();
        let event = |position: &GlobalPosition| log.events.get(position.0 as usize - 1);
        let found = asked.into_iter().filter_map(event);
        Ok(within(limit, found, |event| event.bytes()).cloned().collect())
    }

    async fn claim_holder(&self, kind: &str, value: &str) -> Result<Option<StreamId>, StoreError> {
        Ok(self.log().claims.get(&(kind.into(), value.into())).cloned())
    }

    async fn prune_commands(
        &self,
        recorded_before: OffsetDateTime,
        at_most: usize,
    ) -> Result<bool, StoreError> {
        let mut log = self.log();
        let old = log.commands.iter().filter(|(_, (_, at))| *at < recorded_before);
        let mut old: Vec<_> = old.map(|(id, (_, at))| (*at, id.clone())).collect();
        old.sort();
        let more = !old.is_empty() && old.len() >= at_most;
        for (_, id) in old.into_iter().take(at_most) {
            log.commands.remove(&id);
        }
        Ok(more)
    }

    async fn claim_program(&self, name: &str) -> Result<String, StoreError> {
        Ok(self.log().program.get_or_insert_with(|| name.to_owned()).clone())
    }

    async fn head(&self) -> Result<GlobalPosition, StoreError> {
        Ok(self.log().head())
    }

    fn identity(&self) -> LogIdentity {
        self.identity
    }

    fn watch_head(&self) -> watch::Receiver<GlobalPosition> {
        self.head.subscribe()
    }

    fn is_sole_writer(&self) -> bool {
        true
    }

    fn is_only_handle(&self) -> bool {
        self.handle.is_only_one()
    }
}
