//! The log in memory, as the kit keeps it.

use std::sync::PoisonError;

use async_trait::async_trait;
use time::OffsetDateTime;
use tokio::sync::watch;

use super::MemoryStore;
use crate::command::CommandKey;
use crate::error::StoreError;
use crate::event::{GlobalPosition, RecordedEvent, StreamId, StreamVersion};
use crate::store::contract::{
    Append, AppendOutcome, Confirmation, EventStore, Filter, Page, PageLimit, StoreInfo,
};
use crate::store::kit::event_log::Appended;

#[async_trait]
impl EventStore for MemoryStore {
    async fn append(&self, appends: Vec<Append>) -> Vec<AppendOutcome> {
        let mut log = self.log();
        // Checked and stored under one lock, so that no other append comes in between.
        let planned = log.plan(&appends);
        log.apply(Appended::of(&planned, || self.clock.now()));
        // Still under the lock, so that heads are published in the order of the commits.
        self.head.send_if_modified(|head| std::mem::replace(head, log.head()) != log.head());
        planned.outcomes
    }

    async fn confirm(
        &self,
        stream: &StreamId,
        version: StreamVersion,
        command: Option<CommandKey>,
    ) -> Result<Confirmation, StoreError> {
        Ok(self.log().confirm(stream, version, command.as_ref()))
    }

    async fn read_stream(
        &self,
        stream: &StreamId,
        after: StreamVersion,
        limit: PageLimit,
    ) -> Result<Vec<RecordedEvent>, StoreError> {
        Ok(self.log().read_stream(stream, after, limit))
    }

    async fn read_all(
        &self,
        after: GlobalPosition,
        filter: &Filter,
        limit: PageLimit,
    ) -> Result<Page, StoreError> {
        Ok(self.log().read_all(after, filter, limit))
    }

    async fn claim_holder(&self, kind: &str, value: &str) -> Result<Option<StreamId>, StoreError> {
        Ok(self.log().claim_holder(kind, value))
    }

    async fn prune_commands(
        &self,
        recorded_before: OffsetDateTime,
        at_most: usize,
    ) -> Result<bool, StoreError> {
        let mut log = self.log();
        let old = log.old_commands(recorded_before, at_most);
        log.forget_commands(&old);
        Ok(!old.is_empty() && old.len() == at_most)
    }

    async fn claim_program(&self, name: &str) -> Result<String, StoreError> {
        let mut program = self.program.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(program.get_or_insert_with(|| name.to_owned()).clone())
    }

    async fn head(&self) -> Result<GlobalPosition, StoreError> {
        Ok(self.log().head())
    }

    fn info(&self) -> StoreInfo {
        let mut info = StoreInfo::new(self.identity);
        // The log is in the memory of this process, so no other process can write to it.
        info.is_sole_writer = true;
        info.is_only_handle = self.handle.is_only_one();
        info.keeps_snapshots = true;
        info
    }

    fn watch_head(&self) -> watch::Receiver<GlobalPosition> {
        self.head.subscribe()
    }
}
