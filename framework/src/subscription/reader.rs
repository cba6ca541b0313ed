//! One follower's way through the log.
//!
//! Far behind, it reads for itself, only what it follows, one page ahead of its follower, and shares
//! its pages with others who are as far behind. Close to the tail it joins; when it is too slow the
//! tail lets it go and it reads for itself again. The [`Cursor`] decides what is handed on, so no
//! timing of these changes can lose or repeat an event.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tracing::warn;

use super::TailSettings;
use super::cursor::{Admission, Cursor, Stretch, dense};
use super::pages::Pages;
use super::tail::{End, Hub, Join, Waiting};
use crate::error::StoreError;
use crate::event_store::{Filter, Page, PageLimit};
use crate::stream::GlobalPosition;

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
    changes: u64,
}

enum Source {
    /// The store, by our own cursor.
    Own { pages: Arc<Pages>, ahead: Option<Ahead> },
    /// The tail, once our cursor has reached `from`.
    Tail { from: GlobalPosition, stretches: mpsc::Receiver<Waiting> },
}

/// A page that is being read while the one before is being folded.
struct Ahead {
    after: GlobalPosition,
    read: oneshot::Receiver<Read>,
}

type Read = Result<Stretch, StoreError>;

impl Subscription {
    pub(super) fn new(hub: Arc<Hub>, name: Arc<str>, filter: Filter, cursor: Cursor) -> Self {
        let source = Source::Own { pages: hub.pages(), ahead: None };
        let page_events = hub.settings.catch_up_page;
        Self { hub, name, filter, cursor, source, rest: None, page_events, changes: 0 }
    }

    /// The next stretch, as soon as there is one; `None` once the tail was stopped. A store that
    /// does not answer is asked again until it does. May be cancelled at any point.
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
                        None => self.hub.pause().rest().await,
                    },
                    Join::Ended(End::Stopped) => return Ok(None),
                    Join::Ended(End::Fault(fault)) => return Err(fault),
                },
                Source::Tail { from, .. } if self.cursor.at() < *from => {
                    match self.read_own().await? {
                        Some(page) => return Ok(Some(page)),
                        None if self.hub.ended().is_some() => self.let_go(),
                        None => self.hub.pause().rest().await,
                    }
                }
                Source::Tail { stretches, .. } => match stretches.recv().await {
                    Some(Waiting { stretch, .. }) => match self.cursor.admit(&stretch) {
                        Admission::Next(page) => return Ok(Some(self.with_what_waits(page))),
                        Admission::Seen => {}
                        Admission::Gap => self.let_go(),
                    },
                    None => self.let_go(),
                },
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

    /// How often it joined the tail or was let go.
    #[cfg(test)]
    pub(crate) fn changes(&self) -> u64 {
        self.changes
    }

    fn let_go(&mut self) {
        self.turn_to(Source::Own { pages: self.hub.pages(), ahead: None });
    }

    fn turn_to(&mut self, source: Source) {
        self.source = source;
        self.changes += 1;
    }

    /// The next page by our own cursor; `None` if the store has no more, or the tail has ended.
    async fn read_own(&mut self) -> Result<Option<Arc<Page>>, StoreError> {
        let after = self.cursor.at();
        let stretch = match self.take_ahead(after) {
            // A reader that vanished read nothing: read again.
            Some(ahead) => match ahead.read.await {
                Ok(read) => read?,
                Err(_) => self.read(after).await?,
            },
            None => self.read(after).await?,
        };
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
                if is_full {
                    self.read_ahead();
                }
                Ok(Some(page))
            }
            Admission::Seen | Admission::Gap => Ok(None),
        }
    }

    fn take_ahead(&mut self, after: GlobalPosition) -> Option<Ahead> {
        match &mut self.source {
            Source::Own { ahead, .. } => ahead.take().filter(|ahead| ahead.after == after),
            Source::Tail { .. } => None,
        }
    }

    fn read_ahead(&mut self) {
        let Source::Own { pages, ahead } = &mut self.source else { return };
        let (mut sender, read_by) = oneshot::channel();
        let after = self.cursor.at();
        let (hub, name, filter) = (self.hub.clone(), self.name.clone(), self.filter.clone());
        let (pages, events) = (Arc::clone(pages), self.page_events);
        (self.hub.spawn)(Box::pin(async move {
            tokio::select! {
                () = sender.closed() => {}
                stretch = read(&hub, &pages, &name, &filter, after, events) => {
                    let _ = sender.send(stretch); // nobody waits any more: it will be read again
                }
            }
        }));
        *ahead = Some(Ahead { after, read: read_by });
    }

    async fn read(&self, after: GlobalPosition) -> Read {
        let pages = match &self.source {
            Source::Own { pages, .. } => Arc::clone(pages),
            Source::Tail { .. } => self.hub.pages(),
        };
        read(&self.hub, &pages, &self.name, &self.filter, after, self.page_events).await
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
    let mut pause = hub.pause();
    while hub.ended().is_none() {
        match hub.store.read_all(after, filter, limit).await {
            Ok(page) => {
                dense(after, filter, &page)?;
                return Ok(Arc::new(page));
            }
            Err(error @ (StoreError::Unavailable(_) | StoreError::Unknown(_))) => {
                warn!(%error, %name, position = %after, "the log cannot be read; trying again");
                pause.rest().await;
            }
            Err(fault) => return Err(fault),
        }
    }
    Ok(Arc::new(Page { events: Vec::new(), scanned_to: after }))
}
