//! Parked keys of a partition whose events after a position are handled again.
//!
//! A key that is parked after the position is released, because its events come again. Of a key that
//! is parked before it, the events that come again leave the queue. Otherwise each would wait twice.

use std::sync::Arc;

use super::listing::sum;
use super::waiting::LOOKED_AT;
use crate::error::StoreError;
use crate::event::{GlobalPosition, RecordedEvent};
use crate::store::contract::{Filter, ParkedChange, ParkedKey, Store};

/// Changes to parked keys if all events after a position come again.
///
/// # Errors
/// The store is not available, or the log cannot be read.
pub(crate) async fn replayed(
    store: &dyn Store,
    filter: &Filter,
    concerns: &(impl Fn(&Arc<RecordedEvent>, &str) -> bool + ?Sized),
    parked: Vec<ParkedKey>,
    after: GlobalPosition,
) -> Result<Vec<ParkedChange>, StoreError> {
    let mut changes = Vec::new();
    for ParkedKey { key, position, queue, unlisted_from, .. } in parked {
        let comes_again = queue.last().is_some_and(|last| *last > after);
        if position > after {
            changes.push(ParkedChange::Release { key });
        } else if let Some(from) = unlisted_from.filter(|from| *from <= after) {
            let stays = |event: &Arc<RecordedEvent>| concerns(event, &key);
            let sum = sum_of(store, filter, stays, (from, after)).await?;
            changes.push(ParkedChange::Unlisted { key, from: Some(from), sum });
        } else if comes_again || unlisted_from.is_some() {
            // None is unlisted yet: the owner adds to the checksum what it passes again.
            let from = Some(after.next());
            changes.push(ParkedChange::Unlisted { key, from, sum: 0 });
        }
    }
    Ok(changes)
}

/// Checksum of the positions of these events, from one position to another.
async fn sum_of(
    store: &dyn Store,
    filter: &Filter,
    is_one: impl Fn(&Arc<RecordedEvent>) -> bool,
    (from, to): (GlobalPosition, GlobalPosition),
) -> Result<i64, StoreError> {
    let (mut reached, mut total) = (GlobalPosition(from.0.saturating_sub(1)), 0_i64);
    while reached < to {
        let page = store.read_all(reached, filter, LOOKED_AT).await?;
        let events = page.events.iter().take_while(|event| event.position <= to);
        let found: Vec<_> = events.filter(|event| is_one(event)).map(|it| it.position).collect();
        total = total.wrapping_add(sum(&found));
        if page.scanned_to <= reached {
            let reason = format!("the log cannot be read beyond position {reached}");
            return Err(StoreError::Unavailable(reason));
        }
        reached = page.scanned_to;
    }
    Ok(total)
}
