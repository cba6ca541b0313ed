//! Tests of parked keys: stored with the checkpoint, in order, with the requests of operators.

use std::collections::{BTreeMap, BTreeSet};

use time::{Duration, OffsetDateTime};

use super::documents::{batch, body, lease, partition};
use crate::error::StoreError;
use crate::event::GlobalPosition;
use crate::store::contract::{
    DocumentBatch, Lease, ParkedChange, ParkedKey, ParkedPage, ParkedQuery, ParkedRequest,
    SkippedEvent, Store,
};

const MODEL: &str = "balance@1";

/// Returns a fixed time plus this number of seconds.
fn at(seconds: i64) -> OffsetDateTime {
    OffsetDateTime::UNIX_EPOCH + Duration::days(20_000) + Duration::seconds(seconds)
}

fn key(key: &str, position: u64, attempts: u32) -> ParkedKey {
    ParkedKey {
        key: key.into(),
        partition: 0,
        position: GlobalPosition(position),
        event: format!("Booked 1 of ledger-{key}"),
        reason: format!("try {attempts} of {position} fails"),
        attempts,
        since: at(position.cast_signed()) + Duration::microseconds(123_456),
        queue: Vec::new(),
        waiting: 0,
        unlisted_from: None,
        unlisted_sum: 0,
        request: None,
    }
}

fn park(name: &str, position: u64, attempts: u32) -> ParkedChange {
    ParkedChange::Park(key(name, position, attempts))
}

fn queue(key: &str, position: u64) -> ParkedChange {
    ParkedChange::Queue { key: key.into(), position: GlobalPosition(position) }
}

fn release(key: &str) -> ParkedChange {
    ParkedChange::Release { key: key.into() }
}

fn skipped(key: &str, position: u64, reason: &str) -> SkippedEvent {
    SkippedEvent {
        key: key.into(),
        position: GlobalPosition(position),
        event: "Booked 1".into(),
        reason: reason.into(),
        skipped_at: at(1_000),
    }
}

/// Returns a batch with this sequence number that leaves the checkpoint at `position`.
fn step(lease: &Lease, position: u64, step: u64, changes: &[ParkedChange]) -> DocumentBatch {
    let mut batch = batch(lease, position, position, &[]);
    batch.update.sequence = step;
    batch.update.parked = changes.to_vec();
    batch
}

/// Returns the lease of a partition after its first batch, with the checkpoint at 100.
async fn begun(store: &impl Store) -> Lease {
    let lease = lease(store, &partition()).await;
    let mut first = batch(&lease, 0, 100, &[]);
    first.update.sequence = 1;
    store.save_documents(first).await.unwrap();
    lease
}

async fn parked(store: &impl Store) -> Vec<ParkedKey> {
    store.load_parked(MODEL, &ParkedQuery::default()).await.unwrap().keys
}

/// Returns the key with these events listed behind it.
fn with(queue: &[u64], key: ParkedKey) -> ParkedKey {
    let queue: Vec<_> = queue.iter().copied().map(GlobalPosition).collect();
    ParkedKey { waiting: queue.len() as u64, queue, ..key }
}

fn unlisted(key: &str, from: Option<u64>) -> ParkedChange {
    let sum = sum(from);
    ParkedChange::Unlisted { key: key.into(), from: from.map(GlobalPosition), sum }
}

/// Returns a number of either sign with more than 53 bits, so that a store with floats would lose
/// some.
fn sum(from: Option<u64>) -> i64 {
    from.map_or(0, |from| ((from.cast_signed() - 15) << 57) | 1)
}

/// A batch is stored as a whole or not at all.
pub async fn parked_keys_are_stored_with_the_checkpoint(store: impl Store) {
    let first = lease(&store, &partition()).await;
    let mut parking = batch(&first, 0, 3, &[("b", "1")]);
    parking.update.parked = vec![park("a", 2, 1), queue("a", 3)];
    store.save_documents(parking.clone()).await.unwrap();
    let expected = with(&[3], key("a", 2, 1));
    assert_eq!(parked(&store).await, std::slice::from_ref(&expected));
    assert_eq!(body(&store, MODEL, "b").await.as_deref(), Some("1"));
    // A batch that is refused, for its lease or for its checkpoint, stores nothing.
    store.release_lease(&first).await.unwrap();
    let changes = vec![park("c", 4, 1), release("a"), ParkedChange::Skip(skipped("a", 3, ""))];
    for fenced in [true, false] {
        let mut late = batch(&first, 3, 4, &[("b", "2")]);
        late.update.parked.clone_from(&changes);
        if !fenced {
            late = batch(&lease(&store, &partition()).await, 2, 4, &[("b", "2")]);
            late.update.parked.clone_from(&changes);
        }
        match store.save_documents(late).await {
            Err(StoreError::LeaseLost { .. }) if fenced => {}
            Err(StoreError::Checkpoint { .. }) if !fenced => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(parked(&store).await, [expected]);
    assert_eq!(store.load_skipped(MODEL).await.unwrap(), []);
    assert_eq!(body(&store, MODEL, "b").await.as_deref(), Some("1"));
}

/// The life of a parked key while the checkpoint does not move.
pub async fn a_parked_key_keeps_its_queue_in_order_until_it_is_released(store: impl Store) {
    let lease = begun(&store).await;
    let save = async |number, changes: &[ParkedChange]| {
        store.save_documents(step(&lease, 100, number, changes)).await.unwrap();
    };
    save(2, &[park("a", 10, 1), queue("a", 30), queue("a", 20), queue("a", 20)]).await;
    let first = with(&[20, 30], key("a", 10, 1));
    assert_eq!(parked(&store).await, std::slice::from_ref(&first));
    save(3, &[park("a", 10, 2)]).await;
    let again = with(&[20, 30], ParkedKey { since: first.since, ..key("a", 10, 2) });
    assert_eq!(parked(&store).await, [again]);
    // The key was retried up to the next event that fails, and another event was queued.
    save(4, &[park("a", 20, 1), queue("a", 40)]).await;
    let next = with(&[30, 40], ParkedKey { since: first.since, ..key("a", 20, 1) });
    assert_eq!(parked(&store).await, [next]);
    save(5, &[release("a")]).await;
    assert_eq!(parked(&store).await, []);
    // Nothing of the earlier parking comes back.
    save(6, &[park("a", 15, 1)]).await;
    assert_eq!(parked(&store).await, [key("a", 15, 1)]);
}

/// A batch that is sent twice, or late, after the owner has continued.
pub async fn a_step_is_taken_once_though_the_checkpoint_stands(store: impl Store) {
    let lease = begun(&store).await;
    let mut second = step(&lease, 100, 2, &[park("a", 10, 1), queue("a", 20)]);
    second.documents = vec![("b".into(), "2".into())];
    store.save_documents(second.clone()).await.unwrap();
    let retry = ParkedRequest::Retry;
    assert!(store.request_parked(MODEL, "a", GlobalPosition(10), retry).await.unwrap());
    store.save_documents(second.clone()).await.unwrap();
    assert_eq!(parked(&store).await[0].request, Some(ParkedRequest::Retry), "done again");
    let mut third = step(&lease, 100, 3, &[release("a")]);
    third.documents = vec![("b".into(), "3".into())];
    store.save_documents(third.clone()).await.unwrap();
    let late = store.save_documents(second).await;
    assert!(matches!(late, Err(StoreError::Checkpoint { .. })), "{late:?}");
    store.save_documents(third).await.unwrap();
    assert_eq!(parked(&store).await, []);
    assert_eq!(body(&store, MODEL, "b").await.as_deref(), Some("3"));
    // The next owner starts with sequence number 1 again.
    let next = store.acquire_lease(&lease.name, lease.owner, std::time::Duration::from_secs(600));
    let next = next.await.unwrap().unwrap();
    store.save_documents(step(&next, 100, 1, &[park("c", 50, 1)])).await.unwrap();
    assert_eq!(parked(&store).await, [key("c", 50, 1)]);
}

/// An event in the queue of a key that is not parked would wait forever.
pub async fn no_event_waits_behind_a_key_that_is_not_parked(store: impl Store) {
    let lease = begun(&store).await;
    for changes in [vec![queue("a", 20)], vec![park("a", 10, 1), release("a"), queue("a", 20)]] {
        let mut batch = step(&lease, 100, 2, &changes);
        batch.documents = vec![("b".into(), "2".into())];
        let saved = store.save_documents(batch).await;
        assert!(matches!(saved, Err(StoreError::Unavailable(_))), "{saved:?}");
    }
    assert_eq!(parked(&store).await, []);
    assert_eq!(body(&store, MODEL, "b").await, None);
}

/// Each skipped event is kept once, with the first reason, ordered by position.
pub async fn skipped_events_are_kept_for_good(store: impl Store) {
    let lease = begun(&store).await;
    let skip = |position, reason: &str| ParkedChange::Skip(skipped("a", position, reason));
    let changes = [park("a", 10, 1), skip(20, "second"), skip(10, "first"), release("a")];
    store.save_documents(step(&lease, 100, 2, &changes)).await.unwrap();
    store.save_documents(step(&lease, 100, 3, &[skip(10, "again")])).await.unwrap();
    let expected = [skipped("a", 10, "first"), skipped("a", 20, "second")];
    assert_eq!(store.load_skipped(MODEL).await.unwrap(), expected);
    assert_eq!(store.load_skipped("balance@2").await.unwrap(), []);
}

/// A request refers to the event that the operator has seen; another event must not be skipped
/// instead.
pub async fn a_request_is_for_the_event_that_the_key_stands_at(store: impl Store) {
    let lease = begun(&store).await;
    store.save_documents(step(&lease, 100, 2, &[park("a", 10, 1), queue("a", 20)])).await.unwrap();
    let ask = async |key: &str, position, request| {
        store.request_parked(MODEL, key, GlobalPosition(position), request).await.unwrap()
    };
    let skip = || ParkedRequest::Skip { reason: "never\0 booked".into() };
    for (key, position) in [("a", 20), ("b", 10), ("", 0)] {
        assert!(!ask(key, position, skip()).await, "{key} at {position}");
    }
    assert!(ask("a", 10, skip()).await && ask("a", 10, ParkedRequest::Retry).await);
    assert_eq!(parked(&store).await[0].request, Some(ParkedRequest::Retry));
    store.save_documents(step(&lease, 100, 3, &[park("b", 10, 1)])).await.unwrap();
    let requested = async |model| {
        let page = store.load_parked(model, &ParkedQuery::requested()).await.unwrap();
        let requests = page.keys.into_iter().map(|key| (key.key, key.position, key.request));
        requests.collect::<Vec<_>>()
    };
    let asked = [("a".to_owned(), GlobalPosition(10), Some(ParkedRequest::Retry))];
    assert_eq!(requested(MODEL).await, asked);
    assert_eq!(requested("balance@2").await, []);
    // The key was retried.
    store.save_documents(step(&lease, 100, 4, &[park("a", 10, 2)])).await.unwrap();
    assert_eq!(parked(&store).await[0].request, None);
    // A skip request that arrives during a retry is kept until its event is dealt with.
    assert!(ask("a", 10, skip()).await);
    store.save_documents(step(&lease, 100, 5, &[park("a", 10, 3)])).await.unwrap();
    let kept = ParkedRequest::Skip { reason: "never\u{fffd} booked".into() };
    assert_eq!(parked(&store).await[0].request, Some(kept.clone()));
    let asked = [("a".to_owned(), GlobalPosition(10), Some(kept))];
    assert_eq!(requested(MODEL).await, asked);
    store.save_documents(step(&lease, 100, 6, &[park("a", 20, 1)])).await.unwrap();
    assert_eq!(parked(&store).await[0].request, None);
    assert_eq!(requested(MODEL).await, []);
}

/// The message of a panic can be any text.
pub async fn a_reason_of_any_length_and_text_is_kept(store: impl Store) {
    let lease = begun(&store).await;
    let reasons = ["", "\0", "'\"\\ü😀\u{301}\n\u{1}", &"ü".repeat(10_000)];
    for (number, reason) in (2..).zip(reasons) {
        let change = ParkedKey { reason: reason.into(), event: reason.into(), ..key("a", 10, 1) };
        let skip = ParkedChange::Skip(skipped("a", number, reason));
        let changes = [ParkedChange::Park(change), skip];
        store.save_documents(step(&lease, 100, number, &changes)).await.unwrap();
        let kept = reason.chars().take(2048).collect::<String>().replace('\0', "\u{fffd}");
        let found = parked(&store).await.remove(0);
        assert_eq!((&found.reason, &found.event), (&kept, &kept));
        assert_eq!(store.load_skipped(MODEL).await.unwrap().pop().unwrap().reason, kept);
    }
}

/// All keys of a model, or only the requested ones, ordered by key.
pub async fn parked_keys_are_found_by_model_and_key(store: impl Store) {
    let lease = begun(&store).await;
    let keys = ["ä", "a", "Z", "z"];
    let changes = keys.map(|key| park(key, 10, 1));
    store.save_documents(step(&lease, 100, 2, &changes)).await.unwrap();
    let names = |parked: Vec<ParkedKey>| parked.into_iter().map(|parked| parked.key);
    let all = parked(&store).await;
    assert_eq!(names(all).collect::<Vec<_>>(), ["Z", "a", "z", "ä"]);
    let asked = ["ä".to_owned(), "b".to_owned(), "a".to_owned()];
    let of = async |model, keys: &[String]| {
        let query = ParkedQuery { keys: Some(keys.to_vec()), ..ParkedQuery::default() };
        store.load_parked(model, &query).await.unwrap().keys
    };
    assert_eq!(names(of(MODEL, &asked).await).collect::<Vec<_>>(), ["a", "ä"]);
    assert_eq!(of(MODEL, &[]).await, []);
    assert_eq!(of("balance@2", &asked).await, []);
}

/// Random changes: many in one batch have the same result as one batch for each.
pub async fn many_changes_in_a_batch_are_as_good_as_one_at_a_time(store: impl Store) {
    let lease = begun(&store).await;
    let (mut seed, mut model) = (7_u64, BTreeMap::<String, (ParkedKey, BTreeSet<u64>)>::new());
    let mut below = |limit: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % limit
    };
    for number in 2..40 {
        let mut changes = Vec::new();
        for _ in 0..below(12) {
            let (name, position) = (format!("key-{}", below(4)), 1 + below(30));
            changes.push(match (below(5), model.get_mut(&name)) {
                (0, Some(_)) => {
                    model.remove(&name);
                    release(&name)
                }
                (4, Some((key, queue))) => {
                    let from = (below(3) > 0).then_some(position);
                    queue.retain(|queued| from.is_none_or(|from| *queued < from));
                    key.unlisted_from = from.map(GlobalPosition);
                    key.unlisted_sum = sum(from);
                    unlisted(&name, from)
                }
                (1 | 2, Some((_, queue))) => {
                    queue.insert(position);
                    self::queue(&name, position)
                }
                (_, known) => {
                    let new = key(&name, position, 1);
                    let (old, mut queue) = known
                        .map_or((new.clone(), BTreeSet::new()), |(old, queue)| {
                            (old.clone(), std::mem::take(queue))
                        });
                    let ParkedKey { since, unlisted_from, unlisted_sum, .. } = old;
                    queue.retain(|queued| *queued > position);
                    let kept = ParkedKey { since, unlisted_from, unlisted_sum, ..new.clone() };
                    model.insert(name, (kept, queue));
                    ParkedChange::Park(new)
                }
            });
        }
        store.save_documents(step(&lease, 100, number, &changes)).await.unwrap();
        let expected = model
            .values()
            .map(|(key, queue)| with(&queue.iter().copied().collect::<Vec<_>>(), key.clone()));
        assert_eq!(parked(&store).await, expected.collect::<Vec<_>>(), "after {changes:?}");
    }
}

/// A query without queues counts the events that wait, and limits the number of keys.
pub async fn a_page_of_parked_keys_counts_what_waits(store: impl Store) {
    assert_eq!(
        store.load_parked(MODEL, &ParkedQuery::first(10)).await.unwrap(),
        ParkedPage::default()
    );
    let lease = begun(&store).await;
    let mut changes = Vec::new();
    for name in ["a", "b", "c"] {
        changes.push(park(name, 10, 1));
        changes.extend((11..1_011).map(|position| queue(name, position)));
    }
    changes.push(unlisted("b", Some(11)));
    changes.push(unlisted("c", Some(2_000)));
    store.save_documents(step(&lease, 100, 2, &changes)).await.unwrap();
    let short = |name, waiting, from: Option<u64>| {
        let (unlisted_from, unlisted_sum) = (from.map(GlobalPosition), sum(from));
        ParkedKey { waiting, unlisted_from, unlisted_sum, ..key(name, 10, 1) }
    };
    let all = [short("a", 1_000, None), short("b", 0, Some(11)), short("c", 1_000, Some(2_000))];
    let page = store.load_parked(MODEL, &ParkedQuery::first(10)).await.unwrap();
    assert_eq!((page.total, &*page.keys), (3, &all[..]));
    for at_most in [0, 1, 2] {
        let page = store.load_parked(MODEL, &ParkedQuery::first(at_most)).await.unwrap();
        assert_eq!((page.total, &*page.keys), (3, &all[..at_most]));
    }
    let of = Some(vec!["none".to_owned(), "c".to_owned()]);
    let query = ParkedQuery { keys: of, ..ParkedQuery::first(10) };
    let page = store.load_parked(MODEL, &query).await.unwrap();
    assert_eq!((page.total, &*page.keys), (1, &all[2..]));
    let parked = parked(&store).await;
    assert_eq!(parked[1], all[1]);
    assert_eq!((parked[2].queue.len(), parked[2].unlisted_from), (1_000, all[2].unlisted_from));
    // A key that is not parked has no list that could end.
    let refused = store.save_documents(step(&lease, 100, 3, &[unlisted("d", None)])).await;
    assert!(refused.is_err(), "a list of a key that is not parked was taken");
}
