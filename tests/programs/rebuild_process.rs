//! A process that builds version 2 of a read model beside version 1, under commands and reads.
//!
//! `rebuild-process fill STORE EVENTS` writes a log and ends when version 1 has folded it.
//! `rebuild-process replace STORE` runs version 2 in place of 1: it prints `at` and how far both have
//! come, how many reads were answered, and the least and the greatest position these named; what is
//! logged goes to standard output too. A command or a read that fails, and an answer that is older
//! than one before, end it with an error. It takes `serve VERSION`, `drop VERSION` and `quiet` by
//! standard input, and stops in order at its end.

mod book;
#[path = "../support/random.rs"]
mod random;

use std::io::stdin;
use std::process::exit;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use actum::operations::OperationError;
use actum::store::{Append, AppendOutcome, NewEvent, PostgresStore, SqliteStore};
use actum::{
    Aggregate, Application, ApplicationBuilder, Document, EventEnvelope, ExpectedVersion, Fold,
    GlobalPosition, ReadModel, Settings, Sources, StreamId,
};
use serde::{Deserialize, Serialize};
use tokio::time::sleep;
use uuid::Uuid;

use book::{Book, Digest, Noted};
use random::Random;

const BOOKS: u64 = 10_000;

/// Number of events of one book in one append, and of books in one call.
const TOGETHER: u64 = 10;
const IN_ONE_CALL: u64 = 500;

const WRITERS: u64 = 4;

/// The commands note numbers from here on; those that were there before are smaller.
const LIVE: u64 = 1_000;

/// Time that version 2 takes for some of those events while version 1 goes on. A switch that
/// ignored the positions already read would then go back in time.
const SLOW: Duration = Duration::from_millis(50);
const SELDOM: u64 = 20;

/// Version 1.
impl ReadModel for Digest {
    const NAME: &'static str = "digest";

    fn sources() -> Sources<Self> {
        Sources::of::<Book>()
    }
}

/// Version 2: the same in another shape, and in two partitions.
#[derive(Default, Clone, Serialize, Deserialize)]
struct Seal {
    checksum: String,
    entries: u64,
}

impl From<Digest> for Seal {
    fn from(Digest { events, sum }: Digest) -> Self {
        Self { checksum: sum.to_string(), entries: events }
    }
}

impl ReadModel for Seal {
    const NAME: &'static str = Digest::NAME;
    const VERSION: u32 = 2;
    const PARTITIONS: u32 = 2;

    fn sources() -> Sources<Self> {
        Sources::of::<Book>()
    }
}

impl Fold<Book> for Seal {
    fn apply(&mut self, event: &EventEnvelope<Noted>) {
        let Noted::Noted { n } = &event.event;
        if *n >= LIVE && n % SELDOM == 0 {
            std::thread::sleep(SLOW);
        }
        let sum = self.checksum.parse().unwrap_or(0_u64);
        self.checksum = ((sum * 31 + n + 1) % 1_000_000_007).to_string();
        self.entries += 1;
    }
}

#[tokio::main]
async fn main() {
    tracing_subscriber::fmt().with_max_level(tracing_subscriber::filter::LevelFilter::INFO).init();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["fill", store, events] => fill(store, events.parse().unwrap()).await,
        ["replace", store] => replace(store).await,
        _ => panic!("rebuild-process fill STORE EVENTS | replace STORE"),
    }
}

async fn builder(store: &str) -> ApplicationBuilder {
    let builder = match store.starts_with("postgres://") {
        true => Application::builder(PostgresStore::open(store).await.unwrap()),
        false => Application::builder(SqliteStore::open(store).await.unwrap()),
    };
    // Generous timeouts: a busy machine is slow, not wrong. The slow version has a thread of its
    // own.
    let settings =
        Settings { read_within: Duration::from_secs(60), arbiters: 4, ..Settings::default() };
    builder.settings(settings).aggregate::<Book>()
}

async fn fill(store: &str, events: u64) {
    let app = builder(store).await.read_model::<Digest>().start().await.unwrap();
    let began = Instant::now();
    for first in (0..events / TOGETHER).step_by(IN_ONE_CALL as usize) {
        let last = (first + IN_ONE_CALL).min(events / TOGETHER);
        for outcome in app.store().append((first..last).map(entries).collect()).await {
            assert!(matches!(outcome, AppendOutcome::Committed(_)), "{outcome:?}");
        }
    }
    println!("wrote {events} events in {:?}", began.elapsed());
    while how_far(&app).await[0] < events {
        sleep(Duration::from_millis(50)).await;
    }
    println!("version 1 had them {:?} after the first", began.elapsed());
    app.shutdown().await;
}

/// Books take turns.
fn entries(number: u64) -> Append {
    let entry = |n| NewEvent {
        event_id: Uuid::now_v7(),
        event_type: "Noted".into(),
        schema_version: 1,
        payload: format!(r#"{{"n":{}}}"#, (number * TOGETHER + n) * 7_919 % LIVE).into(),
        metadata: "{}".into(),
    };
    Append {
        stream: StreamId::new(Book::TYPE, &(number % BOOKS).to_string()).unwrap(),
        expected: ExpectedVersion::Any,
        events: (0..TOGETHER).map(entry).collect(),
        command: None,
        claims: vec![],
        chained: false,
    }
}

/// Positions that versions 1 and 2 have reached in all their partitions, or 0 for a version that
/// does not run.
async fn how_far(app: &Application) -> [u64; 2] {
    let status = app.operations().status().await;
    [1, 2].map(|version| {
        let version = status.subscriptions.iter().find(|known| known.version == version);
        let partitions = version.into_iter().flat_map(|version| &version.partitions);
        let positions = partitions.map(|partition| partition.position.unwrap_or_default().0);
        positions.min().unwrap_or(0)
    })
}

async fn replace(store: &str) {
    let app = builder(store).await.read_model_replacing::<Seal, Digest>();
    let app = app.start().await.unwrap();
    let seen = Arc::new(SeenReads::new());
    tokio::spawn(tell(app.clone(), Arc::clone(&seen)));
    // A process that was killed left leases, which have to expire first.
    while !app.readiness().ready {
        sleep(Duration::from_millis(10)).await;
    }
    let clients = (0..WRITERS).map(|n| tokio::spawn(write(app.clone(), Arc::clone(&seen), n)));
    let mut clients: Vec<_> = clients.collect();
    clients.push(tokio::spawn(read(app.clone(), Arc::clone(&seen), false)));
    clients.push(tokio::spawn(read(app.clone(), Arc::clone(&seen), true)));
    while let Some(line) = line().await {
        match line.split_once(' ') {
            Some(("serve", version)) => serve(&app, version.parse().unwrap()).await,
            Some(("drop", version)) => {
                app.operations().drop_version(Seal::NAME, version.parse().unwrap()).await.unwrap();
            }
            _ => {
                seen.quiet.store(true, SeqCst);
                for client in clients.drain(..) {
                    client.await.unwrap();
                }
            }
        }
        println!("done: {line}");
    }
    let [commands, answers, slowest] = [&seen.commands, &seen.answers, &seen.slowest];
    let [commands, answers, slowest] = [commands, answers, slowest].map(|count| count.load(SeqCst));
    println!("{commands} commands, {answers} reads, the slowest took {slowest} ms");
    app.shutdown().await;
}

/// The next line of the input, until that ends.
async fn line() -> Option<String> {
    let read = || stdin().lines().next().transpose().unwrap();
    tokio::task::spawn_blocking(read).await.unwrap()
}

async fn serve(app: &Application, version: u32) {
    while let Err(error) = app.operations().serve_version(Seal::NAME, version).await {
        assert!(matches!(error, OperationError::Behind { .. }), "{error}");
    }
}

async fn tell(app: Application, seen: Arc<SeenReads>) {
    loop {
        let [old, new] = how_far(&app).await;
        let [answers, least, greatest] = [&seen.answers, &seen.least, &seen.greatest];
        let [answers, least, greatest] =
            [answers, least, greatest].map(|number| number.load(SeqCst));
        println!("at {old} {new} {answers} {least} {greatest}");
        sleep(Duration::from_millis(100)).await;
    }
}

/// Results that the clients of this process have seen.
struct SeenReads {
    /// Number of events of each book and the position they were read at.
    books: Vec<[AtomicU64; 2]>,
    /// The book that was written last.
    last: AtomicU64,
    commands: AtomicU64,
    answers: AtomicU64,
    /// The positions that were answered.
    least: AtomicU64,
    greatest: AtomicU64,
    /// In milliseconds.
    slowest: AtomicU64,
    quiet: AtomicBool,
}

impl SeenReads {
    fn new() -> Self {
        Self {
            books: (0..BOOKS).map(|_| Default::default()).collect(),
            last: AtomicU64::new(0),
            commands: AtomicU64::new(0),
            answers: AtomicU64::new(0),
            least: AtomicU64::new(u64::MAX),
            greatest: AtomicU64::new(0),
            slowest: AtomicU64::new(0),
            quiet: AtomicBool::new(false),
        }
    }

    /// Reads a book at or after a position. No answer may be older than one before.
    async fn read(&self, app: &Application, book: u64, after: GlobalPosition) -> Document<Seal> {
        let [events, position] = &self.books[book as usize];
        let before = [events.load(SeqCst), position.load(SeqCst).max(after.0)];
        let began = Instant::now();
        let read = match app.read::<Seal>(&book.to_string()).after(after).await {
            Ok(read) => read,
            Err(error) => fail(&format!("a read of book {book} failed: {error}")),
        };
        if read.entries < before[0] || read.position.0 < before[1] {
            let found = [read.entries, read.position.0];
            fail(&format!("book {book} went back from {before:?} to {found:?}: events, position"));
        }
        events.fetch_max(read.entries, SeqCst);
        position.fetch_max(read.position.0, SeqCst);
        self.least.fetch_min(read.position.0, SeqCst);
        self.greatest.fetch_max(read.position.0, SeqCst);
        self.slowest.fetch_max(began.elapsed().as_millis() as u64, SeqCst);
        self.answers.fetch_add(1, SeqCst);
        read
    }
}

fn fail(why: &str) -> ! {
    eprintln!("{why}");
    exit(1)
}

/// Writes into books that have no other writer, and reads each write back.
async fn write(app: Application, seen: Arc<SeenReads>, number: u64) {
    let mut random = Random::new(number);
    while !seen.quiet.load(SeqCst) {
        let book = random.below(BOOKS / WRITERS) * WRITERS + number;
        let n = LIVE + random.below(1_000);
        let stored = match app.execute::<Book>(&book.to_string(), n).await {
            Ok(stored) => stored,
            Err(error) => fail(&format!("a command failed: {error}")),
        };
        let read = seen.read(&app, book, stored.position).await;
        if read.entries != stored.version.0 {
            fail(&format!("book {book} has {} events after {stored:?}", read.entries));
        }
        seen.last.store(book, SeqCst);
        seen.commands.fetch_add(1, SeqCst);
        sleep(Duration::from_millis(5)).await;
    }
}

/// Reads any book, or the one that was written last.
async fn read(app: Application, seen: Arc<SeenReads>, any: bool) {
    let mut random = Random::new(99);
    while !seen.quiet.load(SeqCst) {
        let book = if any { random.below(BOOKS) } else { seen.last.load(SeqCst) };
        seen.read(&app, book, GlobalPosition::ZERO).await;
        sleep(Duration::from_millis(1)).await;
    }
}
