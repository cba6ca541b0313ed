//! One parked key: where it stands, what waits behind it, how often it was tried.

use std::collections::VecDeque;
use std::time::Instant;

use time::OffsetDateTime;

use super::listing::{Check, Unlisted};
use super::{ParkingSettings, Stopped, in_words};
use crate::backoff::Backoff;
use crate::event::{GlobalPosition, RecordedEvent};
use crate::store::contract::{ParkedChange, ParkedKey, ParkedRequest};

pub(super) struct Parked {
    pub(super) position: GlobalPosition,
    pub(super) event: String,
    pub(super) reason: String,
    pub(super) attempts: u32,
    pub(super) since: OffsetDateTime,
    /// The listed events that wait.
    pub(super) queue: VecDeque<GlobalPosition>,
    /// The events that wait and are not listed.
    pub(super) unlisted: Option<Unlisted>,
    /// The search for these events, which precedes their listing if another release may have
    /// passed them.
    pub(super) check: Option<Check>,
    /// `None`: it waits for a request.
    pub(super) next_try: Option<Instant>,
    pub(super) tries_left: u32,
    pub(super) backoff: Backoff,
    /// Why the event it stands at is to be left out.
    pub(super) skip: Option<String>,
    /// Not tried since the term began.
    pub(super) is_resumed: bool,
    /// The value of `stands` when it came to stand here.
    pub(super) stood_at: u64,
}

impl Parked {
    pub(super) fn new(
        event: &RecordedEvent,
        reason: String,
        since: OffsetDateTime,
        settings: &ParkingSettings,
        now: Instant,
    ) -> Self {
        Self::at((event.position, in_words(event)), reason, since, settings, now)
    }

    /// As [`Parked::new`], for an event that is known by its position and in words.
    pub(super) fn at(
        (position, event): (GlobalPosition, String),
        reason: String,
        since: OffsetDateTime,
        settings: &ParkingSettings,
        now: Instant,
    ) -> Self {
        let ParkingSettings { tries, mut backoff, .. } = *settings;
        Self {
            position,
            event,
            reason,
            attempts: 1,
            since,
            queue: VecDeque::new(),
            unlisted: None,
            check: None,
            next_try: (tries > 0).then(|| now + backoff.delay()),
            tries_left: tries,
            backoff,
            skip: None,
            is_resumed: false,
            stood_at: 0,
        }
    }

    /// As it was saved, and due.
    pub(super) fn resume(
        saved: ParkedKey,
        settings: &ParkingSettings,
        now: Instant,
    ) -> (String, Self) {
        let unlisted = saved.unlisted_from.map(|from| Unlisted { from, sum: saved.unlisted_sum });
        let mut parked = Self {
            position: saved.position,
            event: saved.event,
            reason: saved.reason,
            attempts: saved.attempts,
            since: saved.since,
            queue: saved.queue.into(),
            unlisted,
            check: unlisted.map(Unlisted::check),
            // At once, because this process may have the release that can apply the event.
            next_try: Some(now),
            tries_left: settings.tries,
            backoff: settings.backoff,
            skip: None,
            is_resumed: true,
            stood_at: 0,
        };
        if let Some(request) = saved.request {
            parked.ask(request, now);
        }
        (saved.key, parked)
    }

    /// Records a request to retry the key, or to skip its event.
    pub(super) fn ask(&mut self, request: ParkedRequest, now: Instant) {
        self.next_try = Some(now);
        // A request counts also when the automatic retries are used up.
        self.tries_left = self.tries_left.max(1);
        if let ParkedRequest::Skip { reason } = request {
            self.skip = Some(reason);
        }
    }

    pub(super) fn change(&self, partition: u32, key: &str) -> ParkedChange {
        ParkedChange::Park(ParkedKey {
            key: key.to_owned(),
            partition,
            position: self.position,
            event: self.event.clone(),
            reason: self.reason.clone(),
            attempts: self.attempts,
            since: self.since,
            queue: Vec::new(),
            waiting: 0,
            unlisted_from: None,
            unlisted_sum: 0,
            request: None,
        })
    }

    /// Moves the key past that many events, to one that was not tried yet.
    pub(super) fn move_by(&mut self, gone: usize, settings: &ParkingSettings) {
        let passed = (0..gone).filter_map(|_| self.queue.pop_front());
        self.position = passed.last().unwrap_or(self.position);
        self.attempts = 0;
        self.reason = "the events before it were applied a moment ago, and it is next".to_owned();
        self.skip = None;
        // One more than of a new key, because the event was not tried yet.
        self.tries_left = settings.tries.saturating_add(1);
        self.backoff = settings.backoff;
    }

    /// Stands still at its event; whether it was tried.
    pub(super) fn stop(&mut self, stopped: Stopped, now: Instant) -> bool {
        self.event = stopped.event;
        // It was not tried: the chunk ended before it. So this is no failed attempt, and its turn
        // comes at once.
        let Some(reason) = stopped.reason else {
            self.next_try = Some(now);
            return false;
        };
        self.reason = reason;
        self.attempts = self.attempts.saturating_add(1);
        self.tries_left = self.tries_left.saturating_sub(1);
        self.next_try = (self.tries_left > 0).then(|| now + self.backoff.delay());
        true
    }
}
