//! User code that panics anywhere: it fails its own command, and the aggregate, the callers behind
//! it, their permits and keys, and the shutdown go on.

mod documents;

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use actum::store::MemoryStore;
use actum::{
    Aggregate, Application, BoxError, Claim, CommandError, CommandKey, CommandOptions, Committed,
    Metadata, Settings, Snapshots, Upcaster,
};
use serde::{Deserialize, Serialize, Serializer};

use crate::support::watched::{WatchedStore, watched_store};

/// The code that panics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Trap {
    CloneCommand,
    DropCommand,
    CloneState,
    DropState,
    SerializeState,
    DeserializeState,
    SerializeEvent,
    DeserializeEvent,
    CompareEvents,
    DropEvent,
    DropRefusal,
    Authorise,
    Claims,
}

const TRAPS: [Trap; 13] = [
    Trap::CloneCommand,
    Trap::DropCommand,
    Trap::CloneState,
    Trap::DropState,
    Trap::SerializeState,
    Trap::DeserializeState,
    Trap::SerializeEvent,
    Trap::DeserializeEvent,
    Trap::CompareEvents,
    Trap::DropEvent,
    Trap::DropRefusal,
    Trap::Authorise,
    Trap::Claims,
];

fn spring(trap: Trap, here: Trap) {
    if trap == here && !std::thread::panicking() {
        panic!("{here:?}");
    }
}

#[derive(Debug)]
enum TrapAsk {
    Add,
    Fall(Trap),
    Refuse(Trap),
}

impl TrapAsk {
    fn trap(&self) -> Option<Trap> {
        match self {
            Self::Add => None,
            Self::Fall(trap) | Self::Refuse(trap) => Some(*trap),
        }
    }
}

impl Clone for TrapAsk {
    fn clone(&self) -> Self {
        if let Some(trap) = self.trap() {
            spring(trap, Trap::CloneCommand);
        }
        match self {
            Self::Add => Self::Add,
            Self::Fall(trap) => Self::Fall(*trap),
            Self::Refuse(trap) => Self::Refuse(*trap),
        }
    }
}

impl Drop for TrapAsk {
    fn drop(&mut self) {
        if let Some(trap) = self.trap() {
            spring(trap, Trap::DropCommand);
        }
    }
}

#[derive(Debug)]
struct Happened {
    trap: Option<Trap>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Event {
    Added(Happened),
}

impl PartialEq for Happened {
    fn eq(&self, other: &Self) -> bool {
        if let Some(trap) = self.trap {
            spring(trap, Trap::CompareEvents);
        }
        self.trap == other.trap
    }
}

impl Serialize for Happened {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        if let Some(trap) = self.trap {
            spring(trap, Trap::SerializeEvent);
        }
        self.trap.serialize(to)
    }
}

impl<'de> Deserialize<'de> for Happened {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let trap = Option::<Trap>::deserialize(from)?;
        if let Some(trap) = trap {
            spring(trap, Trap::DeserializeEvent);
        }
        Ok(Self { trap })
    }
}

impl Drop for Happened {
    fn drop(&mut self) {
        if let Some(trap) = self.trap {
            spring(trap, Trap::DropEvent);
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("refused")]
struct Refusal(Trap);

impl Drop for Refusal {
    fn drop(&mut self) {
        spring(self.0, Trap::DropRefusal);
    }
}

#[derive(Debug, Default)]
struct Trapped {
    events: u64,
    trap: Option<Trap>,
}

impl Clone for Trapped {
    fn clone(&self) -> Self {
        if let Some(trap) = self.trap {
            spring(trap, Trap::CloneState);
        }
        Self { events: self.events, trap: self.trap }
    }
}

impl Drop for Trapped {
    fn drop(&mut self) {
        if let Some(trap) = self.trap {
            spring(trap, Trap::DropState);
        }
    }
}

impl Serialize for Trapped {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        if let Some(trap) = self.trap {
            spring(trap, Trap::SerializeState);
        }
        (self.events, self.trap).serialize(to)
    }
}

impl<'de> Deserialize<'de> for Trapped {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let (events, trap) = Deserialize::deserialize(from)?;
        if let Some(trap) = trap {
            spring(trap, Trap::DeserializeState);
        }
        Ok(Self { events, trap })
    }
}

impl Aggregate for Trapped {
    const TYPE: &'static str = "trapped";
    type Command = TrapAsk;
    type Event = Event;
    type Error = Refusal;

    fn handle(&self, ask: TrapAsk) -> Result<Vec<Event>, Refusal> {
        match &ask {
            TrapAsk::Add => Ok(vec![Event::Added(Happened { trap: None })]),
            TrapAsk::Fall(trap) => Ok(vec![Event::Added(Happened { trap: Some(*trap) })]),
            TrapAsk::Refuse(trap) => Err(Refusal(*trap)),
        }
    }

    fn authorise(&self, _: &str, ask: &TrapAsk) -> Result<(), Refusal> {
        if let Some(trap) = ask.trap() {
            spring(trap, Trap::Authorise);
        }
        Ok(())
    }

    fn apply(&mut self, Event::Added(happened): &Event) {
        self.events += 1;
        // The state's traps stay for one event, so that the aggregate can go on after it.
        self.trap = happened.trap;
    }

    fn claims(Event::Added(happened): &Event) -> Vec<Claim> {
        if let Some(trap) = happened.trap {
            spring(trap, Trap::Claims);
        }
        Vec::new()
    }

    fn snapshots() -> Option<Snapshots<Self>> {
        Some(Snapshots::every(1, 1))
    }
}

/// As many places as concurrent commands, so that the test fails if one place is lost.
const PLACES: usize = 3;

async fn start(store: WatchedStore) -> Application {
    let settings = Settings { commands_in_flight: PLACES, ..Settings::default() };
    Application::builder(store).aggregate::<Trapped>().settings(settings).start().await.unwrap()
}

/// Far below `answer_within`, which a caller behind a dead actor would wait for.
async fn soon<T>(what: impl IntoFuture<Output = T>, trap: impl std::fmt::Debug) -> T {
    let soon = tokio::time::timeout(Duration::from_secs(8), what).await;
    soon.unwrap_or_else(|_| panic!("{trap:?}: no answer"))
}

async fn ask(app: &Application, id: &str, ask: TrapAsk) -> Result<Committed, CommandError<String>> {
    let key = CommandKey::new(format!("{id} {ask:?}"), b"").unwrap();
    let metadata = Metadata { actor: Some("user:ada".into()), ..Metadata::default() };
    let options = CommandOptions { key: Some(key), metadata, ..CommandOptions::default() };
    match app.execute_with::<Trapped>(id, ask, options).await {
        Ok(committed) => Ok(committed),
        Err(CommandError::Refused(refusal)) => {
            std::mem::forget(refusal);
            Err(CommandError::Refused("refused".to_owned()))
        }
        Err(CommandError::Panicked { stream, message }) => {
            Err(CommandError::Panicked { stream, message })
        }
        Err(error) => panic!("{id}: {error}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_of_any_user_code_costs_its_command_and_nothing_else() {
    for trap in TRAPS {
        let store = watched_store();
        let app = start(store.clone()).await;
        let id = format!("{trap:?}");
        soon(ask(&app, &id, TrapAsk::Add), trap).await.unwrap();
        // Held, so that all of them come into one round.
        let held = store.hold().await;
        let several = async {
            tokio::join!(
                ask(&app, &id, TrapAsk::Fall(trap)),
                ask(&app, &id, TrapAsk::Refuse(trap)),
                app.execute::<Trapped>(&id, TrapAsk::Add)
            )
        };
        let several = soon(several, trap);
        tokio::pin!(several);
        tokio::select! {
            biased;
            _ = &mut several => {}
            () = tokio::task::yield_now() => {
                drop(held);
                let (_, _, behind) = several.await;
                let is_own = matches!(&behind, Err(CommandError::Panicked { .. }) if trap == Trap::CloneState);
                assert!(is_own || behind.is_ok(), "{trap:?}: {behind:?}");
            }
        }
        for again in 0..PLACES {
            let asks = (0..PLACES).map(|n| {
                let (app, id) = (app.clone(), format!("{id}-{again}-{n}"));
                tokio::spawn(async move { ask(&app, &id, TrapAsk::Add).await.map(drop) })
            });
            for ask in asks.collect::<Vec<_>>() {
                soon(ask, trap).await.unwrap().unwrap();
            }
        }
        soon(app.shutdown(), trap).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_that_nobody_awaits_may_panic_when_dropped() {
    let store = watched_store();
    let app = start(store.clone()).await;
    ask(&app, "1", TrapAsk::Add).await.unwrap();
    let held = store.hold().await;
    let mut first = Box::pin(app.execute::<Trapped>("1", TrapAsk::Add));
    let mut left = Box::pin(app.execute::<Trapped>("1", TrapAsk::Refuse(Trap::DropRefusal)));
    std::future::poll_fn(|context| {
        assert!(first.as_mut().poll(context).is_pending());
        assert!(left.as_mut().poll(context).is_pending());
        std::task::Poll::Ready(())
    })
    .await;
    drop(left);
    drop(held);
    soon(first, "left").await.unwrap();
    soon(ask(&app, "1", TrapAsk::Add), "left").await.unwrap();
    soon(app.shutdown(), "left").await;
}

/// An aggregate whose `Default` panics while a flag is set.
#[derive(Debug, Clone)]
struct Unborn;

static IS_BORN: AtomicBool = AtomicBool::new(false);

impl Default for Unborn {
    fn default() -> Self {
        assert!(IS_BORN.load(Ordering::SeqCst), "not yet");
        Self
    }
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Born {
    Born,
}

impl Aggregate for Unborn {
    const TYPE: &'static str = "unborn";
    type Command = ();
    type Event = Born;
    type Error = std::convert::Infallible;

    fn handle(&self, (): ()) -> Result<Vec<Born>, Self::Error> {
        Ok(vec![Born::Born])
    }

    fn apply(&mut self, _: &Born) {}
}

#[tokio::test]
async fn a_default_that_panics_fails_its_commands_until_it_does_not() {
    let app = Application::builder(MemoryStore::new()).aggregate::<Unborn>().start().await.unwrap();
    for _ in 0..3 {
        let answer = soon(app.execute::<Unborn>("1", ()), "Default").await;
        let Err(CommandError::Panicked { message, .. }) = answer else { panic!("{answer:?}") };
        assert!(message.contains("not yet"), "{message}");
    }
    IS_BORN.store(true, Ordering::SeqCst);
    assert_eq!(soon(app.execute::<Unborn>("1", ()), "Default").await.unwrap().version.0, 1);
}

/// An aggregate whose list of upcasters panics.
#[derive(Debug, Default, Clone)]
struct Misbuilt;

impl Aggregate for Misbuilt {
    const TYPE: &'static str = "misbuilt";
    type Command = ();
    type Event = Born;
    type Error = std::convert::Infallible;

    fn handle(&self, (): ()) -> Result<Vec<Born>, Self::Error> {
        Ok(vec![])
    }

    fn apply(&mut self, _: &Born) {}

    fn upcasters() -> Vec<Upcaster> {
        let step = |body| Ok::<_, BoxError>(body);
        assert!(Self::TYPE.is_empty(), "no list of upcasters");
        vec![Upcaster::new("Born", step)]
    }
}

#[tokio::test]
async fn a_panic_while_the_application_starts_is_an_error_of_the_start() {
    let started = Application::builder(MemoryStore::new()).aggregate::<Misbuilt>().start().await;
    let Err(error) = started.map(drop) else { panic!("it started") };
    assert!(error.to_string().contains("no list of upcasters"), "{error}");
}
