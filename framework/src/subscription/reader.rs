//! One follower's way through the log.
//!
//! Far behind, it reads for itself, only what it follows, one page ahead of its follower, and shares
//! its pages with others who are as far behind. Close to the tail it joins; when it is too slow the
//! tail lets it go and it reads for itself again. The [`Cursor`] decides what is handed on, so no
//! timing of these changes can lose or repeat an event. Each read of the store runs on a task of its
//! own that the subscription keeps, so a caller that stops waiting does not cancel the read.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tracing::warn;

use super::TailSettings;
use super::cursor::{Admission, Cursor, Stretch, dense};
use super::page_cache::Pages;
use super::tail::{End, Hub, Join, Waiting};
use crate::error::StoreError;
use crate::event::GlobalPosition;
use crate::store::contract::{Filter, Page, PageLimit};

/// Fewest events that a subscription asks for at a time, however large the last ones were.
const FEWEST_EVENTS: usize = 16;

/// Hands on consecutive stretches of the log, each event once.
pub(crate) struct Subscription {
    hub: Arc<Hub>,
    name: Arc<str>,
    filter: Filter,
    cursor: Cursor,
    source: Source,
    /// What is left of a page that was handed on in parts; the cursor is behind it.
    rest: Option<Arc<Page>>,
    /// How many events to ask the store for: as many as probably fit into a page's bytes.
    page_events: usize,
    /// The read of the store that is in progress or done, until its page is handed on.
    pending: Option<Pending>,
    changes: u64,
}

enum Source {
    /// The store, by our own cursor.
    Own { pages: Arc<Pages> },
    /// The tail, once our cursor has reached `from`.
    Tail { from: GlobalPosition, stretches: mpsc::Receiver<Waiting> },
}

/// A page that a task is reading. Dropping this cancels the read.
struct Pending {
    after: GlobalPosition,
    read: oneshot::Receiver<Read>,
}

type Read = Result<Stretch, StoreError>;

impl Subscription {
    pub(super) fn new(hub: Arc<Hub>, name: Arc<str>, filter: Filter, cursor: Cursor) -> Self {
        let source = Source::Own { pages: hub.pages() };
        let page_events = hub.settings.catch_up_page;
        let (rest, pending, changes) = (None, None, 0);
        Self { hub, name, filter, cursor, source, rest, page_events, pending, changes }
    }

    /// Waits for the next stretch and returns it; `None` once the tail was stopped. A store that
    /// fails to reply is read again until it replies.
    ///
    /// Cancel safe: a call that is dropped loses no event, and the read that it waited for goes on.
    /// The next call waits for the same read, so a follower makes progress however often something
    /// else interrupts it.
    ///
    /// # Errors
    /// The log cannot be read on: a hole or a corrupt row. Asking again does not help.
    pub(crate) async fn next(&mut self) -> Result<Option<Arc<Page>>, StoreError> {
        self.next_at_most(usize::MAX).await
    }

    /// The next stretch, with at most so many events (at least one), for a follower whose work on an
    /// event takes more memory than the event. See [`Subscription::next`].
    ///
    /// # Errors
    /// As for [`Subscription::next`].
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

    /// The first events of a page; the others are kept for the next call.
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
                    // A page that was read ahead would stay in memory for as long as this follows.
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

    /// The page and what else the tail has handed on meanwhile, as one, up to about a full page.
    fn with_what_waits(&mut self, mut page: Arc<Page>) -> Arc<Page> {
        let Source::Tail { stretches, .. } = &mut self.source else { return page };
        let settings = &self.hub.settings;
        while page.events.len() + settings.page <= settings.catch_up_page
            && page.bytes() < settings.page_bytes
            && let Ok(Waiting { stretch, .. }) = stretches.try_recv()
            // The tail's pages follow one another; were one missing, what is read next would tell.
            && let Admission::Next(more) = self.cursor.admit(&stretch)
        {
            let (events, scanned_to) = ([&*page.events, &*more.events].concat(), more.scanned_to);
            page = Arc::new(Page { events, scanned_to });
        }
        page
    }

    /// Whether it follows the tail, with nothing left to read for itself.
    pub(crate) fn is_at_tail(&self) -> bool {
        let has_joined =
            matches!(self.source, Source::Tail { from, .. } if self.cursor.at() >= from);
        has_joined && self.rest.is_none()
    }

    /// Everything up to here was handed on.
    #[cfg(test)]
    pub(crate) fn position(&self) -> GlobalPosition {
        self.cursor.at()
    }

    /// Checks that a page is being read ahead, or waits to be handed on.
    #[cfg(test)]
    pub(crate) fn reads_ahead(&self) -> bool {
        self.pending.is_some()
    }

    /// How often it joined the tail or was let go.
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

    /// Returns the next page by our own cursor; `None` if the store has no more, or the tail has
    /// ended.
    async fn read_own(&mut self) -> Result<Option<Arc<Page>>, StoreError> {
        let after = self.cursor.at();
        let pending = match self.pending.take() {
            Some(pending) if pending.after == after => pending,
            _ => self.begin_read(),
        };
        // Waiting for it where it stays: if this call is dropped here, the read goes on.
        let stretch = match (&mut self.pending.insert(pending).read).await {
            Ok(read) => read,
            // The reading task panicked or its runtime has ended: read here, so that a panic of the
            // store is the follower's own.
            Err(_) => self.read(after).await,
        };
        self.pending = None;
        let stretch = stretch?;
        let (events, bytes) = (stretch.page.events.len(), stretch.page.bytes());
        let TailSettings { catch_up_page, page_bytes, .. } = self.hub.settings;
        // More probably follows a page that is near either limit.
        let is_full = events >= self.page_events || bytes >= page_bytes / 2;
        // Of large events few fit. To ask for thousands would have the store look at all of them.
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

    /// Starts to read the page after the cursor, on a task of its own.
    fn begin_read(&self) -> Pending {
        let (mut sender, receiver) = oneshot::channel();
        let after = self.cursor.at();
        let (hub, name, filter) = (self.hub.clone(), self.name.clone(), self.filter.clone());
        let (pages, events) = (self.pages(), self.page_events);
        (self.hub.spawn)(Box::pin(async move {
            tokio::select! {
                // The subscription is gone, or follows the tail: nobody needs the page any more.
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

/// What continues after a position, as others have read it or as the store answers.
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

/// A page of what the filter admits, however often the store must be asked; an empty one if the
/// tail has ended meanwhile.
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
                warn!(%error, %name, position = %after, "the log cannot be read; trying again");
                backoff.wait().await;
            }
            Err(fault) => return Err(fault),
        }
    }
    Ok(Arc::new(Page { events: Vec::new(), scanned_to: after }))
}
