//! The contract of a log: append, confirm, read, watch.
//!
//! This page and the guide are enough to write a store; `testing::conformance` then checks it. There
//! is one append path: everything that must be atomic with the events is a field of [`Append`].

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use time::OffsetDateTime;
use tokio::sync::watch;

use super::store_info::StoreInfo;
use crate::command::{Claim, CommandKey, Committed};
use crate::error::StoreError;
use crate::event::{
    ExpectedVersion, GlobalPosition, NewEvent, RecordedEvent, StreamId, StreamVersion,
};

/// Maximum size of the payload of one event: 4 MiB.
pub const MAX_PAYLOAD_BYTES: usize = 4 << 20;

/// Maximum size of the metadata of one event: 64 KiB.
pub const MAX_METADATA_BYTES: usize = 64 << 10;

/// Maximum size of the events of one append: 32 MiB. The size counts payloads, metadata and, for each
/// event, the name of its stream and 64 bytes for the short columns.
pub const MAX_APPEND_BYTES: usize = 32 << 20;

/// The events of one command for one stream, which are stored together or not at all.
#[derive(Debug, Clone, PartialEq)]
pub struct Append {
    /// Stream that the events are for.
    pub stream: StreamId,
    /// Condition on the stream's version. If it does not hold, nothing is stored.
    pub expected: ExpectedVersion,
    /// Events in order. May be empty if only the command's key is to be stored.
    pub events: Vec<NewEvent>,
    /// Key of the command, stored with the outcome in the same transaction. A second append with the
    /// same id stores nothing and returns that outcome, whatever version it expects.
    pub command: Option<CommandKey>,
    /// Claims that are taken and released in the transaction of the events, in this order. If another
    /// stream holds one that is to be taken, nothing is stored. An append without events must not
    /// have claims.
    pub claims: Vec<Claim>,
    /// True if the append was decided on the result of the append directly before it in the same
    /// call, to the same stream. It is refused with a conflict unless that one was stored just now,
    /// so it must not be the first of a call. A version alone does not show this, because another
    /// writer may have reached the same version.
    pub chained: bool,
}

impl Append {
    /// Size that batches, calls and [`MAX_APPEND_BYTES`] count.
    pub(crate) fn bytes(&self) -> usize {
        self.events.iter().map(|event| event_bytes(&self.stream, event)).sum()
    }
}

/// Size of one event in an append to this stream.
pub(crate) fn event_bytes(stream: &StreamId, event: &NewEvent) -> usize {
    stream.as_str().len() + 64 + event.payload.len() + event.metadata.len()
}

/// Outcome of one [`Append`]: exactly one of these.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum AppendOutcome {
    /// Stored and durable, now or by an earlier attempt.
    Committed(Committed),
    /// Nothing was stored, and nothing will be.
    NotCommitted(NotCommitted),
    /// The outcome is unknown. Append again with the same ids to learn it.
    Unknown(String),
}

/// Reason why an append was not stored.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum NotCommitted {
    /// The stream is not at the expected version.
    Conflict {
        /// Version of the stream.
        actual: StreamVersion,
    },
    /// The command id stands in the log with another fingerprint.
    KeyReused,
    /// Another stream holds a claim that the append takes. The stream is at the expected version.
    Claimed {
        /// The claim.
        claim: Claim,
        /// The stream that holds it.
        holder: StreamId,
    },
    /// The append can never be stored: the reason names the event and the limit.
    Invalid(String),
    /// The store is not available: busy, full or unreachable. Retry later.
    Unavailable(String),
}

/// Reply of [`EventStore::confirm`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Confirmation {
    /// The stream is still at that version and the command id is unknown.
    Current,
    /// The stream has moved on.
    Stale {
        /// Version of the stream.
        actual: StreamVersion,
    },
    /// The command had been carried out before.
    Replayed(Committed),
    /// The command id stands in the log with another fingerprint.
    KeyReused,
}

/// Selection of events for a read of the whole log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only streams of these aggregate types; empty means all.
    pub aggregate_types: Vec<String>,
}

impl Filter {
    /// Every event.
    pub fn all() -> Self {
        Self::default()
    }

    /// Checks if an event of `aggregate_type` passes.
    pub fn admits(&self, aggregate_type: &str) -> bool {
        self.aggregate_types.is_empty() || self.aggregate_types.iter().any(|t| t == aggregate_type)
    }
}

/// Largest page that a read may return.
///
/// A page ends before the event or document that would exceed either limit. One that is larger than
/// `bytes` is returned alone, so every read makes progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageLimit {
    /// Maximum number of events or documents. With 0 a read returns nothing.
    pub events: usize,
    /// Maximum sum of [`RecordedEvent::bytes`], or of the bodies of documents.
    pub bytes: usize,
}

impl PageLimit {
    /// Bytes of a page when the caller names no other limit: 4 MiB.
    pub const DEFAULT_BYTES: usize = 4 << 20;

    /// Limit of `events` events and [`PageLimit::DEFAULT_BYTES`].
    pub const fn events(events: usize) -> Self {
        Self { events, bytes: Self::DEFAULT_BYTES }
    }

    /// The same number of events, with another limit of bytes.
    #[must_use]
    pub const fn bytes(self, bytes: usize) -> Self {
        Self { bytes, ..self }
    }
}

/// A stretch of the whole log.
#[derive(Debug, Clone)]
pub struct Page {
    /// The events that passed the filter, by position.
    pub events: Vec<Arc<RecordedEvent>>,
    /// Position up to which the log was read: continue after it, and store it as the checkpoint. A
    /// short or empty page is not the end of the log. The end is reached if this equals `after`.
    pub scanned_to: GlobalPosition,
}

impl Page {
    /// Sum of [`RecordedEvent::bytes`].
    pub(crate) fn bytes(&self) -> usize {
        self.events.iter().map(|event| event.bytes()).sum()
    }
}

/// A log of events with one global order.
///
/// An implementation must keep these promises. An append with the outcome `Committed` is on disk.
/// Versions of a stream and positions of the log are dense and start at 1. A position becomes visible
/// only after all smaller ones. Refused appends leave no hole. Events never change.
#[async_trait]
pub trait EventStore: Send + Sync + 'static {
    /// Stores each append or refuses it, independently of the others, and returns one outcome for
    /// each, in the same order. Appends to one stream see each other and keep their order, and so do
    /// appends with the same claim. Other appends may be stored in any order. If the events of an
    /// append (by id) are stored already, the first outcome is returned, marked as replayed. So it is
    /// safe to send an append again.
    ///
    /// The write continues if the caller stops waiting.
    async fn append(&self, appends: Vec<Append>) -> Vec<AppendOutcome>;

    /// Confirms a decision that was made at `version` and stored nothing: the stream is still at this
    /// version, and the command was not carried out before.
    ///
    /// # Errors
    /// The store is not available.
    async fn confirm(
        &self,
        stream: &StreamId,
        version: StreamVersion,
        command: Option<CommandKey>,
    ) -> Result<Confirmation, StoreError>;

    /// The events of one stream after a version, within `limit`. Only an empty page is the end.
    ///
    /// # Errors
    /// The store is not available, a row cannot be read, or versions are not dense.
    async fn read_stream(
        &self,
        stream: &StreamId,
        after: StreamVersion,
        limit: PageLimit,
    ) -> Result<Vec<RecordedEvent>, StoreError>;

    /// The events of the whole log after a position that pass the filter, within `limit`.
    ///
    /// # Errors
    /// The store is not available, a row cannot be read, or positions are not dense.
    async fn read_all(
        &self,
        after: GlobalPosition,
        filter: &Filter,
        limit: PageLimit,
    ) -> Result<Page, StoreError>;

    /// The events at these positions, as far as they exist, in the order of the log, within `limit`.
    /// To read on, pass the positions after the last one. An empty page means that none exists.
    ///
    /// By default each event is read by a call of its own. A store for which a call is expensive
    /// overrides it.
    ///
    /// # Errors
    /// The store is not available, or a row cannot be read.
    async fn read_positions(
        &self,
        positions: &[GlobalPosition],
        limit: PageLimit,
    ) -> Result<Vec<Arc<RecordedEvent>>, StoreError> {
        let (mut found, mut bytes) = (Vec::new(), 0);
        // Sorted and without doubles, because the events are returned in the order of the log.
        let wanted: BTreeSet<_> = positions.iter().filter(|position| position.0 > 0).collect();
        for position in wanted {
            let before = GlobalPosition(position.0 - 1);
            let page = self.read_all(before, &Filter::all(), PageLimit::events(1)).await?;
            let Some(event) = page.events.into_iter().next() else { break };
            bytes += event.bytes();
            // The first event is returned whatever its size, so that every read makes progress.
            if found.len() == limit.events || (bytes > limit.bytes && !found.is_empty()) {
                break;
            }
            found.push(event);
        }
        Ok(found)
    }

    /// The stream that holds the claim of this kind and value, if one does.
    ///
    /// # Errors
    /// The store is not available.
    async fn claim_holder(&self, kind: &str, value: &str) -> Result<Option<StreamId>, StoreError>;

    /// Forgets at most `at_most` command keys that were recorded before this time, the oldest first,
    /// with their outcomes; whether there may be more. Who sends one of them again is not recognised
    /// any more.
    ///
    /// # Errors
    /// The store is not available.
    async fn prune_commands(
        &self,
        recorded_before: OffsetDateTime,
        at_most: usize,
    ) -> Result<bool, StoreError>;

    /// Keeps the name of the program that appends to this log if none is kept, and returns the one
    /// that is: an application whose name is another one does not start. By default no name is kept.
    ///
    /// # Errors
    /// The store is not available.
    async fn claim_program(&self, name: &str) -> Result<String, StoreError> {
        Ok(name.to_owned())
    }

    /// The last position of the log, read from the store itself.
    ///
    /// # Errors
    /// The store is not available.
    async fn head(&self) -> Result<GlobalPosition, StoreError>;

    /// Facts about the store and its present condition. Performs no I/O that can block for long,
    /// because status, readiness and every read model's save call it.
    fn info(&self) -> StoreInfo;

    /// Notifies when this process knows of a later head. This is a hint to read sooner than by
    /// polling; by default there is none.
    fn watch_head(&self) -> watch::Receiver<GlobalPosition> {
        watch::channel(GlobalPosition::ZERO).1
    }

    /// Notifies when the database turns out to hold another history than this store knows, with the
    /// reason. Nothing is read or written through this store from then on, and everything that was
    /// built from the events it read is void. By default that is never noticed.
    fn watch_history(&self) -> watch::Receiver<Option<String>> {
        watch::channel(None).1
    }

    /// Closes the store. An application calls it once, after it has stopped. A store in a file moves
    /// all of the log into that file. A store that still has other handles stays open.
    ///
    /// # Errors
    /// The files could not be left so: the message names them and the next step.
    async fn release(&self) -> Result<(), StoreError> {
        Ok(())
    }
}
