//! Page cache of followers that are behind. Followers at about the same position, such as the
//! partitions of one read model, read each page only once.
//!
//! The cache is limited by number and bytes of pages. It is owned by the followers that are behind,
//! and is dropped with the last of them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::OnceCell;

use super::cursor::Stretch;
use crate::error::StoreError;
use crate::event::GlobalPosition;
use crate::store::contract::{Filter, Page, PageLimit};

/// The most recently read pages, including those that are being read.
#[derive(Default)]
pub(super) struct Pages {
    recent: Mutex<VecDeque<Arc<Recent>>>,
}

struct Recent {
    filter: Filter,
    after: GlobalPosition,
    /// The page and its bytes, which are counted once because every later read asks for them.
    page: OnceCell<(Arc<Page>, usize)>,
}

impl Recent {
    /// Checks that the page has, or will have, the events after a position without a gap before
    /// them.
    fn continues(&self, filter: &Filter, after: GlobalPosition) -> bool {
        self.filter == *filter
            && match self.page.get() {
                Some((page, _)) => self.after <= after && after < page.scanned_to,
                // The page is still being read, so it is unknown how far it will reach.
                None => self.after == after,
            }
    }
}

impl Pages {
    /// Returns a stretch that continues after a position: a cached page, otherwise the result of
    /// `read`. If the page is cached, `read` is not polled. If several callers need the same page,
    /// one of them reads it.
    pub(super) async fn get(
        &self,
        filter: &Filter,
        after: GlobalPosition,
        most: PageLimit,
        read: impl Future<Output = Result<Arc<Page>, StoreError>>,
    ) -> Result<Stretch, StoreError> {
        let recent = self.recent(filter, after, most);
        let counted = async {
            let page = read.await?;
            let bytes = page.bytes();
            Ok::<_, StoreError>((page, bytes))
        };
        let (page, _) = recent.page.get_or_try_init(|| counted).await?;
        Ok(Stretch { after: recent.after, page: Arc::clone(page) })
    }

    fn recent(&self, filter: &Filter, after: GlobalPosition, most: PageLimit) -> Arc<Recent> {
        let mut recent = self.lock();
        // Followers at one place share one read, because each of them would otherwise read and
        // parse the same page.
        if let Some(found) = recent.iter().find(|recent| recent.continues(filter, after)) {
            return Arc::clone(found);
        }
        // An empty page is of no use to other followers.
        recent.retain(|recent| {
            recent.page.get().is_none_or(|(page, _)| page.scanned_to > recent.after)
        });
        let bytes = |recent: &VecDeque<Arc<Recent>>| {
            recent
                .iter()
                .filter_map(|recent| recent.page.get())
                .map(|(_, bytes)| bytes)
                .sum::<usize>()
        };
        while recent.len() >= most.events.max(1) || bytes(&recent) > most.bytes {
            recent.pop_front();
        }
        // Entered before it is read, so that the next follower waits for this read and starts none.
        let new = Recent { filter: filter.clone(), after, page: OnceCell::new() };
        let new = Arc::new(new);
        recent.push_back(Arc::clone(&new));
        new
    }

    /// No code under this lock can panic, so a poisoned lock is still valid.
    fn lock(&self) -> MutexGuard<'_, VecDeque<Arc<Recent>>> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
