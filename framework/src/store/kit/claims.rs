//! The part of the version check that is about claims: who holds what, and who may take it.
//!
//! Pure, like the [`plan`](super::version_check) it belongs to. What stored appends did is kept by claim, so
//! that a store writes each once, however often it changed hands in the batch.

use std::collections::{BTreeMap, HashMap};

use crate::command::{Claim, ClaimName};
use crate::event::{GlobalPosition, StreamId};
use crate::store::contract::NotCommitted;

/// Holders of the claims that a batch names. A claim that is `None`, or absent, is free.
pub type Holders = HashMap<ClaimName, Option<StreamId>>;

/// A claim that stored appends of a batch name.
#[derive(Debug, PartialEq)]
pub struct Touched<'a> {
    /// Holder before the batch.
    pub before: Option<StreamId>,
    /// Stream that changed it last or, if none did, named it first.
    pub by: &'a StreamId,
    /// Position of the last event of that append.
    pub position: GlobalPosition,
}

/// Refuses an append that takes a claim which another stream holds. The order within the append
/// does not matter here, because nothing that it does hands a claim to another stream.
pub(super) fn refuse(
    claims: &[Claim],
    stream: &StreamId,
    holders: &Holders,
) -> Option<NotCommitted> {
    claims.iter().filter(|claim| claim.takes).find_map(|claim| {
        let holder = holders.get(&claim.name)?.as_ref().filter(|holder| *holder != stream)?;
        Some(NotCommitted::Claimed { claim: claim.clone(), holder: holder.clone() })
    })
}

/// Takes and releases, in order.
pub(super) fn carry_out<'a>(
    claims: &'a [Claim],
    stream: &'a StreamId,
    position: GlobalPosition,
    holders: &mut Holders,
    touched: &mut BTreeMap<&'a ClaimName, Touched<'a>>,
) {
    for Claim { name, takes } in claims {
        let before = holders.get(name).cloned().flatten();
        let own = before.as_ref() == Some(stream);
        let entry = touched.entry(name);
        let entry = entry.or_insert(Touched { before, by: stream, position });
        // Taken again, or released by one that does not hold it: nothing changes.
        if *takes != own {
            holders.insert(name.clone(), takes.then(|| stream.clone()));
            (entry.by, entry.position) = (stream, position);
        }
    }
}
