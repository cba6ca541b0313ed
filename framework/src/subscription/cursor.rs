//! Position of a subscription in the log, and the filter for pages that it has already seen.
//!
//! Pure: no store, no task, no clock. In whatever order pages arrive, a [`Cursor`] admits every
//! event once, in order and without a gap. Correctness depends on this file only; the other files
//! of the folder are about speed.

use std::sync::Arc;

use crate::error::StoreError;
use crate::event::GlobalPosition;
use crate::store::contract::{Filter, Page};

/// A page together with the position after which it was read.
#[derive(Debug, Clone)]
pub(super) struct Stretch {
    pub(super) after: GlobalPosition,
    pub(super) page: Arc<Page>,
}

/// Result of offering a stretch to a cursor.
#[derive(Debug)]
pub(super) enum Admission {
    /// The stretch continues at the cursor: deliver this page.
    Next(Arc<Page>),
    /// All events of the stretch have been delivered before.
    Seen,
    /// Events between the cursor and the stretch are missing. They must be read first.
    Gap,
}

/// Position up to which everything has been delivered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cursor {
    at: GlobalPosition,
}

impl Cursor {
    pub(super) fn after(position: GlobalPosition) -> Self {
        Self { at: position }
    }

    pub(super) fn at(self) -> GlobalPosition {
        self.at
    }

    /// Admits the events after the cursor and moves the cursor to the end of the stretch.
    pub(super) fn admit(&mut self, stretch: &Stretch) -> Admission {
        if stretch.page.scanned_to <= self.at {
            return Admission::Seen;
        }
        if stretch.after > self.at {
            return Admission::Gap;
        }
        let page = match stretch.after == self.at {
            true => Arc::clone(&stretch.page),
            false => {
                let news = stretch.page.events.partition_point(|e| e.position <= self.at);
                let events = stretch.page.events[news..].to_vec();
                Arc::new(Page { events, scanned_to: stretch.page.scanned_to })
            }
        };
        self.at = page.scanned_to;
        Admission::Next(page)
    }
}

/// Checks that a page is what a log without holes returns for a read `after` a position.
///
/// # Errors
/// [`StoreError::Hole`] names both positions.
pub(super) fn dense(after: GlobalPosition, filter: &Filter, page: &Page) -> Result<(), StoreError> {
    let every_event = filter.aggregate_types.is_empty();
    let mut last = after;
    for event in &page.events {
        let due = last.next();
        if event.position < due || (every_event && event.position != due) {
            return Err(hole(last, event.position));
        }
        last = event.position;
    }
    let scanned = page.scanned_to;
    if scanned < last || (every_event && scanned != last) {
        return Err(hole(last, scanned));
    }
    Ok(())
}

fn hole(after: GlobalPosition, found: GlobalPosition) -> StoreError {
    StoreError::Hole { what: "position".into(), after: after.0, found: found.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{RecordedEvent, StreamId, StreamVersion};

    fn page(positions: &[u64], scanned_to: u64) -> Page {
        let event = |position: &u64| {
            Arc::new(RecordedEvent {
                position: GlobalPosition(*position),
                stream: StreamId::new("account", "1").unwrap(),
                version: StreamVersion(1),
                event_id: uuid::Uuid::nil(),
                event_type: "Deposited".into(),
                schema_version: 1,
                payload: "{}".into(),
                metadata: "{}".into(),
                recorded_at: time::OffsetDateTime::UNIX_EPOCH,
            })
        };
        let events = positions.iter().map(event).collect();
        Page { events, scanned_to: GlobalPosition(scanned_to) }
    }

    fn positions(page: &Page) -> Vec<u64> {
        page.events.iter().map(|e| e.position.0).collect()
    }

    #[test]
    fn what_overlaps_is_trimmed_what_was_seen_is_left_and_what_gapes_is_refused() {
        let mut cursor = Cursor::after(GlobalPosition(4));
        let stretch = |after, positions: &[u64], to| Stretch {
            after: GlobalPosition(after),
            page: Arc::new(page(positions, to)),
        };
        assert!(matches!(cursor.admit(&stretch(5, &[6], 6)), Admission::Gap));
        assert!(matches!(cursor.admit(&stretch(2, &[3, 4], 4)), Admission::Seen));
        let Admission::Next(news) = cursor.admit(&stretch(2, &[3, 4, 5, 6], 6)) else {
            panic!("an overlapping stretch was not admitted");
        };
        assert_eq!((positions(&news), cursor.at().0), (vec![5, 6], 6));
    }

    #[test]
    fn a_page_with_a_hole_or_a_repetition_is_refused_with_both_positions() {
        let after = GlobalPosition(2);
        let found = |page: &Page, filter: &Filter| match dense(after, filter, page) {
            Err(StoreError::Hole { after, found, .. }) => Some((after, found)),
            other => other.map(|()| None).unwrap(),
        };
        let all = Filter::all();
        assert_eq!(found(&page(&[3, 4], 4), &all), None);
        assert_eq!(found(&page(&[], 2), &all), None);
        assert_eq!(found(&page(&[4, 5], 5), &all), Some((2, 4)));
        assert_eq!(found(&page(&[3, 5], 5), &all), Some((3, 5)));
        assert_eq!(found(&page(&[3, 3], 3), &all), Some((3, 3)));
        assert_eq!(found(&page(&[3], 4), &all), Some((3, 4)));
        let some = Filter { aggregate_types: vec!["account".into()] };
        assert_eq!(found(&page(&[4, 7], 9), &some), None);
        assert_eq!(found(&page(&[4, 4], 9), &some), Some((4, 4)));
        assert_eq!(found(&page(&[4, 7], 6), &some), Some((7, 6)));
    }
}
