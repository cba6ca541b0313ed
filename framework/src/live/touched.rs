//! What an event means to those who wait: the one place that asks which key it touches.

use std::borrow::Cow;
use std::sync::Arc;

use super::wakes::Wakes;
use crate::actor::guarded;
use crate::event::RecordedEvent;
use crate::event_store::Filter;
use crate::read_model::ReadModel;
use crate::subscription::Tail;

/// What an event touches.
pub(super) enum Touched<'e> {
    Nothing,
    /// This key, which has come so far.
    Key(Cow<'e, str>, u64),
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
        let sources = M::sources();
        let aggregate_types = sources.aggregate_types().map(str::to_owned).collect();
        let key = move |event: &Arc<RecordedEvent>| match guarded(|| sources.change(event)) {
            Ok(Ok(change)) => Ok(change.map(|change| change.key)),
            Ok(Err(error)) => Err(error.to_string()),
            Err(panic) => Err(format!("panicked: {panic}")),
        };
        Self::new(M::NAME, tail, Filter { aggregate_types }, documents(key))
    }
}

fn stream(event: &Arc<RecordedEvent>) -> Touched<'_> {
    Touched::Key(event.stream.as_str().into(), event.version.0)
}

fn documents(
    key: impl Fn(&Arc<RecordedEvent>) -> Result<Option<String>, String> + Send + Sync + 'static,
) -> Box<Touch> {
    Box::new(move |event| match key(event) {
        Ok(Some(key)) => Touched::Key(key.into(), event.position.0),
        Ok(None) => Touched::Nothing,
        Err(reason) => Touched::Unclear(reason),
    })
}
