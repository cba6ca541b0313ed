//! What a page of the log holds for one partition.

use std::sync::Arc;

use time::OffsetDateTime;

use super::parked::ParkedKeys;
use super::partition::Partition;
use super::term::Reached;
use crate::checkpoint::partition_of;
use crate::event::RecordedEvent;
use crate::event_store::Page;
use crate::parking::ParkedChange;
use crate::projection::Projection;
use crate::sources::Routed;
use crate::stream::GlobalPosition;

/// Decoded events and, beside each, what it came from: the user's code is given a slice of events.
pub(super) struct Batch<E> {
    pub(super) events: Vec<E>,
    pub(super) of: Vec<Origin>,
    /// What became of keys already, before anything is projected.
    pub(super) changes: Vec<ParkedChange>,
    pub(super) reached: Reached,
    /// An event whose key nobody knows: everything has to stop before it.
    pub(super) halt: Option<(GlobalPosition, String)>,
}

/// Where an event came from.
pub(super) struct Origin {
    pub(super) key: String,
    pub(super) recorded: Arc<RecordedEvent>,
}

impl<E> Batch<E> {
    /// Nothing to be applied yet; it stays where the checkpoint is.
    pub(super) fn at(reached: Reached) -> Self {
        Self { events: Vec::new(), of: Vec::new(), changes: Vec::new(), reached, halt: None }
    }

    /// Decodes what is for this partition. Events of parked keys queue; one that cannot be decoded
    /// parks its key.
    pub(super) fn of<P: Projection<Event = E>>(
        partition: &Partition<P>,
        parked: &mut ParkedKeys,
        page: &Page,
        now: OffsetDateTime,
    ) -> Self {
        let last = page.events.last().filter(|last| last.position == page.scanned_to);
        let event_id = last.map(|last| last.event_id);
        let mut batch = Self::at(Reached { position: page.scanned_to, event_id });
        let is_ours = |key: &str| partition_of(key, P::PARTITIONS.max(1)) == partition.id.number;
        for recorded in &page.events {
            let routed = partition.sources.routes.route(recorded, is_ours);
            if let Some(reason) = batch.add(routed, recorded, partition.id.number, parked, now) {
                let position = GlobalPosition(recorded.position.0.saturating_sub(1));
                batch.reached = Reached { position, event_id: None };
                batch.halt = Some((recorded.position, reason));
                break;
            }
        }
        batch
    }

    /// Takes the event in, queues it or parks its key; a reason if nobody knows the key.
    pub(super) fn add(
        &mut self,
        routed: Routed<E>,
        recorded: &Arc<RecordedEvent>,
        number: u32,
        parked: &mut ParkedKeys,
        now: OffsetDateTime,
    ) -> Option<String> {
        match routed {
            Routed::Nothing => {}
            Routed::Item { key, .. } | Routed::Unreadable { key: Some(key), .. }
                if parked.holds(&key) =>
            {
                self.changes.push(parked.queue(&key, recorded.position));
            }
            Routed::Item { key, item } => {
                self.events.push(item);
                self.of.push(Origin { key, recorded: Arc::clone(recorded) });
            }
            Routed::Unreadable { key: Some(key), reason } => {
                self.changes.extend(parked.park(&key, number, recorded, reason, now));
            }
            Routed::Unreadable { key: None, reason } => return Some(reason),
        }
        None
    }

    /// Whether there is nothing to do but to move on.
    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty() && self.changes.is_empty()
    }
}
