//! A process that writes to a log in PostgreSQL, or follows it: the tests of the one order start
//! several.
//!
//! `log-process write URL SEED CALLS` appends, also in all the ways that are refused. `log-process
//! read URL all|filtered` polls the log from its beginning, until it has read the position that
//! comes by standard input. Both print `POSITION EVENT-ID` for each event they know to be stored;
//! the writer ends with `ended` and how many appends were stored, in conflict, invalid and not taken.

#[path = "../support/random.rs"]
mod random;

use std::collections::HashMap;
use std::io::{Write, stdin, stdout};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use actum::store::{
    Append, AppendOutcome, EventStore, Filter, NewEvent, NotCommitted, PageLimit, PostgresStore,
};
use actum::{CommandKey, ExpectedVersion, GlobalPosition, StreamId, StreamVersion};
use uuid::Uuid;

use random::Random;

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["write", url, seed, calls] => {
            let store = PostgresStore::open(url).await.unwrap();
            write(store, seed.parse().unwrap(), calls.parse().unwrap()).await;
        }
        ["read", url, what] => read(PostgresStore::open(url).await.unwrap(), what).await,
        _ => panic!("log-process write URL SEED CALLS | read URL all|filtered"),
    }
}

/// Numbers of appends by outcome: stored, conflict, invalid, unavailable.
type Counts = [u64; 4];

/// Three callers at once, so that a batch is of several.
async fn write(store: PostgresStore, seed: u64, calls: u64) {
    let callers = (1..=3).map(|n| {
        let caller = Caller {
            store: store.clone(),
            random: Random::new(seed * 3 + n),
            known: HashMap::new(),
        };
        tokio::spawn(caller.run(calls))
    });
    let mut counts = Counts::default();
    for caller in callers.collect::<Vec<_>>() {
        let counted = caller.await.unwrap();
        counts.iter_mut().zip(counted).for_each(|(sum, count)| *sum += count);
    }
    let counts = counts.map(|count| count.to_string());
    println!("ended {}", counts.join(" "));
}

struct Caller {
    store: PostgresStore,
    random: Random,
    /// Last version that this caller saw of each stream. Others have appended to some of them
    /// since.
    known: HashMap<StreamId, StreamVersion>,
}

impl Caller {
    async fn run(mut self, calls: u64) -> Counts {
        let mut counts = Counts::default();
        for _ in 0..calls {
            let appends: Vec<Append> =
                (0..=self.random.below(4)).map(|_| self.any_append()).collect();
            let outcomes = self.store.append(appends.clone()).await;
            for (append, outcome) in appends.into_iter().zip(outcomes) {
                counts[self.hear(append, outcome)] += 1;
            }
        }
        counts
    }

    fn any_append(&mut self) -> Append {
        let aggregate_type = ["left", "right"][self.random.below(2) as usize];
        let stream = StreamId::new(aggregate_type, &self.random.below(6).to_string()).unwrap();
        let known = self.known.get(&stream).copied().unwrap_or_default();
        let kind = self.random.below(10);
        let expected = match kind {
            0..4 => ExpectedVersion::Any,
            4..8 => ExpectedVersion::Exact(known),
            _ => ExpectedVersion::NoStream,
        };
        let payload = if kind == 0 { "no JSON" } else { r#"{"n":1}"# };
        let events = (0..=self.random.below(3)).map(|_| NewEvent {
            event_id: Uuid::now_v7(),
            event_type: "Happened".into(),
            schema_version: 1,
            payload: payload.into(),
            metadata: "{}".into(),
        });
        let events = events.collect();
        let key = CommandKey::new(Uuid::now_v7().to_string(), b"").unwrap();
        let command = (self.random.below(2) == 0).then_some(key);
        Append { stream, expected, events, command, claims: vec![], chained: false }
    }

    /// Records the outcome, and returns its index in the counts.
    fn hear(&mut self, append: Append, outcome: AppendOutcome) -> usize {
        match outcome {
            AppendOutcome::Committed(committed) => {
                self.known.insert(append.stream, committed.version);
                let first = committed.position.0 + 1 - append.events.len() as u64;
                let ids = append.events.iter().map(|event| event.event_id);
                print((first..).zip(ids));
                0
            }
            AppendOutcome::NotCommitted(NotCommitted::Conflict { actual }) => {
                self.known.insert(append.stream, actual);
                1
            }
            AppendOutcome::NotCommitted(NotCommitted::Invalid(_)) => 2,
            AppendOutcome::NotCommitted(NotCommitted::Unavailable(_)) => 3,
            other => panic!("{other:?}"),
        }
    }
}

async fn read(store: PostgresStore, what: &str) {
    let end = Arc::new(AtomicU64::new(u64::MAX));
    let told = Arc::clone(&end);
    std::thread::spawn(move || {
        let mut line = String::new();
        stdin().read_line(&mut line).unwrap();
        told.store(line.trim().parse().unwrap(), Ordering::Relaxed);
    });
    let filter = match what {
        // Everything passes, and still it is another statement.
        "filtered" => Filter { aggregate_types: vec!["left".into(), "right".into()] },
        _ => Filter::all(),
    };
    let mut after = GlobalPosition::ZERO;
    while after.0 < end.load(Ordering::Relaxed) {
        let page = store.read_all(after, &filter, PageLimit::events(13)).await.unwrap();
        print(page.events.iter().map(|event| (event.position.0, event.event_id)));
        if page.scanned_to == after {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        after = page.scanned_to;
    }
}

fn print(events: impl Iterator<Item = (u64, Uuid)>) {
    let lines: String = events.map(|(position, id)| format!("{position} {id}\n")).collect();
    stdout().lock().write_all(lines.as_bytes()).unwrap();
}
