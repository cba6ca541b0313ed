//! Every store against the executable specification: the same random calls to it and to
//! `MemoryStore`, the same answers. On PostgreSQL the calls go to two stores in turn, as if from two
//! processes, so that what either assumes of a stream is mostly out of date.

use std::collections::HashMap;

use actum::store::{
    Append, AppendOutcome, EventStore, Filter, MemoryStore, NewEvent, NotCommitted, PageLimit,
    PostgresStore, RecordedEvent, SqliteStore,
};
use actum::{
    Claim, CommandKey, Committed, ExpectedVersion, GlobalPosition, StreamId, StreamVersion,
};
use uuid::Uuid;

use crate::support::directory::Directory;
use crate::support::postgres::database;
use crate::support::random::Random;

/// True once in so many calls, at random.
fn by_chance(random: &mut Random, one_in: u64) -> bool {
    random.below(one_in) == 0
}

/// An outcome without the parts in which stores may differ: the words of an error, and the order of
/// appends to different streams.
#[derive(Debug, PartialEq)]
enum Seen {
    Committed(u64, bool),
    Conflict(u64),
    KeyReused,
    Claimed(String, String),
    Invalid,
}

fn seen(outcome: &AppendOutcome) -> Seen {
    match outcome {
        AppendOutcome::Committed(c) => Seen::Committed(c.version.0, c.replayed),
        AppendOutcome::NotCommitted(NotCommitted::Conflict { actual }) => Seen::Conflict(actual.0),
        AppendOutcome::NotCommitted(NotCommitted::KeyReused) => Seen::KeyReused,
        AppendOutcome::NotCommitted(NotCommitted::Claimed { claim, holder }) => {
            Seen::Claimed(claim.value().to_owned(), holder.to_string())
        }
        AppendOutcome::NotCommitted(NotCommitted::Invalid(_)) => Seen::Invalid,
        other => panic!("{other:?}"),
    }
}

/// A random call: few streams, few command ids, event ids and names, so that they collide.
fn call(random: &mut Random, versions: &[u64]) -> Vec<Append> {
    let count = 1 + random.below(6);
    let mut appends: Vec<Append> = Vec::new();
    for _ in 0..count {
        let stream = random.below(versions.len() as u64) as usize;
        let near = (versions[stream] + random.below(3)).saturating_sub(random.below(2));
        let expected = match random.below(7) {
            0 | 1 => ExpectedVersion::Any,
            2 => ExpectedVersion::NoStream,
            3 => ExpectedVersion::StreamExists,
            _ => ExpectedVersion::Exact(StreamVersion(near)),
        };
        let event_id = |random: &mut Random| match by_chance(random, 8) {
            true => Uuid::from_u128(random.below(40).into()),
            false => Uuid::now_v7(),
        };
        let event = |random: &mut Random| NewEvent {
            event_id: event_id(random),
            event_type: "Booked".into(),
            schema_version: 1,
            payload: if by_chance(random, 30) { "no JSON" } else { "{\"n\":1}" }.into(),
            metadata: "{}".into(),
        };
        let events: Vec<_> = (0..random.below(4)).map(|_| event(random)).collect();
        let claims = random.below(4).saturating_sub(1) * u64::from(!events.is_empty());
        let claim = |random: &mut Random| match (by_chance(random, 3), random.below(8).to_string())
        {
            (true, name) => Claim::release("name", &name),
            (false, name) => Claim::take("name", &name),
        };
        let claims = (0..claims).map(|_| claim(random)).collect();
        let command = by_chance(random, 3).then(|| {
            let id = format!("command-{}", random.below(30));
            CommandKey::new(id, if by_chance(random, 4) { b"other" } else { b"usual" }).unwrap()
        });
        let stream = StreamId::new("ledger", &stream.to_string()).unwrap();
        let chained =
            appends.last().is_some_and(|last| last.stream == stream) && by_chance(random, 2);
        appends.push(Append { stream, expected, events, command, claims, chained });
        if by_chance(random, 6) {
            let again = appends[random.below(appends.len() as u64) as usize].clone();
            appends.push(Append { chained: false, ..again });
        }
    }
    appends
}

async fn agree(stores: &[impl EventStore], seed: u64) {
    let (specification, mut random) = (MemoryStore::new(), Random::new(seed));
    let (mut versions, mut kinds, mut places) = ([0; 5], [0_u32; 6], Vec::new());
    for turn in 0..400 {
        let appends = call(&mut random, &versions);
        let expected = specification.append(appends.clone()).await;
        let expected: Vec<Seen> = expected.iter().map(seen).collect();
        let actual = stores[turn % stores.len()].append(appends.clone()).await;
        for (append, outcome) in appends.iter().zip(&actual) {
            // A replay has the position of its command, perhaps in another stream.
            if let AppendOutcome::Committed(c @ Committed { replayed: false, .. }) = outcome {
                places.push((append.stream.clone(), c.version, c.position));
            }
        }
        let actual: Vec<Seen> = actual.iter().map(seen).collect();
        assert_eq!(actual, expected, "seed {seed}, call {turn}: {appends:#?}");
        for outcome in &expected {
            kinds[match outcome {
                Seen::Committed(_, false) => 0,
                Seen::Committed(_, true) => 1,
                Seen::Conflict(_) => 2,
                Seen::KeyReused => 3,
                Seen::Invalid => 4,
                Seen::Claimed(..) => 5,
            }] += 1;
        }
        for name in 0..8 {
            let name = name.to_string();
            let expected = specification.claim_holder("name", &name).await.unwrap();
            let actual = stores[0].claim_holder("name", &name).await.unwrap();
            assert_eq!(actual, expected, "seed {seed}, call {turn}: {appends:#?}");
        }
        for (stream, version) in versions.iter_mut().enumerate() {
            *version += read(&specification, stream, *version).await.len() as u64;
        }
    }
    assert!(kinds.iter().all(|count| *count > 10), "some kind of outcome is rare: {kinds:?}");
    for store in stores {
        let ids = |events: Vec<RecordedEvent>| events.into_iter().map(|e| e.event_id);
        for stream in 0..versions.len() {
            let expected = ids(read(&specification, stream, 0).await);
            assert!(ids(read(store, stream, 0).await).eq(expected), "seed {seed}");
        }
        let page = store
            .read_all(GlobalPosition::ZERO, &Filter::all(), PageLimit::events(10_000))
            .await
            .unwrap();
        let stands = page.events.iter().map(|e| ((e.stream.clone(), e.version), e.position));
        let stands: HashMap<_, _> = stands.collect();
        for (stream, version, position) in &places {
            // A command without events on an empty stream has no position.
            let stands = stands.get(&(stream.clone(), *version)).copied().unwrap_or_default();
            assert_eq!(stands, *position, "seed {seed}: {stream} {version}");
        }
    }
}

async fn read(store: &impl EventStore, stream: usize, after: u64) -> Vec<RecordedEvent> {
    let stream = StreamId::new("ledger", &stream.to_string()).unwrap();
    store.read_stream(&stream, StreamVersion(after), PageLimit::events(usize::MAX)).await.unwrap()
}

#[tokio::test]
async fn sqlite_answers_as_the_specification_does() {
    for seed in 0..8 {
        let directory = Directory::new();
        agree(&[SqliteStore::open(&directory.file("log.db")).await.unwrap()], seed).await;
    }
}

#[tokio::test]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn postgres_answers_as_the_specification_does_to_two_processes() {
    for seed in 0..8 {
        let database = database().await;
        let open = async || PostgresStore::open(&database.url()).await.unwrap();
        agree(&[open().await, open().await], seed).await;
    }
}
