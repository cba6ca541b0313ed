//! One follower's way through the log.
//!
//! Far behind, it reads for itself, only what it follows, one page ahead of its follower, and shares
//! its pages with others who are as far behind. Close to the tail it joins; when it is too slow the
//! tail lets it go and it reads for itself again. The [`Cursor`] decides what is handed on, so no
//! timing of these changes can lose or repeat an event.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tracing::warn;

use super::cursor::{Admission, Cursor, Stretch, dense};
use super::pages::Pages;
use super::tail::{End, Hub, Join};
use crate::error::StoreError;
use crate::event_store::{Filter, Page};
use crate::stream::GlobalPosition;

/// Hands on consecutive stretches of the log, each event once.
pub(crate) struct Subscription {
    hub: Arc<Hub>,
    name: Arc<str>,
    filter: Filter,
    cursor: Cursor,
    source: Source,
    changes: u64,
}

enum Source {
    /// The store, by our own cursor.
    Own { pages: Arc<Pages>, ahead: Option<Ahead> },
    /// The tail, once our cursor has reached `from`.
    Tail { from: GlobalPosition, stretches: mpsc::Receiver<Stretch> },
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
        Self { hub, name, filter, cursor, source, changes: 0 }
    }

    /// The next stretch, as soon as there is one; `None` once the tail was stopped. A store that
    /// does not answer is asked again until it does. May be cancelled at any point.
    ///
    /// # Errors
    /// The log cannot be read on: a hole or a corrupt row. Asking again does not help.
    pub(crate) async fn next(&mut self) -> Result<Option<Arc<Page>>, StoreError> {
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
                    Some(stretch) => match self.cursor.admit(&stretch) {
                        Admission::Next(page) => return Ok(Some(self.with_what_waits(page))),
                        Admission::Seen => {}
                        Admission::Gap => self.let_go(),
                    },
                    None => self.let_go(),
                },
            }
        }
    }

    /// The page and what else the tail has handed on meanwhile, as one, up to a full page.
    fn with_what_waits(&mut self, mut page: Arc<Page>) -> Arc<Page> {
        let Source::Tail { stretches, .. } = &mut self.source else { return page };
        while page.events.len() + self.hub.settings.page <= self.hub.settings.catch_up_page
            && let Ok(stretch) = stretches.try_recv()
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
        matches!(self.source, Source::Tail { from, .. } if self.cursor.at() >= from)
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
        let is_full = stretch.page.events.len() >= self.hub.settings.catch_up_page;
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
        let pages = Arc::clone(pages);
        (self.hub.spawn)(Box::pin(async move {
            tokio::select! {
                () = sender.closed() => {}
                stretch = read(&hub, &pages, &name, &filter, after) => {
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
        read(&self.hub, &pages, &self.name, &self.filter, after).await
    }
}

/// What continues after a position, as others have read it or as the store answers.
async fn read(
    hub: &Hub,
    pages: &Pages,
    name: &str,
    filter: &Filter,
    after: GlobalPosition,
) -> Read {
    let ask = read_from_store(hub, name, filter, after);
    pages.get(filter, after, hub.settings.shared_pages, ask).await
}

/// A page of what the filter admits, however often the store must be asked; an empty one if the
/// tail has ended meanwhile.
async fn read_from_store(
    hub: &Hub,
    name: &str,
    filter: &Filter,
    after: GlobalPosition,
) -> Result<Arc<Page>, StoreError> {
    let mut pause = hub.pause();
    while hub.ended().is_none() {
        match hub.store.read_all(after, filter, hub.settings.catch_up_page).await {
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
