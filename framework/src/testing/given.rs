//! Past events of several aggregates, encoded and recorded like in a log.

use std::fmt::Debug;
use std::iter::successors;
use std::sync::Arc;

use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::stored::{encoded, stream};
use crate::aggregate::Aggregate;
use crate::event::codec::{Encoded, EventCodec};
use crate::event::{GlobalPosition, RecordedEvent, StreamId, StreamVersion};

/// Past events in the order of the log.
#[derive(Default)]
pub(super) struct Given {
    pub(super) events: Vec<Arc<RecordedEvent>>,
    /// The same events as text for messages.
    pub(super) shown: Vec<String>,
}

impl Given {
    /// Records events, each with the id of its aggregate. `follower` must follow their aggregate
    /// type.
    #[track_caller]
    pub(super) fn happen<A: Aggregate>(
        &mut self,
        follower: &str,
        mut follows: impl Iterator<Item = &'static str>,
        events: impl IntoIterator<Item = (impl AsRef<str>, A::Event)>,
    ) where
        A::Event: Debug + PartialEq,
    {
        let follows = follows.any(|followed| followed == A::TYPE);
        assert!(follows, "{follower} does not follow {}: add it to its sources", A::TYPE);
        let codec = EventCodec::new(A::upcasters());
        for (id, event) in events {
            let id = id.as_ref();
            self.shown.push(format!("{}-{id}: {event:?}", A::TYPE));
            self.record(stream(A::TYPE, id), encoded(&codec, &event).0);
        }
    }

    fn record(&mut self, stream: StreamId, encoded: Encoded) {
        let before = self.events.iter().filter(|event| event.stream == stream).count() as u64;
        let position = self.events.len() as u64 + 1;
        let first = OffsetDateTime::UNIX_EPOCH + Duration::days(10_957);
        self.events.push(Arc::new(RecordedEvent {
            position: GlobalPosition(position),
            stream,
            version: StreamVersion(before + 1),
            event_id: Uuid::from_u128(u128::from(position)),
            event_type: encoded.event_type.to_owned(),
            schema_version: encoded.schema_version,
            payload: encoded.payload,
            metadata: "{}".to_owned(),
            recorded_at: first + Duration::seconds(position as i64 - 1),
        }));
    }
}

/// Returns the batch sizes to test: 1, 2, 3, 5, 8 … and all events.
pub(super) fn batch_sizes(events: usize) -> impl Iterator<Item = usize> {
    let all = events.max(1);
    let sizes = successors(Some((1, 2)), |(size, next)| Some((*next, size + next)));
    sizes.map(|(size, _)| size).take_while(move |size| *size < all).chain([all])
}
