//! The spans of `tracing`: the way of a command from the edge to its commit, and what follows the log.
//!
//! All have the level DEBUG and the target `actum::spans`, whatever module enters them, so that one
//! directive shows them: `RUST_LOG=info,actum::spans=debug`. A program that does not ask for them pays
//! a look at a flag for each. They hold ids and names, and never a command, an event or a key.
//!
//! | span | parent | fields |
//! |---|---|---|
//! | `request` | what the caller is in | `method`, `route`, `correlation_id`, `trace_id` |
//! | `command` | what the caller is in, such as `request` or `reaction` | `aggregate`, `id`, `correlation_id`, `trace_context` |
//! | `append` | the first `command` of the round; it follows from the others | `appends`: how many commands store something |
//! | `reaction` | – | `name`, `id` of the deferred command |
//! | `fold` | – | `read_model`, `events` of the page |
//! | `project` | – | `projection`, `events` of the page |
//!
//! A reaction may run in another process than the command that caused it: its `command` has the same
//! `correlation_id` and `trace_context`, which travel in the metadata of events.

use tracing::{Span, debug_span};

use crate::event::{Metadata, StreamId};

/// A command on its way to its aggregate, until it is answered.
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

/// Runs code in a span, and at no cost if the span is disabled.
pub(crate) fn within<T>(span: &Span, code: impl FnOnce() -> T) -> T {
    if span.is_disabled() { code() } else { span.in_scope(code) }
}

/// One round of decisions on its way into the log: waiting for its batch, and the commit.
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

/// One attempt of a reaction at its open work.
pub(crate) fn reaction(name: &str, id: &str) -> Span {
    debug_span!(target: "actum::spans", parent: None, "reaction", name, id)
}

/// One page of events on its way into the documents of a read model.
pub(crate) fn fold(read_model: &str, events: usize) -> Span {
    debug_span!(target: "actum::spans", parent: None, "fold", read_model, events)
}

/// One page of events on its way into the tables of a projection.
pub(crate) fn project(projection: &str, events: usize) -> Span {
    debug_span!(target: "actum::spans", parent: None, "project", projection, events)
}
