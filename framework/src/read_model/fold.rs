//! One page of the log on its way into the documents.
//!
//! Decoding and finding the keys come first, for the whole page, so that all cold documents are
//! loaded at once; then the changes are applied in order. An event that fails, a panic included,
//! parks the key it fails for and no other. An event whose keys are not known, or that a limit
//! leaves no room for, is a [`Poison`]: nothing of it is applied, and what came before it stands.

use std::sync::Arc;
use std::time::Instant;

use time::OffsetDateTime;

use super::documents::Documents;
use super::{Change, ReadModel, Sources};
use crate::event::{GlobalPosition, RecordedEvent};
use crate::partition::Reached;
use crate::partition::parking::{Full, Parking, in_words};
use crate::store::contract::Page;

/// An event that nothing can be folded after.
#[derive(Debug)]
pub(crate) struct Poison {
    pub(crate) position: GlobalPosition,
    pub(crate) reason: String,
}

/// One event for one document: its key, and the change or the reason why there is none.
type Keyed<M> = (String, Result<Change<M>, String>);

/// A decoded page.
pub(crate) struct Decoded<M> {
    page: Arc<Page>,
    /// Index into the page, and what the event there is for one key. An index may come several times.
    changes: Vec<(usize, Keyed<M>)>,
    poison: Option<(usize, String)>,
}

impl<M: ReadModel> Decoded<M> {
    /// Decodes up to the end of the page or the first event whose keys are not known.
    pub(super) fn new(
        sources: &Sources<M>,
        page: Arc<Page>,
        is_ours: impl Fn(&str) -> bool,
    ) -> Self {
        let mut changes = Vec::with_capacity(page.events.len());
        let mut poison = None;
        for (index, event) in page.events.iter().enumerate() {
            let routed = sources.routes.route(event, &is_ours);
            if let Err(reason) = routed.each(|key, change| changes.push((index, (key, change)))) {
                poison = Some((index, reason));
                break;
            }
        }
        Self { page, changes, poison }
    }

    /// Number of changes to apply.
    pub(super) fn events(&self) -> usize {
        self.changes.len()
    }

    /// The keys of all documents that the page may change, each once.
    pub(crate) fn keys(&self) -> Vec<String> {
        let mut keys: Vec<_> = self.changes.iter().map(|(_, (key, _))| key.clone()).collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    /// The keys of documents that must be loaded first, each once.
    pub(super) fn cold_keys(&self, documents: &Documents<M>) -> Vec<String> {
        let keys = self.changes.iter().map(|(_, (key, _))| key);
        let mut cold: Vec<_> = keys.filter(|key| documents.is_cold(key)).cloned().collect();
        cold.sort_unstable();
        cold.dedup();
        cold
    }

    /// Applies the changes and returns how far they reach. An event that cannot be applied to a
    /// document parks its key, and an event of a parked key waits.
    pub(super) fn fold(
        self,
        documents: &mut Documents<M>,
        parking: &mut Parking,
        now: Instant,
        at: OffsetDateTime,
    ) -> (Reached, Option<Poison>) {
        let Self { page, changes, poison } = self;
        // Changes of one event stand together, because the event is folded into all its documents or
        // into none.
        let mut changes = changes.into_iter().peekable();
        while let Some((index, first)) = changes.next() {
            let event = &page.events[index];
            let mut others = Vec::new();
            while let Some((_, other)) = changes.next_if(|(next, _)| *next == index) {
                others.push(other);
            }
            let folded = match others.is_empty() {
                true => fold_one(documents, parking, event, first, (now, at)),
                false => {
                    others.push(first);
                    fold_all(documents, parking, event, others, (now, at))
                }
            };
            if let Err(full) = folded {
                return stopped(&page, index, full.to_string());
            }
        }
        match poison {
            Some((index, reason)) => {
                let event = in_words(&page.events[index]);
                let why = "its keys are in its content, so it may belong to any document. Start a \
                           program that can decode it; the read model then continues with it";
                stopped(&page, index, format!("{event}: {reason}; {why}"))
            }
            None => (Reached::end_of(&page), None),
        }
    }
}

/// Folds an event into one document.
fn fold_one<M: ReadModel>(
    documents: &mut Documents<M>,
    parking: &mut Parking,
    event: &RecordedEvent,
    (key, change): Keyed<M>,
    (now, at): (Instant, OffsetDateTime),
) -> Result<(), Full> {
    if parking.is_parked(&key) {
        parking.queue(&key, event.position);
        return Ok(());
    }
    match apply(documents, &key, event.position, change) {
        Ok(()) => Ok(()),
        Err(reason) => parking.park(key, event, reason, now, at),
    }
}

/// Folds an event into several documents, each of them or none: if there is no room to park those
/// that fail, a document that was changed already would count the event twice after the restart.
fn fold_all<M: ReadModel>(
    documents: &mut Documents<M>,
    parking: &mut Parking,
    event: &RecordedEvent,
    changes: Vec<Keyed<M>>,
    (now, at): (Instant, OffsetDateTime),
) -> Result<(), Full> {
    let (mut changed, mut failed, mut waiting) = (Vec::new(), Vec::new(), Vec::new());
    for (key, change) in changes {
        if parking.is_parked(&key) {
            waiting.push(key);
            continue;
        }
        match change.and_then(|change| documents.changed_copy(&key, change.apply)) {
            Ok(copy) => changed.push((key, copy)),
            Err(reason) => failed.push((key, reason)),
        }
    }
    parking.check_room(failed.len())?;
    for (key, copy) in changed {
        documents.put_changed(&key, event.position, copy);
    }
    for (key, reason) in failed {
        parking.park(key, event, reason, now, at)?;
    }
    for key in waiting {
        parking.queue(&key, event.position);
    }
    Ok(())
}

/// Changes the document; if that fails, it stays as it was.
pub(super) fn apply<M: ReadModel>(
    documents: &mut Documents<M>,
    key: &str,
    at: GlobalPosition,
    change: Result<Change<M>, String>,
) -> Result<(), String> {
    let copy = documents.changed_copy(key, change?.apply)?;
    documents.put_changed(key, at, copy);
    Ok(())
}

/// Just before the event at `index`.
fn stopped(page: &Page, index: usize, reason: String) -> (Reached, Option<Poison>) {
    let at = page.events[index].position;
    let position = GlobalPosition(at.0.saturating_sub(1));
    let before = index.checked_sub(1).map(|before| &page.events[before]);
    let event_id = before.filter(|e| e.position == position).map(|e| e.event_id);
    (Reached { position, event_id }, Some(Poison { position: at, reason }))
}
