//! The events that wait for a parked key, read from the log by their positions.
//!
//! A page of bytes at a time, so a queue of large events is never in memory as a whole. An event that
//! has disappeared from the log is an error that names its position: nothing is skipped in silence.

use std::sync::Arc;
use std::time::Instant;

use super::listing::Listing;
use super::{Drain, Parking};
use crate::error::StoreError;
use crate::event::{GlobalPosition, RecordedEvent};
use crate::store::contract::{Filter, Page, PageLimit, Store};
use crate::subscription::sources::Routes;

/// Reads the first events of a drain and shortens the drain to them. Two at least if it has two,
/// because the last one is kept back while others wait behind it: with one there is no progress.
///
/// # Errors
/// The store is not available, or the log does not have one of the events any more.
pub(crate) async fn read_waiting(
    store: &dyn Store,
    drain: &mut Drain,
) -> Result<Vec<Arc<RecordedEvent>>, StoreError> {
    let (mut events, enough) = (Vec::new(), drain.positions.len().min(2));
    while events.len() < enough {
        let open = &drain.positions[events.len()..];
        let page = store.read_positions(open, PageLimit::events(open.len())).await?;
        let found = page.iter().map(|event| Some(event.position)).chain([None]);
        let lost = open.iter().zip(found).take(page.len().max(1));
        if let Some((lost, _)) = lost.into_iter().find(|(asked, found)| Some(**asked) != *found) {
            let place = format!("position {lost}");
            let reason =
                format!("an event that waits for the parked key {:?} is not in the log", drain.key);
            return Err(StoreError::Corrupt { place, reason });
        }
        events.extend(page);
    }
    drain.positions.truncate(events.len());
    Ok(events)
}

/// Size of the pages in which the events of one key are searched for.
pub(super) const LOOKED_AT: PageLimit = PageLimit::events(4_096);

/// Reads the page of the log in which the next events of a listing are to be found.
///
/// # Errors
/// The store is not available, or the log cannot be read.
pub(crate) async fn read_unlisted(
    store: &dyn Store,
    filter: &Filter,
    listing: &Listing,
) -> Result<Page, StoreError> {
    let before = GlobalPosition(listing.from.0.saturating_sub(1));
    store.read_all(before, filter, LOOKED_AT).await
}

/// Lists the next events of a key, which are read from the log again. Events after `reached` do not wait
/// in the parking.
///
/// # Errors
/// The store is not available, or the log cannot be read.
pub(crate) async fn list_waiting<T: 'static>(
    store: &dyn Store,
    routes: &Routes<T>,
    parking: &mut Parking,
    listing: Listing,
    reached: GlobalPosition,
) -> Result<(), StoreError> {
    let page = match read_unlisted(store, &routes.filter(), &listing).await {
        Ok(page) => page,
        Err(error) => {
            parking.abandon_listing(&listing);
            return Err(error);
        }
    };
    let found = positions_of(&listing.key, &page, routes);
    parking.end_listing(listing, &found, page.scanned_to, reached, Instant::now());
    Ok(())
}

/// Positions of the events in a page that belong to a key.
pub(crate) fn positions_of<T: 'static>(
    key: &str,
    page: &Page,
    routes: &Routes<T>,
) -> Vec<GlobalPosition> {
    let is_its = |event: &&Arc<RecordedEvent>| routes.concerns(event, key);
    page.events.iter().filter(is_its).map(|event| event.position).collect()
}
