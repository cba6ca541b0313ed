//! Writing many rows in one call: every column as one array.

use sqlx::AssertSqlSafe;

use super::claims;
use super::connections::Statement;
use super::groups::{Assumed, rank};
use super::history::Known;
use super::open::Opening;
use crate::command::Committed;
use crate::event::StreamId;
use crate::store::contract::{Append, AppendOutcome};
use crate::store::kit::version_check::{Current, Plan};

/// Care that a call takes besides versions and command ids.
#[derive(Clone, Copy)]
pub(super) struct Care {
    /// Events may stand already: look for their ids.
    pub(super) find_events: bool,
    /// Outcomes depend on one another beyond their streams.
    pub(super) all_or_none: bool,
}

/// The call of the function `append` for a plan.
pub(super) fn append(
    opening: &Opening,
    known: &Known,
    appends: &[Append],
    assumed: &Assumed<'_>,
    planned: &Plan<'_>,
    found: &Current,
    care: Care,
) -> Statement {
    let streams = || assumed.streams.iter();
    let expected = assumed.versions.iter().zip(&assumed.takes_any);
    let expected = expected.map(|(version, any)| (!any).then_some(version.0 as i64));
    let rows = || planned.rows.iter();
    let place = |stream| assumed.place(stream);
    let number = |place: usize| place as i32 + 1; // arrays begin at 1; a batch has few streams
    let commands = || planned.commands.iter();
    let outcomes = || appends.iter().zip(&planned.outcomes);
    let refused =
        || outcomes().filter(|(_, outcome)| !is_stored(outcome)).map(|(append, _)| append);
    // What is known already is not asked again: it would keep its stream from holding.
    let events = || refused().flat_map(|a| a.events.iter().map(|e| (place(&a.stream), e.event_id)));
    let events = || events().filter(|(_, id)| !found.stored.contains_key(id));
    let keys = || refused().filter_map(|a| Some((place(&a.stream), a.command.as_ref()?)));
    let keys = || keys().filter(|(_, key)| key.is_valid() && !found.commands.contains_key(&key.id));
    let claims = claims::asked(appends, assumed, planned, &found.claims);
    let claims = || claims.iter();
    let schema = &opening.schema;
    // With the schema's name, which holds only letters, digits and _: it is what an operator looks for
    // among the server's active statements.
    let call = sqlx::query(AssertSqlSafe(format!(
        "SELECT * FROM {schema}.append($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14,
                                       $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26,
                                       $27, $28, $29, $30, $31, $32, $33, $34)"
    )));
    known
        .bind(call)
        .bind(streams().map(|s| s.aggregate_type()).collect::<Vec<_>>())
        .bind(streams().map(|s| s.id()).collect::<Vec<_>>())
        .bind(expected.collect::<Vec<_>>())
        .bind(rows().map(|r| number(place(r.stream))).collect::<Vec<_>>())
        .bind(rows().map(|r| assumed.offset(place(r.stream), r.version)).collect::<Vec<_>>())
        .bind(rows().map(|r| r.stream.aggregate_type()).collect::<Vec<_>>())
        .bind(rows().map(|r| r.stream.id()).collect::<Vec<_>>())
        .bind(rows().map(|r| r.event.event_id).collect::<Vec<_>>())
        .bind(rows().map(|r| &*r.event.event_type).collect::<Vec<_>>())
        .bind(rows().map(|r| r.event.schema_version as i32).collect::<Vec<_>>())
        .bind(rows().map(|r| &*r.event.payload).collect::<Vec<_>>())
        .bind(rows().map(|r| &*r.event.metadata).collect::<Vec<_>>())
        .bind(opening.options.clock.now())
        .bind(commands().map(|c| number(place(c.stream))).collect::<Vec<_>>())
        .bind(commands().map(|c| &*c.key.id).collect::<Vec<_>>())
        .bind(commands().map(|c| &c.key.fingerprint[..]).collect::<Vec<_>>())
        .bind(
            commands().map(|c| assumed.offset(place(c.stream), c.tip.version)).collect::<Vec<_>>(),
        )
        .bind(commands().map(|c| rank(c.tip.position) as i32).collect::<Vec<_>>())
        .bind(care.find_events)
        .bind(care.all_or_none)
        .bind(events().map(|(place, _)| number(place)).collect::<Vec<_>>())
        .bind(events().map(|(_, id)| id).collect::<Vec<_>>())
        .bind(keys().map(|(place, _)| number(place)).collect::<Vec<_>>())
        .bind(keys().map(|(_, key)| &*key.id).collect::<Vec<_>>())
        .bind(claims().map(|c| number(c.place)).collect::<Vec<_>>())
        .bind(claims().map(|c| &*c.name.0).collect::<Vec<_>>())
        .bind(claims().map(|c| &*c.name.1).collect::<Vec<_>>())
        .bind(claims().map(|c| c.holder.map(StreamId::aggregate_type)).collect::<Vec<_>>())
        .bind(claims().map(|c| c.holder.map(StreamId::id)).collect::<Vec<_>>())
        .bind(claims().map(|c| c.becomes.map(|rank| rank as i32)).collect::<Vec<_>>())
}

/// True if the plan stores the append now.
fn is_stored(outcome: &AppendOutcome) -> bool {
    matches!(outcome, AppendOutcome::Committed(Committed { replayed: false, .. }))
}
