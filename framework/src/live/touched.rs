//! Maps an event to the keys that it touches, for followers of streams and of documents.

use std::borrow::Cow;
use std::sync::Arc;

use super::wakes::Wakes;
use crate::event::RecordedEvent;
use crate::read_model::ReadModel;
use crate::store::contract::Filter;
use crate::subscription::Tail;
use crate::subscription::sources::Routes;

/// Keys that an event touches, with the mark that they reach.
pub(super) enum Touched<'e> {
    Nothing,
    /// One key and its new mark.
    Key(Cow<'e, str>, u64),
    /// Several keys and their common new mark.
    Keys(Vec<String>, u64),
    /// Unknown keys: the event cannot be decoded, so it may touch any key.
    Unclear(String),
}

/// Function that returns the keys that an event touches.
pub(super) type Touch = dyn for<'e> Fn(&'e Arc<RecordedEvent>) -> Touched<'e> + Send + Sync;

impl Wakes {
    /// Creates the notifications for followers of streams: a key is a stream, a mark is a version.
    pub(crate) fn of_streams(tail: Tail) -> Self {
        Self::new("followers", tail, Filter::all(), Box::new(stream))
    }

    /// Creates the notifications for followers of documents: a key is a document's key, a mark is a
    /// position.
    pub(crate) fn of_documents<M: ReadModel>(tail: Tail) -> Self {
        // Routes of its own, because a process may follow documents of partitions that it does not
        // own.
        let routes = M::sources().routes;
        let aggregate_types = routes.aggregate_types().map(str::to_owned).collect();
        Self::new(M::NAME, tail, Filter { aggregate_types }, documents(routes))
    }
}

fn stream(event: &Arc<RecordedEvent>) -> Touched<'_> {
    Touched::Key(event.stream.as_str().into(), event.version.0)
}

fn documents<T: 'static>(routes: Routes<T>) -> Box<Touch> {
    Box::new(move |event| {
        let (mut touched, position) = (Vec::new(), event.position.0);
        // If the event cannot be applied, the follower's next read returns the error.
        let routed = routes.route(event, |_| true);
        match routed.each(|key, _| touched.push(key)) {
            Ok(()) if touched.is_empty() => Touched::Nothing,
            Ok(()) => Touched::Keys(touched, position),
            Err(reason) => Touched::Unclear(reason),
        }
    })
}
