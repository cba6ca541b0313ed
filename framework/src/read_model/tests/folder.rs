//! The folder without its actor: a page, documents and parked keys become changes.

use std::time::Instant;

use time::OffsetDateTime;

use super::super::folder::{Changes, Folder};
use super::*;
use crate::partition::Reached;
use crate::partition::parking::{Parking, ParkingSettings};
use crate::store::contract::{Page, PageLimit, ParkedChange};

const EPOCH: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

/// A folder that continues after a position.
fn folder<M: ReadModel>(after: u64) -> Folder<M> {
    let reached = Reached::at(GlobalPosition(after));
    let mut folder = Folder::standby(0, 1, reached);
    let parking = Parking::new(0, ParkingSettings::default());
    folder.begin(reached, 100, after == 0, parking);
    folder
}

async fn page(memory: &MemoryStore, after: u64) -> Arc<Page> {
    let (after, limit) = (GlobalPosition(after), PageLimit::events(100));
    Arc::new(memory.read_all(after, &Filter::all(), limit).await.unwrap())
}

#[tokio::test]
async fn a_page_becomes_changed_documents_and_parked_keys() {
    let memory = MemoryStore::new();
    note(&memory, "a", 1).await;
    poison(&memory, "b").await;
    note(&memory, "a", 2).await;
    note(&memory, "b", 3).await;
    let mut folder = folder::<Brittle>(0);
    let page = folder.decode(page(&memory, 0).await);
    assert!(folder.cold_keys(&page).is_empty(), "nothing was ever stored");
    let folded = folder.fold(page, 0, Instant::now(), EPOCH);
    assert!(folded.has_parked && folded.poison.is_none());
    assert_eq!((folded.events, folder.reached().0, folder.changed()), (4, 4, 3));
    let Changes { documents, deleted, parked, .. } =
        folder.hand_out(Instant::now(), EPOCH).unwrap();
    let Sums { sum, events } = expected(&[1, 2]);
    let document = format!("{{\"sum\":{sum},\"events\":{events}}}");
    assert_eq!((documents, deleted), (vec![("a".to_owned(), document)], vec![]));
    let [ParkedChange::Park(b), ParkedChange::Queue { key, position }] = &*parked else {
        panic!("{parked:?}")
    };
    assert_eq!((&*b.key, b.position.0, &**key, position.0), ("b", 2, "b", 4));
}

#[tokio::test]
async fn a_stored_document_is_asked_for_and_folded_on() {
    let memory = MemoryStore::new();
    note(&memory, "a", 1).await;
    note(&memory, "a", 2).await;
    let mut folder = folder::<Sums>(1);
    let page = folder.decode(page(&memory, 1).await);
    assert_eq!(folder.cold_keys(&page), ["a"]);
    folder.warm(vec![("a".to_owned(), serde_json::to_string(&expected(&[1])).unwrap())]);
    folder.fold(page, 0, Instant::now(), EPOCH);
    let changes = folder.hand_out(Instant::now(), EPOCH).unwrap();
    let document: Sums = serde_json::from_str(&changes.documents[0].1).unwrap();
    assert_eq!(document, expected(&[1, 2]));
}

#[tokio::test]
async fn nothing_is_folded_from_an_event_on_whose_keys_are_not_known() {
    let memory = MemoryStore::new();
    note(&memory, "a", 1).await;
    append(&memory, ("transfer", "t"), &[("Shredded", "{}".to_owned())]).await;
    note(&memory, "a", 2).await;
    let mut folder = folder::<Sums>(0);
    let page = folder.decode(page(&memory, 0).await);
    let poison = folder.fold(page, 0, Instant::now(), EPOCH).poison.unwrap();
    assert_eq!((poison.position.0, folder.reached().0, folder.changed()), (2, 1, 1));
    assert!(poison.reason.contains("Shredded"), "{}", poison.reason);
}
