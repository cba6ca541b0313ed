//! A process that has its share of a read model of twelve partitions, on a log in PostgreSQL.
//!
//! `partition-process URL SEED` writes into 150 books, and reads each write back from the read model;
//! an answer that is too old, or older than one before, ends it with an error. At a line by standard
//! input it writes no more and prints `quiet ANSWERS`; at the end of the input it stops in order.

mod book;
#[path = "../support/random.rs"]
mod random;

use std::collections::HashMap;
use std::io::stdin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actum::store::PostgresStore;
use actum::{Application, ReadError, ReadModel, Sources};
use tokio::time::sleep;

use book::{Book, Digest};
use random::Random;

const BOOKS: u64 = 150;
const WRITERS: u64 = 8;

impl ReadModel for Digest {
    const NAME: &'static str = "digest";
    const PARTITIONS: u32 = 12;

    fn sources() -> Sources<Self> {
        Sources::of::<Book>()
    }
}

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, seed] = &arguments[..] else { panic!("partition-process URL SEED") };
    let store = PostgresStore::open(url).await.unwrap();
    let app = Application::builder(store).aggregate::<Book>().read_model::<Digest>();
    let app = app.start().await.unwrap();
    let seen = Arc::new(SeenBooks::default());
    let writers = (0..WRITERS).map(|n| {
        let random = Random::new(seed.parse::<u64>().unwrap() * WRITERS + n);
        let writer = Writer { app: app.clone(), seen: Arc::clone(&seen), random };
        tokio::spawn(writer.run())
    });
    let writers: Vec<_> = writers.collect();
    println!("started");
    line().await;
    seen.quiet.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.unwrap();
    }
    println!("quiet {}", seen.answers.load(Ordering::Relaxed));
    line().await;
    app.shutdown().await;
}

/// Waits for a line, or the end of the input.
async fn line() {
    let read = || stdin().read_line(&mut String::new());
    tokio::task::spawn_blocking(read).await.unwrap().unwrap();
}

/// Results that the readers of this process have seen.
#[derive(Default)]
struct SeenBooks {
    /// Number of events of each book.
    books: Mutex<HashMap<u64, u64>>,
    answers: AtomicU64,
    quiet: AtomicBool,
}

struct Writer {
    app: Application,
    seen: Arc<SeenBooks>,
    random: Random,
}

impl Writer {
    async fn run(mut self) {
        while !self.seen.quiet.load(Ordering::Relaxed) {
            let (book, n) = (self.random.below(BOOKS), self.random.below(1_000));
            let before = self.seen.books.lock().unwrap().get(&book).copied().unwrap_or_default();
            // The log shows in the end if it was stored.
            if let Ok(stored) = self.app.execute::<Book>(&book.to_string(), n).await {
                match self.app.read::<Digest>(&book.to_string()).after(stored.position).await {
                    Ok(read) => {
                        let least = before.max(stored.version.0);
                        if read.position < stored.position || read.events < least {
                            eprintln!("{} events of {book} at {}", read.events, read.position);
                            eprintln!("after {least} events, and {stored:?}");
                            std::process::exit(1);
                        }
                        let mut books = self.seen.books.lock().unwrap();
                        let seen = books.entry(book).or_default();
                        *seen = read.events.max(*seen);
                        self.seen.answers.fetch_add(1, Ordering::Relaxed);
                    }
                    Err(ReadError::NotYet { .. } | ReadError::Unavailable(_)) => {}
                    Err(other) => {
                        eprintln!("{other}");
                        std::process::exit(1);
                    }
                }
            }
            sleep(Duration::from_millis(20)).await;
        }
    }
}
