//! Pages of events: bounded by number and by bytes.

use crate::store::contract::PageLimit;

/// The first items that make a page within `limit`. An item that is larger than `limit.bytes` comes
/// alone, because otherwise a reader would never get past it.
pub fn within<T>(
    limit: PageLimit,
    items: impl Iterator<Item = T>,
    bytes: impl Fn(&T) -> usize,
) -> impl Iterator<Item = T> {
    let mut left = None;
    items.take(limit.events).take_while(move |item| {
        let size = bytes(item);
        let room = left
            .map_or(Some(limit.bytes.saturating_sub(size)), |left: usize| left.checked_sub(size));
        left = room.or(left);
        room.is_some()
    })
}
