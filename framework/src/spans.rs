//! Spans of `tracing`: from the edge through the commit of a command to the followers of the log.
//!
//! All spans have the level DEBUG and the target `actum::spans`, so one directive enables them:
//! `RUST_LOG=info,actum::spans=debug`. A disabled span costs one check of a flag. Spans contain ids
//! and names, but never a command, an event or a key.
//!
//! | span | parent | fields |
//! |---|---|---|
//! | `request` | the caller's span | `method`, `route`, `correlation_id`, `trace_id` |
//! | `command` | the caller's span, such as `request` or `reaction` | `aggregate`, `id`, `correlation_id`, `trace_context` |
//! | `append` | the first `command` of the round; it follows from the others | `appends`: number of commands with events or a key |
//! | `reaction` | – | `name`, `id` of the deferred command |
//! | `fold` | – | `read_model`, `events` of the page |
//! | `project` | – | `projection`, `events` of the page |
//!
//! A reaction may run in another process than the command that caused it. Its `command` span has
//! the same `correlation_id` and `trace_context`, because both travel in the metadata of events.
//!
//! See `docs/decisions.md`, "At which level are the spans?"

use tracing::{Span, debug_span};

use crate::event::{Metadata, StreamId};

/// Span of a command, from its arrival until its result is returned.
pub(crate) fn command(stream: &StreamId, metadata: &Metadata) -> Span {
    debug_span!(
        target: "actum::spans",
        "command",
        aggregate = stream.aggregate_type(),
        id = stream.id(),
        correlation_id = metadata.correlation_id,
        trace_context = metadata.trace_context,
    )
}

/// Runs code in a span. A disabled span costs nothing.
pub(crate) fn within<T>(span: &Span, code: impl FnOnce() -> T) -> T {
    if span.is_disabled() { code() } else { span.in_scope(code) }
}

/// Span of one round of appends: waiting for the batch, and the commit. A span has one parent only,
/// so the other commands of the round are recorded with `follows_from`.
pub(crate) fn append<'a>(mut commands: impl Iterator<Item = &'a Span>, appends: usize) -> Span {
    let first = commands.next().and_then(Span::id);
    let span = debug_span!(target: "actum::spans", parent: first, "append", appends);
    if !span.is_disabled() {
        commands.for_each(|command| {
            span.follows_from(command);
        });
    }
    span
}

/// Span of one attempt of a reaction. It has no parent, because the command that caused it may have
/// run in another process.
pub(crate) fn reaction(name: &str, id: &str) -> Span {
    debug_span!(target: "actum::spans", parent: None, "reaction", name, id)
}

/// Span of folding one page of events into the documents of a read model.
pub(crate) fn fold(read_model: &str, events: usize) -> Span {
    debug_span!(target: "actum::spans", parent: None, "fold", read_model, events)
}

/// Span of writing one page of events to the tables of a projection.
pub(crate) fn project(projection: &str, events: usize) -> Span {
    debug_span!(target: "actum::spans", parent: None, "project", projection, events)
}
