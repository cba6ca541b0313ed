//! Change notifications: the waiting followers by key, and the one subscription that notifies them.
//!
//! Each key with a follower has a *mark*: a number that only grows as events touch the key. A
//! follower that has seen everything up to a number waits for a greater mark, so it misses no
//! event. The subscription starts with the first follower and ends after the last one has left.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, broadcast, watch};

use super::touched::{self, Touch, Touched};
use crate::error::{ReadError, StoreError};
use crate::event::GlobalPosition;
use crate::read_model::ReadModel;
use crate::store::contract::{Filter, Page};
use crate::subscription::{Subscription, Tail};

/// Maximum number of queued changes for a follower of all changes.
const WAITING_CHANGES: usize = 4096;

/// A change to a document. A read with `read(key).after(position)` includes it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Changed {
    /// Key of the document.
    pub key: String,
    /// Position of the event that changes the document.
    pub position: GlobalPosition,
}

/// Followers of one kind: of streams, or of the documents of one read model.
#[derive(Clone)]
pub(crate) struct Wakes {
    shared: Arc<Shared>,
}

struct Shared {
    name: &'static str,
    tail: Tail,
    filter: Filter,
    touched: Box<Touch>,
    waiting: Mutex<Waiting>,
    left: Notify,
}

#[derive(Default)]
struct Waiting {
    /// Mark of each key that has a follower.
    keys: HashMap<Arc<str>, watch::Sender<u64>>,
    all: Option<broadcast::Sender<Result<Changed, StoreError>>>,
    /// Position after which events are notified.
    seen: GlobalPosition,
    is_running: bool,
    ended: Option<End>,
}

/// Reason why no follower will be notified any more.
#[derive(Clone)]
enum End {
    Stopped,
    Fault(StoreError),
}

impl Wakes {
    /// Creates the notifications for followers of streams: a key is a stream, a mark is a version.
    pub(crate) fn of_streams(tail: Tail) -> Self {
        Self::new("followers", tail, Filter::all(), Box::new(touched::stream))
    }

    /// Creates the notifications for followers of documents: a key is a document's key, a mark is a
    /// position.
    pub(crate) fn of_documents<M: ReadModel>(tail: Tail) -> Self {
        // Routes of its own, because a process may follow documents of partitions that it does not
        // own.
        let routes = M::sources().routes;
        let aggregate_types = routes.aggregate_types().map(str::to_owned).collect();
        Self::new(M::NAME, tail, Filter { aggregate_types }, touched::documents(routes))
    }

    fn new(name: &'static str, tail: Tail, filter: Filter, touched: Box<Touch>) -> Self {
        let (waiting, left) = (Mutex::default(), Notify::new());
        Self { shared: Arc::new(Shared { name, tail, filter, touched, waiting, left }) }
    }

    /// Registers a follower of one key. To miss nothing, register first and read then.
    pub(crate) fn register(&self, key: &str) -> Result<Wake, ReadError> {
        let key: Arc<str> = key.into();
        let (from, mark) =
            self.begin(|waiting| waiting.keys.entry(Arc::clone(&key)).or_default().subscribe())?;
        Ok(Wake::new(self.clone(), key, from, mark))
    }

    /// Registers a follower of every change after the returned position.
    pub(crate) fn register_for_all(&self) -> Result<(GlobalPosition, WakeForAll), ReadError> {
        let (from, changes) = self.begin(|waiting| {
            let all = waiting.all.get_or_insert_with(|| broadcast::Sender::new(WAITING_CHANGES));
            all.subscribe()
        })?;
        Ok((from, WakeForAll::new(self.clone(), changes)))
    }

    /// Registers a follower and starts the subscription if it is not running. The follower is
    /// notified of events after the returned position; earlier ones must be read from the log.
    fn begin<T>(
        &self,
        add: impl FnOnce(&mut Waiting) -> T,
    ) -> Result<(GlobalPosition, T), ReadError> {
        let shared = &self.shared;
        let mut waiting = shared.waiting();
        if waiting.has_ended()? {
            return Err(ReadError::Stopping);
        }
        let added = add(&mut waiting);
        let begins = !waiting.is_running;
        if begins {
            waiting.is_running = true;
            waiting.seen = shared.tail.status().position;
        }
        let from = waiting.seen;
        drop(waiting); // a task that is not run any more takes the lock when it is dropped
        if begins {
            let running = Running { shared: Arc::clone(shared), has_rested: false };
            let subscription = shared.tail.subscribe(shared.name, shared.filter.clone(), from);
            shared.tail.spawn(Box::pin(run(running, subscription)));
            if self.has_ended()? {
                return Err(ReadError::Stopping);
            }
        }
        Ok((from, added))
    }

    /// Returns true if the application has stopped.
    pub(super) fn has_ended(&self) -> Result<bool, ReadError> {
        self.shared.waiting().has_ended()
    }

    /// Removes a follower of this key; `forget` drops its receiver.
    pub(super) fn leave(&self, key: &str, forget: impl FnOnce()) {
        let mut waiting = self.shared.waiting();
        forget(); // under the lock, so that the last one finds itself the last
        if waiting.keys.get(key).is_some_and(|mark| mark.receiver_count() == 0) {
            waiting.keys.remove(key);
            self.shared.left.notify_one();
        }
    }

    /// Removes a follower of every change.
    pub(super) fn leave_all(&self) {
        self.shared.left.notify_one();
    }
}

impl Shared {
    /// No code under this lock can panic, so a poisoned lock is still valid.
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self, page: &Page) {
        // Computed before the lock is taken, because decoding an event runs user code.
        let touched: Vec<_> = page.events.iter().map(|event| (self.touched)(event)).collect();
        let mut waiting = self.waiting();
        for (event, touched) in page.events.iter().zip(touched) {
            match touched {
                Touched::Nothing => {}
                Touched::Key(key, reached) => waiting.touch(key, reached, event.position),
                Touched::Keys(keys, reached) => {
                    for key in keys {
                        waiting.touch(key.into(), reached, event.position);
                    }
                }
                Touched::Unclear(reason) => {
                    waiting.keys.values().for_each(|mark| raise(mark, event.position.0));
                    let place = format!("{:?} at position {}", event.event_type, event.position);
                    waiting.tell_all(|| Err(StoreError::Corrupt { place, reason }));
                }
            }
        }
        waiting.seen = page.scanned_to;
    }

    /// Checks if there are no followers. If so, marks the subscription as ended and returns true.
    fn rests(&self) -> bool {
        let mut waiting = self.waiting();
        waiting.all.take_if(|all| all.receiver_count() == 0);
        waiting.is_running = !waiting.keys.is_empty() || waiting.all.is_some();
        !waiting.is_running
    }
}

impl Waiting {
    fn has_ended(&self) -> Result<bool, ReadError> {
        match &self.ended {
            None => Ok(false),
            Some(End::Stopped) => Ok(true),
            Some(End::Fault(fault)) => Err(fault.clone().into()),
        }
    }

    fn touch(&self, key: Cow<'_, str>, reached: u64, position: GlobalPosition) {
        if let Some(mark) = self.keys.get(&*key) {
            raise(mark, reached);
        }
        self.tell_all(|| Ok(Changed { key: key.into_owned(), position }));
    }

    fn tell_all(&self, change: impl FnOnce() -> Result<Changed, StoreError>) {
        if let Some(all) = &self.all {
            let _ = all.send(change()); // the last one has left just now
        }
    }

    fn end(&mut self, end: End) {
        self.ended.get_or_insert(end);
        self.is_running = false;
        self.keys.clear();
        self.all = None;
    }
}

fn raise(mark: &watch::Sender<u64>, reached: u64) {
    mark.send_if_modified(|mark| {
        let is_news = *mark < reached;
        *mark = reached.max(*mark);
        is_news
    });
}

/// Ends the followers when the subscription's task ends for any reason, so that none waits forever.
struct Running {
    shared: Arc<Shared>,
    /// True if the task ended because there were no followers. Followers that registered since then
    /// have started another task.
    has_rested: bool,
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.has_rested {
            self.shared.waiting().end(End::Stopped);
        }
    }
}

async fn run(mut running: Running, mut subscription: Subscription) {
    let shared = Arc::clone(&running.shared);
    loop {
        tokio::select! {
            page = subscription.next() => match page {
                Ok(Some(page)) => shared.wake(&page),
                Ok(None) => return,
                Err(fault) => return shared.waiting().end(End::Fault(fault)),
            },
            () = shared.left.notified() => if shared.rests() {
                running.has_rested = true;
                return;
            },
        }
    }
}

/// A follower that waits for one key.
pub(crate) struct Wake {
    wakes: Wakes,
    key: Arc<str>,
    from: GlobalPosition,
    mark: Option<watch::Receiver<u64>>,
}

impl Wake {
    fn new(wakes: Wakes, key: Arc<str>, from: GlobalPosition, mark: watch::Receiver<u64>) -> Self {
        Self { wakes, key, from, mark: Some(mark) }
    }

    /// Position after which events are notified. Earlier events must be read from the log.
    pub(super) fn from(&self) -> GlobalPosition {
        self.from
    }

    /// Waits for a mark greater than `seen` and returns it, or `None` when the application has
    /// stopped.
    pub(super) async fn beyond(&mut self, seen: u64) -> Result<Option<u64>, ReadError> {
        if let Some(mark) = &mut self.mark
            && let Ok(mark) = mark.wait_for(|mark| *mark > seen).await
        {
            return Ok(Some(*mark));
        }
        self.has_ended().map(|_| None)
    }

    /// Returns true if the application has stopped.
    pub(super) fn has_ended(&self) -> Result<bool, ReadError> {
        self.wakes.has_ended()
    }
}

impl Drop for Wake {
    fn drop(&mut self) {
        let mark = self.mark.take();
        self.wakes.leave(&self.key, || drop(mark));
    }
}

/// A follower that waits for every change.
pub(crate) struct WakeForAll {
    wakes: Wakes,
    changes: Option<Changes>,
}

type Changes = broadcast::Receiver<Result<Changed, StoreError>>;

/// Changes were dropped because the follower was too slow.
pub(super) struct TooSlow;

impl WakeForAll {
    fn new(wakes: Wakes, changes: Changes) -> Self {
        Self { wakes, changes: Some(changes) }
    }

    /// Waits for the next change and returns it, or `None` when the application has stopped.
    pub(super) async fn next(&mut self) -> Result<Option<Result<Changed, TooSlow>>, ReadError> {
        use broadcast::error::RecvError;
        let Some(changes) = &mut self.changes else { return Ok(None) };
        match changes.recv().await {
            Ok(change) => Ok(Some(Ok(change?))),
            Err(RecvError::Lagged(_)) => Ok(Some(Err(TooSlow))),
            Err(RecvError::Closed) => self.wakes.has_ended().map(|_| None),
        }
    }
}

impl Drop for WakeForAll {
    fn drop(&mut self) {
        self.changes = None;
        self.wakes.leave_all();
    }
}
