//! Subscription: reads the log for one follower.
//!
//! Far behind the tail, a subscription reads by its own cursor, one page ahead of its follower, and
//! only the event types that it follows. It shares these pages with followers at about the same
//! position. Close to the tail it joins the tail. If it is too slow there, the tail drops it and it
//! reads by its own cursor again. The [`Cursor`] decides which events are delivered, so no timing
//! of these changes can lose or repeat an event. Each read of the store runs on a task of its own
//! that the subscription keeps, so a caller that stops waiting does not cancel the read.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tracing::warn;

use super::TailSettings;
use super::cursor::{Admission, Cursor, Stretch, dense};
use super::page_cache::Pages;
use super::tail::{End, Hub, Join, Tail, Waiting};
use crate::error::StoreError;
use crate::event::GlobalPosition;
use crate::store::contract::{Filter, Page, PageLimit};

/// Minimum number of events per read, however large the previous events were.
const FEWEST_EVENTS: usize = 16;

/// Reader of consecutive pages of the log that returns each event once.
pub(crate) struct Subscription {
    hub: Arc<Hub>,
    name: Arc<str>,
    filter: Filter,
    cursor: Cursor,
    source: Source,
    /// Rest of a page that was delivered in part. The cursor is already past it.
    rest: Option<Arc<Page>>,
    /// Number of events to read at a time: as many as are expected to fit into a page's bytes.
    page_events: usize,
    /// Read of the store that is in progress or done, until its page is delivered.
    pending: Option<Pending>,
    changes: u64,
}

enum Source {
    /// The store, read by the subscription's own cursor.
    Own { pages: Arc<Pages> },
    /// The tail, once the cursor has reached `from`.
    Tail { from: GlobalPosition, stretches: mpsc::Receiver<Waiting> },
}

/// A page that a task is reading. Dropping this cancels the read.
struct Pending {
    after: GlobalPosition,
    read: oneshot::Receiver<Read>,
}

type Read = Result<Stretch, StoreError>;

impl Tail {
    /// Subscribes to the log after a position. `filter` only saves reads: the subscription may also
    /// return events that it does not match.
    pub(crate) fn subscribe(
        &self,
        name: &str,
        filter: Filter,
        after: GlobalPosition,
    ) -> Subscription {
        let hub = Arc::clone(&self.hub);
        let source = Source::Own { pages: hub.pages() };
        let page_events = hub.settings.catch_up_page;
        let (name, cursor) = (name.into(), Cursor::after(after));
        let (rest, pending, changes) = (None, None, 0);
        Subscription { hub, name, filter, cursor, source, rest, page_events, pending, changes }
    }
}

impl Subscription {
    /// Waits for the next page and returns it, or `None` once the tail was stopped. A failed read
    /// of the store is retried until it succeeds.
    ///
    /// Cancel safe: a call that is dropped loses no event, and the read that it waited for
    /// continues. The next call waits for the same read, so a follower makes progress however often
    /// it is interrupted.
    ///
    /// # Errors
    /// The log has a hole or a corrupt row. A retry does not help.
    pub(crate) async fn next(&mut self) -> Result<Option<Arc<Page>>, StoreError> {
        self.next_at_most(usize::MAX).await
    }

    /// Returns the next page with at most `events` events (at least one), for a follower that needs
    /// more memory for an event than the event itself. See [`Subscription::next`].
    ///
    /// # Errors
    /// Those of [`Subscription::next`].
    pub(crate) async fn next_at_most(
        &mut self,
        events: usize,
    ) -> Result<Option<Arc<Page>>, StoreError> {
        let page = match self.rest.take() {
            Some(rest) => Some(rest),
            None => self.next_page().await?,
        };
        Ok(page.map(|page| self.first_of(page, events.max(1))))
    }

    /// Returns the first events of a page and keeps the others for the next call.
    fn first_of(&mut self, page: Arc<Page>, events: usize) -> Arc<Page> {
        if page.events.len() <= events {
            return page;
        }
        let (first, rest) = page.events.split_at(events);
        let scanned_to = first.last().map_or(page.scanned_to, |last| last.position);
        self.rest = Some(Arc::new(Page { events: rest.to_vec(), ..*page }));
        Arc::new(Page { events: first.to_vec(), scanned_to })
    }

    async fn next_page(&mut self) -> Result<Option<Arc<Page>>, StoreError> {
        loop {
            match &mut self.source {
                Source::Own { .. } => match self.hub.join(&self.name, self.cursor) {
                    Join::Joined { from, stretches } => {
                        self.turn_to(Source::Tail { from, stretches });
                    }
                    Join::TooFar => match self.read_own().await? {
                        Some(page) => return Ok(Some(page)),
                        None => self.hub.backoff().wait().await,
                    },
                    Join::Ended(End::Stopped) => return Ok(None),
                    Join::Ended(End::Fault(fault)) => return Err(fault),
                },
                Source::Tail { from, .. } if self.cursor.at() < *from => {
                    match self.read_own().await? {
                        Some(page) => return Ok(Some(page)),
                        None if self.hub.ended().is_some() => self.let_go(),
                        None => self.hub.backoff().wait().await,
                    }
                }
                Source::Tail { stretches, .. } => {
                    // A page that was read ahead would otherwise stay in memory as long as the
                    // subscription follows the tail.
                    self.pending = None;
                    match stretches.recv().await {
                        Some(Waiting { stretch, .. }) => match self.cursor.admit(&stretch) {
                            Admission::Next(page) => return Ok(Some(self.with_what_waits(page))),
                            Admission::Seen => {}
                            Admission::Gap => self.let_go(),
                        },
                        None => self.let_go(),
                    }
                }
            }
        }
    }

    /// Merges the page with further pages that the tail has queued, up to about a full page. Fewer,
    /// larger pages mean fewer transactions of the follower.
    fn with_what_waits(&mut self, mut page: Arc<Page>) -> Arc<Page> {
        let Source::Tail { stretches, .. } = &mut self.source else { return page };
        let settings = &self.hub.settings;
        while page.events.len() + settings.page <= settings.catch_up_page
            && page.bytes() < settings.page_bytes
            && let Ok(Waiting { stretch, .. }) = stretches.try_recv()
            // The tail's pages are consecutive. If one were missing, the next read would detect the
            // gap.
            && let Admission::Next(more) = self.cursor.admit(&stretch)
        {
            let (events, scanned_to) = ([&*page.events, &*more.events].concat(), more.scanned_to);
            page = Arc::new(Page { events, scanned_to });
        }
        page
    }

    /// Returns true if the subscription follows the tail and has nothing left to read by itself.
    pub(crate) fn is_at_tail(&self) -> bool {
        let has_joined =
            matches!(self.source, Source::Tail { from, .. } if self.cursor.at() >= from);
        has_joined && self.rest.is_none()
    }

    /// Position up to which everything has been delivered.
    #[cfg(test)]
    pub(crate) fn position(&self) -> GlobalPosition {
        self.cursor.at()
    }

    /// Returns true if a page is being read ahead or is ready.
    #[cfg(test)]
    pub(crate) fn reads_ahead(&self) -> bool {
        self.pending.is_some()
    }

    /// Number of times that the subscription has joined the tail or left it.
    #[cfg(test)]
    pub(crate) fn changes(&self) -> u64 {
        self.changes
    }

    fn let_go(&mut self) {
        self.turn_to(Source::Own { pages: self.hub.pages() });
    }

    fn turn_to(&mut self, source: Source) {
        self.source = source;
        self.changes += 1;
    }

    /// Returns the next page by the subscription's own cursor, or `None` if the store has no more
    /// events or the tail has ended.
    async fn read_own(&mut self) -> Result<Option<Arc<Page>>, StoreError> {
        let after = self.cursor.at();
        let pending = match self.pending.take() {
            Some(pending) if pending.after == after => pending,
            _ => self.begin_read(),
        };
        // Awaited in place: if this call is dropped here, the read continues and stays in
        // `pending`.
        let stretch = match (&mut self.pending.insert(pending).read).await {
            Ok(read) => read,
            // The reading task panicked or its runtime has ended. Read here instead, so that a
            // panic of the store is raised in the follower's task.
            Err(_) => self.read(after).await,
        };
        self.pending = None;
        let stretch = stretch?;
        let (events, bytes) = (stretch.page.events.len(), stretch.page.bytes());
        let TailSettings { catch_up_page, page_bytes, .. } = self.hub.settings;
        // After a page near one of its limits there are probably more events.
        let is_full = events >= self.page_events || bytes >= page_bytes / 2;
        // Only few large events fit into a page. A read of thousands would make the store look at
        // all of them.
        if let Some(average) = bytes.checked_div(events) {
            let fit = page_bytes.saturating_mul(2) / average.max(1);
            self.page_events = fit.clamp(FEWEST_EVENTS.min(catch_up_page), catch_up_page);
        }
        match self.cursor.admit(&stretch) {
            Admission::Next(page) => {
                if is_full && matches!(self.source, Source::Own { .. }) {
                    self.pending = Some(self.begin_read());
                }
                Ok(Some(page))
            }
            Admission::Seen | Admission::Gap => Ok(None),
        }
    }

    /// Starts a task that reads the page after the cursor.
    fn begin_read(&self) -> Pending {
        let (mut sender, receiver) = oneshot::channel();
        let after = self.cursor.at();
        let (hub, name, filter) = (self.hub.clone(), self.name.clone(), self.filter.clone());
        let (pages, events) = (self.pages(), self.page_events);
        (self.hub.spawn)(Box::pin(async move {
            tokio::select! {
                // The subscription was dropped or follows the tail: the page is not needed any
                // more.
                () = sender.closed() => {}
                stretch = read(&hub, &pages, &name, &filter, after, events) => {
                    let _ = sender.send(stretch); // as above
                }
            }
        }));
        Pending { after, read: receiver }
    }

    fn pages(&self) -> Arc<Pages> {
        match &self.source {
            Source::Own { pages } => Arc::clone(pages),
            Source::Tail { .. } => self.hub.pages(),
        }
    }

    async fn read(&self, after: GlobalPosition) -> Read {
        let (pages, events) = (self.pages(), self.page_events);
        read(&self.hub, &pages, &self.name, &self.filter, after, events).await
    }
}

/// Reads the page after a position from the shared page cache or from the store.
async fn read(
    hub: &Hub,
    pages: &Pages,
    name: &str,
    filter: &Filter,
    after: GlobalPosition,
    events: usize,
) -> Read {
    let limit = PageLimit::events(events).bytes(hub.settings.page_bytes);
    let ask = read_from_store(hub, name, filter, after, limit);
    let shared = PageLimit::events(hub.settings.shared_pages).bytes(hub.settings.shared_bytes);
    pages.get(filter, after, shared, ask).await
}

/// Reads a page from the store and retries failed reads. Returns an empty page if the tail has
/// ended meanwhile.
async fn read_from_store(
    hub: &Hub,
    name: &str,
    filter: &Filter,
    after: GlobalPosition,
    limit: PageLimit,
) -> Result<Arc<Page>, StoreError> {
    let mut backoff = hub.backoff();
    while hub.ended().is_none() {
        match hub.store.read_all(after, filter, limit).await {
            Ok(page) => {
                dense(after, filter, &page)?;
                return Ok(Arc::new(page));
            }
            Err(error @ (StoreError::Unavailable(_) | StoreError::Unknown(_))) => {
                warn!(%error, %name, position = %after, "cannot read the log; retrying");
                backoff.wait().await;
            }
            Err(fault) => return Err(fault),
        }
    }
    Ok(Arc::new(Page { events: Vec::new(), scanned_to: after }))
}
