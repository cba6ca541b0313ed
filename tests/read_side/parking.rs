//! One bad event stops one key: parked, drained in order after a fix, or left out with a reason.
//!
//! Several generations of code follow one log: what one of them cannot apply, a later one can.

use std::time::Duration;

use actum::operations::{MAX_LISTED_PARKED, OperationError, ParkedKey};
use actum::store::{AppendOutcome, EventStore, NewEvent, Store};
use actum::testing::FaultyStore;
use actum::{
    Aggregate, Application, EventEnvelope, Fold, GlobalPosition, ReadError, ReadModel, Settings,
    Sources, Upcaster,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::support::events::{append, event};
use crate::support::place::on_every_store;
use crate::support::waiting::{check, poll};

/// The events of a book, as different generations of the code define them.
macro_rules! generation {
    ($aggregate:ident, $event:ident { $($variants:tt)* }, $upcasters:expr, $model:ident,
     |$document:ident, $given:ident| $fold:expr) => {
        #[derive(Debug, Default, Clone)]
        struct $aggregate;

        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        enum $event {
            $($variants)*
        }

        impl Aggregate for $aggregate {
            const TYPE: &'static str = "book";
            type Command = ();
            type Event = $event;
            type Error = std::convert::Infallible;

            fn handle(&self, (): ()) -> Result<Vec<$event>, Self::Error> {
                Ok(Vec::new())
            }

            fn apply(&mut self, _: &$event) {}

            fn upcasters() -> Vec<Upcaster> {
                $upcasters
            }
        }

        /// A fold that shows a missing, repeated or misplaced event.
        #[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
        struct $model {
            mix: u64,
            events: u64,
        }

        impl ReadModel for $model {
            const NAME: &'static str = "pages";

            fn sources() -> Sources<Self> {
                Sources::of::<$aggregate>()
            }
        }

        impl Fold<$aggregate> for $model {
            fn apply(&mut self, envelope: &EventEnvelope<$event>) {
                let ($document, $given) = (&mut *self, &envelope.event);
                $document.events += 1;
                $document.mix = mix($document.mix, $fold);
            }
        }
    };
}

fn mix(mix: u64, n: u64) -> u64 {
    mix.wrapping_mul(31).wrapping_add(n + 1)
}

generation!(Book, Noted { Noted { n: u64 } }, Vec::new(), Pages, |document, given| {
    let Noted::Noted { n } = given;
    if *n == POISON {
        document.mix = 666; // half applied
        panic!("cannot take {n}");
    }
    *n
});

generation!(
    NewBook,
    NewNoted { Noted { number: u64 }, Struck { number: u64 } },
    vec![Upcaster::new("Noted", |mut payload| {
        payload["number"] = payload["n"].take();
        Ok(payload)
    })],
    NewPages,
    |_document, given| match given {
        NewNoted::Noted { number } | NewNoted::Struck { number } => *number,
    }
);

const POISON: u64 = 1_000_000;

async fn old(store: impl Store) -> Application {
    let settings = Settings { read_within: Duration::from_secs(60), ..Settings::default() };
    Application::builder(store).settings(settings).read_model::<Pages>().start().await.unwrap()
}

async fn new(store: impl Store) -> Application {
    let settings = Settings { read_within: Duration::from_secs(60), ..Settings::default() };
    Application::builder(store).settings(settings).read_model::<NewPages>().start().await.unwrap()
}

/// Events of one book each: its id, the event's type and schema version, and its number.
async fn write(store: &(impl EventStore + ?Sized), events: &[(&str, &str, u32, u64)]) {
    for some in events.chunks(1_000) {
        let noted = |(id, name, schema_version, n): &(&str, &str, u32, u64)| {
            let field = if *schema_version == 1 && *name == "Noted" { "n" } else { "number" };
            let event = event(name, &json!({ field: n }).to_string());
            append("book", id, [NewEvent { schema_version: *schema_version, ..event }])
        };
        let outcomes = store.append(some.iter().map(noted).collect()).await;
        let stored = |outcome: &AppendOutcome| matches!(outcome, AppendOutcome::Committed(_));
        assert!(outcomes.iter().all(stored), "{outcomes:?}");
    }
}

/// The document of these numbers, byte for byte.
fn folded(numbers: impl IntoIterator<Item = u64>) -> String {
    let (mut mixed, mut events) = (0, 0);
    for number in numbers {
        (mixed, events) = (mix(mixed, number), events + 1);
    }
    format!("{{\"mix\":{mixed},\"events\":{events}}}")
}

async fn body<M: ReadModel>(app: &Application, id: &str, after: GlobalPosition) -> String {
    let document = app.read::<M>(id).after(after).await.unwrap();
    assert!(document.position >= after);
    serde_json::to_string(&document.body).unwrap()
}

/// Waits until the parked keys are as they should be.
async fn parked(app: &Application, are_so: impl Fn(&[ParkedKey]) -> bool) -> Vec<ParkedKey> {
    poll(Duration::from_secs(60), async || {
        check(app.operations().parked("pages").await.unwrap(), |parked| are_so(parked))
    })
    .await
}

/// Drops an application in this process, so that it writes nothing any more.
async fn ended(app: Application) {
    app.shutdown().await;
}

async fn one_poison_event_parks_its_key_and_fixed_code_drains_it_by_itself(
    store: impl Store + Clone,
) {
    let app = old(store.clone()).await;
    let ids: Vec<String> = (0..20).map(|id| id.to_string()).collect();
    let number = |n: u64| if n == 123 { POISON } else { n };
    let event = |n: u64| (&*ids[n as usize % ids.len()], "Noted", 1, number(n));
    write(&store, &(0..400).map(event).collect::<Vec<_>>()).await;
    let head = store.head().await.unwrap();
    let of = |id: u64| (0..400).filter(move |n| n % 20 == id).map(number);
    for id in (0..20).filter(|id| *id != 3) {
        assert_eq!(body::<Pages>(&app, &id.to_string(), head).await, folded(of(id)), "{id}");
    }
    let found = app.read::<Pages>("3").after(head).await;
    let Err(ReadError::Parked { key, position, reason, .. }) = found else { panic!("{found:?}") };
    assert_eq!((&*key, position.0, &*reason), ("3", 124, "panicked: cannot take 1000000"));
    let keys = parked(&app, |keys| keys.iter().any(|key| key.queue.len() == 13)).await;
    assert_eq!((keys.len(), &*keys[0].key, &*keys[0].event), (1, "3", "Noted 7 of book-3"));
    ended(app).await;
    let app = new(store.clone()).await;
    parked(&app, <[_]>::is_empty).await;
    for id in 0..20 {
        assert_eq!(body::<NewPages>(&app, &id.to_string(), head).await, folded(of(id)), "{id}");
    }
    ended(app).await;
}

async fn a_newer_event_type_and_a_newer_schema_park_in_the_older_code(store: impl Store + Clone) {
    let app = old(store.clone()).await;
    let events =
        [("a", "Noted", 1, 1), ("a", "Struck", 1, 2), ("b", "Noted", 2, 3), ("a", "Noted", 1, 4)];
    write(&store, &events).await;
    write(&store, &[("c", "Noted", 1, 5)]).await;
    let head = store.head().await.unwrap();
    assert_eq!(body::<Pages>(&app, "c", head).await, folded([5]));
    let keys = parked(&app, |keys| keys.len() == 2 && keys[0].queue.len() == 1).await;
    assert!(keys[0].reason.contains("unknown event type \"Struck\""), "{keys:?}");
    assert!(keys[1].reason.contains("schema"), "{keys:?}");
    ended(app).await;
    let app = new(store.clone()).await;
    parked(&app, <[_]>::is_empty).await;
    assert_eq!(body::<NewPages>(&app, "a", head).await, folded([1, 2, 4]));
    assert_eq!(body::<NewPages>(&app, "b", head).await, folded([3]));
    ended(app).await;
}

async fn a_request_is_carried_out_by_the_owner_and_a_skip_is_listed(store: impl Store + Clone) {
    // A store that others write to as well: the second application is a standby.
    let store = FaultyStore::new(store);
    let (owner, standby) = (old(store.clone()).await, old(store.clone()).await);
    let numbers = [1, POISON, 2, 3];
    write(&store, &numbers.map(|n| ("a", "Noted", 1, n))).await;
    let head = store.head().await.unwrap();
    for app in [&owner, &standby] {
        let found = app.read::<Pages>("a").after(head).await;
        assert!(matches!(found, Err(ReadError::Parked { .. })), "{found:?}");
    }
    let keys = parked(&owner, |keys| keys.iter().any(|key| key.queue.len() == 2)).await;
    let attempts = keys[0].attempts;
    standby.operations().retry_parked("pages", "a").await.unwrap();
    assert_eq!(standby.operations().retry_all_parked("pages@1").await.unwrap(), 1);
    let keys = parked(&owner, |keys| keys[0].attempts > attempts).await;
    assert_eq!(keys[0].queue.len(), 2, "{keys:?}");
    standby
        .operations()
        .skip_parked("pages", "a", GlobalPosition(2), "Ada: it is a typo")
        .await
        .unwrap();
    parked(&owner, <[_]>::is_empty).await;
    for app in [&owner, &standby] {
        assert_eq!(body::<Pages>(app, "a", head).await, folded([1, 2, 3]));
    }
    let skipped = standby.operations().skipped("pages").await.unwrap();
    let [skipped] = &skipped[..] else { panic!("{skipped:?}") };
    assert_eq!((skipped.position.0, &*skipped.reason), (2, "Ada: it is a typo"));
    assert!(skipped.event.starts_with("Noted 2 of book-a"), "{skipped:?}");
    let none = owner.operations().retry_parked("pages", "a").await;
    assert!(matches!(none, Err(OperationError::NotParked { .. })), "{none:?}");
    let none = owner.operations().parked("page").await;
    assert!(matches!(none, Err(OperationError::Unknown { .. })), "{none:?}");
    let none = owner.operations().skip_parked("pages", "a", GlobalPosition(2), " ").await;
    assert!(matches!(none, Err(OperationError::NoReason)), "{none:?}");
    ended(owner).await;
    ended(standby).await;
}

async fn more_than_a_thousand_parked_keys_halt_and_a_fix_drains_them_all(
    store: impl Store + Clone,
) {
    let app = old(store.clone()).await;
    let ids: Vec<String> = (0..1_100).map(|id| id.to_string()).collect();
    let poison = ids.iter().map(|id| (&**id, "Noted", 1, POISON));
    write(&store, &poison.collect::<Vec<_>>()).await;
    let head = store.head().await.unwrap();
    let found = app.read::<Pages>("0").after(head).await;
    let Err(ReadError::Halted { position, reason, .. }) = found else { panic!("{found:?}") };
    assert_eq!(position.0, 1_001);
    assert!(reason.starts_with("1000 keys are parked, which is the limit: fix"), "{reason}");
    assert!(app.readiness().waiting_for[0].contains("1000 keys are parked"));
    ended(app).await;
    let app = new(store.clone()).await;
    parked(&app, <[_]>::is_empty).await;
    for id in ["0", "999", "1000", "1099"] {
        assert_eq!(body::<NewPages>(&app, id, head).await, folded([POISON]), "{id}");
    }
    ended(app).await;
}

async fn the_status_lists_some_of_many_parked_keys_and_counts_all(store: impl Store + Clone) {
    let app = old(store.clone()).await;
    let ids: Vec<String> = (0..150).map(|id| format!("{id:03}")).collect();
    let poison = ids.iter().map(|id| (&**id, "Noted", 1, POISON));
    write(&store, &poison.collect::<Vec<_>>()).await;
    write(&store, &[("000", "Noted", 1, 7)]).await;
    parked(&app, |keys| keys.len() == 150 && keys[0].queue.len() == 1).await;
    let status = app.operations().status().await;
    let pages = status.subscriptions.iter().find(|one| one.name == "pages").unwrap();
    assert_eq!((pages.parked_keys, pages.parked.len()), (Some(150), MAX_LISTED_PARKED));
    assert_eq!((&*pages.parked[0].key, pages.parked[0].queued), ("000", 1));
    ended(app).await;
}

/// One poisoned event among a hundred thousand.
async fn one_event_in_a_hundred_thousand_is_poison(store: impl Store + Clone) {
    const EVENTS: u64 = 100_000;
    let ids: Vec<String> = (0..500).map(|id| id.to_string()).collect();
    let number = |n: u64| if n == 40_007 { POISON } else { n };
    let event = |n: u64| (&*ids[(n * n % 499) as usize], "Noted", 1, number(n));
    let all: Vec<_> = (0..EVENTS).map(event).collect();
    write(&store, &all).await;
    let (head, poisoned) = (store.head().await.unwrap(), all[40_007].0);
    let of = |id: &str| {
        let numbers = all.iter().filter(move |(of, ..)| *of == id).map(|(.., n)| *n);
        folded(numbers)
    };
    let app = old(store.clone()).await;
    for id in ids.iter().filter(|id| **id != poisoned && all.iter().any(|(of, ..)| of == *id)) {
        assert_eq!(body::<Pages>(&app, id, head).await, of(id), "{id}");
    }
    let waiting = all[40_008..].iter().filter(|(of, ..)| *of == poisoned).count();
    let keys = parked(&app, |keys| keys.iter().any(|key| key.queue.len() == waiting)).await;
    assert_eq!((keys.len(), &*keys[0].key, keys[0].position.0), (1, poisoned, 40_008));
    ended(app).await;
    let app = new(store.clone()).await;
    parked(&app, <[_]>::is_empty).await;
    for id in ids.iter().filter(|id| all.iter().any(|(of, ..)| of == *id)) {
        assert_eq!(body::<NewPages>(&app, id, head).await, of(id), "{id}");
    }
    ended(app).await;
}

on_every_store!(
    one_poison_event_parks_its_key_and_fixed_code_drains_it_by_itself,
    a_newer_event_type_and_a_newer_schema_park_in_the_older_code,
    a_request_is_carried_out_by_the_owner_and_a_skip_is_listed,
    more_than_a_thousand_parked_keys_halt_and_a_fix_drains_them_all,
    the_status_lists_some_of_many_parked_keys_and_counts_all,
    one_event_in_a_hundred_thousand_is_poison
);
