//! Reading a name of which two versions run: the one that serves answers.
//!
//! Across a switch, in either direction, no answer is older than one that was given before: what the
//! one version has answered is the least that the other will.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;

use super::ReadModelHandle;
use crate::error::ReadError;
use crate::read_model::{Document, ReadModel};
use crate::stream::GlobalPosition;

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
    version: u32,
    reads: Box<dyn Reads<M>>,
    serving: watch::Receiver<u32>,
    /// The greatest position that the version before has answered.
    old_answered: AtomicU64,
    /// The greatest that the own one has.
    own_answered: AtomicU64,
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
        let beside = Beside {
            version: Old::VERSION,
            reads: Box::new(old),
            serving,
            old_answered: AtomicU64::new(0),
            own_answered: AtomicU64::new(0),
        };
        Self { own, beside: Some(Arc::new(beside)) }
    }

    /// See [`ReadModelHandle::read`].
    pub(crate) async fn read(
        &self,
        key: &str,
        after: GlobalPosition,
        within: Duration,
    ) -> Result<Document<M>, ReadError> {
        let Some(beside) = &self.beside else { return self.own.read(key, after, within).await };
        let serves_old = *beside.serving.borrow() == beside.version;
        let (answered, by_the_other) = match serves_old {
            true => (&beside.old_answered, &beside.own_answered),
            false => (&beside.own_answered, &beside.old_answered),
        };
        let after = after.max(GlobalPosition(by_the_other.load(Ordering::Acquire)));
        let document = match serves_old {
            true => beside.reads.read(key, after, within).await?,
            false => self.own.read(key, after, within).await?,
        };
        answered.fetch_max(document.position.0, Ordering::AcqRel);
        Ok(document)
    }
}
