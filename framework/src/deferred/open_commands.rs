//! Counts the open deferred commands, per client and in total, and limits them.
//!
//! Each process counts on its own by following the log. Commands that it accepts itself count at
//! once. Commands that other processes accept count when the tail has read them. So several
//! processes together may exceed a limit by the commands that they accept in that moment. Nothing
//! is stored.
//!
//! Beside its fixed limit, a client can use only a share of the free places (the dynamic threshold
//! of shared buffers, Choudhury and Hahne 1998). A command whose callback fails stays open for
//! days, so a few clients with dead endpoints would otherwise use all places.
//!
//! See `docs/decisions.md`, "How are callbacks shared out?"

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Deserialize;
use tracing::error;

use crate::event::{GlobalPosition, RecordedEvent};
use crate::store::contract::Page;
use crate::subscription::Subscription;

/// Divisor of the free places: a client can use a ninth of them, which is a tenth of all places if
/// no other client has any.
const PART: usize = 9;

/// Number of places that a client can always use, however few are free.
const LEAST_SHARE: usize = 4;

/// Open deferred commands of a log, as far as this process knows them.
pub(crate) struct OpenCommands {
    /// Maximum number in total.
    most: usize,
    /// Maximum number per client.
    most_per_client: usize,
    /// True if this process sends callbacks. Then a command is open until its callback has ended.
    counts_callbacks: bool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    open: HashMap<String, Open>,
    by_client: HashMap<String, usize>,
    /// Number of commands without a client.
    of_nobody: usize,
    /// Position up to which the log has been read.
    reached: GlobalPosition,
}

#[derive(Debug)]
struct Open {
    client: Option<String>,
    has_callback: bool,
    /// True if [`OpenCommands::enter`] counted the command and its event has not been read yet.
    is_entered: bool,
}

/// Limit that was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Full {
    Client,
    Total,
}

/// A command that is being accepted. It is counted until this is dropped, or longer if it was
/// accepted.
pub(crate) struct Entered {
    commands: Arc<OpenCommands>,
    id: String,
    /// False if the command was counted before. Then its other entry or its events remove it.
    is_new: bool,
}

/// Fields of an event's payload that the count needs.
#[derive(Deserialize)]
struct Counted {
    #[serde(default)]
    client: Option<String>,
    #[serde(default)]
    callback: Option<serde::de::IgnoredAny>,
}

impl OpenCommands {
    /// Creates a count. Every open command must have an event after position `reached`, so that
    /// following the log from there finds all of them.
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
    /// [`Full`] with the limit that was reached. A command that is already open is never refused.
    pub(crate) fn enter(
        self: &Arc<Self>,
        id: &str,
        client: Option<&str>,
        has_callback: bool,
    ) -> Result<Entered, Full> {
        let mut state = self.state();
        // A repeated request must not need a second place, or be refused for want of one.
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
                // Commands without a client leave a tenth of all places to the others. Their share
                // is so large because an application without actors has no other commands.
                None if state.of_nobody >= share_of_nobody => return Err(Full::Total),
                None => {}
            }
            let client = client.map(str::to_owned);
            state.insert(id, Open { client, has_callback, is_entered: true });
        }
        Ok(Entered { commands: Arc::clone(self), id: id.to_owned(), is_new })
    }

    /// Returns an entry for a command that was accepted before. It does not count.
    pub(crate) fn known(self: &Arc<Self>, id: &str) -> Entered {
        Entered { commands: Arc::clone(self), id: id.to_owned(), is_new: false }
    }

    /// Follows the log until the tail ends.
    pub(crate) async fn follow(self: Arc<Self>, mut subscription: Subscription) {
        loop {
            match subscription.next().await {
                Ok(Some(page)) => self.take_in(&page),
                Ok(None) => return,
                Err(error) => {
                    return error!(
                        %error,
                        "the count of open deferred commands has stopped, because the log cannot \
                         be read"
                    );
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

    /// Number of open commands in total.
    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.state().open.len()
    }

    /// No code under the lock can panic, so a poisoned lock still guards a correct count.
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
                // The aggregate has validated the payload. A payload of a newer release that does
                // not decode counts without a client.
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
    /// Marks the command as accepted: its stream's last event is at position `at`. If the log has
    /// already been read up to there, the events have decided if it counts. Otherwise they will
    /// when they are read.
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
