//! Tests of open work: opened, postponed and closed with the checkpoint, and loaded in pages.

use time::{Duration, OffsetDateTime};

use super::documents::{batch, body, lease, partition};
use super::{committed, keyed, one};
use crate::error::StoreError;
use crate::event::GlobalPosition;
use crate::store::contract::{
    DocumentBatch, Lease, OpenWork, PageLimit, PartitionId, Store, WorkChange,
};

/// Returns a fixed time plus this number of seconds.
fn at(seconds: i64) -> OffsetDateTime {
    let fixed = OffsetDateTime::UNIX_EPOCH + Duration::days(20_000);
    fixed + Duration::seconds(seconds) + Duration::microseconds(123_456)
}

/// Returns an item that is due at this number of seconds.
fn item(id: &str, due: i64) -> OpenWork {
    OpenWork {
        id: id.to_owned(),
        key: format!("key of {id}"),
        position: GlobalPosition(7),
        due_at: at(due),
        attempts: 0,
        reason: None,
        command_key: None,
        body: format!("{{\"id\":\"{id}\"}}"),
    }
}

fn open(id: &str, due: i64) -> WorkChange {
    WorkChange::Open(item(id, due))
}

fn again(id: &str, due: i64, attempts: u32, reason: Option<&str>) -> WorkChange {
    let (due_at, reason) = (at(due), reason.map(str::to_owned));
    WorkChange::Again { id: id.to_owned(), due_at, attempts, reason }
}

fn close(id: &str) -> WorkChange {
    WorkChange::Close { id: id.to_owned() }
}

/// Returns a batch that moves the checkpoint and carries these changes.
fn step(lease: &Lease, from: u64, to: u64, changes: &[WorkChange]) -> DocumentBatch {
    let mut batch = batch(lease, from, to, &[("document", &to.to_string())]);
    batch.update.work = changes.to_vec();
    batch
}

/// Loads the open work of a partition in pages of two.
async fn all(store: &impl Store, partition: &PartitionId) -> Vec<OpenWork> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let page = store.load_work(partition, after, PageLimit::events(2)).await.unwrap();
        let Some(last) = page.last() else { return all };
        assert!(page.len() <= 2);
        after = Some(last.due());
        all.extend(page);
    }
}

async fn ids(store: &impl Store) -> Vec<String> {
    all(store, &partition()).await.into_iter().map(|work| work.id).collect()
}

/// A batch is stored as a whole or not at all, and under the last lease only.
pub async fn open_work_is_stored_with_the_checkpoint(store: impl Store) {
    let first = lease(&store, &partition()).await;
    assert_eq!(all(&store, &partition()).await, []);
    let opened = [open("b", 1), open("a", 2)];
    store.save_documents(step(&first, 0, 3, &opened)).await.unwrap();
    let expected = [item("b", 1), item("a", 2)];
    assert_eq!(all(&store, &partition()).await, expected);
    // A batch that is refused, for its lease or for its checkpoint, changes nothing.
    let changes = [close("a"), again("b", 9, 9, None), open("c", 1)];
    store.release_lease(&first).await.unwrap();
    let next = lease(&store, &partition()).await;
    for (late, is_fenced) in
        [(step(&first, 3, 4, &changes), true), (step(&next, 2, 4, &changes), false)]
    {
        match store.save_documents(late).await {
            Err(StoreError::LeaseLost { .. }) if is_fenced => {}
            Err(StoreError::Checkpoint { .. }) if !is_fenced => {}
            other => panic!("{other:?}"),
        }
        assert_eq!(all(&store, &partition()).await, expected);
        assert_eq!(body(&store, "balance@1", "document").await.as_deref(), Some("3"));
    }
    store.save_documents(step(&next, 3, 4, &changes)).await.unwrap();
    assert_eq!(ids(&store).await, ["c", "b"]);
}

/// Nothing brings back an item that is closed, and an item that is opened again is a new one.
pub async fn open_work_is_postponed_and_closed_with_the_checkpoint(store: impl Store) {
    let lease = lease(&store, &partition()).await;
    let save = async |from: u64, changes: &[WorkChange]| {
        store.save_documents(step(&lease, from, from + 1, changes)).await.unwrap();
    };
    save(0, &[open("a", 1), open("b", 2), open("c", 3)]).await;
    save(1, &[again("a", 5, 1, Some("busy")), again("unknown", 1, 1, None)]).await;
    let postponed = OpenWork { attempts: 1, reason: Some("busy".into()), ..item("a", 5) };
    assert_eq!(all(&store, &partition()).await, [item("b", 2), item("c", 3), postponed]);
    save(2, &[again("a", 4, 2, None), close("b"), close("unknown")]).await;
    assert_eq!(
        all(&store, &partition()).await,
        [item("c", 3), OpenWork { attempts: 2, ..item("a", 4) }]
    );
    save(3, &[again("b", 9, 9, None), close("a"), open("c", 8)]).await;
    assert_eq!(all(&store, &partition()).await, [item("c", 8)]);
    // The last change of an item counts.
    let last = [open("d", 1), again("d", 6, 3, None), close("c"), open("c", 9), close("c")];
    save(4, &last).await;
    assert_eq!(all(&store, &partition()).await, [OpenWork { attempts: 3, ..item("d", 6) }]);
}

/// A batch that is sent twice, or late, after the owner has continued.
pub async fn changes_of_open_work_are_applied_once(store: impl Store) {
    let lease = lease(&store, &partition()).await;
    let first = step(&lease, 0, 3, &[open("a", 1), open("b", 2)]);
    store.save_documents(first.clone()).await.unwrap();
    // The checkpoint stays where it is.
    let mut second = step(&lease, 3, 3, &[close("a"), again("b", 3, 1, None)]);
    second.update.sequence = 4;
    store.save_documents(second.clone()).await.unwrap();
    let mut third = step(&lease, 3, 3, &[open("a", 9)]);
    third.update.sequence = 5;
    store.save_documents(third.clone()).await.unwrap();
    store.save_documents(third).await.unwrap();
    for late in [first, second] {
        let late = store.save_documents(late).await;
        assert!(matches!(late, Err(StoreError::Checkpoint { .. })), "{late:?}");
    }
    let expected = [OpenWork { attempts: 1, ..item("b", 3) }, item("a", 9)];
    assert_eq!(all(&store, &partition()).await, expected);
}

/// The same ids in other partitions and models are other items.
pub async fn open_work_belongs_to_its_partition(store: impl Store) {
    let ids = [("balance@1", 0), ("balance@1", 1), ("balance@2", 0)];
    let partitions = ids.map(|(model, number)| PartitionId::new(model, number));
    for (n, partition) in (1..).zip(&partitions) {
        let lease = lease(&store, partition).await;
        let mut batch = step(&lease, 0, 3, &[open("a", n), open("b", n)]);
        batch.update.partition = partition.clone();
        store.save_documents(batch).await.unwrap();
        let mut batch = step(&lease, 3, 4, &[close("b"), again("a", n, n as u32, None)]);
        batch.update.partition = partition.clone();
        store.save_documents(batch).await.unwrap();
    }
    for (n, partition) in (1..).zip(&partitions) {
        let expected = OpenWork { attempts: n as u32, ..item("a", n) };
        assert_eq!(all(&store, partition).await, [expected], "{partition}");
    }
}

/// Pages follow the order of due times, and end before the number or the bytes are exceeded.
pub async fn a_page_of_open_work_is_bounded_by_number_and_bytes(store: impl Store) {
    let lease = lease(&store, &partition()).await;
    let large = |id: &str, due, bytes| {
        WorkChange::Open(OpenWork { body: "x".repeat(bytes), ..item(id, due) })
    };
    let changes = [
        large("e", 5, 10),
        large("b", 2, 400),
        large("C", 2, 500),
        large("d", 4, 90),
        open("a", 1),
    ];
    store.save_documents(step(&lease, 0, 1, &changes)).await.unwrap();
    assert_eq!(ids(&store).await, ["a", "C", "b", "d", "e"]);
    let page = async |after: Option<&OpenWork>, limit| {
        let after = after.map(OpenWork::due);
        store.load_work(&partition(), after, limit).await.unwrap()
    };
    let named = |page: &[OpenWork]| page.iter().map(|work| work.id.clone()).collect::<String>();
    let first = page(None, PageLimit::events(9).bytes(450)).await;
    assert_eq!(named(&first), "a");
    let second = page(first.last(), PageLimit::events(9).bytes(450)).await;
    assert_eq!(named(&second), "C", "a large item comes alone");
    let third = page(second.last(), PageLimit::events(9).bytes(490)).await;
    assert_eq!(named(&third), "bd");
    assert_eq!(named(&page(second.last(), PageLimit::events(2)).await), "bd");
    assert_eq!(named(&page(third.last(), PageLimit::events(9)).await), "e");
    assert_eq!(named(&page(third.first(), PageLimit::events(9)).await), "de");
    assert_eq!(named(&page(None, PageLimit::events(0)).await), "");
    // An item that is gone meanwhile is still a place to continue from.
    store.save_documents(step(&lease, 1, 2, &[close("b"), again("d", 9, 1, None)])).await.unwrap();
    assert_eq!(named(&page(third.first(), PageLimit::events(9)).await), "ed");
}

/// Many items in one batch, and texts of any kind.
pub async fn open_work_of_any_number_and_text_is_kept(store: impl Store) {
    let lease = lease(&store, &partition()).await;
    let many: Vec<_> = (0..1_500).map(|n| open(&format!("{n:04}"), n / 100)).collect();
    store.save_documents(step(&lease, 0, 1, &many)).await.unwrap();
    let closed: Vec<_> = (0..1_490).map(|n| close(&format!("{n:04}"))).collect();
    store.save_documents(step(&lease, 1, 2, &closed)).await.unwrap();
    assert_eq!(ids(&store).await, (1_490..1_500).map(|n| n.to_string()).collect::<Vec<_>>());
    let odd = OpenWork {
        key: "ü'\"\\ 😀".into(),
        reason: Some("r\0".repeat(5_000)),
        body: "{\"a\":\"\\u0000\\\\ü'\"}".into(),
        position: GlobalPosition(1 << 60),
        attempts: u32::MAX,
        ..item("odd ü'\"", -600)
    };
    store.save_documents(step(&lease, 2, 3, &[WorkChange::Open(odd.clone())])).await.unwrap();
    let kept = store.load_work(&partition(), None, PageLimit::events(1)).await.unwrap().remove(0);
    let reason = kept.reason.clone().unwrap();
    assert!(reason.starts_with("r\u{fffd}r\u{fffd}") && reason.len() <= 3 * 4096);
    assert_eq!(kept, OpenWork { reason: Some(reason), ..odd });
}

/// A key that was forgotten would let the work be done twice.
pub async fn the_command_keys_of_open_work_are_not_forgotten(store: impl Store) {
    for key in ["first", "second", "third"] {
        committed(one(&store, keyed("a", 1, key)).await);
    }
    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    let now = OffsetDateTime::now_utc();
    let work = |id: &str, key: &str| {
        WorkChange::Open(OpenWork { command_key: Some(key.into()), ..item(id, 1) })
    };
    let lease = lease(&store, &partition()).await;
    // A key may be kept that no command has used yet.
    let opened = [work("a", "first"), work("b", "third"), work("c", "unused"), open("d", 1)];
    store.save_documents(step(&lease, 0, 1, &opened)).await.unwrap();
    let prune = async || while store.prune_commands(now, 1).await.unwrap() {};
    prune().await;
    let replayed = async |key| committed(one(&store, keyed("a", 1, key)).await).replayed;
    assert!(replayed("first").await && replayed("third").await);
    assert!(!replayed("second").await);
    store.save_documents(step(&lease, 1, 2, &[close("a"), again("b", 2, 1, None)])).await.unwrap();
    prune().await;
    assert!(!replayed("first").await && replayed("third").await);
}
