//! Reading a name of which two versions run: the one that serves answers.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;

use super::handle::ReadModelHandle;
use super::{Document, DocumentPage, ReadModel};
use crate::error::ReadError;
use crate::event::GlobalPosition;
use crate::store::contract::{DocumentRange, Store};
use crate::versions::Answered;

/// A read model as reads see it. Clones for a counter.
pub(crate) struct Served<M: ReadModel> {
    own: ReadModelHandle<M>,
    beside: Option<Arc<Beside<M>>>,
}

impl<M: ReadModel> Clone for Served<M> {
    fn clone(&self) -> Self {
        Self { own: self.own.clone(), beside: self.beside.clone() }
    }
}

/// The version before, which goes on.
struct Beside<M> {
    reads: Box<dyn Reads<M>>,
    answered: Answered,
}

#[async_trait]
trait Reads<M>: Send + Sync {
    async fn read(
        &self,
        key: &str,
        after: GlobalPosition,
        within: Duration,
    ) -> Result<Document<M>, ReadError>;

    async fn list(
        &self,
        store: &dyn Store,
        range: &DocumentRange,
        after: GlobalPosition,
        within: Duration,
    ) -> Result<DocumentPage<M>, ReadError>;
}

#[async_trait]
impl<Old: ReadModel, M: ReadModel + From<Old>> Reads<M> for ReadModelHandle<Old> {
    async fn read(
        &self,
        key: &str,
        after: GlobalPosition,
        within: Duration,
    ) -> Result<Document<M>, ReadError> {
        let Document { body, position } = ReadModelHandle::read(self, key, after, within).await?;
        let body: M = body.into();
        // The new version would not have it.
        match body.is_deleted() {
            true => {
                Err(ReadError::NotFound { model: M::NAME, key: key.to_owned(), reflects: position })
            }
            false => Ok(Document { body, position }),
        }
    }

    async fn list(
        &self,
        store: &dyn Store,
        range: &DocumentRange,
        after: GlobalPosition,
        within: Duration,
    ) -> Result<DocumentPage<M>, ReadError> {
        let page = ReadModelHandle::list(self, store, range, after, within).await?;
        let DocumentPage { documents, parked, unreadable, next, position, up_to } = page;
        let documents = documents.into_iter().map(|(key, body)| (key, M::from(body)));
        let documents = documents.filter(|(_, body)| !body.is_deleted()).collect();
        Ok(DocumentPage { documents, parked, unreadable, next, position, up_to })
    }
}

impl<M: ReadModel> Served<M> {
    /// There is but one version.
    pub(crate) fn alone(own: ReadModelHandle<M>) -> Self {
        Self { own, beside: None }
    }

    /// The version before answers as long as it serves.
    pub(crate) fn beside<Old: ReadModel>(
        own: ReadModelHandle<M>,
        old: ReadModelHandle<Old>,
        serving: watch::Receiver<u32>,
    ) -> Self
    where
        M: From<Old>,
    {
        let answered = Answered::new(Old::VERSION, serving);
        Self { own, beside: Some(Arc::new(Beside { reads: Box::new(old), answered })) }
    }

    /// See [`ReadModelHandle::read`].
    pub(crate) async fn read(
        &self,
        key: &str,
        after: GlobalPosition,
        within: Duration,
    ) -> Result<Document<M>, ReadError> {
        let Some(beside) = &self.beside else { return self.own.read(key, after, within).await };
        let (serves_old, after) = beside.answered.turn(after);
        if serves_old {
            let read = beside.reads.read(key, after, within).await;
            if !has_left(&read) {
                let document = read?;
                beside.answered.answered(true, document.position);
                return Ok(document);
            }
        }
        let after = beside.answered.after_old(after);
        let document = self.own.read(key, after, within).await?;
        beside.answered.answered(false, document.position);
        Ok(document)
    }

    /// See [`ReadModelHandle::list`].
    pub(crate) async fn list(
        &self,
        store: &dyn Store,
        range: &DocumentRange,
        after: GlobalPosition,
        within: Duration,
    ) -> Result<DocumentPage<M>, ReadError> {
        let Some(beside) = &self.beside else {
            return self.own.list(store, range, after, within).await;
        };
        let (serves_old, after) = beside.answered.turn(after);
        if serves_old {
            let listed = beside.reads.list(store, range, after, within).await;
            if !has_left(&listed) {
                let page = listed?;
                beside.answered.answered(true, page.up_to);
                return Ok(page);
            }
        }
        let after = beside.answered.after_old(after);
        let page = self.own.list(store, range, after, within).await?;
        beside.answered.answered(false, page.up_to);
        Ok(page)
    }
}

/// Checks that the old version was switched away from and dropped while a read waited for it. The
/// new version then responds. If the application stops, so does the new version.
fn has_left<T>(read: &Result<T, ReadError>) -> bool {
    matches!(read, Err(ReadError::Stopping))
}
