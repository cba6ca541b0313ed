//! One page of the log on its way into the documents.
//!
//! Decoding and finding the key come first, for the whole page, so that all cold documents are
//! loaded at once; then the changes are applied in order. Whatever is wrong with an event, a panic
//! included, parks its key and no other; what has no key, or is beyond a limit, is a [`Poison`]: what
//! came before it stands.

use std::sync::Arc;
use std::time::Instant;

use time::OffsetDateTime;
use uuid::Uuid;

use super::documents::Documents;
use crate::event_store::Page;
use crate::read_model::{Change, ReadModel, Sources};
use crate::sources::Routed;
use crate::stream::GlobalPosition;
use crate::subscription::parking::{Parking, in_words};

/// A position reached, and the event there if it was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reached {
    pub(super) position: GlobalPosition,
    pub(super) event_id: Option<Uuid>,
}

/// An event that nothing can be taken in after.
#[derive(Debug)]
pub(super) struct Poison {
    pub(super) position: GlobalPosition,
    pub(super) reason: String,
}

/// A decoded page.
pub(super) struct Decoded<M> {
    page: Arc<Page>,
    /// Index into the page, the document's key, and the change, or why there is none.
    changes: Vec<(usize, String, Result<Change<M>, String>)>,
    poison: Option<(usize, String)>,
}

impl<M: ReadModel> Decoded<M> {
    /// Decodes up to the end or the first event that cannot be and that may belong to any key.
    pub(super) fn new(
        sources: &Sources<M>,
        page: Arc<Page>,
        is_ours: impl Fn(&str) -> bool,
    ) -> Self {
        let mut changes = Vec::with_capacity(page.events.len());
        let mut poison = None;
        for (index, event) in page.events.iter().enumerate() {
            match sources.routes.route(event, &is_ours) {
                Routed::Nothing => {}
                Routed::Item { key, item } => changes.push((index, key, Ok(item))),
                Routed::Unreadable { key: Some(key), reason } => {
                    changes.push((index, key, Err(reason)));
                }
                Routed::Unreadable { key: None, reason } => {
                    poison = Some((index, reason));
                    break;
                }
            }
        }
        Self { page, changes, poison }
    }

    /// How many events there are to apply.
    pub(super) fn events(&self) -> usize {
        self.changes.len()
    }

    /// The keys of documents that must be loaded first, each once.
    pub(super) fn cold_keys(&self, documents: &Documents<M>) -> Vec<String> {
        let keys = self.changes.iter().map(|(_, key, _)| key);
        let mut cold: Vec<_> = keys.filter(|key| documents.is_cold(key)).cloned().collect();
        cold.sort_unstable();
        cold.dedup();
        cold
    }

    /// Applies the changes and answers how far they reach. An event that cannot be applied parks its
    /// key, and one of a parked key waits.
    pub(super) fn fold(
        self,
        documents: &mut Documents<M>,
        parking: &mut Parking,
        now: Instant,
        at: OffsetDateTime,
    ) -> (Reached, Option<Poison>) {
        let Self { page, changes, poison } = self;
        for (index, key, change) in changes {
            let event = &page.events[index];
            let parked = match parking.is_parked(&key) {
                true => parking.queue(&key, event.position),
                false => match apply(documents, &key, change) {
                    Ok(()) => Ok(()),
                    Err(reason) => parking.park(key, event, reason, now, at),
                },
            };
            if let Err(full) = parked {
                return stopped(&page, index, full.to_string());
            }
        }
        match poison {
            Some((index, reason)) => {
                let event = in_words(&page.events[index]);
                let why = "its key is in its content, so it may belong to any document";
                stopped(&page, index, format!("{event}: {reason}; {why}"))
            }
            None => {
                let last = page.events.last().filter(|e| e.position == page.scanned_to);
                let event_id = last.map(|event| event.event_id);
                (Reached { position: page.scanned_to, event_id }, None)
            }
        }
    }
}

/// Changes the document; if that cannot be, it stays as it was.
pub(super) fn apply<M: ReadModel>(
    documents: &mut Documents<M>,
    key: &str,
    change: Result<Change<M>, String>,
) -> Result<(), String> {
    let changed = documents.change(key, change?.apply);
    changed.map_err(|panic| format!("panicked: {panic}"))
}

/// Just before the event at `index`.
fn stopped(page: &Page, index: usize, reason: String) -> (Reached, Option<Poison>) {
    let at = page.events[index].position;
    let position = GlobalPosition(at.0.saturating_sub(1));
    let before = index.checked_sub(1).map(|before| &page.events[before]);
    let event_id = before.filter(|e| e.position == position).map(|e| e.event_id);
    (Reached { position, event_id }, Some(Poison { position: at, reason }))
}
