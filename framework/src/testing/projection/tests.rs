//! Tests that a correct projection passes, and that each kind of mistake fails with a clear
//! message.

use std::panic::{UnwindSafe, catch_unwind};
use std::sync::atomic::AtomicI64;
use std::sync::atomic::Ordering::Relaxed;

use serde::{Deserialize, Serialize};
use time::macros::datetime;

use super::ProjectionScenario;
use crate::aggregate::Aggregate;
use crate::error::BoxError;
use crate::event::EventEnvelope;
use crate::projection::Projection;
use crate::store::contract::sql::{SqlConnection, SqlRow, SqlValue};
use crate::subscription::sources::EventSources;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Happened {
    Added(i64),
    Poisoned,
    Lost(#[serde(skip)] u8),
}
use Happened::*;

#[derive(Debug, thiserror::Error)]
#[error("never")]
struct Never;

macro_rules! aggregate {
    ($($name:ident $aggregate_type:literal)*) => {$(
        #[derive(Default, Clone)]
        struct $name;

        impl Aggregate for $name {
            const TYPE: &'static str = $aggregate_type;
            type Command = ();
            type Event = Happened;
            type Error = Never;

            fn handle(&self, (): ()) -> Result<Vec<Happened>, Never> {
                Ok(vec![])
            }

            fn apply(&mut self, _: &Happened) {}
        }
    )*};
}

aggregate!(Left "left" Right "right");

type Events<'e> = &'e [EventEnvelope<Happened>];

/// A projection of `Left` that fills `sums` this way.
macro_rules! projection {
    ($name:ident in $partitions:literal by $sources:expr, $project:expr) => {
        struct $name;

        #[async_trait::async_trait]
        impl Projection for $name {
            const NAME: &'static str = "sums";
            const PARTITIONS: u32 = $partitions;
            type Event = EventEnvelope<Happened>;

            fn sources() -> EventSources<Self::Event> {
                $sources
            }

            async fn create(db: &mut SqlConnection<'_>) -> Result<(), BoxError> {
                let sums = "CREATE TABLE sums (id TEXT PRIMARY KEY, sum BIGINT NOT NULL,
                            is_negative BOOLEAN, since TIMESTAMPTZ)";
                db.execute(sums, &[]).await?;
                Ok(())
            }

            async fn project(
                events: Events<'_>,
                db: &mut SqlConnection<'_>,
            ) -> Result<(), BoxError> {
                for event in events {
                    let n = match event.event {
                        Added(n) => n,
                        Poisoned => return Err("no number".into()),
                        Lost(_) => continue,
                    };
                    let project: fn(&EventEnvelope<Happened>, i64, Events) -> i64 = $project;
                    add(event, project(event, n, events), db).await?;
                }
                Ok(())
            }
        }
    };
}

async fn add(
    event: &EventEnvelope<Happened>,
    n: i64,
    db: &mut SqlConnection<'_>,
) -> Result<(), BoxError> {
    let row = [event.stream.id().into(), n.into(), (n < 0).into(), event.recorded_at.into()];
    let upsert = "INSERT INTO sums VALUES ($1, $2, $3, $4) ON CONFLICT (id) DO UPDATE SET
                  sum = sums.sum + excluded.sum, is_negative = sums.sum + excluded.sum < 0";
    db.execute(upsert, &row).await?;
    Ok(())
}

projection!(Sums in 1 by EventSources::of::<Left>().and::<Right>(), |_, n, _| n);
projection!(Parted in 3 by EventSources::of::<Left>(), |_, n, _| n);
projection!(OfBatches in 1 by EventSources::of::<Left>(), |_, _, events| events.len() as i64);
projection!(Remembering in 1 by EventSources::of::<Left>(), |_, n, _| {
    static CALLS: AtomicI64 = AtomicI64::new(0);
    n * CALLS.fetch_add(1, Relaxed)
});
projection!(Fickle in 1 by EventSources::of::<Left>(), |event, n, events| {
    assert!(event.stream.id() != "b" || events.len() < 2, "never two");
    n
});
projection!(Keyless in 1 by EventSources::by::<Left>(|event| match event.event {
    Poisoned => panic!("no key"),
    _ => Some(event.stream.id().to_owned()),
}), |_, n, _| n);

const ALL: &str = "SELECT id, sum FROM sums ORDER BY id";

fn given<P: Projection<Event = EventEnvelope<Happened>>>(
    events: impl IntoIterator<Item = (&'static str, Happened)>,
) -> ProjectionScenario<P> {
    ProjectionScenario::given::<Left>(events)
}

/// Returns the message with which the test panics.
#[track_caller]
fn fails(parts: &[&str], test: impl FnOnce() + UnwindSafe) {
    let Err(panic) = catch_unwind(test) else { panic!("it passed") };
    let message = *panic.downcast::<String>().expect("these messages are formatted");
    for part in parts {
        assert!(message.contains(part), "no {part:?} in: {message}");
    }
}

#[test]
fn events_of_several_aggregates_become_rows_in_the_order_given() {
    given::<Sums>([("a", Added(5)), ("b", Added(1)), ("a", Added(2))])
        .and::<Right>([(String::from("a"), Added(-20))])
        .then(ALL, [("a", -13), ("b", 1)])
        .then(
            "SELECT is_negative, since, NULL FROM sums ORDER BY id",
            [
                (true, datetime!(2000-01-01 0:00 UTC), None::<i64>),
                (false, datetime!(2000-01-01 0:00:01 UTC), None),
            ],
        )
        .then_no_rows("SELECT 1 FROM sums WHERE id = 'c'");
    given::<Sums>([]).then_no_rows(ALL);
    let ids = || (0..20).map(|n| (["a", "b", "c", "d"][n % 4], Added(n as i64)));
    given::<Parted>(ids()).then(ALL, [("a", 40), ("b", 45), ("c", 50), ("d", 55)]);
}

#[tokio::test]
async fn queries_of_ones_own_are_asked_also_in_an_async_test() {
    let sum = async |db: &mut SqlConnection<'_>, id: &str| -> Result<i64, BoxError> {
        let rows = db.rows("SELECT sum FROM sums WHERE id = $1", &[id.into()]).await?;
        Ok(rows.first().ok_or("no such sum")?.get(0)?)
    };
    let rows = given::<Sums>([("a", Added(5))]).then_asked(async |db| {
        assert_eq!(sum(db, "a").await?, 5);
        Ok(())
    });
    fails(&["asked: no such sum"], || {
        drop(given::<Sums>([]).then_asked(async |db| sum(db, "b").await.map(drop)));
    });
    fails(&["left: 5"], || {
        drop(given::<Sums>([("a", Added(5))]).then_asked(async |db| {
            let found = sum(db, "a").await?;
            if found != 6 {
                panic!("{}", format!("left: {found}"));
            }
            Ok(())
        }));
    });
    rows.then(ALL, [("a", 5)]);
}

#[test]
fn rows_that_come_out_otherwise_show_all_of_it() {
    let sums = || given::<Sums>([("a", Added(5)), ("b", Added(7))]);
    let shown = ["left-a: Added(5)", "expected (\"a\", 6)\n", "(\"b\", 7)\n  found    (\"a\", 5)"];
    fails(&shown, || drop(sums().then(ALL, [("a", 6), ("b", 7)])));
    fails(&["expected (\"a\", 5)\n"], || drop(sums().then(ALL, [("a", 5)])));
    fails(&["expected no rows"], || drop(sums().then_no_rows(ALL)));
    fails(&["found    no rows"], || drop(given::<Sums>([]).then(ALL, [("a", None::<i64>)])));
    fails(&["SELECT nothing", "refused"], || drop(sums().then_no_rows("SELECT nothing")));
    fails(&["not parked"], || drop(sums().then_parked("a", "")));
    let odd = SqlRow::new(vec![SqlValue::from("a")]);
    fails(&["expected (\"a\")\n"], || drop(sums().then(ALL, [odd])));
}

#[test]
fn an_event_that_fails_parks_its_key_which_must_be_named() {
    let poisoned = || {
        given::<Sums>([
            ("a", Added(5)),
            ("b", Added(1)),
            ("a", Poisoned),
            ("a", Added(1)),
            ("b", Added(2)),
        ])
    };
    poisoned().then_parked("a", "no number").then(ALL, [("a", 5), ("b", 3)]);
    poisoned().then_parked("a", "(1 wait behind it)").then_no_rows("SELECT 1 WHERE FALSE");
    let parked = "parked at Poisoned 2 of left-a";
    fails(&[parked, "position 3"], || drop(poisoned().then(ALL, [("a", 5), ("b", 3)])));
    fails(&["some keys are parked"], || drop(poisoned().then_asked(async |_| Ok(()))));
    fails(&[parked, "expected parked (another)"], || drop(poisoned().then_parked("a", "another")));
}

#[test]
fn rows_that_depend_on_how_events_arrive_fail() {
    let events = || [("a", Added(1)), ("a", Added(1)), ("b", Added(1))];
    let of_batches =
        ["the table sums depends on", "(\"a\", 2,", "in batches of 2 it is (\"a\", 4,"];
    fails(&of_batches, || drop(given::<OfBatches>(events()).then_no_rows(ALL)));
    fails(&["depends on the way of delivery", "delivered in batches of 1"], || {
        drop(given::<Remembering>(events()).then_no_rows(ALL));
    });
    // The events are tried one by one, so nothing is stored.
    given::<Fickle>(events()).then(ALL, [("a", 2), ("b", 1)]);
}

#[test]
fn an_event_that_cannot_be_stored_or_has_no_key_fails() {
    fails(&["the event Lost is not equal to itself after encoding and decoding"], || {
        drop(given::<Sums>([("a", Lost(1))]))
    });
    let right = || ProjectionScenario::<Parted>::given::<Right>([("a", Added(1))]);
    fails(&["sums does not follow right"], || drop(right()));
    fails(&["position 2 stops all of sums: panicked: no key"], || {
        drop(given::<Keyless>([("a", Added(1)), ("a", Poisoned)]).then_no_rows(ALL));
    });
}

/// A sum for each id, and one for all of them, each in the rows of its own key.
struct Totals;

#[async_trait::async_trait]
impl Projection for Totals {
    const NAME: &'static str = "totals";
    const PARTITIONS: u32 = 3;
    type Event = EventEnvelope<Happened>;

    fn sources() -> EventSources<Self::Event> {
        EventSources::by::<Left>(|event| ["all", event.stream.id(), "all"].map(str::to_owned))
    }

    async fn create(db: &mut SqlConnection<'_>) -> Result<(), BoxError> {
        db.execute("CREATE TABLE sums (id TEXT PRIMARY KEY, sum BIGINT NOT NULL)", &[]).await?;
        Ok(())
    }

    async fn project(events: Events<'_>, db: &mut SqlConnection<'_>) -> Result<(), BoxError> {
        for event in events {
            let Added(n) = event.event else { continue };
            if n < 0 && event.key() == "all" {
                return Err("never below zero".into());
            }
            let upsert = "INSERT INTO sums VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET
                          sum = sums.sum + excluded.sum";
            db.execute(upsert, &[event.key().into(), n.into()]).await?;
        }
        Ok(())
    }
}

#[test]
fn an_event_of_several_keys_arrives_once_for_each_and_parks_only_the_key_that_fails() {
    given::<Totals>([("a", Added(5)), ("b", Added(1)), ("a", Added(2))])
        .then(ALL, [("a", 7), ("all", 8), ("b", 1)]);
    given::<Totals>([("a", Added(5)), ("b", Added(-1)), ("a", Added(2))])
        .then_parked("all", "never below zero")
        .then(ALL, [("a", 7), ("all", 5), ("b", -1)]);
}
