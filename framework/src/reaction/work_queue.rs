//! The open work of one reaction and the order in which it starts: pure, without a clock.
//!
//! Work of one lane runs one after the other, in the order of the log; lanes do not wait for one
//! another. Places are shared out in turn between clients, and within a client between its endpoints.
//! An endpoint that has not succeeded lately gets one place and rests after each failure, so one that
//! hangs delays only its own work. Every operation costs O(log n).

mod destinations;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use self::destinations::Destinations;
use super::{Destination, Health};
use crate::backoff::Backoff;
use crate::event::GlobalPosition;

/// Backoff between attempts at one item.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(5));

/// Limits on the work that runs at a time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// In total.
    pub(crate) at_once: usize,
    /// Items of one client.
    pub(crate) per_client: usize,
    /// Items of one destination that works.
    pub(crate) per_destination: usize,
    /// Items of one destination that has not succeeded yet, or failed last.
    pub(crate) per_unproven: usize,
    /// Items of all unproven destinations together, so that they leave room for the others.
    pub(crate) unproven_at_once: usize,
}

impl Limits {
    /// Limits for work that stays in the log: nothing can hang there, so only the total counts.
    pub(crate) const fn only(at_once: usize) -> Self {
        Self {
            at_once,
            per_client: at_once,
            per_destination: at_once,
            per_unproven: at_once,
            unproven_at_once: at_once,
        }
    }
}

/// The open work of one reaction, by the id of the command that it belongs to.
#[derive(Debug)]
pub(super) struct WorkQueue {
    open: HashMap<String, Item>,
    lanes: HashMap<Arc<str>, Lane>,
    destinations: Destinations,
    /// Lanes and destinations that wait for a time; the number keeps equal times apart.
    timers: BTreeMap<Timer, Waits>,
    last_timer: u64,
    unable: usize,
}

type Timer = (Instant, u64);

#[derive(Debug)]
enum Waits {
    Lane(Arc<str>),
    Destination(Arc<Destination>),
}

#[derive(Debug)]
struct Item {
    lane: Arc<str>,
    position: GlobalPosition,
    attempts: u32,
    is_unable: bool,
}

#[derive(Debug)]
struct Lane {
    destination: Arc<Destination>,
    /// Ids in the order of the log, and those of one event in their own order, because an event may
    /// open several. Only the first one may run.
    items: BTreeSet<(GlobalPosition, String)>,
    turn: Turn,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// The first item waits for this time.
    At(Timer),
    /// The first item waits for a place.
    Ready,
    /// The first item runs.
    Running,
}

impl WorkQueue {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            open: HashMap::new(),
            lanes: HashMap::new(),
            destinations: Destinations::new(limits),
            timers: BTreeMap::new(),
            last_timer: 0,
            unable: 0,
        }
    }

    /// Opens work that the event at `position` causes, after so many attempts. Opening it twice is
    /// opening it once. It does not start before `due`, if it is the first of its lane: so items of
    /// one lane are to be opened by position.
    pub(super) fn open(
        &mut self,
        id: &str,
        lane: &str,
        to: Destination,
        position: GlobalPosition,
        attempts: u32,
        due: Option<Instant>,
    ) {
        if self.contains(id) {
            return;
        }
        let known = self.lanes.get_key_value(lane).map(|(name, _)| Arc::clone(name));
        let name: Arc<str> = known.unwrap_or_else(|| lane.into());
        let item = Item { lane: Arc::clone(&name), position, attempts, is_unable: false };
        self.open.insert(id.to_owned(), item);
        if let Some(lane) = self.lanes.get_mut(&name) {
            lane.items.insert((position, id.to_owned()));
            return;
        }
        let destination = self.destinations.add_lane(to);
        let items = BTreeSet::from([(position, id.to_owned())]);
        let turn = due.map_or(Turn::Ready, |due| Turn::At(self.timer(due)));
        match turn {
            Turn::At(timer) => drop(self.timers.insert(timer, Waits::Lane(Arc::clone(&name)))),
            _ => self.destinations.ready(&destination, Arc::clone(&name)),
        }
        self.lanes.insert(name, Lane { destination, items, turn });
    }

    /// Checks that an item is open.
    pub(super) fn contains(&self, id: &str) -> bool {
        self.open.contains_key(id)
    }

    /// Closes work that is done, in whichever process.
    pub(super) fn close(&mut self, id: &str) {
        let Some(item) = self.open.remove(id) else { return };
        self.unable -= usize::from(item.is_unable);
        let Some(lane) = self.lanes.get_mut(&item.lane) else { return };
        let was_first = lane.items.first().is_some_and(|(_, first)| first == id);
        lane.items.remove(&(item.position, id.to_owned()));
        let (turn, destination) = (lane.turn, Arc::clone(&lane.destination));
        if let (true, Turn::At(timer)) = (was_first, turn) {
            self.timers.remove(&timer);
        }
        if lane.items.is_empty() {
            self.lanes.remove(&item.lane);
            self.destinations.remove_lane(&destination);
        } else if was_first && turn != Turn::Ready {
            lane.turn = Turn::Ready;
            self.destinations.ready(&destination, item.lane);
        }
    }

    /// Starts the next item that is due and has a place. It keeps its place until
    /// [`WorkQueue::finished`], and does not start again before [`WorkQueue::again`].
    pub(super) fn next(&mut self, now: Instant) -> Option<String> {
        self.destinations.forget_proven(now);
        while let Some(timer) = self.timers.first_entry().filter(|timer| timer.key().0 <= now) {
            match timer.remove() {
                Waits::Lane(name) => {
                    if let Some(lane) = self.lanes.get_mut(&name) {
                        lane.turn = Turn::Ready;
                        self.destinations.ready(&lane.destination, name);
                    }
                }
                Waits::Destination(destination) => self.destinations.rested(&destination),
            }
        }
        let lanes = &mut self.lanes;
        // A lane may have been closed since it became ready, or be listed twice: only one that
        // still waits for a place starts.
        self.destinations.start(|name| {
            let lane = lanes.get_mut(name).filter(|lane| lane.turn == Turn::Ready)?;
            lane.turn = Turn::Running;
            lane.items.first().map(|(_, id)| id.clone())
        })
    }

    /// Time of the next start, as far as it depends on time alone.
    pub(super) fn next_due(&self, now: Instant) -> Option<Instant> {
        match self.destinations.can_start() {
            true => Some(now),
            false => self.timers.first_key_value().map(|((due, _), _)| *due),
        }
    }

    /// Gives the place of a started item back, and keeps what its attempt showed.
    pub(super) fn finished(&mut self, id: &str, health: Health, now: Instant) {
        let finished = self.destinations.finished(id, health, now);
        let Some((destination, rest)) = finished else { return };
        if let Some(rest) = rest {
            let timer = self.timer(now + rest);
            self.timers.insert(timer, Waits::Destination(destination));
        }
    }

    /// Repeats an item after `pause`, or after one that doubles each time. Returns the number of its
    /// attempts and its pause, unless it was closed meanwhile.
    pub(super) fn again(
        &mut self,
        id: &str,
        pause: Option<Duration>,
        now: Instant,
    ) -> Option<(u32, Duration)> {
        let item = self.open.get_mut(id)?;
        let delay = pause.unwrap_or(BACKOFF.after(item.attempts));
        item.attempts = item.attempts.saturating_add(1);
        let (attempts, name) = (item.attempts, Arc::clone(&item.lane));
        let lane = self.lanes.get_mut(&name)?;
        let is_first = lane.items.first().is_some_and(|(_, first)| first == id);
        if lane.turn == Turn::Running && is_first {
            self.last_timer += 1;
            let timer = (now + delay, self.last_timer);
            lane.turn = Turn::At(timer);
            self.timers.insert(timer, Waits::Lane(name));
        }
        Some((attempts, delay))
    }

    /// Marks an item that this release cannot perform; true if it was not marked before.
    pub(super) fn mark_unable(&mut self, id: &str) -> bool {
        let Some(item) = self.open.get_mut(id).filter(|item| !item.is_unable) else { return false };
        item.is_unable = true;
        self.unable += 1;
        true
    }

    /// Number of items that this release cannot perform.
    pub(super) fn unable(&self) -> usize {
        self.unable
    }

    fn timer(&mut self, at: Instant) -> Timer {
        self.last_timer += 1;
        (at, self.last_timer)
    }
}
