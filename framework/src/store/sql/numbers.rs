//! The log's numbers, as a database hands them over and as it must not.

use std::collections::BTreeSet;

use crate::error::StoreError;
use crate::event::{GlobalPosition, StreamVersion, Tip};
use crate::store::kit::version_check::PastCommand;

/// The end of a stream.
pub(crate) fn tip(version: i64, position: i64) -> Tip {
    Tip { version: StreamVersion(version as u64), position: GlobalPosition(position as u64) }
}

/// A row of `commands`.
pub(crate) fn past_command(
    fingerprint: &[u8],
    version: i64,
    position: i64,
) -> Result<PastCommand, sqlx::Error> {
    let fingerprint = fingerprint.try_into().map_err(|e| sqlx::Error::Decode(Box::new(e)))?;
    Ok(PastCommand { fingerprint, tip: tip(version, position) })
}

/// Checks that nothing can be read there. Numbers of that size come from outside, as `?after=`, and
/// would be negative to the database.
pub(crate) fn is_beyond(after: u64, limit: usize) -> bool {
    limit == 0 || after >= i64::MAX as u64
}

/// A limit as databases take it.
pub(crate) fn most(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

/// The positions that an event can have, in order and each once.
pub(crate) fn possible(positions: &[GlobalPosition]) -> Vec<i64> {
    // No event can have a larger one, and the database would refuse the whole call because of it.
    let positions = positions.iter().filter_map(|position| i64::try_from(position.0).ok());
    positions.collect::<BTreeSet<_>>().into_iter().collect()
}

/// Asserts that numbers follow one another, beginning after `after`.
///
/// # Errors
/// [`StoreError::Hole`] names the two between which something is missing or doubled.
pub(crate) fn assert_dense(
    what: &str,
    mut after: u64,
    numbers: impl Iterator<Item = u64>,
) -> Result<(), StoreError> {
    for found in numbers {
        if found != after + 1 {
            return Err(StoreError::Hole { what: what.to_owned(), after, found });
        }
        after = found;
    }
    Ok(())
}
