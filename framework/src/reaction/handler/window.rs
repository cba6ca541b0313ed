//! The events of a handler that are read and not handled yet: pure, without a clock.
//!
//! Events of one key are handled one after the other, keys beside one another. The oldest event that is
//! not handled holds the checkpoint. Events behind a parked key do not hold it: they are handed over to
//! the parking when the checkpoint passes them.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use tokio::time::Instant;

use crate::catch_panic::Isolated;
use crate::event::{GlobalPosition, RecordedEvent};

/// Number of events in memory from which on no page is read.
const MOST_EVENTS: usize = 2_000;

/// Bytes of events in memory from which on no page is read.
const MOST_BYTES: usize = 8 << 20;

/// Number of positions, from the oldest event that is not handled on, from which on no page is read. A
/// crash repeats at most so many events that were handled.
const MOST_AHEAD: usize = 5_000;

/// One event for one key.
pub(super) struct Item<E> {
    /// The decoded event, or the reason why it cannot be decoded.
    pub(super) event: Result<Isolated<E>, String>,
    pub(super) recorded: Arc<RecordedEvent>,
    /// Number of failed attempts.
    pub(super) attempts: u32,
}

/// Events that are not handled yet.
pub(super) struct Window<E> {
    /// Events by key. A key whose event is running or postponed has an entry, empty or not.
    lanes: HashMap<Arc<str>, VecDeque<Item<E>>>,
    /// Keys whose first event can start, in turn.
    ready: VecDeque<Arc<str>>,
    /// Keys whose first event is postponed; the number keeps equal times apart.
    timers: BTreeMap<(Instant, u64), Arc<str>>,
    last_timer: u64,
    /// Number of keys for which the event at a position is not handled, from the oldest such event on.
    open: BTreeMap<GlobalPosition, usize>,
    /// Events behind parked keys.
    behind: BTreeMap<(GlobalPosition, Arc<str>), Item<E>>,
    events: usize,
    bytes: usize,
}

impl<E> Window<E> {
    pub(super) fn new() -> Self {
        Self {
            lanes: HashMap::new(),
            ready: VecDeque::new(),
            timers: BTreeMap::new(),
            last_timer: 0,
            open: BTreeMap::new(),
            behind: BTreeMap::new(),
            events: 0,
            bytes: 0,
        }
    }

    /// Returns true if no more events have room.
    pub(super) fn is_full(&self) -> bool {
        self.events >= MOST_EVENTS || self.bytes >= MOST_BYTES || self.is_held_up()
    }

    /// Returns true if an old event keeps the window from moving on.
    pub(super) fn is_held_up(&self) -> bool {
        self.open.len() >= MOST_AHEAD
    }

    /// Position of the oldest event that is not handled.
    pub(super) fn oldest(&self) -> Option<GlobalPosition> {
        self.open.first_key_value().map(|(position, _)| *position)
    }

    /// Adds an event, behind those of its key.
    pub(super) fn push(&mut self, key: &str, item: Item<E>) {
        self.count(&item);
        self.enqueue(key, item);
    }

    /// Adds an event of a parked key.
    pub(super) fn push_behind(&mut self, key: &str, item: Item<E>) {
        self.count(&item);
        self.behind.insert((item.recorded.position, key.into()), item);
    }

    /// Starts the next event that may start. Its key is busy until [`Window::handled`],
    /// [`Window::again`] or [`Window::park`].
    pub(super) fn next(&mut self, now: Instant) -> Option<(Arc<str>, Item<E>)> {
        while let Some(timer) = self.timers.first_entry().filter(|timer| timer.key().0 <= now) {
            self.ready.push_back(timer.remove());
        }
        let key = self.ready.pop_front()?;
        let item = self.lanes.get_mut(&key)?.pop_front()?;
        Some((key, item))
    }

    /// Time of the next start, as far as it depends on time alone.
    pub(super) fn next_due(&self, now: Instant) -> Option<Instant> {
        match self.ready.is_empty() {
            true => self.timers.first_key_value().map(|((due, _), _)| *due),
            false => Some(now),
        }
    }

    /// Ends an event that was handled.
    pub(super) fn handled(&mut self, key: &Arc<str>, item: &Item<E>) {
        self.resolve(item.recorded.position);
        self.uncount(item);
        match self.lanes.get(key).is_some_and(|lane| !lane.is_empty()) {
            true => self.ready.push_back(Arc::clone(key)),
            false => drop(self.lanes.remove(key)),
        }
    }

    /// Postpones an event that was not handled.
    pub(super) fn again(&mut self, key: Arc<str>, item: Item<E>, due: Instant) {
        self.lanes.entry(Arc::clone(&key)).or_default().push_front(item);
        self.last_timer += 1;
        self.timers.insert((due, self.last_timer), key);
    }

    /// Ends an event whose key is parked at it. The later events of the key wait behind it.
    pub(super) fn park(&mut self, key: &Arc<str>, item: &Item<E>) {
        self.resolve(item.recorded.position);
        self.uncount(item);
        for item in self.lanes.remove(key).unwrap_or_default() {
            self.resolve(item.recorded.position);
            self.behind.insert((item.recorded.position, Arc::clone(key)), item);
        }
    }

    /// Lets the events flow that wait behind a key which is not parked any more.
    pub(super) fn release(&mut self, key: &str) {
        let places: Vec<_> = self.behind.keys().filter(|(_, its)| **its == *key).cloned().collect();
        for place in places {
            if let Some(item) = self.behind.remove(&place) {
                self.enqueue(key, item);
            }
        }
    }

    /// Returns true if a checkpoint could pass events that wait behind parked keys.
    pub(super) fn may_pass_behind(&self) -> bool {
        let first = self.behind.first_key_value().map(|((position, _), _)| *position);
        first.is_some_and(|first| self.oldest().is_none_or(|oldest| first < oldest))
    }

    /// Hands over the events behind parked keys that a checkpoint passes.
    pub(super) fn take_behind(&mut self, up_to: GlobalPosition) -> Vec<(Arc<str>, GlobalPosition)> {
        let mut passed = Vec::new();
        while let Some(first) = self.behind.first_entry().filter(|first| first.key().0 <= up_to) {
            let ((position, key), item) = first.remove_entry();
            self.uncount(&item);
            passed.push((key, position));
        }
        passed
    }

    fn enqueue(&mut self, key: &str, item: Item<E>) {
        *self.open.entry(item.recorded.position).or_default() += 1;
        match self.lanes.get_mut(key) {
            Some(lane) => lane.push_back(item),
            None => {
                let key: Arc<str> = key.into();
                self.lanes.insert(Arc::clone(&key), VecDeque::from([item]));
                self.ready.push_back(key);
            }
        }
    }

    fn resolve(&mut self, position: GlobalPosition) {
        if let Some(keys) = self.open.get_mut(&position) {
            *keys = keys.saturating_sub(1);
        }
        // What was handled behind the oldest stays, because it counts as ahead of the checkpoint.
        while let Some(oldest) = self.open.first_entry().filter(|oldest| *oldest.get() == 0) {
            oldest.remove();
        }
    }

    fn count(&mut self, item: &Item<E>) {
        self.events += 1;
        self.bytes += item.recorded.bytes();
    }

    fn uncount(&mut self, item: &Item<E>) {
        self.events -= 1;
        self.bytes -= item.recorded.bytes();
    }
}
