//! Tests that a correct read model passes, and that each kind of mistake fails with a clear
//! message.

use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::panic::{UnwindSafe, catch_unwind};

use serde::{Deserialize, Serialize};

use super::ReadModelScenario;
use crate::aggregate::Aggregate;
use crate::event::EventEnvelope;
use crate::read_model::{Fold, ReadModel, Sources};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Happened {
    Added(i64),
    Doubled,
    Poisoned,
    Spoilt,
    Marked(u32),
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

aggregate!(Left "left" Right "right" Stranger "stranger");

/// A read model of `Left` that folds by this function.
macro_rules! read_model {
    ($(#[$meta:meta])* $name:ident { $($field:tt)* } by $sources:expr, $apply:expr) => {
        #[derive(Default, Clone, Serialize, Deserialize)]
        struct $name { $($field)* }

        impl ReadModel for $name {
            const NAME: &'static str = "model";

            fn sources() -> Sources<Self> {
                $sources
            }
        }

        impl Fold<Left> for $name {
            fn apply(&mut self, event: &EventEnvelope<Happened>) {
                let apply: fn(&mut Self, &EventEnvelope<Happened>) = $apply;
                apply(self, event)
            }
        }
    };
}

read_model!(Sum { sum: i64, last: u64 } by Sources::of::<Left>().and::<Right>(), |sum, event| {
    sum.last = event.position.0;
    match event.event {
        Added(number) => sum.sum += number,
        Doubled => sum.sum *= 2,
        Poisoned => {
            sum.sum = 999;
            panic!("no number")
        }
        _ => {}
    }
});

impl Fold<Right> for Sum {
    fn apply(&mut self, event: &EventEnvelope<Happened>) {
        let Added(number) = event.event else { return };
        self.sum -= number;
        self.last = event.position.0;
    }
}

impl Fold<Stranger> for Sum {
    fn apply(&mut self, _: &EventEnvelope<Happened>) {}
}

fn given<M: Fold<Left>>(events: impl IntoIterator<Item = Happened>) -> ReadModelScenario<M> {
    ReadModelScenario::given::<Left>(events.into_iter().map(|event| ("a", event)))
}

/// Returns the message with which the test panics.
#[track_caller]
fn failure(test: impl FnOnce() + UnwindSafe) -> String {
    let Err(panic) = catch_unwind(test) else { panic!("it passed") };
    *panic.downcast::<String>().expect("these messages are formatted")
}

#[track_caller]
fn fails(parts: &[&str], test: impl FnOnce() + UnwindSafe) {
    let message = failure(test);
    for part in parts {
        assert!(message.contains(part), "no {part:?} in: {message}");
    }
}

#[test]
fn events_of_several_aggregates_are_folded_in_the_order_given() {
    ReadModelScenario::<Sum>::given::<Left>([("a", Added(5)), ("b", Added(1)), ("a", Doubled)])
        .and::<Right>([("a", Added(3)), (String::from("c").as_str(), Added(1))])
        .and::<Left>([("a", Doubled)])
        .then("a", Sum { sum: 14, last: 6 })
        .then("b", Sum { sum: 1, last: 2 })
        .then_document("c", |c| assert_eq!(c.sum, -1))
        .then_no_document("d");
    given::<Sum>([]).then_no_document("a");
}

#[test]
fn a_read_model_that_comes_out_otherwise_shows_all_of_it() {
    let sum = || given::<Sum>([Added(5), Doubled]);
    let expected = Sum { sum: 9, last: 2 };
    fails(
        &["left-a: Doubled", r#"expected {"sum":9,"last":2}"#, r#"folded   {"sum":10,"last":2}"#],
        || drop(sum().then("a", expected)),
    );
    fails(&["folded   no document"], || drop(sum().then("b", Sum::default())));
    fails(&["expected a document"], || drop(sum().then_document("b", |_| ())));
    fails(&["expected no document"], || drop(sum().then_no_document("a")));
    fails(&["expected parked"], || drop(sum().then_parked("a", "")));
}

#[test]
fn a_panic_parks_its_key_and_leaves_the_others_and_what_was_before() {
    let poisoned = || {
        ReadModelScenario::<Sum>::given::<Left>([
            ("a", Added(5)),
            ("b", Added(1)),
            ("a", Poisoned),
            ("a", Added(1)),
            ("b", Doubled),
        ])
    };
    poisoned().then_parked("a", "no number").then("b", Sum { sum: 2, last: 5 });
    let document = r#"parked (panicked: no number) with {"sum":5,"last":1}"#;
    fails(&[document], || drop(poisoned().then("a", Sum { sum: 5, last: 1 })));
    fails(&[document], || drop(poisoned().then_parked("a", "another reason")));
    fails(&[document], || drop(poisoned().then_no_document("a")));
    given::<Sum>([Poisoned]).then_parked("a", "no number");
    fails(&["with no document"], || drop(given::<Sum>([Poisoned]).then_no_document("a")));
}

#[test]
fn an_event_that_cannot_be_stored_or_is_not_followed_fails() {
    fails(&["the event Lost is not equal to itself after encoding and decoding"], || {
        drop(given::<Sum>([Lost(1)]))
    });
    let stranger = || ReadModelScenario::<Sum>::given::<Stranger>([("a", Doubled)]);
    fails(&["model does not follow stranger"], || drop(stranger()));
    let bad_id = || ReadModelScenario::<Sum>::given::<Left>([("a b", Doubled)]);
    fails(&["contains ' '"], || drop(bad_id()));
}

read_model!(Unwritable { pairs: HashMap<(u8, u8), u8> } by Sources::of::<Left>(), |model, _| {
    model.pairs.insert((1, 2), 3);
});

read_model!(Unreadable { number: f64 } by Sources::of::<Left>(), |model, _| {
    model.number = f64::NAN;
});

#[derive(Default, Clone, Serialize, Deserialize)]
struct Twice(#[serde(deserialize_with = "twice")] u8);

fn twice<'de, D: serde::Deserializer<'de>>(json: D) -> Result<u8, D::Error> {
    Ok(u8::deserialize(json)? * 2)
}

read_model!(Changing { number: Twice } by Sources::of::<Left>(), |model, _| model.number.0 = 1);

#[test]
fn a_document_that_does_not_come_back_as_it_was_fails() {
    fails(&["after Doubled null", "cannot be stored", "key must be a string"], || {
        drop(given::<Unwritable>([Doubled]).then_document("a", |_| ()));
    });
    fails(&["cannot be stored", "does not decode again once it is serialised"], || {
        drop(given::<Unreadable>([Doubled]).then_document("a", |_| ()));
    });
    fails(&[r#"{"number":1}, is read back as {"number":2}"#], || {
        drop(given::<Changing>([Doubled]).then_document("a", |_| ()));
    });
}

read_model!(Forgetful { seen: u32, #[serde(skip)] count: u32 } by Sources::of::<Left>(), |m, _| {
    m.count += 1;
    m.seen = m.count;
});

thread_local!(static CALLS: Cell<u32> = const { Cell::new(0) });

read_model!(Counting { calls: u32 } by Sources::of::<Left>(), |model, _| {
    CALLS.set(CALLS.get() + 1);
    model.calls = CALLS.get();
});

read_model!(Ordering { table: HashMap<u32, u32>, first: u32 } by Sources::of::<Left>(), |m, event| {
    let Marked(mark) = event.event else { return };
    m.table.insert(mark, mark);
    m.first = m.table.keys().next().copied().unwrap_or_default();
});

thread_local!(static SEEN: Cell<u64> = const { Cell::new(0) });

read_model!(Deduplicating { count: u32 } by Sources::of::<Left>(), |model, event| {
    let is_seen = event.position.0 > 1 && event.position.0 <= SEEN.get();
    SEEN.set(event.position.0);
    model.count += u32::from(!is_seen);
});

read_model!(Fickle { sum: i64, #[serde(skip)] count: u32 } by Sources::of::<Left>(), |m, event| {
    m.count += 1;
    match event.event {
        Spoilt if m.count > 2 => panic!("the third"),
        _ => m.sum += 1,
    }
});

#[test]
fn a_document_that_depends_on_more_than_its_events_fails() {
    let crash = ["is not a function of its events", "with a crash after batch 1 was saved"];
    fails(&crash, || {
        drop(given::<Forgetful>([Doubled, Doubled]).then_document("a", |_| ()));
    });
    fails(&["delivered in batches of 1, {\"calls\":2}"], || {
        drop(given::<Counting>([Doubled]).then_document("a", |_| ()));
    });
    fails(&["is not a function of its events"], || {
        drop(given::<Ordering>((0..20).map(Marked)).then_document("a", |_| ()));
    });
    fails(&["{\"count\":2}, then", "batch 2 twice", "{\"count\":1}"], || {
        drop(given::<Deduplicating>([Doubled, Doubled]).then_document("a", |_| ()));
    });
    fails(&["once it is parked (panicked: the third)"], || {
        drop(given::<Fickle>([Doubled, Doubled, Spoilt]).then_parked("a", "third"));
    });
}

read_model!(Unordered { set: HashSet<u32> } by Sources::of::<Left>(), |model, event| {
    let Marked(mark) = event.event else { return };
    model.set.insert(mark);
});

#[test]
fn a_map_of_any_order_is_a_fine_document() {
    let table: HashMap<u32, u32> = (0..20).map(|n| (n, n)).collect();
    read_model!(Table { table: HashMap<u32, u32> } by Sources::of::<Left>(), |model, event| {
        let Marked(mark) = event.event else { return };
        model.table.insert(mark, mark);
    });
    given::<Table>((0..20).map(Marked)).then("a", Table { table });
    // A set is an array in JSON, and an array has an order.
    fails(&["is read back as", "a BTreeSet has an order"], || {
        drop(given::<Unordered>((0..20).map(Marked)).then_document("a", |_| ()));
    });
}

read_model!(ByMark { sum: u32 } by Sources::by::<Left>(|event| match event.event {
    Marked(mark) => Some(format!("mark-{mark}")),
    Added(_) => Some("k".repeat(2000)),
    Poisoned => panic!("no key"),
    _ => None,
}), |model, _| model.sum += 1);

#[test]
fn keys_of_content_are_found_and_bad_ones_told() {
    let then = given::<ByMark>([Marked(1), Marked(2), Marked(1), Doubled, Added(1)])
        .then("mark-1", ByMark { sum: 2 })
        .then("mark-2", ByMark { sum: 1 })
        .then_no_document("a");
    let parked_as = format!("{}\u{fffd}", "k".repeat(1021));
    then.then_parked(&parked_as, "is not a valid key of a document");
    fails(&["Poisoned null stops all of model", "panicked: no key"], || {
        drop(given::<ByMark>([Marked(1), Poisoned]).then_no_document("a"));
    });
}

#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
struct Each {
    sum: i64,
    #[serde(skip)]
    is_gone: bool,
}

impl ReadModel for Each {
    const NAME: &'static str = "each";

    fn sources() -> Sources<Self> {
        Sources::by::<Left>(|event| match event.event {
            Added(_) | Doubled => vec!["all".to_owned(), event.stream.id().to_owned()],
            Poisoned => vec!["all".to_owned()],
            _ => vec![],
        })
    }

    fn is_deleted(&self) -> bool {
        self.is_gone
    }
}

impl Fold<Left> for Each {
    fn apply(&mut self, event: &EventEnvelope<Happened>) {
        match event.event {
            Added(n) => {
                assert!(n >= 0 || event.key() != "all", "never below zero");
                self.sum += n;
            }
            // Deletes the document with this id only.
            Doubled => self.is_gone = event.key() != "all",
            _ => {}
        }
    }
}

#[test]
fn an_event_of_several_keys_is_folded_for_each_and_a_deleted_document_begins_anew() {
    let each = |sum| Each { sum, is_gone: false };
    given::<Each>([Added(2), Doubled, Marked(1)]).then("all", each(2)).then_no_document("a");
    given::<Each>([Added(2), Doubled, Added(3)]).then("all", each(5)).then("a", each(3));
    given::<Each>([Added(2), Added(-1), Added(4)])
        .then("a", each(5))
        .then_parked("all", "never below zero");
}
