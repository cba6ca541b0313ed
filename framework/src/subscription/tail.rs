//! The only reader of the log's tail, and the subscriptions that it feeds.
//!
//! The tail waits for the store's hint of a new head. It also polls, because a hint may be lost. It
//! reads each new page once and queues it for every subscription that has joined. A subscription
//! that is too slow is dropped from the tail and reads by its own cursor until it is close again.
//! If no subscription has joined, the tail reads nothing.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::{Notify, mpsc, watch};
use tracing::{debug, error, warn};

use super::TailSettings;
use super::cursor::{Cursor, Stretch, dense};
use super::page_cache::Pages;
use crate::backoff::Backoff;
use crate::byte_budget::{ByteBudget, Reservation};
use crate::error::StoreError;
use crate::event::GlobalPosition;
use crate::store::contract::{Filter, Page, PageLimit, Store};
use crate::threads::Task;

/// Tail reader of this process. It ends when the last clone is dropped, or at [`Tail::stop`].
#[derive(Clone)]
pub(crate) struct Tail {
    pub(super) hub: Arc<Hub>,
    stop: Arc<watch::Sender<bool>>,
}

/// Status of the tail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TailStatus {
    /// Position up to which everything has been queued for the joined subscriptions.
    pub(crate) position: GlobalPosition,
    /// Number of joined subscriptions.
    pub(crate) joined: usize,
    /// Reason why the tail cannot read, if it cannot.
    pub(crate) trouble: Option<String>,
}

impl Tail {
    /// Starts to read after `from`: usually the head of the log, unless a follower needs earlier
    /// events at once.
    pub(crate) fn start(
        store: Arc<dyn Store>,
        from: GlobalPosition,
        settings: TailSettings,
        spawn: impl Fn(Task) + Send + Sync + 'static,
    ) -> Self {
        let state = Mutex::new(State { position: from, ..State::default() });
        let hub = Hub { store, settings, spawn: Box::new(spawn), state, joined: Notify::new() };
        let hub = Arc::new(hub);
        let (stop, stopped) = watch::channel(false);
        let task = Box::pin(run(Arc::clone(&hub), stopped));
        (hub.spawn)(task);
        Self { hub, stop: Arc::new(stop) }
    }

    /// Spawns a task where the tail runs. It ends with the application.
    pub(crate) fn spawn(&self, task: Task) {
        (self.hub.spawn)(task);
    }

    /// Stops the tail and all its subscriptions.
    pub(crate) fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Returns the current status.
    pub(crate) fn status(&self) -> TailStatus {
        let state = self.hub.state();
        let trouble = state.trouble.clone().or_else(|| match &state.ended {
            Some(End::Fault(fault)) => Some(fault.to_string()),
            Some(End::Stopped) | None => None,
        });
        TailStatus { position: state.position, joined: state.joined.len(), trouble }
    }
}

/// State that the tail shares with its subscriptions.
pub(super) struct Hub {
    pub(super) store: Arc<dyn Store>,
    pub(super) settings: TailSettings,
    pub(super) spawn: Box<dyn Fn(Task) + Send + Sync>,
    state: Mutex<State>,
    joined: Notify,
}

/// A subscription that has joined the tail.
struct Follower {
    name: Arc<str>,
    stretches: mpsc::Sender<Waiting>,
    /// Limits the bytes that are queued in `stretches`.
    budget: ByteBudget,
}

/// A stretch that is queued for one follower.
pub(super) struct Waiting {
    pub(super) stretch: Stretch,
    _bytes: Reservation,
}

#[derive(Default)]
struct State {
    position: GlobalPosition,
    joined: Vec<Follower>,
    /// Page cache of the followers that are behind, as long as there are any.
    pages: Weak<Pages>,
    trouble: Option<String>,
    ended: Option<End>,
}

/// Reason why the tail has ended.
#[derive(Debug, Clone)]
pub(super) enum End {
    Stopped,
    /// The log cannot be read any further. All followers must halt.
    Fault(StoreError),
}

/// Result of an attempt to join the tail.
pub(super) enum Join {
    /// Joined: all stretches after `from` will be queued.
    Joined {
        from: GlobalPosition,
        stretches: mpsc::Receiver<Waiting>,
    },
    TooFar,
    Ended(End),
}

impl Hub {
    /// No code under this lock can panic, so a poisoned lock is still valid.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn join(&self, name: &Arc<str>, cursor: Cursor) -> Join {
        let mut state = self.state();
        if let Some(end) = &state.ended {
            return Join::Ended(end.clone());
        }
        if state.joined.is_empty() {
            // No follower needs the events in between, so the tail need not read them.
            state.position = state.position.max(cursor.at());
        }
        // A tail that went back for one follower would read the same events again for all of them.
        if state.position.0.saturating_sub(cursor.at().0) > self.settings.join_within {
            return Join::TooFar;
        }
        let (sender, stretches) = mpsc::channel(self.settings.waiting_pages);
        let budget = ByteBudget::new(self.settings.waiting_bytes);
        state.joined.push(Follower { name: Arc::clone(name), stretches: sender, budget });
        self.joined.notify_one();
        Join::Joined { from: state.position, stretches }
    }

    /// Returns the page cache of the followers that are behind.
    pub(super) fn pages(&self) -> Arc<Pages> {
        let mut state = self.state();
        state.pages.upgrade().unwrap_or_else(|| {
            let pages = Arc::default();
            state.pages = Arc::downgrade(&pages);
            pages
        })
    }

    pub(super) fn ended(&self) -> Option<End> {
        self.state().ended.clone()
    }

    pub(super) fn backoff(&self) -> Backoff {
        Backoff::new(self.settings.first_delay, self.settings.longest_delay)
    }

    /// Returns the position after which to read, or `None` if no subscription has joined.
    fn next_read(&self, head: GlobalPosition) -> Option<GlobalPosition> {
        let mut state = self.state();
        state.joined.retain(|follower| !follower.stretches.is_closed());
        if state.joined.is_empty() {
            state.position = state.position.max(head);
            return None;
        }
        Some(state.position)
    }

    fn hand_on(&self, after: GlobalPosition, page: Page) {
        // Counted before the lock is taken, because it looks at every event.
        let bytes = page.bytes();
        let stretch = Stretch { after, page: Arc::new(page) };
        let mut state = self.state();
        state.position = stretch.page.scanned_to;
        state.joined.retain(|follower| {
            let stretch = stretch.clone();
            let waiting = follower.budget.try_reserve(bytes);
            let waiting = waiting.map(|_bytes| Waiting { stretch, _bytes });
            let taken = waiting.is_some_and(|it| follower.stretches.try_send(it).is_ok());
            if !taken {
                debug!(
                    name = %follower.name,
                    position = %after,
                    "a slow follower leaves the tail and reads by its own cursor"
                );
            }
            taken
        });
    }

    fn end(&self, end: End) {
        let mut state = self.state();
        state.ended.get_or_insert(end);
        state.joined.clear();
    }
}

/// Ends all subscriptions when the tail's task ends for any reason, so that no follower waits
/// forever.
struct EndOnDrop(Arc<Hub>);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        self.0.end(End::Stopped);
    }
}

async fn run(hub: Arc<Hub>, mut stopped: watch::Receiver<bool>) {
    let hub = EndOnDrop(hub);
    tokio::select! {
        _ = stopped.wait_for(|stop| *stop) => {}
        reason = lost_history(&*hub.0.store) => {
            error!(%reason, "the log's history has changed: all followers halt");
            hub.0.end(End::Fault(StoreError::OtherHistory(reason)));
        }
        fault = follow(&hub.0) => {
            error!(error = %fault, "the log has a hole or a corrupt row: all followers halt");
            hub.0.end(End::Fault(fault));
        }
    }
}

/// Waits until the store reports that its history was lost. Returns the reason.
async fn lost_history(store: &dyn Store) -> String {
    let mut history = store.watch_history();
    let lost = history.wait_for(Option::is_some).await.map(|reason| reason.clone());
    match lost {
        Ok(Some(reason)) => reason,
        // This store never reports it, or has been dropped.
        Ok(None) | Err(_) => std::future::pending().await,
    }
}

/// Reads pages and queues them for the joined subscriptions. Returns the first error that a retry
/// cannot fix.
async fn follow(hub: &Hub) -> StoreError {
    let mut head = hub.store.watch_head();
    let mut backoff = hub.backoff();
    loop {
        // Taken before the read: a commit during the read then counts as a change, and the wait
        // ends at once.
        let hint = *head.borrow_and_update();
        let Some(after) = hub.next_read(hint) else {
            wait(hub, &mut head).await;
            continue;
        };
        match read(hub, after).await {
            Ok(page) => {
                backoff.reset();
                // An empty page clears it too, because there may be no new event for a long time.
                hub.state().trouble = None;
                let (read_to, nothing) = (page.scanned_to, page.scanned_to == after);
                if !nothing {
                    hub.hand_on(after, page);
                }
                // At the last known head there is nothing to read, so an idle log costs one poll
                // per interval.
                if nothing || read_to == hint {
                    wait(hub, &mut head).await;
                }
            }
            Err(error @ (StoreError::Unavailable(_) | StoreError::Unknown(_))) => {
                warn!(%error, position = %after, "cannot read the log's tail; retrying");
                hub.state().trouble = Some(error.to_string());
                backoff.wait().await;
            }
            Err(fault) => return fault,
        }
    }
}

async fn read(hub: &Hub, after: GlobalPosition) -> Result<Page, StoreError> {
    let limit = PageLimit::events(hub.settings.page).bytes(hub.settings.page_bytes);
    let page = hub.store.read_all(after, &Filter::all(), limit).await?;
    // Checked for every store, because a follower that passed a hole could never return to it.
    dense(after, &Filter::all(), &page)?;
    Ok(page)
}

/// Waits until the store hints at a new head, a subscription joins, or the polling interval ends.
async fn wait(hub: &Hub, head: &mut watch::Receiver<GlobalPosition>) {
    let hinted = async {
        if head.changed().await.is_err() {
            // The store's writer is gone: no hint will come again.
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        () = hinted => {}
        () = hub.joined.notified() => {}
        () = tokio::time::sleep(hub.settings.poll) => {}
    }
}
