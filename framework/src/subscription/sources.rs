//! Event routing: the aggregates that a read model or projection follows, and the keys of each
//! event.
//!
//! Keyed by stream, the usual case, the key of an event is known before the event is decoded. So
//! events of other partitions cost nothing, and an event that cannot be decoded parks one key.
//! Keyed by content, an event is decoded first and may name any number of keys. If it cannot be
//! decoded, its keys are unknown. User code runs in panic isolation here.
//!
//! See `docs/decisions.md`, "What happens when one event feeds several keys?"

use std::sync::{Arc, Mutex, PoisonError};

use super::keys::{IsOurs, named};
use crate::aggregate::Aggregate;
use crate::catch_panic::{Isolated, guarded};
use crate::event::codec::{CodecError, EventCodec};
use crate::event::{EventEnvelope, RecordedEvent};
use crate::store::contract::Filter;

/// A function that returns the keys of an event: an `Option` of one key, a `Vec` or any other
/// iterator of keys. Every closure of this form implements it.
pub trait EventKeys<E>:
    Fn(&EventEnvelope<E>) -> <Self as EventKeys<E>>::Keys + Send + Sync + 'static
{
    /// Type that the function returns.
    type Keys: IntoIterator<Item = String>;
}

impl<E, F, K> EventKeys<E> for F
where
    F: Fn(&EventEnvelope<E>) -> K + Send + Sync + 'static,
    K: IntoIterator<Item = String>,
{
    type Keys = K;
}

/// Routes of the events of several aggregates to one follower, each as a `T`.
pub(crate) struct Routes<T> {
    routes: Vec<Route<T>>,
}

struct Route<T> {
    aggregate_type: &'static str,
    take: Take<T>,
}

type Decode<T> = Box<dyn Fn(&Arc<RecordedEvent>) -> Result<T, CodecError> + Send + Sync>;
type DecodeKeyed<T> =
    Box<dyn Fn(&Arc<RecordedEvent>, &IsOurs<'_>) -> Result<Keyed<T>, CodecError> + Send + Sync>;

type HeaderKey = Box<dyn Fn(&RecordedEvent) -> Option<String> + Send + Sync>;
type DecodeFor<T> = Box<dyn Fn(&Arc<RecordedEvent>, &str) -> Result<T, CodecError> + Send + Sync>;

/// Place where the key of an event is found, and the function that decodes it.
enum Take<T> {
    Stream(Decode<T>),
    Header(HeaderKey, DecodeFor<T>),
    Content(DecodeKeyed<T>),
}

/// Keys of an event in this partition, with the event for each key or the reason why it cannot be
/// applied.
type Keyed<T> = Vec<(String, Result<T, String>)>;

/// Result of routing one event to one partition.
#[derive(Debug)]
pub(crate) enum Routed<T> {
    /// The event is not followed, has no key, or has only keys of other partitions.
    Nothing,
    /// The event for one key, or the reason why it cannot be applied there.
    One(String, Result<T, String>),
    /// The event for several distinct keys.
    Many(Keyed<T>),
    /// The event cannot be decoded and its keys are in its content, so it may belong to any key.
    Unknown(String),
}

impl<T> Routed<T> {
    /// Calls `each` for every key.
    ///
    /// # Errors
    /// The reason why the keys are unknown.
    pub(crate) fn each(
        self,
        mut each: impl FnMut(String, Result<T, String>),
    ) -> Result<(), String> {
        match self {
            Self::Nothing => {}
            Self::One(key, item) => each(key, item),
            Self::Many(keyed) => keyed.into_iter().for_each(|(key, item)| each(key, item)),
            Self::Unknown(reason) => return Err(reason),
        }
        Ok(())
    }
}

impl<T: 'static> Routes<T> {
    pub(crate) fn new() -> Self {
        Self { routes: Vec::new() }
    }

    /// Follows `A` and uses the aggregate's id as key.
    pub(crate) fn by_stream<A: Aggregate>(
        &mut self,
        wrap: impl Fn(EventEnvelope<A::Event>) -> T + Send + Sync + 'static,
    ) {
        let codec = EventCodec::<A::Event>::new(A::upcasters());
        let decode = move |recorded: &_| decode(&codec, recorded).map(&wrap);
        self.push::<A>(Take::Stream(Box::new(decode)));
    }

    /// Follows `A` and uses the keys that `keys` returns for each event. `wrap` creates one item
    /// from an event; `share` creates one for each of several keys.
    pub(crate) fn by_content<A: Aggregate>(
        &mut self,
        keys: impl EventKeys<A::Event>,
        wrap: impl Fn(EventEnvelope<A::Event>) -> T + Send + Sync + 'static,
        share: impl Fn(Arc<Mutex<EventEnvelope<A::Event>>>, &str) -> Option<T> + Send + Sync + 'static,
    ) {
        let codec = EventCodec::<A::Event>::new(A::upcasters());
        let decode = move |recorded: &Arc<RecordedEvent>, is_ours: &IsOurs<'_>| {
            let envelope = Isolated::new(decode(&codec, recorded)?);
            let mut named = match named(keys(&envelope), is_ours) {
                Ok(named) => named,
                // An error here would halt all partitions, so one client could stop all keys with
                // one event. Parking one key limits the damage.
                Err(reason) => {
                    let id = recorded.stream.id();
                    let parked = is_ours(id).then(|| (id.to_owned(), Err(reason)));
                    return Ok(parked.into_iter().collect());
                }
            };
            if let [(key, reason)] = &mut named[..] {
                let item = match reason.take() {
                    Some(reason) => Err(reason),
                    None => Ok(wrap(envelope.into_inner().with_key(key))),
                };
                return Ok(vec![(std::mem::take(key), item)]);
            }
            let shared = Isolated::new(Arc::new(Mutex::new(envelope.into_inner())));
            let item = |(key, reason): (String, Option<String>)| {
                let item = match reason {
                    Some(reason) => Err(reason),
                    None => match share(Arc::clone(&shared), &key) {
                        Some(item) => Ok(item),
                        // Decoded once more, because each item of this follower owns its event.
                        None => Ok(wrap(self::decode(&codec, recorded)?.with_key(&key))),
                    },
                };
                Ok((key, item))
            };
            named.into_iter().map(item).collect()
        };
        self.push::<A>(Take::Content(Box::new(decode)));
    }

    /// Follows those events of `A` for which `key` returns a key, which it reads without decoding the
    /// event. So an event that cannot be decoded parks its key only.
    pub(crate) fn by_header<A: Aggregate>(
        &mut self,
        key: impl Fn(&RecordedEvent) -> Option<String> + Send + Sync + 'static,
        wrap: impl Fn(EventEnvelope<A::Event>) -> T + Send + Sync + 'static,
    ) {
        let codec = EventCodec::<A::Event>::new(A::upcasters());
        let decode = move |recorded: &_, key: &_| {
            decode(&codec, recorded).map(|event| wrap(event.with_key(key)))
        };
        self.push::<A>(Take::Header(Box::new(key), Box::new(decode)));
    }

    fn push<A: Aggregate>(&mut self, take: Take<T>) {
        self.routes.push(Route { aggregate_type: A::TYPE, take });
    }

    /// Filter of the events that have a route.
    pub(crate) fn filter(&self) -> Filter {
        Filter { aggregate_types: self.aggregate_types().map(str::to_owned).collect() }
    }

    pub(crate) fn aggregate_types(&self) -> impl Iterator<Item = &'static str> {
        self.routes.iter().map(|route| route.aggregate_type)
    }

    /// Aggregate types whose events are keyed by their content.
    pub(crate) fn keyed_by_content(&self) -> impl Iterator<Item = &'static str> {
        let by_content = self.routes.iter().filter(|route| matches!(route.take, Take::Content(_)));
        by_content.map(|route| route.aggregate_type)
    }

    /// Description of the routes, such as `account by stream, order by content`. It is stored with
    /// a version, so that a program with other sources is detected at start.
    pub(crate) fn fingerprint(&self) -> String {
        let route = |route: &Route<T>| match route.take {
            Take::Stream(_) => format!("{} by stream", route.aggregate_type),
            Take::Header(..) => format!("{} by header", route.aggregate_type),
            Take::Content(_) => format!("{} by content", route.aggregate_type),
        };
        let mut routes: Vec<_> = self.routes.iter().map(route).collect();
        routes.sort_unstable(); // the order of registration does not change a fold
        routes.join(", ")
    }

    /// Decodes an event for those of its keys for which `is_ours` returns true.
    pub(crate) fn route(
        &self,
        recorded: &Arc<RecordedEvent>,
        is_ours: impl Fn(&str) -> bool,
    ) -> Routed<T> {
        let aggregate_type = recorded.stream.aggregate_type();
        let route = self.routes.iter().find(|route| route.aggregate_type == aggregate_type);
        match route.map(|route| &route.take) {
            None => Routed::Nothing,
            Some(Take::Stream(_)) if !is_ours(recorded.stream.id()) => Routed::Nothing,
            Some(Take::Stream(decode)) => {
                let item = isolated(|| decode(recorded));
                Routed::One(recorded.stream.id().to_owned(), item)
            }
            Some(Take::Header(key, decode)) => match key(recorded).filter(|key| is_ours(key)) {
                Some(key) => {
                    let item = isolated(|| decode(recorded, &key));
                    Routed::One(key, item)
                }
                None => Routed::Nothing,
            },
            Some(Take::Content(decode)) => match isolated(|| decode(recorded, &is_ours)) {
                Ok(mut keyed) if keyed.len() < 2 => match keyed.pop() {
                    Some((key, item)) => Routed::One(key, item),
                    None => Routed::Nothing,
                },
                Ok(keyed) => Routed::Many(keyed),
                Err(reason) => Routed::Unknown(reason),
            },
        }
    }

    /// Checks that an event belongs to a key, or that its keys are unknown.
    pub(crate) fn concerns(&self, recorded: &Arc<RecordedEvent>, key: &str) -> bool {
        !matches!(self.route(recorded, |its| its == key), Routed::Nothing)
    }

    /// Decodes a parked event to be retried. The event must still belong to the key under which it
    /// was parked. The documents or rows of other keys may already be past it, even in another
    /// partition, and without a key it would be dropped silently. So the only remedies are a
    /// rebuild, or an operator who skips the event.
    ///
    /// # Errors
    /// The reason why the key stays parked.
    pub(crate) fn route_parked(
        &self,
        recorded: &Arc<RecordedEvent>,
        key: &str,
    ) -> Result<T, String> {
        let mut found = None;
        self.route(recorded, |now| now == key).each(|_, item| found = Some(item))?;
        if let Some(item) = found {
            return item;
        }
        let mut other = None;
        self.route(recorded, |_| true).each(|now, _| other = Some(now))?;
        let advice = "raise the VERSION to rebuild with the new keys, or skip the event";
        Err(match other {
            None => format!("it has no key any more: {advice}"),
            Some(other) => format!("its key is {other:?} now: {advice}"),
        })
    }
}

fn decode<E: serde::Serialize + serde::de::DeserializeOwned>(
    codec: &EventCodec<E>,
    recorded: &Arc<RecordedEvent>,
) -> Result<EventEnvelope<E>, CodecError> {
    Ok(EventEnvelope::new(codec.decode(recorded)?, Arc::clone(recorded)))
}

fn isolated<T>(decode: impl FnOnce() -> Result<T, CodecError>) -> Result<T, String> {
    match guarded(decode) {
        Ok(decoded) => decoded.map_err(|error| error.to_string()),
        Err(panic) => Err(format!("panicked: {panic}")),
    }
}

/// Calls `code` with a shared event whose key is set to `key`.
pub(crate) fn with_shared<E, T>(
    shared: &Mutex<EventEnvelope<E>>,
    key: &str,
    code: impl FnOnce(&EventEnvelope<E>) -> T,
) -> T {
    // A fold that panicked had only a reference, so the event is unchanged.
    let mut event = shared.lock().unwrap_or_else(PoisonError::into_inner);
    event.set_key(key);
    code(&event)
}

/// Events that a projection or event handler receives, each as an `E`: the envelope of the one
/// aggregate it follows, or your own enum with a `From` for the envelope of each aggregate.
///
/// ```
/// # use actum::{Aggregate, EventEnvelope, EventSources};
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Default, Clone)] struct Order;
/// #[derive(PartialEq, Serialize, Deserialize)]
/// enum OrderEvent { Placed { articles: Vec<String> } }
/// # impl Aggregate for Order {
/// #     const TYPE: &'static str = "order";
/// #     type Command = (); type Event = OrderEvent; type Error = std::fmt::Error;
/// #     fn handle(&self, _: ()) -> Result<Vec<OrderEvent>, std::fmt::Error> { Ok(vec![]) }
/// #     fn apply(&mut self, _: &OrderEvent) {}
/// # }
/// // Delivered once for each article; `event.key()` returns which one.
/// let sources = EventSources::<EventEnvelope<OrderEvent>>::by::<Order>(|event| {
///     let OrderEvent::Placed { articles } = &event.event;
///     articles.clone()
/// });
/// # let _ = sources;
/// ```
pub struct EventSources<E> {
    pub(crate) routes: Routes<E>,
}

impl<E: 'static> EventSources<E> {
    /// Follows the aggregate `A`. The key of an event is the id of its aggregate, so an event that
    /// fails parks that key only.
    pub fn of<A: Aggregate>() -> Self
    where
        E: From<EventEnvelope<A::Event>>,
    {
        Self { routes: Routes::new() }.and::<A>()
    }

    /// Also follows the aggregate `A`.
    #[must_use]
    pub fn and<A: Aggregate>(mut self) -> Self
    where
        E: From<EventEnvelope<A::Event>>,
    {
        self.routes.by_stream::<A>(E::from);
        self
    }

    /// Follows the aggregate `A` by keys in its events, for rows that several aggregates share. One
    /// process receives all events of a key, in order.
    ///
    /// `keys` returns an `Option` of a key, a `Vec` or any other iterator of at most
    /// [`MAX_KEYS_PER_EVENT`](crate::store::MAX_KEYS_PER_EVENT) keys; repeated keys count once. The event is delivered, and decoded,
    /// once for each key. [`EventEnvelope::key`] returns that key. Write only the rows of that key,
    /// because the deliveries may fail independently and happen in different processes.
    ///
    /// An event that cannot be decoded halts the projection before that event, because it is
    /// unknown which rows it belongs to. An event with too many keys is delivered for none of them
    /// and parks the key that is the id of its aggregate.
    pub fn by<A: Aggregate>(keys: impl EventKeys<A::Event>) -> Self
    where
        E: From<EventEnvelope<A::Event>>,
    {
        Self { routes: Routes::new() }.and_by::<A>(keys)
    }

    /// Also follows the aggregate `A`, as [`EventSources::by`] does.
    #[must_use]
    pub fn and_by<A: Aggregate>(mut self, keys: impl EventKeys<A::Event>) -> Self
    where
        E: From<EventEnvelope<A::Event>>,
    {
        self.routes.by_content::<A>(keys, E::from, |_, _| None);
        self
    }
}
