//! Reading a name of which two versions run: the one that serves answers.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;

use super::ReadModelHandle;
use crate::error::ReadError;
use crate::read_model::{Document, ReadModel};
use crate::stream::GlobalPosition;
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
        Ok(Document { body: body.into(), position })
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
        let document = match serves_old {
            true => beside.reads.read(key, after, within).await?,
            false => self.own.read(key, after, within).await?,
        };
        beside.answered.answered(serves_old, document.position);
        Ok(document)
    }
}
