//! The events of a partition's window: taking them from a page, starting them, and the outcome.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::Instrument;

use super::attempt::{Done, attempt};
use super::follower::HandlerFollower;
use super::window::Item;
use super::{Attempt, EventHandler, HandlerSettings};
use crate::backoff::Backoff;
use crate::catch_panic::Isolated;
use crate::event::{GlobalPosition, RecordedEvent};
use crate::partition::Reached;
use crate::spans;
use crate::store::contract::partition_of;

/// Number of steps by which pauses are spread.
const SPREAD: u32 = 1_000;

impl<H: EventHandler> HandlerFollower<H> {
    /// Takes events of the current page, as many as the window has room for.
    pub(super) fn take_page(&mut self) {
        let Some(page) = self.page.take() else { return };
        let reached = self.reached.position;
        // A page of the tail may begin before the place from which this subscription continues.
        let first = page.events.partition_point(|event| event.position <= reached);
        for event in &page.events[first..] {
            // In the middle of a page, because an event may have a thousand keys.
            if self.window.is_full() {
                self.page = Some(page);
                return;
            }
            if let Err(reason) = self.take(event) {
                let why = "its keys are in its content, so it may belong to any key. Start a \
                           program that can decode it; the handler then continues with it";
                self.reached = Reached::before(event.position);
                return self.halt_at(event.position, format!("{reason}; {why}"));
            }
            let (position, event_id) = (event.position, Some(event.event_id));
            self.reached = Reached { position, event_id };
        }
        if page.scanned_to > self.reached.position {
            self.reached = Reached::end_of(&page);
        }
        self.save_within(self.pacing.checkpoint_after);
    }

    /// Adds an event to the window, once for each of its keys in this partition.
    ///
    /// # Errors
    /// The reason why its keys are not known.
    fn take(&mut self, recorded: &Arc<RecordedEvent>) -> Result<(), String> {
        let number = self.progress.id().number;
        let is_ours = |key: &str| partition_of(key, H::PARTITIONS) == number;
        self.sources.routes.route(recorded, is_ours).each(|key, event| {
            let event = event.map(Isolated::new);
            let item = Item { event, recorded: Arc::clone(recorded), attempts: 0 };
            match self.parking.standing(&key) {
                // After a restart, events come again that the key had passed when it was parked.
                Some((at, _)) if recorded.position <= at => {}
                Some(_) => self.window.push_behind(&key, item),
                None => self.window.push(&key, item),
            }
        })
    }

    /// Starts what is due, as long as the lease is surely held.
    pub(super) fn start_work(&mut self) {
        let now = Instant::now();
        if self.until.is_none_or(|until| until <= now) {
            return;
        }
        while self.has_room() {
            let Some((key, mut item)) = self.window.next(now) else { return };
            let (handler, limit) = (Arc::clone(&self.handler), self.settings.timeout);
            let span = spans::reaction(H::NAME, &key);
            let work = async move {
                item.attempts += 1;
                let result = match &item.event {
                    Ok(event) => {
                        let this = Attempt::new(item.attempts, Arc::clone(&item.recorded));
                        attempt(&*handler, event, this, limit).await
                    }
                    Err(reason) => Err(reason.clone()),
                };
                crate::failpoints::point("handler.handled");
                Done::Attempt { key, item, result }
            };
            self.running.spawn(work.instrument(span));
        }
    }

    /// Ends an attempt.
    pub(super) fn settle(
        &mut self,
        key: Arc<str>,
        item: Item<H::Event>,
        result: Result<(), String>,
    ) {
        let Err(reason) = result else {
            self.window.handled(&key, &item);
            self.progress.count_events(1);
            return self.save_within(self.pacing.save_after);
        };
        self.progress.failed(format_args!("the key {key:?}: {reason}"));
        // An event that cannot be decoded is not tried again here, because only another release can
        // decode it. One that holds up all keys is parked at once, and tried again there.
        let is_tried_here = item.event.is_ok() && !self.window.is_held_up();
        if is_tried_here && item.attempts < self.settings.attempts {
            let due = Instant::now() + self.pause(&item);
            return self.window.again(key, item, due);
        }
        self.park(key, item, reason);
    }

    fn park(&mut self, key: Arc<str>, item: Item<H::Event>, reason: String) {
        let (now, since) = (std::time::Instant::now(), self.clock.now());
        let at = item.recorded.position;
        let event = (&*item.recorded, item.attempts);
        match self.parking.park_after(key.to_string(), event, reason.clone(), now, since) {
            Ok(()) => {
                tracing::error!(
                    partition = %self.progress.id(), %key, position = %at, %reason,
                    "a key is parked"
                );
                self.window.park(&key, &item);
                self.progress.parked(self.parking.len());
                // At once, because a crash would repeat all attempts.
                self.save_within(Duration::ZERO);
            }
            // No halt, because a destination that is down for a while fails every key and comes
            // back. The event stays open, so soon nothing more is read.
            Err(full) => {
                self.progress.failed(format_args!("the key {key:?}: {reason}; {full}"));
                self.window.again(key, item, Instant::now() + self.settings.longest_pause);
            }
        }
    }

    /// Nothing after this position can be handled.
    fn halt_at(&mut self, position: GlobalPosition, reason: String) {
        if self.halts.as_ref().is_none_or(|(earlier, _)| position < *earlier) {
            self.halts = Some((position, reason));
        }
    }

    /// Pause before the next attempt. The same event has the same pauses in each process, so that a
    /// test can be repeated.
    fn pause(&self, item: &Item<H::Event>) -> Duration {
        let HandlerSettings { first_pause, longest_pause, .. } = self.settings;
        let pause = Backoff::new(first_pause, longest_pause).after(item.attempts.saturating_sub(1));
        let name = format!("{}/{}", item.recorded.event_id, item.attempts);
        pause.saturating_add(pause / 10 * partition_of(&name, SPREAD) / SPREAD)
    }
}
