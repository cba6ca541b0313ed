//! Claims in a call of `append`: what is assumed of them, and what was found instead.
//!
//! Who holds a claim is assumed like a stream's version. A stream whose appends counted on a claim
//! that another holds is not stored, and is planned again on what was found.

use std::collections::{BTreeMap, HashMap};

use sqlx::Row;
use sqlx::postgres::PgRow;

use super::PostgresStore;
use super::connections::Purpose;
use super::groups::{Assumed, rank};
use super::history::Known;
use crate::command::{Claim, ClaimName};
use crate::error::StoreError;
use crate::event::StreamId;
use crate::store::contract::{Append, AppendOutcome, NotCommitted};
use crate::store::kit::claims::Holders;
use crate::store::kit::version_check::Plan;

/// One claim that the plan counts on.
pub(super) struct Asked<'a> {
    pub(super) name: &'a ClaimName,
    /// Holder that the plan assumes.
    pub(super) holder: Option<&'a StreamId>,
    /// The place of the stream that does not hold if somebody else does; whose it becomes, if it
    /// is taken.
    pub(super) place: usize,
    /// The rank of the event that takes it, 0 if it is released, nothing if it stays as it is.
    pub(super) becomes: Option<usize>,
}

/// Holders that the plan assumes: those the server reported, else those that the first append to
/// name a claim needs. It needs a claim free to take it, and its own to release it.
pub(super) fn assumed(appends: &[Append], found: &Holders) -> Holders {
    let mut assumed = Holders::new();
    for Append { stream, claims, .. } in appends {
        for Claim { name, takes } in claims {
            if !assumed.contains_key(name) {
                let hoped = || (!takes).then(|| stream.clone());
                let holder = found.get(name).cloned().unwrap_or_else(hoped);
                assumed.insert(name.clone(), holder);
            }
        }
    }
    assumed
}

/// Every claim that a stored append names, or one that is refused for a claim; of those only what the
/// server has not told before.
pub(super) fn asked<'a>(
    appends: &'a [Append],
    assumed: &Assumed<'a>,
    planned: &'a Plan<'a>,
    found: &Holders,
) -> Vec<Asked<'a>> {
    let place = |stream| assumed.place(stream);
    let named = planned.claims.iter().map(|(name, touched)| {
        let (holder, place) = (touched.before.as_ref(), place(touched.by));
        (*name, Asked { name, holder, place, becomes: None })
    });
    let mut asked: BTreeMap<&ClaimName, Asked<'a>> = named.collect();
    for (name, touched, holder) in planned.changed_claims() {
        if let Some(asked) = asked.get_mut(name) {
            asked.becomes = Some(holder.map_or(0, |_| rank(touched.position)));
        }
    }
    for (append, name) in refused(appends, planned) {
        if !found.contains_key(name) {
            // No stored append names it, or it is there: so it is as it was assumed.
            let holder = planned.after.claims.get(name).and_then(Option::as_ref);
            let place = place(&append.stream);
            asked.entry(name).or_insert(Asked { name, holder, place, becomes: None });
        }
    }
    asked.into_values().collect()
}

/// Checks that the server has reported all holders that decide which claim an append is refused
/// for.
pub(super) fn are_known(appends: &[Append], planned: &Plan<'_>, found: &Holders) -> bool {
    refused(appends, planned).all(|(_, name)| found.contains_key(name))
}

/// The claims of the appends that are refused for one of them.
fn refused<'a>(
    appends: &'a [Append],
    planned: &'a Plan<'_>,
) -> impl Iterator<Item = (&'a Append, &'a ClaimName)> {
    let is_claimed =
        |outcome: &_| matches!(outcome, AppendOutcome::NotCommitted(NotCommitted::Claimed { .. }));
    let outcomes = appends.iter().zip(&planned.outcomes);
    let refused =
        outcomes.filter(move |(_, outcome)| is_claimed(outcome)).map(|(append, _)| append);
    refused.flat_map(|append| append.claims.iter().map(move |claim| (append, &claim.name)))
}

/// Checks if appends to different streams name one claim. Then one depends on the other, in the
/// order of the call.
pub(super) fn are_shared(appends: &[Append]) -> bool {
    let mut named: HashMap<&ClaimName, &StreamId> = HashMap::new();
    let mut claims = appends.iter().flat_map(|a| a.claims.iter().map(|c| (&c.name, &a.stream)));
    claims.any(|(name, stream)| *named.entry(name).or_insert(stream) != stream)
}

/// Holders of the claims that the call named.
pub(super) fn holders(row: &PgRow) -> Result<Holders, sqlx::Error> {
    let kinds: Option<Vec<String>> = row.try_get("claimed_kinds")?;
    let Some(kinds) = kinds else { return Ok(Holders::new()) };
    let values: Vec<String> = row.try_get("claimed_values")?;
    let types: Vec<Option<String>> = row.try_get("claimed_types")?;
    let ids: Vec<Option<String>> = row.try_get("claimed_ids")?;
    let names = kinds.into_iter().zip(values);
    let holders = types.into_iter().zip(ids).map(|(stream_type, id)| stream(stream_type, id));
    names
        .zip(holders)
        .map(|((kind, value), holder)| Ok(((kind.into(), value.into()), holder?)))
        .collect()
}

fn stream(
    stream_type: Option<String>,
    id: Option<String>,
) -> Result<Option<StreamId>, sqlx::Error> {
    let (Some(stream_type), Some(id)) = (stream_type, id) else { return Ok(None) };
    StreamId::new(&stream_type, &id).map(Some).map_err(|e| sqlx::Error::Decode(Box::new(e)))
}

impl PostgresStore {
    pub(super) async fn read_claim_holder(
        &self,
        claim: Claim,
    ) -> Result<Option<StreamId>, StoreError> {
        if claim.invalid().is_some() {
            return Ok(None); // the server refuses texts with a NUL
        }
        let asked = claim.clone();
        let holder = move |known: &Known| {
            let holder = sqlx::query(
                "SELECT c.stream_type, c.stream_id, known.is_same_history
                 FROM (SELECT is_same_history($1, $2, $3, $4) AS is_same_history) AS known
                 LEFT JOIN claims AS c ON c.kind = $5 AND c.value = $6",
            );
            known.bind(holder).bind(asked.kind().to_owned()).bind(asked.value().to_owned())
        };
        let rows = self.connections.known_rows(Purpose::Streams, holder, |_| Ok(None));
        let rows = rows.await.map_err(|fault| self.unavailable(&fault))?;
        let Some(row) = rows.first() else { return Ok(None) };
        let corrupt = |e: sqlx::Error| StoreError::Corrupt {
            place: format!("the claim {claim}"),
            reason: e.to_string(),
        };
        stream(row.get(0), row.get(1)).map_err(corrupt)
    }
}
