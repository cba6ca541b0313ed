//! The contract of a read model: one document per key, folded from events.
//!
//! The runtime keeps hot documents in memory, writes documents and checkpoint together, resumes
//! from the checkpoint after a crash and answers reads. For your own SQL use a projection instead.

use std::ops::Deref;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::aggregate::Aggregate;
use crate::event::EventEnvelope;
use crate::sources::Routes;
use crate::stream::GlobalPosition;

/// The longest key of a document in bytes.
pub const MAX_KEY_BYTES: usize = 1024;

/// Whether every store can keep a document with this key.
pub(crate) fn is_valid_key(key: &str) -> bool {
    key.len() <= MAX_KEY_BYTES && !key.contains('\0')
}

/// A document that is the fold of events, such as the balance of one account.
///
/// `Default` is the document before its first event. Raise `VERSION` when the meaning of a fold
/// changes: the read model is then built again from the first event, under its new name.
pub trait ReadModel: Default + Clone + Serialize + DeserializeOwned + Send + 'static {
    /// Its name in the database, in logs and in errors.
    const NAME: &'static str;

    /// The version of its folds.
    const VERSION: u32 = 1;

    /// Into how many parts its documents are divided by their keys, at most 1024. Each part is folded
    /// and saved by itself, and several processes on one database share them. The number belongs to
    /// the version: to change it, raise `VERSION`.
    const PARTITIONS: u32 = 1;

    /// The aggregates it follows: `Sources::of::<Account>()`, and `.and::<Transfer>()` for more.
    /// It implements [`Fold`] for each.
    fn sources() -> Sources<Self>;
}

/// How a read model takes in the events of one aggregate.
pub trait Fold<A: Aggregate>: ReadModel {
    /// Folds the event into its document. Called once for each event, in the order of the log;
    /// the result may depend on nothing but the document and the event.
    fn apply(&mut self, event: &EventEnvelope<A::Event>);
}

/// A document as a read answers it. Everything of the body can be read from it directly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document<M> {
    /// The document.
    pub body: M,
    /// It reflects every event up to here.
    pub position: GlobalPosition,
}

impl<M> Deref for Document<M> {
    type Target = M;

    fn deref(&self) -> &M {
        &self.body
    }
}

/// The aggregates a read model follows, and the documents their events belong to.
pub struct Sources<M> {
    pub(crate) routes: Routes<Change<M>>,
}

/// One event on its way into its document.
pub(crate) struct Change<M> {
    pub(crate) apply: Box<dyn FnOnce(&mut M) + Send>,
}

impl<M> Change<M> {
    fn of<A: Aggregate>(event: EventEnvelope<A::Event>) -> Self
    where
        M: Fold<A>,
    {
        Self { apply: Box::new(move |document: &mut M| document.apply(&event)) }
    }
}

impl<M> Sources<M> {
    /// Follows the aggregate `A`, with a document for each: its key is the aggregate's id.
    pub fn of<A: Aggregate>() -> Self
    where
        M: Fold<A>,
    {
        Self { routes: Routes::new() }.and::<A>()
    }

    /// Follows the aggregate `A` too.
    #[must_use]
    pub fn and<A: Aggregate>(mut self) -> Self
    where
        M: Fold<A>,
    {
        self.routes.by_stream::<A>(Change::of::<A>);
        self
    }

    /// Follows the aggregate `A`, with the documents that `key` names: `None` if an event belongs to
    /// none. A key has at most [`MAX_KEY_BYTES`] bytes and no NUL.
    ///
    /// Prefer [`Sources::of`] where it fits: the key is then known before an event is decoded. An
    /// event keyed by content that cannot be decoded stops the whole read model, since it may belong
    /// to any document; and every partition decodes every event.
    pub fn by<A: Aggregate>(
        key: impl Fn(&EventEnvelope<A::Event>) -> Option<String> + Send + Sync + 'static,
    ) -> Self
    where
        M: Fold<A>,
    {
        Self { routes: Routes::new() }.and_by::<A>(key)
    }

    /// Follows the aggregate `A` too, as [`Sources::by`] does.
    #[must_use]
    pub fn and_by<A: Aggregate>(
        mut self,
        key: impl Fn(&EventEnvelope<A::Event>) -> Option<String> + Send + Sync + 'static,
    ) -> Self
    where
        M: Fold<A>,
    {
        self.routes.by_content::<A>(key, Change::of::<A>);
        self
    }
}
