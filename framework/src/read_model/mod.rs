//! The contract of a read model: one document per key, folded from events.
//!
//! The runtime keeps hot documents in memory, writes documents and checkpoint together, resumes
//! from the checkpoint after a crash and answers reads. For your own SQL use a projection instead.

pub(crate) mod actor;
pub(crate) mod answers;
pub(crate) mod documents;
pub(crate) mod drain;
pub(crate) mod encoding;
pub(crate) mod fold;
pub(crate) mod folder;
mod follower;
pub(crate) mod handle;
pub(crate) mod list;
pub(crate) mod owner;
pub(crate) mod read;
mod role;
pub(crate) mod save;
pub(crate) mod served;
pub(crate) mod shape;
pub(crate) mod sizes;
pub(crate) mod start;
#[cfg(test)]
pub(crate) mod tests;
pub(crate) mod versions;

pub(crate) use self::folder::{Changes, Folder};
pub(crate) use self::handle::ReadModelHandle;
pub(crate) use self::served::Served;

use std::ops::Deref;
use std::sync::{Arc, Mutex};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::aggregate::Aggregate;
use crate::catch_panic::Isolated;
use crate::error::StartError;
use crate::event::{EventEnvelope, GlobalPosition, StreamVersion};
use crate::subscription::sources::{EventKeys, Routes, with_shared};

/// Largest number of bytes in the name of a read model.
const MAX_NAME_BYTES: usize = 100;

/// Checks the name of a read model. The leases of its partitions have names such as `balance@2/0`, so
/// with `@` or `/` in it they could be taken for those of another read model.
pub(crate) fn check_name(name: &'static str) -> Result<(), StartError> {
    let is_odd = |c: char| matches!(c, '@' | '/') || c.is_control();
    match name.is_empty() || name.len() > MAX_NAME_BYTES || name.contains(is_odd) {
        true => Err(StartError::ReadModelName(name)),
        false => Ok(()),
    }
}

/// A document that is the fold of events, such as the balance of one account.
///
/// `Default` is the document before its first event. Raise `VERSION` when the meaning of a fold
/// changes: the read model is then built again from the first event, under its new name.
///
/// ```
/// # use actum::Aggregate;
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Default, Clone)] struct Account;
/// # #[derive(PartialEq, Serialize, Deserialize)] enum Event { Credited { amount: i64 } }
/// # impl Aggregate for Account {
/// #     const TYPE: &'static str = "account";
/// #     type Command = i64; type Event = Event; type Error = std::fmt::Error;
/// #     fn handle(&self, amount: i64) -> Result<Vec<Event>, std::fmt::Error> {
/// #         Ok(vec![Event::Credited { amount }])
/// #     }
/// #     fn apply(&mut self, _: &Event) {}
/// # }
/// use actum::{EventEnvelope, Fold, ReadModel, Sources};
///
/// #[derive(Default, Clone, Serialize, Deserialize)]
/// struct Balance {
///     cents: i64,
/// }
///
/// impl ReadModel for Balance {
///     const NAME: &'static str = "balance";
///
///     fn sources() -> Sources<Self> {
///         Sources::of::<Account>()
///     }
/// }
///
/// impl Fold<Account> for Balance {
///     fn apply(&mut self, event: &EventEnvelope<Event>) {
///         let Event::Credited { amount } = event.event;
///         self.cents += amount;
///     }
/// }
/// ```
pub trait ReadModel: Default + Clone + Serialize + DeserializeOwned + Send + 'static {
    /// Name of the read model in the database, in logs and in errors: 1 to 100 bytes, without `@`,
    /// `/` and control characters.
    const NAME: &'static str;

    /// Version of its folds, keys and sources.
    const VERSION: u32 = 1;

    /// Number of partitions that its documents are divided into by their keys, at most 1024. Each
    /// is folded and saved by itself, and several processes on one database share them. The number
    /// belongs to the version: to change it, raise `VERSION`.
    const PARTITIONS: u32 = 1;

    /// The aggregates it follows: `Sources::of::<Account>()`, and `.and::<Transfer>()` for more.
    /// It implements [`Fold`] for each.
    fn sources() -> Sources<Self>;

    /// Returns `true` if this document is to be deleted, as its last event left it; the default is
    /// never. A later event of its key starts again from `Default`.
    ///
    /// A deleted document is deleted in the transaction that saves the checkpoint. From its event
    /// on, reads return [`ReadError::NotFound`](crate::error::ReadError::NotFound) and lists leave it out.
    fn is_deleted(&self) -> bool {
        false
    }

    /// Returns the version of the aggregate that this document shows, if it shows one and has folded
    /// [`RecordedEvent::version`](crate::store::RecordedEvent::version). Over HTTP it is the `ETag`
    /// of a read, which a client sends as `If-Match` with a command, and as `If-None-Match` with the
    /// next read. The default is none.
    fn version(&self) -> Option<StreamVersion> {
        None
    }
}

/// Folding of the events of one aggregate into documents.
///
/// ```
/// # mod tour { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/tour.txt")); }
/// # use tour::{Account, Event};
/// # use actum::{EventEnvelope, Fold, ReadModel, Sources};
/// # use serde::{Deserialize, Serialize};
/// /// Date and time of the last booking of an account.
/// #[derive(Default, Clone, Serialize, Deserialize)]
/// struct LastBooking { at: Option<String> }
///
/// # impl ReadModel for LastBooking {
/// #     const NAME: &'static str = "last_booking";
/// #     fn sources() -> Sources<Self> { Sources::of::<Account>() }
/// # }
/// impl Fold<Account> for LastBooking {
///     fn apply(&mut self, event: &EventEnvelope<Event>) {
///         // The envelope has the position, the time and the metadata of the event too.
///         self.at = Some(event.recorded_at.to_string());
///     }
/// }
/// ```
pub trait Fold<A: Aggregate>: ReadModel {
    /// Folds the event into its document. Called once for each event and key, in the order of the
    /// log; the result may depend on nothing but the document and the event.
    ///
    /// [`EventEnvelope::key`] is the key of this document, where an event feeds several of them.
    fn apply(&mut self, event: &EventEnvelope<A::Event>);
}

/// A document as a read returns it. Dereferences to its body, so fields can be read directly.
///
/// ```
/// # mod tour { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/tour.txt")); }
/// # use tour::*;
/// # use actum::{Application, Document, store::MemoryStore};
/// # #[tokio::main]
/// # async fn main() -> Result<(), actum::BoxError> {
/// # let app = Application::builder(MemoryStore::new())
/// #     .aggregate::<Account>().read_model::<Balance>().start().await?;
/// # let committed = app.execute::<Account>("42", Command::Credit { cents: 1250 }).await?;
/// let document: Document<Balance> = app.read("42").after(committed.position).await?;
/// assert_eq!(document.cents, 1250); // a field of `Balance`
/// assert!(document.position >= committed.position);
/// # app.shutdown().await;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Document<M> {
    /// The document.
    pub body: M,
    /// The body reflects every event up to here.
    pub position: GlobalPosition,
}

impl<M> Deref for Document<M> {
    type Target = M;

    fn deref(&self) -> &M {
        &self.body
    }
}

/// A page of a list of documents, in the order of their keys' bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DocumentPage<M> {
    /// Keys and documents.
    pub documents: Vec<(String, M)>,
    /// Parked keys within the page. Their documents are left out, because they lack events up to
    /// `position`.
    pub parked: Vec<String>,
    /// Keys within the page whose stored document does not decode. `read` returns the reason.
    pub unreadable: Vec<String>,
    /// Value for [`DocumentRange::after`](crate::store::contract::DocumentRange) of the next page; `None` if this one
    /// is the last.
    pub next: Option<String>,
    /// The page reflects every event up to here. With one partition it reflects no later event;
    /// with several, documents of other partitions may already reflect some.
    pub position: GlobalPosition,
    /// No partition was further than this. A list after this position never goes back in time.
    pub up_to: GlobalPosition,
}

/// The aggregates a read model follows, and the keys of the documents that their events belong to.
///
/// ```
/// # use actum::{Aggregate, EventEnvelope, Fold, ReadModel, Sources};
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Default, Clone)] struct Order;
/// #[derive(PartialEq, Serialize, Deserialize)]
/// enum OrderEvent { Placed { lines: Vec<(String, u32)> } }
/// # impl Aggregate for Order {
/// #     const TYPE: &'static str = "order";
/// #     type Command = (); type Event = OrderEvent; type Error = std::fmt::Error;
/// #     fn handle(&self, _: ()) -> Result<Vec<OrderEvent>, std::fmt::Error> { Ok(vec![]) }
/// #     fn apply(&mut self, _: &OrderEvent) {}
/// # }
/// /// Pieces sold of one article.
/// #[derive(Default, Clone, Serialize, Deserialize)]
/// struct Sold { pieces: u32 }
///
/// impl ReadModel for Sold {
///     const NAME: &'static str = "sold";
///     // An order feeds one document for each of its articles.
///     fn sources() -> Sources<Self> {
///         Sources::by::<Order>(|event| {
///             let OrderEvent::Placed { lines } = &event.event;
///             lines.iter().map(|(article, _)| article.clone()).collect::<Vec<_>>()
///         })
///     }
/// }
///
/// impl Fold<Order> for Sold {
///     fn apply(&mut self, event: &EventEnvelope<OrderEvent>) {
///         let OrderEvent::Placed { lines } = &event.event;
///         let own = lines.iter().filter(|(article, _)| article == event.key());
///         self.pieces += own.map(|(_, pieces)| pieces).sum::<u32>();
///     }
/// }
/// ```
pub struct Sources<M> {
    pub(crate) routes: Routes<Change<M>>,
}

/// One event on its way into one document.
pub(crate) struct Change<M> {
    pub(crate) apply: Box<dyn FnOnce(&mut M) + Send>,
}

impl<M: ReadModel> Change<M> {
    fn of<A: Aggregate>(event: EventEnvelope<A::Event>) -> Self
    where
        M: Fold<A>,
    {
        // Wherever the change is dropped, the event's Drop is isolated.
        let event = Isolated::new(event);
        Self { apply: Box::new(move |document: &mut M| document.apply(&event)) }
    }

    /// The same with an event that several documents share: the changes are applied one by one.
    fn of_shared<A: Aggregate>(event: Arc<Mutex<EventEnvelope<A::Event>>>, key: &str) -> Self
    where
        M: Fold<A>,
    {
        let (key, event) = (key.to_owned(), Isolated::new(event));
        let apply =
            move |document: &mut M| with_shared(&event, &key, |event| document.apply(event));
        Self { apply: Box::new(apply) }
    }
}

impl<M: ReadModel> Sources<M> {
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

    /// Follows the aggregate `A`, with the documents that `keys` names.
    ///
    /// `keys` returns an `Option` of a key, a `Vec` or any other iterator of at most
    /// [`MAX_KEYS_PER_EVENT`](crate::store::MAX_KEYS_PER_EVENT) keys; a key that is named twice
    /// counts once. A key has at most [`MAX_KEY_BYTES`](crate::store::MAX_KEY_BYTES) bytes and no
    /// NUL. The event is folded once into each of these documents, and [`EventEnvelope::key`] says
    /// into which. If one of the folds fails, only its key is parked.
    ///
    /// Prefer [`Sources::of`] where it fits: the key is then known before an event is decoded, while
    /// here every partition decodes every event. An event that cannot be decoded halts the read model
    /// before that event, because it may belong to any document. An event that names too many keys is
    /// folded into none of them; it parks the key that is the id of its aggregate.
    pub fn by<A: Aggregate>(keys: impl EventKeys<A::Event>) -> Self
    where
        M: Fold<A>,
    {
        Self { routes: Routes::new() }.and_by::<A>(keys)
    }

    /// Follows the aggregate `A` too, as [`Sources::by`] does.
    #[must_use]
    pub fn and_by<A: Aggregate>(mut self, keys: impl EventKeys<A::Event>) -> Self
    where
        M: Fold<A>,
    {
        let share = |event, key: &str| Some(Change::of_shared::<A>(event, key));
        self.routes.by_content::<A>(keys, Change::of::<A>, share);
        self
    }
}
