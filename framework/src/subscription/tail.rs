//! The one reader of the log's tail, and the subscriptions it feeds.
//!
//! It waits for the store's hint of a new head (and looks for itself now and then, since a hint
//! may be lost), reads each new stretch once and hands it to every subscription that has joined.
//! One that does not take its pages in time is let go; it reads for itself until it is close
//! again. While nobody has joined, nothing is read.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::{Notify, mpsc, watch};
use tracing::{debug, error, warn};

use super::TailSettings;
use super::cursor::{Cursor, Stretch, dense};
use super::page_cache::Pages;
use super::reader::Subscription;
use crate::backoff::Backoff;
use crate::byte_budget::{ByteBudget, Reservation};
use crate::error::StoreError;
use crate::event::GlobalPosition;
use crate::store::contract::{Filter, Page, PageLimit, Store};
use crate::threads::Task;

/// The tail reader of this process. It ends when the last clone is gone, or at [`Tail::stop`].
#[derive(Clone)]
pub(crate) struct Tail {
    hub: Arc<Hub>,
    stop: Arc<watch::Sender<bool>>,
}

/// How the tail is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TailStatus {
    /// Everything up to here was handed to those who have joined.
    pub(crate) position: GlobalPosition,
    /// How many have.
    pub(crate) joined: usize,
    /// Why it stands still, if it does.
    pub(crate) trouble: Option<String>,
}

impl Tail {
    /// Starts reading after `from`, the head of the log if nobody needs more at once.
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

    /// Follows the log after a position; of what `filter` does not admit, events may or may not be
    /// among those handed on.
    pub(crate) fn subscribe(
        &self,
        name: &str,
        filter: Filter,
        after: GlobalPosition,
    ) -> Subscription {
        Subscription::new(Arc::clone(&self.hub), name.into(), filter, Cursor::after(after))
    }

    /// Runs a task where the tail runs, for as long as the application does.
    pub(crate) fn spawn(&self, task: Task) {
        (self.hub.spawn)(task);
    }

    /// Ends the tail and, with it, all subscriptions.
    pub(crate) fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// State of the partition.
    pub(crate) fn status(&self) -> TailStatus {
        let state = self.hub.state();
        let trouble = state.trouble.clone().or_else(|| match &state.ended {
            Some(End::Fault(fault)) => Some(fault.to_string()),
            Some(End::Stopped) | None => None,
        });
        TailStatus { position: state.position, joined: state.joined.len(), trouble }
    }
}

/// What the tail and its subscriptions share.
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
    /// Bounds what waits in `stretches`.
    budget: ByteBudget,
}

/// A stretch that waits for one follower.
pub(super) struct Waiting {
    pub(super) stretch: Stretch,
    _bytes: Reservation,
}

#[derive(Default)]
struct State {
    position: GlobalPosition,
    joined: Vec<Follower>,
    /// Of those who read for themselves, as long as there are any.
    pages: Weak<Pages>,
    trouble: Option<String>,
    ended: Option<End>,
}

/// Why no more comes from the tail.
#[derive(Debug, Clone)]
pub(super) enum End {
    Stopped,
    /// The log cannot be read on. Nobody may go on as if it could.
    Fault(StoreError),
}

/// What came of the wish to join.
pub(super) enum Join {
    /// All stretches after `from` will come.
    Joined {
        from: GlobalPosition,
        stretches: mpsc::Receiver<Waiting>,
    },
    TooFar,
    Ended(End),
}

impl Hub {
    /// Nothing under this lock can panic, so a poisoned one is whole.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn join(&self, name: &Arc<str>, cursor: Cursor) -> Join {
        let mut state = self.state();
        if let Some(end) = &state.ended {
            return Join::Ended(end.clone());
        }
        if state.joined.is_empty() {
            // Nobody was promised what lies between, so the tail need not read it.
            state.position = state.position.max(cursor.at());
        }
        if state.position.0.saturating_sub(cursor.at().0) > self.settings.join_within {
            return Join::TooFar;
        }
        let (sender, stretches) = mpsc::channel(self.settings.waiting_pages);
        let budget = ByteBudget::new(self.settings.waiting_bytes);
        state.joined.push(Follower { name: Arc::clone(name), stretches: sender, budget });
        self.joined.notify_one();
        Join::Joined { from: state.position, stretches }
    }

    /// What those who are behind share.
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

    /// Where to read on, or `None` while nobody would get it.
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
                debug!(name = %follower.name, position = %after, "a follower is slow and reads for itself");
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

/// However the tail's task goes, nobody waits for it for ever.
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
            error!(%reason, "the log is another one than was read so far: every follower halts");
            hub.0.end(End::Fault(StoreError::OtherHistory(reason)));
        }
        fault = follow(&hub.0) => {
            error!(error = %fault, "the log cannot be read on: every follower halts");
            hub.0.end(End::Fault(fault));
        }
    }
}

/// Waits until the store has lost its history; returns the reason.
async fn lost_history(store: &dyn Store) -> String {
    let mut history = store.watch_history();
    let lost = history.wait_for(Option::is_some).await.map(|reason| reason.clone());
    match lost {
        Ok(Some(reason)) => reason,
        // The store never notices it, or is gone.
        Ok(None) | Err(_) => std::future::pending().await,
    }
}

/// Reads and hands on until the log proves unreadable.
async fn follow(hub: &Hub) -> StoreError {
    let mut head = hub.store.watch_head();
    let mut backoff = hub.backoff();
    loop {
        let hint = *head.borrow_and_update();
        let Some(after) = hub.next_read(hint) else {
            wait(hub, &mut head).await;
            continue;
        };
        match read(hub, after).await {
            Ok(page) => {
                backoff.reset();
                // Also by a page with nothing in it: nobody may write for a long time.
                hub.state().trouble = None;
                let (read_to, nothing) = (page.scanned_to, page.scanned_to == after);
                if !nothing {
                    hub.hand_on(after, page);
                }
                if nothing || read_to == hint {
                    wait(hub, &mut head).await;
                }
            }
            Err(error @ (StoreError::Unavailable(_) | StoreError::Unknown(_))) => {
                warn!(%error, position = %after, "the log's tail cannot be read; trying again");
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
    dense(after, &Filter::all(), &page)?;
    Ok(page)
}

/// Until the store hints at a new head, somebody joins, or it is time to look anyway.
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
