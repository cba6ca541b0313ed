//! The contract of a read model: one document per key, folded from events.
//!
//! The runtime keeps hot documents in memory, writes documents and checkpoint together, resumes
//! from the checkpoint after a crash and answers reads. For your own SQL use a projection instead.

use std::ops::Deref;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::aggregate::Aggregate;
use crate::codec::{CodecError, EventCodec};
use crate::event::{EventEnvelope, RecordedEvent};
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

    /// The aggregates it follows: `Sources::of::<Account>()`, and `.and::<Transfer>()` for more.
    /// It implements [`Fold`] for each.
    fn sources() -> Sources<Self>;
}

/// How a read model takes in the events of one aggregate.
pub trait Fold<A: Aggregate>: ReadModel {
    /// Which document the event belongs to; `None` if to none. By default the aggregate's id. A key
    /// has at most [`MAX_KEY_BYTES`] bytes and no NUL; the read model halts at an event with another.
    fn key(event: &EventEnvelope<A::Event>) -> Option<String> {
        Some(event.stream.id().to_owned())
    }

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

/// The aggregates a read model follows.
pub struct Sources<M> {
    sources: Vec<(&'static str, Decode<M>)>,
}

type Decode<M> =
    Box<dyn Fn(&Arc<RecordedEvent>) -> Result<Option<Change<M>>, CodecError> + Send + Sync>;

/// One event on its way into one document.
pub(crate) struct Change<M> {
    pub(crate) key: String,
    pub(crate) apply: Box<dyn FnOnce(&mut M) + Send>,
}

impl<M> Sources<M> {
    /// Follows the aggregate `A`.
    pub fn of<A: Aggregate>() -> Self
    where
        M: Fold<A>,
    {
        Self { sources: Vec::new() }.and::<A>()
    }

    /// Follows the aggregate `A` too.
    #[must_use]
    pub fn and<A: Aggregate>(mut self) -> Self
    where
        M: Fold<A>,
    {
        let codec = EventCodec::<A::Event>::new(A::upcasters());
        let decode = move |recorded: &Arc<RecordedEvent>| {
            let event = codec.decode(recorded)?;
            let envelope = EventEnvelope { event, recorded: Arc::clone(recorded) };
            Ok(M::key(&envelope).map(|key| Change {
                key,
                apply: Box::new(move |document: &mut M| document.apply(&envelope)) as Box<_>,
            }))
        };
        self.sources.push((A::TYPE, Box::new(decode)));
        self
    }

    pub(crate) fn aggregate_types(&self) -> impl Iterator<Item = &'static str> {
        self.sources.iter().map(|(aggregate_type, _)| *aggregate_type)
    }

    /// The change an event makes, or `None` if the read model does not follow it.
    pub(crate) fn change(
        &self,
        recorded: &Arc<RecordedEvent>,
    ) -> Result<Option<Change<M>>, CodecError> {
        let aggregate_type = recorded.stream.aggregate_type();
        match self.sources.iter().find(|(followed, _)| *followed == aggregate_type) {
            Some((_, decode)) => decode(recorded),
            None => Ok(None),
        }
    }
}
