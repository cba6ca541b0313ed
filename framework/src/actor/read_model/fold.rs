//! One page of the log on its way into the documents.
//!
//! Decoding and finding the key come first, for the whole page, so that all cold documents are
//! loaded at once; then the changes are applied in order. Whatever is wrong with an event, a panic
//! included, becomes a [`Poison`] that names it; what came before it stands.

use std::sync::Arc;

use uuid::Uuid;

use super::documents::Documents;
use crate::event::RecordedEvent;
use crate::event_store::Page;
use crate::read_model::{Change, ReadModel, Sources};
use crate::sources::Routed;
use crate::stream::GlobalPosition;

/// A position reached, and the event there if it was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reached {
    pub(super) position: GlobalPosition,
    pub(super) event_id: Option<Uuid>,
}

/// An event that cannot be taken in.
#[derive(Debug)]
pub(super) struct Poison {
    pub(super) event: Arc<RecordedEvent>,
    pub(super) reason: String,
    /// A document was half changed: what is in memory is not the fold of the log any more.
    pub(super) in_doubt: bool,
}

/// A decoded page.
pub(super) struct Decoded<M> {
    page: Arc<Page>,
    /// Index into the page, the document's key, and the change.
    changes: Vec<(usize, String, Change<M>)>,
    poison: Option<(usize, String)>,
}

impl<M: ReadModel> Decoded<M> {
    /// Decodes what is of our keys, up to the end or the first event that cannot be.
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
                Routed::Item { key, item } => changes.push((index, key, item)),
                Routed::Unreadable { reason, .. } => {
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

    /// Applies the changes and answers how far they reach.
    pub(super) fn fold(self, documents: &mut Documents<M>) -> (Reached, Option<Poison>) {
        let Self { page, changes, poison } = self;
        for (index, key, Change { apply }) in changes {
            if let Err(panic) = documents.change(key, apply) {
                let reason = format!("panicked: {panic}");
                return stopped(&page, index, reason, true);
            }
        }
        match poison {
            Some((index, reason)) => stopped(&page, index, reason, false),
            None => {
                let last = page.events.last().filter(|e| e.position == page.scanned_to);
                let event_id = last.map(|event| event.event_id);
                (Reached { position: page.scanned_to, event_id }, None)
            }
        }
    }
}

/// Just before the event at `index`.
fn stopped(page: &Page, index: usize, reason: String, in_doubt: bool) -> (Reached, Option<Poison>) {
    let event = Arc::clone(&page.events[index]);
    let position = GlobalPosition(event.position.0.saturating_sub(1));
    let before = index.checked_sub(1).map(|before| &page.events[before]);
    let event_id = before.filter(|e| e.position == position).map(|e| e.event_id);
    (Reached { position, event_id }, Some(Poison { event, reason, in_doubt }))
}
