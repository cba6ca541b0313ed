//! Open work of a reaction in the store: the changes that are not saved yet, and loading it again.
//!
//! Changes are saved with the checkpoint, so the store has every item that was opened up to there and
//! was not closed. An item that was opened and closed between two saves is never stored.

use std::collections::BTreeMap;
use std::sync::Arc;

use time::OffsetDateTime;

use super::Details;
use crate::error::StoreError;
use crate::event::{GlobalPosition, RecordedEvent};
use crate::store::contract::{OpenWork, PageLimit, PartitionId, Store, WorkChange};

/// Limit of the pages in which open work is loaded.
const PAGE: PageLimit = PageLimit::events(1_000);

/// Limit of the pages in which events of unclear items are read.
const EVENTS: PageLimit = PageLimit::events(100);

/// Changes that are not saved, at most one for each item.
#[derive(Debug, Default)]
pub(super) struct WorkChanges {
    changes: BTreeMap<String, Unsaved>,
}

#[derive(Debug)]
struct Unsaved {
    change: WorkChange,
    /// True if the store has the item.
    is_stored: bool,
}

impl WorkChanges {
    /// Number of items that changed.
    pub(super) fn len(&self) -> usize {
        self.changes.len()
    }

    /// Opens an item that the store does not have.
    pub(super) fn open(&mut self, work: OpenWork) {
        let id = work.id.clone();
        self.changes.insert(id, Unsaved { change: WorkChange::Open(work), is_stored: false });
    }

    /// Replaces an item that the store has.
    pub(super) fn replace(&mut self, work: OpenWork) {
        let id = work.id.clone();
        self.changes.insert(id, Unsaved { change: WorkChange::Open(work), is_stored: true });
    }

    /// Postpones an item.
    pub(super) fn again(
        &mut self,
        id: &str,
        due_at: OffsetDateTime,
        attempts: u32,
        reason: Option<String>,
    ) {
        if let Some(Unsaved { change: WorkChange::Open(work), .. }) = self.changes.get_mut(id) {
            (work.due_at, work.attempts, work.reason) = (due_at, attempts, reason);
            return;
        }
        let change = WorkChange::Again { id: id.to_owned(), due_at, attempts, reason };
        self.changes.insert(id.to_owned(), Unsaved { change, is_stored: true });
    }

    /// Closes an item.
    pub(super) fn close(&mut self, id: &str) {
        if self.changes.remove(id).is_none_or(|unsaved| unsaved.is_stored) {
            let change = WorkChange::Close { id: id.to_owned() };
            self.changes.insert(id.to_owned(), Unsaved { change, is_stored: true });
        }
    }

    /// Takes all changes, to save them.
    pub(super) fn take(&mut self) -> Vec<WorkChange> {
        let changes = std::mem::take(&mut self.changes);
        changes.into_values().map(|unsaved| unsaved.change).collect()
    }
}

/// Returns the details of an item; `None` if its event has to be read again to know them.
pub(crate) fn details(work: &OpenWork) -> Option<Details> {
    let details = serde_json::from_str::<Details>(&work.body).ok();
    details.filter(|details| !details.is_unclear)
}

/// Loads all open work of a partition, page by page.
///
/// # Errors
/// The store did not reply.
pub(crate) async fn load(
    store: &dyn Store,
    partition: &PartitionId,
    mut take: impl FnMut(OpenWork),
) -> Result<(), StoreError> {
    let mut after = None;
    loop {
        let page = store.load_work(partition, after, PAGE).await?;
        let Some(last) = page.last() else { return Ok(()) };
        after = Some(last.due());
        page.into_iter().for_each(&mut take);
    }
}

/// Reads the events at these positions, which are in order.
///
/// # Errors
/// [`StoreError::Corrupt`] if the log does not have one of them, or the store did not reply.
pub(super) async fn read_events(
    store: &dyn Store,
    positions: &[GlobalPosition],
    mut take: impl FnMut(Arc<RecordedEvent>),
) -> Result<(), StoreError> {
    let mut rest = positions;
    while let Some(first) = rest.first() {
        let asked = &rest[..rest.len().min(EVENTS.events)];
        let page = store.read_positions(asked, EVENTS).await?;
        // A page may end early, but what it has follows without a gap.
        let read = asked.iter().zip(&page).take_while(|(at, event)| **at == event.position).count();
        if read == 0 || read < page.len() {
            let lost = rest.get(read).unwrap_or(first);
            return Err(StoreError::Corrupt {
                place: format!("position {lost}"),
                reason: "an event that opened work is not in the log".to_owned(),
            });
        }
        page.into_iter().for_each(&mut take);
        rest = &rest[read..];
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn work(id: &str) -> OpenWork {
        OpenWork {
            id: id.to_owned(),
            key: id.to_owned(),
            position: GlobalPosition(1),
            due_at: OffsetDateTime::UNIX_EPOCH,
            attempts: 0,
            reason: None,
            command_key: None,
            body: String::new(),
        }
    }

    fn close(id: &str) -> WorkChange {
        WorkChange::Close { id: id.to_owned() }
    }

    #[test]
    fn an_item_that_was_never_stored_leaves_no_trace() {
        let (mut changes, now) = (WorkChanges::default(), OffsetDateTime::UNIX_EPOCH);
        changes.open(work("a"));
        changes.again("a", now, 1, None);
        changes.close("a");
        assert_eq!((changes.len(), changes.take()), (0, vec![]));
        changes.again("b", now, 1, None);
        changes.close("b");
        changes.replace(work("c"));
        changes.close("c");
        changes.close("d");
        assert_eq!(changes.take(), [close("b"), close("c"), close("d")]);
        assert_eq!(changes.len(), 0);
    }

    #[test]
    fn the_last_attempt_of_an_item_is_saved() {
        let (mut changes, now) = (WorkChanges::default(), OffsetDateTime::UNIX_EPOCH);
        changes.open(work("a"));
        for attempts in [1, 2] {
            changes.again("a", now, attempts, Some(attempts.to_string()));
            changes.again("b", now, attempts, None);
        }
        let opened = OpenWork { attempts: 2, reason: Some("2".to_owned()), ..work("a") };
        let again = WorkChange::Again { id: "b".into(), due_at: now, attempts: 2, reason: None };
        assert_eq!(changes.take(), [WorkChange::Open(opened), again]);
    }
}
