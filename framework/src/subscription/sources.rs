//! Event routing: which aggregates a read model or projection follows, and the keys of each event.
//!
//! Keyed by the stream, which is the rule, an event's key is known before the event is decoded.
//! Events of other partitions then cost nothing, and an undecodable event parks one key. Keyed by
//! content, an event is decoded first and names any number of keys; if it cannot be decoded, no
//! follower can tell which keys it belongs to. User code runs in panic isolation here.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use crate::aggregate::Aggregate;
use crate::catch_panic::{Isolated, guarded};
use crate::event::codec::{CodecError, EventCodec};
use crate::event::{EventEnvelope, RecordedEvent};
use crate::store::contract::{Filter, MAX_KEY_BYTES, MAX_PAYLOAD_BYTES, is_valid_key};

/// Largest number of distinct keys that one event may feed. With at most
/// [`MAX_KEY_BYTES`](crate::store::contract::MAX_KEY_BYTES) bytes each, this also bounds their bytes. An event that
/// names more feeds none of them: it parks the key that is the id of its aggregate.
pub const MAX_KEYS_PER_EVENT: usize = 1_000;

/// Largest number of keys that are looked at for one event, each as often as it is named. It bounds
/// an iterator without an end. No key function that reads names from an event finds more of them,
/// because a name has a byte at least.
const MAX_NAMED: usize = MAX_PAYLOAD_BYTES;

/// A function that returns the keys an event belongs to: an `Option` of one key, a `Vec` or any
/// other iterator of them. Every closure of this form implements it.
pub trait EventKeys<E>:
    Fn(&EventEnvelope<E>) -> <Self as EventKeys<E>>::Keys + Send + Sync + 'static
{
    /// The type that the function returns.
    type Keys: IntoIterator<Item = String>;
}

impl<E, F, K> EventKeys<E> for F
where
    F: Fn(&EventEnvelope<E>) -> K + Send + Sync + 'static,
    K: IntoIterator<Item = String>,
{
    type Keys = K;
}

/// The events of several aggregates on their way to one place, each as a `T`.
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
type IsOurs<'a> = dyn Fn(&str) -> bool + 'a;

enum Take<T> {
    ByStream(Decode<T>),
    ByContent(DecodeKeyed<T>),
}

/// Each key of an event that belongs to the partition, and the event for that key.
type Keyed<T> = Vec<(String, Result<T, String>)>;

/// Result of routing one event to one partition.
#[derive(Debug)]
pub(crate) enum Routed<T> {
    /// Not followed, of no key, or only of keys in other partitions.
    Nothing,
    /// The event for one key, or the reason why it cannot be applied there.
    One(String, Result<T, String>),
    /// The same for several keys, each of them once.
    Many(Keyed<T>),
    /// The event cannot be decoded and its keys are in its content, so it may belong to any key.
    Unknown(String),
}

impl<T> Routed<T> {
    /// Calls `each` with every key.
    ///
    /// # Errors
    /// The keys are not known, for this reason.
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

    /// Follows `A`, keyed by the aggregate's id.
    pub(crate) fn by_stream<A: Aggregate>(
        &mut self,
        wrap: impl Fn(EventEnvelope<A::Event>) -> T + Send + Sync + 'static,
    ) {
        let codec = EventCodec::<A::Event>::new(A::upcasters());
        let decode = move |recorded: &_| decode(&codec, recorded).map(&wrap);
        self.push::<A>(Take::ByStream(Box::new(decode)));
    }

    /// Follows `A`, keyed by the keys that `keys` returns for each event. `wrap` makes one item of
    /// an event; `share` makes one for each of several keys.
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
                // One client could otherwise halt all keys of all partitions with one event.
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
                        // Decoded again: an item of this follower owns its event.
                        None => Ok(wrap(self::decode(&codec, recorded)?.with_key(&key))),
                    },
                };
                Ok((key, item))
            };
            named.into_iter().map(item).collect()
        };
        self.push::<A>(Take::ByContent(Box::new(decode)));
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

    /// The aggregate types whose events are keyed by their content.
    pub(crate) fn keyed_by_content(&self) -> impl Iterator<Item = &'static str> {
        let by_content =
            self.routes.iter().filter(|route| matches!(route.take, Take::ByContent(_)));
        by_content.map(|route| route.aggregate_type)
    }

    /// Routes in words, such as `account by stream, order by content`: stored beside a version, so
    /// that a program whose sources differ is recognised at start.
    pub(crate) fn fingerprint(&self) -> String {
        let route = |route: &Route<T>| match route.take {
            Take::ByStream(_) => format!("{} by stream", route.aggregate_type),
            Take::ByContent(_) => format!("{} by content", route.aggregate_type),
        };
        let mut routes: Vec<_> = self.routes.iter().map(route).collect();
        routes.sort_unstable(); // the order of registration does not change a fold
        routes.join(", ")
    }

    /// Decodes an event for those of its keys that are ours.
    pub(crate) fn route(
        &self,
        recorded: &Arc<RecordedEvent>,
        is_ours: impl Fn(&str) -> bool,
    ) -> Routed<T> {
        let aggregate_type = recorded.stream.aggregate_type();
        let route = self.routes.iter().find(|route| route.aggregate_type == aggregate_type);
        match route.map(|route| &route.take) {
            None => Routed::Nothing,
            Some(Take::ByStream(_)) if !is_ours(recorded.stream.id()) => Routed::Nothing,
            Some(Take::ByStream(decode)) => {
                let item = isolated(|| decode(recorded));
                Routed::One(recorded.stream.id().to_owned(), item)
            }
            Some(Take::ByContent(decode)) => match isolated(|| decode(recorded, &is_ours)) {
                Ok(mut keyed) if keyed.len() < 2 => match keyed.pop() {
                    Some((key, item)) => Routed::One(key, item),
                    None => Routed::Nothing,
                },
                Ok(keyed) => Routed::Many(keyed),
                Err(reason) => Routed::Unknown(reason),
            },
        }
    }

    /// Checks that an event belongs to a key, or that its keys are not known.
    pub(crate) fn concerns(&self, recorded: &Arc<RecordedEvent>, key: &str) -> bool {
        !matches!(self.route(recorded, |its| its == key), Routed::Nothing)
    }

    /// Decodes an event that was parked under a key, to be tried again. Read models and projections
    /// share this rule: the event must still belong to that key. The documents or rows of other keys
    /// may be past it already, in another partition even, and with no key at all it would be dropped
    /// in silence. So only a rebuild is right, or an operator who skips the event.
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
        let advice = "raise the VERSION, to build all of it with the new keys, or skip the event";
        Err(match other {
            None => format!("it belongs to no key now: {advice}"),
            Some(other) => format!("its key is {other:?} now: {advice}"),
        })
    }
}

/// Returns the keys of ours among these, each once and in order, with the reason why a key cannot
/// be kept.
///
/// # Errors
/// There are too many. All partitions agree on that, because those of the others count as well.
fn named(
    keys: impl IntoIterator<Item = String>,
    is_ours: &IsOurs<'_>,
) -> Result<Vec<(String, Option<String>)>, String> {
    let (mut seen, mut named) = (BTreeSet::new(), Vec::new());
    for (count, key) in keys.into_iter().enumerate() {
        let (key, reason) = match is_valid_key(&key) {
            true => (key, None),
            false => {
                let reason = format!("no document can have the key {key:?}");
                (nearest_valid(&key), Some(reason))
            }
        };
        if seen.contains(&key) && count < MAX_NAMED {
            continue;
        }
        if seen.len() >= MAX_KEYS_PER_EVENT || count >= MAX_NAMED {
            return Err(format!(
                "it names more than {MAX_KEYS_PER_EVENT} keys, and none of them takes it in: name \
                 fewer and raise the VERSION, or skip the event"
            ));
        }
        if is_ours(&key) {
            named.push((key.clone(), reason));
        }
        seen.insert(key);
    }
    Ok(named)
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

/// Calls `code` with a shared event that is set to this key.
pub(crate) fn with_shared<E, T>(
    shared: &Mutex<EventEnvelope<E>>,
    key: &str,
    code: impl FnOnce(&EventEnvelope<E>) -> T,
) -> T {
    // A fold that panicked had the event by reference, so the event is whole.
    let mut event = shared.lock().unwrap_or_else(PoisonError::into_inner);
    event.set_key(key);
    code(&event)
}

/// Key that events of an invalid key are parked under: all events of the same invalid key together,
/// and apart from those of any valid key, which does not have a replacement character.
fn nearest_valid(key: &str) -> String {
    let key = key.replace('\0', "\u{fffd}");
    match key.len() <= MAX_KEY_BYTES {
        true => key,
        false => format!("{}\u{fffd}", &key[..key.floor_char_boundary(MAX_KEY_BYTES - 3)]),
    }
}

/// The events that a projection takes in, each as an `E`: the envelope of the one aggregate it
/// follows, or an enum of your own with a `From` for the envelope of each.
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
/// // One arrival for each article: `event.key()` says which one.
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
    /// Follows the aggregate `A`; an event that fails parks the id of its aggregate and no other.
    pub fn of<A: Aggregate>() -> Self
    where
        E: From<EventEnvelope<A::Event>>,
    {
        Self { routes: Routes::new() }.and::<A>()
    }

    /// Follows the aggregate `A` too.
    #[must_use]
    pub fn and<A: Aggregate>(mut self) -> Self
    where
        E: From<EventEnvelope<A::Event>>,
    {
        self.routes.by_stream::<A>(E::from);
        self
    }

    /// Follows the aggregate `A` by keys of its events' content, where several aggregates share
    /// rows: events of one key are taken in by one process, in order.
    ///
    /// `keys` returns an `Option` of a key, a `Vec` or any other iterator of at most
    /// [`MAX_KEYS_PER_EVENT`] keys; a key that is named twice counts once. The event arrives once for
    /// each key, and [`EventEnvelope::key`] says for which, so write the rows of that key only: the
    /// arrivals may fail apart, and may be taken in by different processes. The event is decoded
    /// once for each key.
    ///
    /// An event that cannot be decoded halts the projection before that event, because no one can
    /// tell which rows would miss it. An event that names too many keys arrives for none of them; it
    /// parks the key that is the id of its aggregate.
    pub fn by<A: Aggregate>(keys: impl EventKeys<A::Event>) -> Self
    where
        E: From<EventEnvelope<A::Event>>,
    {
        Self { routes: Routes::new() }.and_by::<A>(keys)
    }

    /// Follows the aggregate `A` too, as [`EventSources::by`] does.
    #[must_use]
    pub fn and_by<A: Aggregate>(mut self, keys: impl EventKeys<A::Event>) -> Self
    where
        E: From<EventEnvelope<A::Event>>,
    {
        self.routes.by_content::<A>(keys, E::from, |_, _| None);
        self
    }
}
