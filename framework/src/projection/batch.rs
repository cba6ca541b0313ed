//! The events of a page of the log that belong to one partition.

use std::collections::HashSet;
use std::sync::Arc;

use super::Projection;
use crate::catch_panic::Isolated;
use crate::event::{GlobalPosition, RecordedEvent};
use crate::partition::Reached;
use crate::partition::parking::Parking;
use crate::store::contract::{Page, partition_of};
use crate::subscription::sources::Routes;

/// Decoded events and, beside each, what it came from: the user's code is given a slice of events.
pub(super) struct Batch<E> {
    pub(super) events: Isolated<Vec<E>>,
    pub(super) of: Vec<Origin>,
    /// Events that are not applied, in any order.
    pub(super) left: Vec<Left>,
    pub(super) reached: Reached,
    /// An event whose key nobody knows: everything has to stop before it.
    pub(super) halt: Option<(GlobalPosition, String)>,
}

/// Key and position of an event.
pub(super) struct Origin {
    pub(super) key: String,
    pub(super) recorded: Arc<RecordedEvent>,
}

/// An event that parks its key, or, without a reason, waits behind one that does.
pub(super) struct Left {
    pub(super) origin: Origin,
    pub(super) reason: Option<String>,
}

impl<E: 'static> Batch<E> {
    /// Decodes what is for this partition.
    pub(super) fn of<P: Projection<Event = E>>(
        routes: &Routes<E>,
        number: u32,
        parking: &Parking,
        page: &Page,
    ) -> Self {
        let reached = Reached::end_of(page);
        let events = Isolated::new(Vec::new());
        let mut batch = Self { events, of: Vec::new(), left: Vec::new(), reached, halt: None };
        // Keys of which no more is taken in.
        let mut stopped = HashSet::new();
        let is_ours = |key: &str| partition_of(key, P::PARTITIONS) == number;
        for recorded in &page.events {
            let origin = |key| Origin { key, recorded: Arc::clone(recorded) };
            let routed = routes.route(recorded, is_ours);
            let known = routed.each(|key, item| match item {
                item if parking.is_parked(&key) || stopped.contains(&key) => {
                    drop(Isolated::new(item));
                    batch.left.push(Left { origin: origin(key), reason: None });
                }
                Ok(item) => {
                    batch.events.push(item);
                    batch.of.push(origin(key));
                }
                Err(reason) => {
                    stopped.insert(key.clone());
                    batch.left.push(Left { origin: origin(key), reason: Some(reason) });
                }
            });
            if let Err(reason) = known {
                batch.reached = Reached::before(recorded.position);
                let why = "its keys are in its content, so it may belong to any rows. Start a \
                           program that can decode it; the projection then continues with it";
                batch.halt = Some((recorded.position, format!("{reason}; {why}")));
                break;
            }
        }
        batch
    }

    /// Returns true if the page has no event for this partition.
    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty() && self.left.is_empty()
    }

    /// The event at this place cannot be taken in, nor what follows of its key.
    pub(super) fn leave(&mut self, place: usize, reason: String) {
        drop(Isolated::new(self.events.remove(place)));
        let origin = self.of.remove(place);
        let mut next = place;
        while next < self.of.len() {
            if self.of[next].key == origin.key {
                drop(Isolated::new(self.events.remove(next)));
                self.left.push(Left { origin: self.of.remove(next), reason: None });
            } else {
                next += 1;
            }
        }
        self.left.push(Left { origin, reason: Some(reason) });
    }
}
