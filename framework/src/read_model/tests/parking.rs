//! One bad event stops one key, until it is drained in order.

use super::*;
use crate::store::contract::{ParkedKey, ParkedRequest};

async fn parked(model: &ReadModelHandle<Brittle>, key: &str, after: u64) -> (u64, String) {
    match model.read(key, GlobalPosition(after), WITHIN).await {
        Err(ReadError::Parked { position, reason, .. }) => (position.0, reason),
        other => panic!("{other:?}"),
    }
}

async fn stored(memory: &MemoryStore) -> Vec<ParkedKey> {
    memory.load_parked("brittle@1", &ParkedQuery::default()).await.unwrap().keys
}

async fn saved_parked(memory: &MemoryStore, is_it: impl Fn(&[ParkedKey]) -> bool) {
    let waiting = async {
        while !is_it(&stored(memory).await) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(WITHIN, waiting).await.expect("it never came to be");
}

fn body<M: Serialize>(document: &Document<M>) -> String {
    serde_json::to_string(&document.body).unwrap()
}

#[tokio::test]
async fn an_event_that_panics_parks_its_key_and_the_others_flow_until_fixed_code_drains_it() {
    let store = obliging();
    let process = Process::new(store.clone(), small());
    let brittle = process.start::<Brittle>(1).await.unwrap();
    note(&store.memory, "a", 1).await;
    note(&store.memory, "b", 2).await;
    poison(&store.memory, "a").await;
    note(&store.memory, "a", 3).await;
    note(&store.memory, "b", 4).await;
    note(&store.memory, "a", 5).await;
    assert_eq!(read(&brittle, "b", 6).await.events, 2);
    assert_eq!(parked(&brittle, "a", 0).await, (3, "panicked: cannot take this".to_owned()));
    saved_parked(&store.memory, |parked| parked.iter().any(|key| key.queue.len() == 2)).await;
    let [key] = &stored(&store.memory).await[..] else { panic!("not one key") };
    assert_eq!((&*key.key, key.position.0, &*key.event), ("a", 3, "Poison 2 of book-a"));
    assert_eq!(key.queue, [GlobalPosition(4), GlobalPosition(6)]);
    process.kill().await;
    let process = Process::new(store.clone(), small());
    let mended = process.start::<Mended>(1).await.unwrap();
    saved_parked(&store.memory, <[_]>::is_empty).await;
    let drained = read(&mended, "a", 6).await;
    let sum = [1, 1_000, 3, 5].into_iter().fold(0, mix);
    assert_eq!(body(&drained), format!("{{\"sum\":{sum},\"events\":4}}"));
    assert_eq!(drained.position.0, 6);
}

#[tokio::test]
async fn a_document_stays_as_it_was_before_the_event_that_panicked_half_way() {
    let store = obliging();
    let process = Process::new(store.clone(), patient());
    let brittle = process.start::<Brittle>(1).await.unwrap();
    note(&store.memory, "a", 1).await;
    poison(&store.memory, "a").await;
    parked(&brittle, "a", 2).await;
    brittle.flush_and_stop().await;
    let saved = store
        .memory
        .load_documents(&PartitionId::new("brittle@1", 0), &["a".to_owned()])
        .await
        .unwrap()
        .documents;
    assert_eq!(saved[0].1, format!("{{\"sum\":{},\"events\":1}}", mix(0, 1)));
    let partition = PartitionId::new("brittle@1", 0);
    let checkpoint = store.memory.load_checkpoint(&partition).await.unwrap();
    assert_eq!(checkpoint.unwrap().position.0, 2, "the event is taken in: it is parked");
}

#[tokio::test]
async fn an_unknown_event_type_and_a_newer_schema_park_their_keys() {
    let store = obliging();
    let process = Process::new(store.clone(), small());
    let brittle = process.start::<Brittle>(1).await.unwrap();
    append(&store.memory, ("book", "a"), &[("Shredded", "{}".to_owned())]).await;
    append(&store.memory, ("book", "b"), &[("Noted", "{\"m\":1}".to_owned())]).await;
    note(&store.memory, "c", 1).await;
    assert_eq!(read(&brittle, "c", 3).await.events, 1);
    let (position, reason) = parked(&brittle, "a", 0).await;
    assert!(position == 1 && reason.contains("unknown event type \"Shredded\""), "{reason}");
    let (position, reason) = parked(&brittle, "b", 0).await;
    assert!(position == 2 && reason.contains('n'), "{reason}");
}

#[tokio::test]
async fn a_retry_without_a_fix_counts_and_a_skip_leaves_out_just_that_event() {
    let store = obliging();
    let mut settings = small();
    settings.parking.tries = 0;
    settings.requests_every = Duration::from_millis(2);
    let process = Process::new(store.clone(), settings);
    let brittle = process.start::<Brittle>(1).await.unwrap();
    note(&store.memory, "a", 1).await;
    poison(&store.memory, "a").await;
    note(&store.memory, "a", 2).await;
    poison(&store.memory, "a").await;
    note(&store.memory, "a", 3).await;
    saved_parked(&store.memory, |parked| parked.iter().any(|key| key.queue.len() == 3)).await;
    let ask = |position, request| {
        store.memory.request_parked("brittle@1", "a", GlobalPosition(position), request)
    };
    assert!(ask(2, ParkedRequest::Retry).await.unwrap());
    saved_parked(&store.memory, |parked| parked[0].attempts == 2).await;
    let [key] = &stored(&store.memory).await[..] else { panic!("not one key") };
    assert_eq!((key.position.0, key.queue.len(), &key.request), (2, 3, &None));
    for position in [2, 4] {
        let skip = ParkedRequest::Skip { reason: format!("no {position}") };
        saved_parked(&store.memory, |parked| parked[0].position.0 == position).await;
        assert!(ask(position, skip).await.unwrap());
    }
    saved_parked(&store.memory, <[_]>::is_empty).await;
    let sum = [1, 2, 3].into_iter().fold(0, mix);
    assert_eq!(body(&read(&brittle, "a", 5).await), format!("{{\"sum\":{sum},\"events\":3}}"));
    let skipped = store.memory.load_skipped("brittle@1").await.unwrap();
    let skipped: Vec<_> = skipped.iter().map(|s| (s.position.0, &*s.reason, &*s.event)).collect();
    let event = "Poison 4 of book-a: panicked: cannot take this";
    assert_eq!(skipped[1], (4, "no 4", event));
    assert_eq!(skipped[0].1, "no 2");
}

#[tokio::test]
async fn a_standby_answers_that_a_key_is_parked_and_its_owner_carries_out_what_it_is_asked() {
    let store = obliging().shared();
    let (one, two) = (Process::new(store.clone(), small()), Process::new(store.clone(), small()));
    let owner = one.start::<Brittle>(1).await.unwrap();
    until(|| owner.progress().is_owner).await;
    let standby = two.start::<Brittle>(1).await.unwrap();
    note(&store.memory, "a", 1).await;
    poison(&store.memory, "a").await;
    note(&store.memory, "b", 1).await;
    assert_eq!(parked(&standby, "a", 2).await.0, 2);
    assert_eq!(parked(&standby, "a", 3).await.0, 2);
    assert_eq!(read(&standby, "b", 3).await.events, 1);
    assert!(!standby.progress().is_owner);
}

#[tokio::test]
async fn beyond_the_limit_it_halts_and_after_a_fix_what_is_parked_is_tried_before_anything_else() {
    let store = obliging();
    let mut settings = small();
    settings.parking.most_keys = 3;
    let process = Process::new(store.clone(), settings.clone());
    let brittle = process.start::<Brittle>(1).await.unwrap();
    for key in ["a", "b", "c", "d", "e", "f", "g"] {
        note(&store.memory, key, 1).await;
        poison(&store.memory, key).await;
    }
    until(|| matches!(brittle.progress().state, State::Halted { .. })).await;
    let State::Halted { position, reason } = brittle.progress().state else { panic!("it goes on") };
    assert_eq!(position.0, 8);
    assert!(reason.starts_with("3 keys are parked, which is the limit"), "{reason}");
    until(|| brittle.progress().saved.0 == 7).await;
    process.kill().await;
    let process = Process::new(store.clone(), settings);
    let mended = process.start::<Mended>(1).await.unwrap();
    for key in ["a", "b", "c", "d", "e", "f", "g"] {
        assert_eq!(read(&mended, key, 14).await.events, 2, "{key}");
    }
}

/// Whatever is between a drain and its save, and however often it dies there.
#[tokio::test]
async fn killed_at_any_moment_a_drain_loses_and_doubles_nothing() {
    let memory = MemoryStore::new();
    let mut settings = small();
    settings.parking.chunk = 3;
    let mut notes = Vec::new();
    let process =
        Process::new(TestStore::over(memory.clone(), |_| Box::pin(async { Ok(()) })), small());
    let brittle = process.start::<Brittle>(1).await.unwrap();
    for n in 0..40 {
        match n {
            5 | 20 => poison(&memory, "a").await,
            n => note(&memory, "a", n).await,
        }
        notes.push(if n == 5 || n == 20 { 1_000 } else { n });
    }
    until(|| brittle.progress().saved.0 == 40).await;
    process.kill().await;
    for round in 0..60 {
        let process = Process::new(whimsical(memory.clone(), round), settings.clone());
        loop {
            match process.start::<Mended>(1).await {
                Err(StartError::Store(StoreError::Unavailable(_))) => {}
                started => break drop(started.unwrap()),
            }
        }
        note(&memory, "a", round as u64).await;
        notes.push(round as u64);
        tokio::time::sleep(Duration::from_micros(200 * (round as u64 % 20))).await;
        process.kill().await;
    }
    let process =
        Process::new(TestStore::over(memory.clone(), |_| Box::pin(async { Ok(()) })), settings);
    let mended = process.start::<Mended>(1).await.unwrap();
    saved_parked(&memory, <[_]>::is_empty).await;
    let document = read(&mended, "a", 100).await;
    let sum = notes.iter().fold(0, |sum, n| mix(sum, *n));
    assert_eq!((document.sum, document.events), (sum, 100));
}

/// The document is in memory when the retry begins, and only its pin keeps it there.
#[tokio::test]
async fn the_document_of_a_key_that_is_being_tried_stays_in_memory() {
    let (memory, watched) = (MemoryStore::new(), super::owning::Watched::default());
    let mut settings = Pacing { hot_documents: 1, ..super::owning::lasting() };
    settings.parking.tries = 0;
    settings.requests_every = Duration::from_millis(1);
    let process = watched.process(&memory, settings);
    let brittle = process.start::<Brittle>(1).await.unwrap();
    note(&memory, "a", 1).await;
    poison(&memory, "a").await;
    note(&memory, "a", 3).await;
    saved_parked(&memory, |parked| parked.iter().any(|key| key.queue.len() == 1)).await;
    watched.hold(&["positions"]);
    let skip = ParkedRequest::Skip { reason: "no".into() };
    assert!(memory.request_parked("brittle@1", "a", GlobalPosition(2), skip).await.unwrap());
    until(|| watched.count("positions") == 1).await;
    // Each of these is saved and then sent out of memory by the next.
    for (n, key) in (4..).zip(["b", "c", "d", "e", "f"]) {
        note(&memory, key, 1).await;
        read(&brittle, key, n).await;
        until(|| brittle.progress().saved.0 == n).await;
    }
    watched.hold(&[]);
    saved_parked(&memory, <[_]>::is_empty).await;
    let sum = [1, 3].into_iter().fold(0, mix);
    assert_eq!(body(&read(&brittle, "a", 8).await), format!("{{\"sum\":{sum},\"events\":2}}"));
}
