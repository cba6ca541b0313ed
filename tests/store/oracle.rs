//! Every store against the executable specification: the same random calls to it and to
//! `MemoryStore`, the same answers. On PostgreSQL the calls go to two stores in turn, as if from two
//! processes, so that what either assumes of a stream is mostly out of date.

use std::collections::HashMap;

use actum::{
    Append, AppendOutcome, Claim, CommandKey, Committed, EventStore, ExpectedVersion, Filter,
    GlobalPosition, MemoryStore, NewEvent, NotCommitted, PageLimit, PostgresStore, RecordedEvent,
    SqliteStore, StreamId, StreamVersion,
};
use uuid::Uuid;

use crate::support::directory::Directory;
use crate::support::postgres::database;

/// Numbers by chance, the same for the same seed.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }

    fn of(&mut self, one_in: u64) -> bool {
        self.below(one_in) == 0
    }
}

/// What is left of an outcome where the stores may differ: in words, and in the order of appends
/// to different streams.
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

/// A call by chance: few streams, few command ids, event ids and names, so that they meet.
fn call(chance: &mut Chance, versions: &[u64]) -> Vec<Append> {
    let count = 1 + chance.below(6);
    let mut appends: Vec<Append> = Vec::new();
    for _ in 0..count {
        let stream = chance.below(versions.len() as u64) as usize;
        let near = (versions[stream] + chance.below(3)).saturating_sub(chance.below(2));
        let expected = match chance.below(7) {
            0 | 1 => ExpectedVersion::Any,
            2 => ExpectedVersion::NoStream,
            3 => ExpectedVersion::StreamExists,
            _ => ExpectedVersion::Exact(StreamVersion(near)),
        };
        let event_id = |chance: &mut Chance| match chance.of(8) {
            true => Uuid::from_u128(chance.below(40).into()),
            false => Uuid::now_v7(),
        };
        let event = |chance: &mut Chance| NewEvent {
            event_id: event_id(chance),
            event_type: "Booked".into(),
            schema_version: 1,
            payload: if chance.of(30) { "no JSON" } else { "{\"n\":1}" }.into(),
            metadata: "{}".into(),
        };
        let events: Vec<_> = (0..chance.below(4)).map(|_| event(chance)).collect();
        let claims = chance.below(4).saturating_sub(1) * u64::from(!events.is_empty());
        let claim = |chance: &mut Chance| match (chance.of(3), chance.below(8).to_string()) {
            (true, name) => Claim::release("name", &name),
            (false, name) => Claim::take("name", &name),
        };
        let claims = (0..claims).map(|_| claim(chance)).collect();
        let command = chance.of(3).then(|| {
            let id = format!("command-{}", chance.below(30));
            CommandKey::new(id, if chance.of(4) { b"other" } else { b"usual" }).unwrap()
        });
        let stream = StreamId::new("ledger", &stream.to_string()).unwrap();
        let chained = appends.last().is_some_and(|last| last.stream == stream) && chance.of(2);
        appends.push(Append { stream, expected, events, command, claims, chained });
        if chance.of(6) {
            let again = appends[chance.below(appends.len() as u64) as usize].clone();
            appends.push(Append { chained: false, ..again });
        }
    }
    appends
}

async fn agree(stores: &[impl EventStore], seed: u64) {
    let (specification, mut chance) = (MemoryStore::new(), Chance(seed));
    let (mut versions, mut kinds, mut places) = ([0; 5], [0_u32; 6], Vec::new());
    for turn in 0..400 {
        let appends = call(&mut chance, &versions);
        let expected = specification.append(appends.clone()).await;
        let expected: Vec<Seen> = expected.iter().map(seen).collect();
        let actual = stores[turn % stores.len()].append(appends.clone()).await;
        for (append, outcome) in appends.iter().zip(&actual) {
            // A replay stands where its command did, perhaps in another stream.
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
            // A command without events on an empty stream stands nowhere.
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
