//! What an event means to those who wait: the one place that asks which key it touches.

use std::borrow::Cow;
use std::sync::Arc;

use super::wakes::Wakes;
use crate::event::RecordedEvent;
use crate::read_model::ReadModel;
use crate::store::contract::Filter;
use crate::subscription::Tail;
use crate::subscription::sources::Routes;

/// What an event touches.
pub(super) enum Touched<'e> {
    Nothing,
    /// This key, which has come so far.
    Key(Cow<'e, str>, u64),
    /// All of these keys, which have come so far.
    Keys(Vec<String>, u64),
    /// It may be any key: the event cannot be read.
    Unclear(String),
}

/// Tells what an event touches.
pub(super) type Touch = dyn for<'e> Fn(&'e Arc<RecordedEvent>) -> Touched<'e> + Send + Sync;

impl Wakes {
    /// For those who wait for events of a stream: keys are streams, marks are versions.
    pub(crate) fn of_streams(tail: Tail) -> Self {
        Self::new("followers", tail, Filter::all(), Box::new(stream))
    }

    /// For those who wait for documents: keys are theirs, marks are positions.
    pub(crate) fn of_documents<M: ReadModel>(tail: Tail) -> Self {
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
        // If it cannot be applied, the read that follows says so.
        let routed = routes.route(event, |_| true);
        match routed.each(|key, _| touched.push(key)) {
            Ok(()) if touched.is_empty() => Touched::Nothing,
            Ok(()) => Touched::Keys(touched, position),
            Err(reason) => Touched::Unclear(reason),
        }
    })
}
