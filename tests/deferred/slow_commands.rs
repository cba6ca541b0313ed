//! A deferred command that blocks the thread of the reactions blocks nothing else.

use actum::store::{MemoryStore, PageLimit};
use actum::{
    Aggregate, Application, CommandOptions, CommandState, NoRefusal, StreamId, StreamVersion,
};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::concluded;
use crate::support::counter::{Ask, Counted, Counter};

/// Can be decoded from JSON once, when it is accepted, and after that only when the gate is open.
#[derive(Debug, Clone, Serialize)]
struct SlowCommand;

static IS_ACCEPTED: AtomicBool = AtomicBool::new(false);

static GATE: (std::sync::Mutex<bool>, std::sync::Condvar) =
    (std::sync::Mutex::new(false), std::sync::Condvar::new());

impl<'de> Deserialize<'de> for SlowCommand {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        <()>::deserialize(from)?;
        if !IS_ACCEPTED.swap(true, Ordering::SeqCst) {
            return Ok(Self);
        }
        let mut is_open = GATE.0.lock().unwrap();
        while !*is_open {
            is_open = GATE.1.wait(is_open).unwrap();
        }
        Ok(Self)
    }
}

#[derive(Debug, Default, Clone)]
struct Snail;

impl Aggregate for Snail {
    const TYPE: &'static str = "snail";
    type Command = SlowCommand;
    type Event = Counted;
    type Error = NoRefusal;

    fn handle(&self, _: SlowCommand) -> Result<Vec<Counted>, NoRefusal> {
        Ok(vec![Counted::Added(1)])
    }

    fn apply(&mut self, _: &Counted) {}
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reaction_that_blocks_holds_up_nobody_who_follows_the_log() {
    let builder = Application::builder(MemoryStore::new()).aggregate::<Counter>();
    let builder = builder.aggregate::<Snail>().answers_later::<Snail>();
    let app = builder.start().await.unwrap();
    let options = CommandOptions::default();
    let slow = app.execute_later::<Snail>("s", &SlowCommand, options, None).await.unwrap();
    let mut events = app.follow::<Counter>("a", StreamVersion::ZERO).unwrap();
    let followed = async {
        for n in 1..=100 {
            app.execute::<Counter>("a", Ask::Add(n)).await.unwrap();
            let event = events.next().await.unwrap().unwrap();
            assert_eq!(event.event, Counted::Added(n));
        }
    };
    let followed = tokio::time::timeout(Duration::from_secs(60), followed).await;
    *GATE.0.lock().unwrap() = true;
    GATE.1.notify_all();
    followed.expect("the followers wait for the reaction");
    assert!(matches!(concluded(&app, slow).await, CommandState::Committed { .. }));
    let stream = StreamId::new("command", &slow.to_string()).unwrap();
    let history = app.store().read_stream(&stream, StreamVersion::ZERO, PageLimit::events(9)).await;
    assert_eq!(history.unwrap().len(), 2);
    app.shutdown().await;
}
