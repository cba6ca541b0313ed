//! What a read model or projection takes in: which aggregates it follows, and the key of an event.
//!
//! Keyed by the stream, which is the rule, the key is known before the event is decoded: events of
//! other partitions cost nothing, and one that cannot be decoded stops just its key. Keyed by content
//! the event must be decoded first, and one that cannot be has no key: then all of it has to stop.
//! User code runs behind a guard here, so whatever it does comes out as a [`Routed`].

use std::sync::Arc;

use crate::aggregate::Aggregate;
use crate::codec::{CodecError, EventCodec};
use crate::event::{EventEnvelope, RecordedEvent};
use crate::guard::guarded;
use crate::read_model::{MAX_KEY_BYTES, is_valid_key};

/// The events of several aggregates on their way to one place, each as a `T`.
pub(crate) struct Routes<T> {
    routes: Vec<Route<T>>,
}

struct Route<T> {
    aggregate_type: &'static str,
    take: Take<T>,
}

type Decode<T> = Box<dyn Fn(&Arc<RecordedEvent>) -> Result<T, CodecError> + Send + Sync>;

enum Take<T> {
    ByStream(Decode<T>),
    ByContent(Decode<Option<(String, T)>>),
}

/// What an event is to one partition.
#[derive(Debug)]
pub(crate) enum Routed<T> {
    /// Not followed, of no key, or of a key in another partition.
    Nothing,
    /// To be applied.
    Item { key: String, item: T },
    /// It cannot be applied. Without a key it may belong to any.
    Unreadable { key: Option<String>, reason: String },
}

impl<T> Routes<T> {
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

    /// Follows `A`, keyed by what `key` says of each event; `None` if it belongs nowhere.
    pub(crate) fn by_content<A: Aggregate>(
        &mut self,
        key: impl Fn(&EventEnvelope<A::Event>) -> Option<String> + Send + Sync + 'static,
        wrap: impl Fn(EventEnvelope<A::Event>) -> T + Send + Sync + 'static,
    ) {
        let codec = EventCodec::<A::Event>::new(A::upcasters());
        let decode = move |recorded: &_| {
            let envelope = decode(&codec, recorded)?;
            Ok(key(&envelope).map(|key| (key, wrap(envelope))))
        };
        self.push::<A>(Take::ByContent(Box::new(decode)));
    }

    fn push<A: Aggregate>(&mut self, take: Take<T>) {
        self.routes.push(Route { aggregate_type: A::TYPE, take });
    }

    pub(crate) fn aggregate_types(&self) -> impl Iterator<Item = &'static str> {
        self.routes.iter().map(|route| route.aggregate_type)
    }

    /// Decodes an event if its key is one of ours.
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
                let key = recorded.stream.id().to_owned();
                match readable(decode, recorded) {
                    Ok(item) => Routed::Item { key, item },
                    Err(reason) => Routed::Unreadable { key: Some(key), reason },
                }
            }
            Some(Take::ByContent(decode)) => match readable(decode, recorded) {
                Ok(None) => Routed::Nothing,
                Ok(Some((key, item))) if is_valid_key(&key) => match is_ours(&key) {
                    true => Routed::Item { key, item },
                    false => Routed::Nothing,
                },
                Ok(Some((bad, _))) => {
                    let key = nearest_valid(&bad);
                    match is_ours(&key) {
                        true => Routed::Unreadable {
                            key: Some(key),
                            reason: format!("no document can have the key {bad:?}"),
                        },
                        false => Routed::Nothing,
                    }
                }
                Err(reason) => Routed::Unreadable { key: None, reason },
            },
        }
    }
}

fn decode<E: serde::Serialize + serde::de::DeserializeOwned>(
    codec: &EventCodec<E>,
    recorded: &Arc<RecordedEvent>,
) -> Result<EventEnvelope<E>, CodecError> {
    Ok(EventEnvelope { event: codec.decode(recorded)?, recorded: Arc::clone(recorded) })
}

fn readable<T>(decode: &Decode<T>, recorded: &Arc<RecordedEvent>) -> Result<T, String> {
    match guarded(|| decode(recorded)) {
        Ok(decoded) => decoded.map_err(|error| error.to_string()),
        Err(panic) => Err(format!("panicked: {panic}")),
    }
}

/// What a key that cannot be kept is parked under: all events of the same bad key together, and
/// apart from those of any good key, which does not have a replacement character.
fn nearest_valid(key: &str) -> String {
    let key = key.replace('\0', "\u{fffd}");
    match key.len() <= MAX_KEY_BYTES {
        true => key,
        false => format!("{}\u{fffd}", &key[..key.floor_char_boundary(MAX_KEY_BYTES - 3)]),
    }
}

/// The events that a projection takes in, each as an `E`: the envelope of the one aggregate it
/// follows, or an enum of your own with a `From` for the envelope of each.
pub struct EventSources<E> {
    pub(crate) routes: Routes<E>,
}

impl<E: 'static> EventSources<E> {
    /// Follows the aggregate `A`; what cannot be taken in stops its id, and nothing else.
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

    /// Follows the aggregate `A` by a key of its events' content, where rows are shared by several
    /// aggregates: events of one key are taken in by one process, in order. Such an event that
    /// cannot be decoded stops all of the projection, because its key is not known.
    pub fn by<A: Aggregate>(
        key: impl Fn(&EventEnvelope<A::Event>) -> Option<String> + Send + Sync + 'static,
    ) -> Self
    where
        E: From<EventEnvelope<A::Event>>,
    {
        Self { routes: Routes::new() }.and_by::<A>(key)
    }

    /// Follows the aggregate `A` too, as [`EventSources::by`] does.
    #[must_use]
    pub fn and_by<A: Aggregate>(
        mut self,
        key: impl Fn(&EventEnvelope<A::Event>) -> Option<String> + Send + Sync + 'static,
    ) -> Self
    where
        E: From<EventEnvelope<A::Event>>,
    {
        self.routes.by_content::<A>(key, E::from);
        self
    }
}
