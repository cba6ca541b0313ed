//! A process with an event handler that writes each event it handles to a file.
//!
//! `handler-process STORE FILE EVENTS` appends that many events to twenty books, and prints `started`
//! before the first and `written` after the last one. The handler adds a line `BOOK VERSION` to the
//! file, which several processes may share. At a line by standard input, or at its end, the process
//! stops in order.

use std::convert::Infallible;
use std::fs::{File, OpenOptions};
use std::io::{Write, stdin};
use std::sync::Arc;
use std::time::Duration;

use actum::{
    Aggregate, Application, Attempt, BoxError, EventEnvelope, EventHandler, EventSources,
    HandlerSettings, StartPosition,
};
use serde::{Deserialize, Serialize};
use tokio::task::{JoinSet, spawn_blocking};

const BOOKS: u64 = 20;

/// A book that accepts every number.
#[derive(Default, Clone)]
struct Book;

#[derive(PartialEq, Serialize, Deserialize)]
enum BookEvent {
    Noted { n: u64 },
}

impl Aggregate for Book {
    const TYPE: &'static str = "book";
    type Command = u64;
    type Event = BookEvent;
    type Error = Infallible;

    fn handle(&self, n: u64) -> Result<Vec<BookEvent>, Infallible> {
        Ok(vec![BookEvent::Noted { n }])
    }

    fn apply(&mut self, _: &BookEvent) {}
}

struct WriteDown(File);

#[async_trait::async_trait]
impl EventHandler for WriteDown {
    const NAME: &'static str = "write_down";
    const PARTITIONS: u32 = 3;
    type Event = EventEnvelope<BookEvent>;

    fn sources() -> EventSources<Self::Event> {
        EventSources::of::<Book>()
    }

    async fn handle(&self, event: &Self::Event, attempt: &Attempt) -> Result<(), BoxError> {
        let BookEvent::Noted { n } = event.event;
        tokio::time::sleep(Duration::from_millis(n % 3)).await;
        // Every seventh event fails once, so that crashes also meet events that are postponed.
        if n % 7 == 0 && attempt.number == 1 {
            return Err("not at the first attempt".into());
        }
        // One call, because the lines of several processes must not mix.
        (&self.0).write_all(format!("{} {}\n", event.key(), event.version).as_bytes())?;
        Ok(())
    }

    fn settings(&self) -> HandlerSettings {
        HandlerSettings { first_pause: Duration::from_millis(5), ..HandlerSettings::default() }
    }
}

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [store, file, events] = &arguments[..] else { panic!("handler-process STORE FILE EVENTS") };
    let file = OpenOptions::new().create(true).append(true).open(file).unwrap();
    let app = Application::builder(actum::open(store).await.unwrap()).aggregate::<Book>();
    let app = app.event_handler(WriteDown(file), StartPosition::Beginning).start().await.unwrap();
    println!("started");
    let (app, events) = (Arc::new(app), events.parse::<u64>().unwrap());
    let mut writers = JoinSet::new();
    for book in 0..BOOKS {
        let app = Arc::clone(&app);
        writers.spawn(async move {
            for n in (0..events).filter(|n| n % BOOKS == book) {
                // A conflict with another process is no matter: the log shows what was stored.
                let _ = app.execute::<Book>(&book.to_string(), n).await;
            }
        });
    }
    writers.join_all().await;
    println!("written");
    spawn_blocking(|| stdin().read_line(&mut String::new())).await.unwrap().unwrap();
    app.shutdown().await;
}
