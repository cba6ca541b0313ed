//! The pages that followers who are behind have read last, so that those who are in step, such as
//! the partitions of one model, read each only once.
//!
//! A number of pages and a sum of bytes bound it. It belongs to those who are behind: with the last
//! of them it goes.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::OnceCell;

use super::cursor::Stretch;
use crate::error::StoreError;
use crate::event::GlobalPosition;
use crate::store::contract::{Filter, Page, PageLimit};

/// The last pages that were read, or are being read.
#[derive(Default)]
pub(super) struct Pages {
    recent: Mutex<VecDeque<Arc<Recent>>>,
}

struct Recent {
    filter: Filter,
    after: GlobalPosition,
    page: OnceCell<Arc<Page>>,
}

impl Recent {
    /// Whether it has, or will have, events after a position and none missing before.
    fn continues(&self, filter: &Filter, after: GlobalPosition) -> bool {
        self.filter == *filter
            && match self.page.get() {
                Some(page) => self.after <= after && after < page.scanned_to,
                None => self.after == after,
            }
    }
}

impl Pages {
    /// A stretch that continues after a position: one of the cached pages, otherwise the result of
    /// `read`, which is not polled if the page is cached. If several callers want the same page, one
    /// of them reads it.
    pub(super) async fn get(
        &self,
        filter: &Filter,
        after: GlobalPosition,
        most: PageLimit,
        read: impl Future<Output = Result<Arc<Page>, StoreError>>,
    ) -> Result<Stretch, StoreError> {
        let recent = self.recent(filter, after, most);
        let page = Arc::clone(recent.page.get_or_try_init(|| read).await?);
        Ok(Stretch { after: recent.after, page })
    }

    fn recent(&self, filter: &Filter, after: GlobalPosition, most: PageLimit) -> Arc<Recent> {
        let mut recent = self.lock();
        if let Some(found) = recent.iter().find(|recent| recent.continues(filter, after)) {
            return Arc::clone(found);
        }
        // A page that brought nothing is of no use to anybody later.
        recent.retain(|recent| recent.page.get().is_none_or(|page| page.scanned_to > recent.after));
        let bytes = |recent: &VecDeque<Arc<Recent>>| {
            recent
                .iter()
                .filter_map(|recent| recent.page.get())
                .map(|page| page.bytes())
                .sum::<usize>()
        };
        while recent.len() >= most.events.max(1) || bytes(&recent) > most.bytes {
            recent.pop_front();
        }
        let new = Recent { filter: filter.clone(), after, page: OnceCell::new() };
        let new = Arc::new(new);
        recent.push_back(Arc::clone(&new));
        new
    }

    /// Nothing under this lock can panic, so a poisoned one is whole.
    fn lock(&self) -> MutexGuard<'_, VecDeque<Arc<Recent>>> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
