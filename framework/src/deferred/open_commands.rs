//! A count of the deferred commands that are open, for each client and in total.
//!
//! Each process counts for itself, by following the log; commands that it has accepted itself count at
//! once. Other processes' acceptances count when the tail has read them, so several processes
//! together may exceed a limit by what they accept within that moment. Nothing is stored.
//!
//! Beside its fixed limit a client may have no more than a part of what is free (the dynamic threshold
//! of shared buffers, Choudhury and Hahne 1998), because a command whose callback does not arrive stays
//! open for days: a few clients with dead endpoints would otherwise close deferred commands to all.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Deserialize;
use tracing::error;

use crate::event::{GlobalPosition, RecordedEvent};
use crate::store::contract::Page;
use crate::subscription::Subscription;

/// A client may have one in so many of the places that are free: a tenth of all while nobody else has
/// any.
const PART: usize = 9;

/// Places that a client may have however few are free.
const LEAST_SHARE: usize = 4;

/// The open deferred commands of a log, as this process knows them.
pub(crate) struct OpenCommands {
    /// Limit on all of them.
    most: usize,
    /// Limit on those of one client.
    most_per_client: usize,
    /// This process calls clients back, so a command is open until its callback has ended.
    counts_callbacks: bool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    open: HashMap<String, Open>,
    by_client: HashMap<String, usize>,
    /// Number of commands without a client.
    of_nobody: usize,
    /// The log is read up to here.
    reached: GlobalPosition,
}

#[derive(Debug)]
struct Open {
    client: Option<String>,
    has_callback: bool,
    /// Counted by [`OpenCommands::enter`]; its event has not been read yet.
    is_entered: bool,
}

/// The limit that is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Full {
    Client,
    Total,
}

/// A command that is being accepted. It counts until this is dropped, unless it was accepted.
pub(crate) struct Entered {
    commands: Arc<OpenCommands>,
    id: String,
    /// False if it was counted before: then another one removes it.
    is_new: bool,
}

/// The fields of an event's payload that are counted by.
#[derive(Deserialize)]
struct Counted {
    #[serde(default)]
    client: Option<String>,
    #[serde(default)]
    callback: Option<serde::de::IgnoredAny>,
}

impl OpenCommands {
    /// `reached`: no command is open whose events are all at or before this position.
    pub(crate) fn new(
        most: usize,
        most_per_client: usize,
        counts_callbacks: bool,
        reached: GlobalPosition,
    ) -> Arc<Self> {
        let state = Mutex::new(State { reached, ..State::default() });
        Arc::new(Self { most, most_per_client, counts_callbacks, state })
    }

    /// Counts a command that is about to be accepted.
    ///
    /// # Errors
    /// [`Full`]: the limit that is reached. A command that is open already is never refused.
    pub(crate) fn enter(
        self: &Arc<Self>,
        id: &str,
        client: Option<&str>,
        has_callback: bool,
    ) -> Result<Entered, Full> {
        let mut state = self.state();
        let is_new = !state.open.contains_key(id);
        if is_new {
            let free = self.most.saturating_sub(state.open.len());
            if free == 0 {
                return Err(Full::Total);
            }
            let share = (free / PART).max(LEAST_SHARE);
            let share_of_nobody = free.saturating_mul(PART).max(LEAST_SHARE);
            match client {
                Some(client) => {
                    let open = state.by_client.get(client).copied().unwrap_or_default();
                    if open >= share.min(self.most_per_client) {
                        return Err(Full::Client);
                    }
                }
                // Commands without a client leave a tenth of all places to the others. They have no
                // smaller share, because an application without actors has no other commands.
                None if state.of_nobody >= share_of_nobody => return Err(Full::Total),
                None => {}
            }
            let client = client.map(str::to_owned);
            state.insert(id, Open { client, has_callback, is_entered: true });
        }
        Ok(Entered { commands: Arc::clone(self), id: id.to_owned(), is_new })
    }

    /// An entry for a command that was accepted before, and so counts nothing.
    pub(crate) fn known(self: &Arc<Self>, id: &str) -> Entered {
        Entered { commands: Arc::clone(self), id: id.to_owned(), is_new: false }
    }

    /// Follows the log until it ends.
    pub(crate) async fn follow(self: Arc<Self>, mut subscription: Subscription) {
        loop {
            match subscription.next().await {
                Ok(Some(page)) => self.take_in(&page),
                Ok(None) => return,
                Err(error) => {
                    return error!(%error, "open deferred commands are not counted any more");
                }
            }
        }
    }

    pub(super) fn take_in(&self, page: &Page) {
        let mut state = self.state();
        for event in page.events.iter().filter(|event| event.stream.aggregate_type() == "command") {
            state.take_in(event, self.counts_callbacks);
        }
        state.reached = state.reached.max(page.scanned_to);
    }

    /// Number of open commands, in total.
    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.state().open.len()
    }

    /// Nothing under the lock can panic, so a poisoned lock still guards a whole count.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn take_in(&mut self, event: &RecordedEvent, counts_callbacks: bool) {
        let id = event.stream.id();
        match event.event_type.as_str() {
            "Accepted" | "CallbackDue" => {
                let is_callback = event.event_type == "CallbackDue";
                if is_callback && !counts_callbacks {
                    return;
                }
                // The aggregate has checked the payload; a newer release's counts without a client.
                let counted = serde_json::from_str::<Counted>(&event.payload);
                let (client, callback) = counted
                    .map_or((None, false), |counted| (counted.client, counted.callback.is_some()));
                match self.open.get_mut(id) {
                    Some(open) => open.is_entered = false,
                    None => {
                        let has_callback = callback || is_callback;
                        self.insert(id, Open { client, has_callback, is_entered: false });
                    }
                }
            }
            "Committed" | "Refused" | "Failed" => {
                let stays = |open: &Open| counts_callbacks && open.has_callback && !open.is_entered;
                if !self.open.get(id).is_some_and(stays) {
                    self.remove(id);
                }
            }
            "CallbackDelivered" | "CallbackGivenUp" => self.remove(id),
            _ => {}
        }
    }

    fn insert(&mut self, id: &str, open: Open) {
        match &open.client {
            Some(client) => *self.by_client.entry(client.clone()).or_default() += 1,
            None => self.of_nobody += 1,
        }
        self.open.insert(id.to_owned(), open);
    }

    fn remove(&mut self, id: &str) {
        let Some(Open { client, .. }) = self.open.remove(id) else { return };
        let Some(client) = client else {
            self.of_nobody -= 1;
            return;
        };
        if let Some(count) = self.by_client.get_mut(&client) {
            *count -= 1;
            if *count == 0 {
                self.by_client.remove(&client);
            }
        }
    }
}

impl Entered {
    /// The command is in the log, its stream's last event at this position. If the log was read up
    /// to there already, the count is what the events said; else it is corrected when they are read.
    pub(crate) fn accepted(mut self, at: GlobalPosition) {
        if at > self.commands.state().reached {
            self.is_new = false;
        }
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        if !self.is_new {
            return;
        }
        let mut state = self.commands.state();
        if state.open.get(&self.id).is_some_and(|open| open.is_entered) {
            state.remove(&self.id);
        }
    }
}
