//! Maps an event to the keys that it touches, for followers of streams and of documents.

use std::borrow::Cow;
use std::sync::Arc;

use crate::event::RecordedEvent;
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

/// The stream of an event; its mark is the version.
pub(super) fn stream(event: &Arc<RecordedEvent>) -> Touched<'_> {
    Touched::Key(event.stream.as_str().into(), event.version.0)
}

/// The documents that an event changes; their mark is its position.
pub(super) fn documents<T: 'static>(routes: Routes<T>) -> Box<Touch> {
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
