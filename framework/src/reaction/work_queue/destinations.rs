//! Places for running work, shared out in turn between clients and their destinations.
//!
//! Each destination is a circuit breaker: *unproven* until it succeeds, then *proven* until it fails
//! three times in a row. An unproven one rests after each failure and is tried with one item. A
//! destination without work is remembered as proven for an hour after its last success, so that one
//! that gets an item now and then does not wait behind all the unproven ones each time.

use std::collections::{HashMap, VecDeque};
use std::num::NonZero;
use std::sync::Arc;
use std::time::Duration;

use lru::LruCache;
use tokio::time::Instant;

use super::Limits;
use crate::reaction::{Destination, Health};

/// Failures in a row after which a proven destination is unproven again.
const FAILURES: u32 = 3;

/// Longest rest of a destination after a failure: one attempt a minute notices its recovery.
const LONGEST_REST: Duration = Duration::from_secs(60);

/// Time after its last success for which a destination is remembered as proven.
pub(super) const PROVEN_FOR: Duration = Duration::from_secs(3600);

/// Limit on the destinations that are remembered as proven; a few hundred bytes each.
const MOST_PROVEN: NonZero<usize> = NonZero::new(10_000).unwrap();

/// All destinations with open or running work, and the places in use.
#[derive(Debug)]
pub(super) struct Destinations {
    limits: Limits,
    known: HashMap<Arc<Destination>, Endpoint>,
    /// Times of the last success of proven destinations, the latest first.
    proven: LruCache<Arc<Destination>, Instant>,
    clients: HashMap<String, Client>,
    /// Clients that may have something to start, each once, in turn.
    turns: VecDeque<String>,
    /// Unproven destinations that wait because too many of them run.
    held: VecDeque<Arc<Destination>>,
    running: HashMap<String, Place>,
    unproven_running: usize,
}

#[derive(Debug, Default)]
struct Endpoint {
    lanes: usize,
    running: usize,
    ready: VecDeque<Arc<str>>,
    is_proven: bool,
    failures: u32,
    /// Number of rests that have not ended.
    rests: usize,
    /// True if the destination is in its client's queue or is held, so that it is not queued twice.
    is_queued: bool,
}

#[derive(Debug, Default)]
struct Client {
    running: usize,
    turns: VecDeque<Arc<Destination>>,
    is_queued: bool,
}

/// The place of one running item.
#[derive(Debug)]
struct Place {
    destination: Arc<Destination>,
    is_unproven: bool,
}

impl Destinations {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            known: HashMap::new(),
            proven: LruCache::new(MOST_PROVEN),
            clients: HashMap::new(),
            turns: VecDeque::new(),
            held: VecDeque::new(),
            running: HashMap::new(),
            unproven_running: 0,
        }
    }

    /// Checks that nothing is remembered: no destination, no client, no place.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.known.is_empty() && self.clients.is_empty() && self.running.is_empty()
    }

    /// Marks destinations as unproven whose last success is too long ago.
    pub(super) fn forget_proven(&mut self, now: Instant) {
        let is_old = |(_, at): (&Arc<Destination>, &Instant)| now.duration_since(*at) > PROVEN_FOR;
        // The map is ordered by last success, so the first that is recent ends the search.
        while self.proven.peek_lru().is_some_and(is_old) {
            let Some((destination, _)) = self.proven.pop_lru() else { return };
            if let Some(endpoint) = self.known.get_mut(&destination) {
                endpoint.is_proven = false;
            }
        }
    }

    /// Counts one more lane that leads to this destination.
    pub(super) fn add_lane(&mut self, to: Destination) -> Arc<Destination> {
        let known = self.known.get_key_value(&to).map(|(known, _)| Arc::clone(known));
        let destination = known.unwrap_or_else(|| Arc::new(to));
        // The destination may have had no work for a while. Its success counts still, within the
        // hour.
        let is_proven = self.proven.contains(&destination);
        let new = || Endpoint { is_proven, ..Endpoint::default() };
        self.known.entry(Arc::clone(&destination)).or_insert_with(new).lanes += 1;
        destination
    }

    /// Counts one lane less. A destination without lanes, places and rests is forgotten.
    pub(super) fn remove_lane(&mut self, destination: &Arc<Destination>) {
        if let Some(endpoint) = self.known.get_mut(destination) {
            endpoint.lanes -= 1;
        }
        self.forget(destination);
    }

    fn forget(&mut self, destination: &Arc<Destination>) {
        let unused = |endpoint: &Endpoint| {
            endpoint.lanes + endpoint.running + endpoint.rests == 0 && !endpoint.is_queued
        };
        if self.known.get(destination).is_some_and(unused) {
            self.known.remove(destination);
        }
        let unused =
            |client: &Client| client.running == 0 && client.turns.is_empty() && !client.is_queued;
        if self.clients.get(&destination.client).is_some_and(unused) {
            self.clients.remove(&destination.client);
        }
    }

    /// The first item of this lane waits for a place.
    pub(super) fn ready(&mut self, destination: &Arc<Destination>, lane: Arc<str>) {
        if let Some(endpoint) = self.known.get_mut(destination) {
            endpoint.ready.push_back(lane);
        }
        self.offer(destination);
    }

    /// One rest of this destination is over.
    pub(super) fn rested(&mut self, destination: &Arc<Destination>) {
        if let Some(endpoint) = self.known.get_mut(destination) {
            endpoint.rests -= 1;
        }
        self.offer(destination);
        self.forget(destination);
    }

    /// Checks that something may be able to start now.
    pub(super) fn can_start(&self) -> bool {
        !self.turns.is_empty() && self.running.len() < self.limits.at_once
    }

    /// Gives a place to the next lane whose first item `take` returns.
    pub(super) fn start(
        &mut self,
        mut take: impl FnMut(&Arc<str>) -> Option<String>,
    ) -> Option<String> {
        while self.can_start() {
            let name = self.turns.pop_front()?;
            let Some(client) = self.clients.get_mut(&name) else { continue };
            client.is_queued = false;
            // A finished item of this client offers the next turn.
            if client.running >= self.limits.per_client {
                continue;
            }
            let Some(destination) = client.turns.pop_front() else { continue };
            let started = self.start_at(&destination, &mut take);
            self.offer_client(&name);
            self.forget(&destination);
            if started.is_some() {
                return started;
            }
        }
        None
    }

    fn start_at(
        &mut self,
        destination: &Arc<Destination>,
        take: &mut impl FnMut(&Arc<str>) -> Option<String>,
    ) -> Option<String> {
        let endpoint = self.known.get_mut(destination)?;
        endpoint.is_queued = false;
        // The end of a rest, or a finished item, offers the next turn.
        if !endpoint.may_start(&self.limits) {
            return None;
        }
        let is_unproven = !endpoint.is_proven;
        // Held outside the turns, so that any number of dead destinations cannot keep proven ones
        // waiting.
        if is_unproven && self.unproven_running >= self.limits.unproven_at_once {
            endpoint.is_queued = true;
            self.held.push_back(Arc::clone(destination));
            return None;
        }
        let id = std::iter::from_fn(|| endpoint.ready.pop_front()).find_map(|lane| take(&lane))?;
        endpoint.running += 1;
        self.unproven_running += usize::from(is_unproven);
        if let Some(client) = self.clients.get_mut(&destination.client) {
            client.running += 1;
        }
        let place = Place { destination: Arc::clone(destination), is_unproven };
        self.running.insert(id.clone(), place);
        self.offer(destination);
        Some(id)
    }

    /// Gives the place of an item back. Returns its destination, and for how long that rests.
    pub(super) fn finished(
        &mut self,
        id: &str,
        health: Health,
        now: Instant,
    ) -> Option<(Arc<Destination>, Option<Duration>)> {
        let Place { destination, is_unproven } = self.running.remove(id)?;
        self.unproven_running -= usize::from(is_unproven);
        if let Some(client) = self.clients.get_mut(&destination.client) {
            client.running -= 1;
        }
        let mut rest = None;
        if let Some(endpoint) = self.known.get_mut(&destination) {
            endpoint.running -= 1;
            rest = endpoint.learn(health);
            if health == Health::Up {
                self.proven.put(Arc::clone(&destination), now);
            // It has just become unproven, so the earlier success counts no more.
            } else if !endpoint.is_proven {
                self.proven.pop(&destination);
            }
        }
        // One place for unproven destinations is free, which only one that is held can use.
        if is_unproven && let Some(held) = self.held.pop_front() {
            if let Some(endpoint) = self.known.get_mut(&held) {
                endpoint.is_queued = false;
            }
            self.offer(&held);
            self.forget(&held);
        }
        self.offer(&destination);
        self.offer_client(&destination.client);
        self.forget(&destination);
        Some((destination, rest))
    }

    /// Puts a destination that may start something in its client's turns.
    fn offer(&mut self, destination: &Arc<Destination>) {
        let Some(endpoint) = self.known.get_mut(destination) else { return };
        if endpoint.is_queued || !endpoint.may_start(&self.limits) {
            return;
        }
        endpoint.is_queued = true;
        let client = self.clients.entry(destination.client.clone()).or_default();
        client.turns.push_back(Arc::clone(destination));
        self.offer_client(&destination.client);
    }

    fn offer_client(&mut self, name: &str) {
        let Some(client) = self.clients.get_mut(name) else { return };
        let may_start = client.running < self.limits.per_client && !client.turns.is_empty();
        if may_start && !client.is_queued {
            client.is_queued = true;
            self.turns.push_back(name.to_owned());
        }
    }
}

impl Endpoint {
    fn may_start(&self, limits: &Limits) -> bool {
        let places = match self.is_proven {
            true => limits.per_destination,
            false => limits.per_unproven,
        };
        self.rests == 0 && self.running < places && !self.ready.is_empty()
    }

    /// Keeps the result of an attempt; returns the rest that follows from it.
    fn learn(&mut self, health: Health) -> Option<Duration> {
        match health {
            Health::Untested => None,
            Health::Up => {
                (self.is_proven, self.failures) = (true, 0);
                None
            }
            Health::Down(pause) => {
                self.failures = self.failures.saturating_add(1);
                // A few failures in a row happen to every healthy destination, and a rest would
                // delay all its items.
                if self.is_proven && self.failures < FAILURES {
                    return None;
                }
                self.is_proven = false;
                self.rests += 1;
                Some(pause.min(LONGEST_REST))
            }
        }
    }
}
