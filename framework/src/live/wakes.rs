//! Who waits for what, and the one subscription that wakes them.
//!
//! For each key somebody waits for there is a *mark*: a number that only grows, as events touch the
//! key. Whoever has seen everything up to a number waits for a mark beyond it, so none is lost,
//! whenever it comes. The subscription begins when the first one registers and ends after the last
//! one has left.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, broadcast, watch};

use super::changes::Changed;
use super::touched::{Touch, Touched};
use super::wake::{Wake, WakeForAll};
use crate::error::{ReadError, StoreError};
use crate::event::GlobalPosition;
use crate::store::contract::{Filter, Page};
use crate::subscription::{Subscription, Tail};

/// How many changes may wait for one who follows all of them.
const WAITING_CHANGES: usize = 4096;

/// Those who wait for events of one kind: of streams, or of the documents of one read model.
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
    /// The mark of each key.
    keys: HashMap<Arc<str>, watch::Sender<u64>>,
    all: Option<broadcast::Sender<Result<Changed, StoreError>>>,
    /// Of later events those who wait will learn.
    seen: GlobalPosition,
    is_running: bool,
    ended: Option<End>,
}

/// Why nobody will be woken any more.
#[derive(Clone)]
enum End {
    Stopped,
    Fault(StoreError),
}

impl Wakes {
    pub(super) fn new(name: &'static str, tail: Tail, filter: Filter, touched: Box<Touch>) -> Self {
        let (waiting, left) = (Mutex::default(), Notify::new());
        Self { shared: Arc::new(Shared { name, tail, filter, touched, waiting, left }) }
    }

    /// Waits for one key from now on. To miss nothing, register first and read then.
    pub(crate) fn register(&self, key: &str) -> Result<Wake, ReadError> {
        let key: Arc<str> = key.into();
        let (from, mark) =
            self.begin(|waiting| waiting.keys.entry(Arc::clone(&key)).or_default().subscribe())?;
        Ok(Wake::new(self.clone(), key, from, mark))
    }

    /// Waits for every change after the position answered.
    pub(crate) fn register_for_all(&self) -> Result<(GlobalPosition, WakeForAll), ReadError> {
        let (from, changes) = self.begin(|waiting| {
            let all = waiting.all.get_or_insert_with(|| broadcast::Sender::new(WAITING_CHANGES));
            all.subscribe()
        })?;
        Ok((from, WakeForAll::new(self.clone(), changes)))
    }

    /// Has somebody wait, and sees to it that there is a subscription. Of events after the position
    /// answered the newcomer will learn; those before are in the log to be read.
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

    /// Whether the application has stopped.
    pub(super) fn has_ended(&self) -> Result<bool, ReadError> {
        self.shared.waiting().has_ended()
    }

    /// Somebody no longer waits for this key; `forget` drops its receiver.
    pub(super) fn leave(&self, key: &str, forget: impl FnOnce()) {
        let mut waiting = self.shared.waiting();
        forget(); // under the lock, so that the last one finds itself the last
        if waiting.keys.get(key).is_some_and(|mark| mark.receiver_count() == 0) {
            waiting.keys.remove(key);
            self.shared.left.notify_one();
        }
    }

    /// Somebody no longer waits for all.
    pub(super) fn leave_all(&self) {
        self.shared.left.notify_one();
    }
}

impl Shared {
    /// Nothing under this lock can panic, so a poisoned one is whole.
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self, page: &Page) {
        // The events are looked at before the lock is taken: that may run the user's code.
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

    /// Ends the subscription if nobody waits.
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

/// However the subscription's task goes, nobody waits for it for ever.
struct Running {
    shared: Arc<Shared>,
    /// It went because nobody waited. Who has come since has a task of its own.
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
