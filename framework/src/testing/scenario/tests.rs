//! Tests that a correct scenario passes, and that every other one fails with a clear message.

use std::collections::{BTreeMap, HashMap};
use std::panic::{UnwindSafe, catch_unwind};

use serde::{Deserialize, Serialize};

use super::Scenario;
use crate::aggregate::Aggregate;
use crate::store::contract::Snapshots;

#[derive(Default, Clone, Serialize, Deserialize)]
struct Door {
    open: bool,
    #[serde(skip)]
    forgotten: bool,
    marks: HashMap<u32, u32>,
}

#[derive(Clone)]
enum Ask {
    Open,
    Mark,
    Lose,
    Forget,
    StoreByPair,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Happened {
    Opened,
    Marked(u32),
    Lost(#[serde(skip)] u8, u8),
    Forgotten,
    ByPair(BTreeMap<(u8, u8), u8>),
}

#[derive(Debug, PartialEq, thiserror::Error)]
#[error("it is open")]
struct IsOpen;

impl Aggregate for Door {
    const TYPE: &'static str = "door";
    type Command = Ask;
    type Event = Happened;
    type Error = IsOpen;

    fn handle(&self, ask: Ask) -> Result<Vec<Happened>, IsOpen> {
        match ask {
            Ask::Open if self.open => Err(IsOpen),
            Ask::Open if self.forgotten => Ok(vec![]),
            Ask::Open => Ok(vec![Happened::Opened]),
            Ask::Mark => Ok((0..64).map(Happened::Marked).collect()),
            Ask::Lose => Ok(vec![Happened::Lost(1, 2)]),
            Ask::Forget => Ok(vec![Happened::Forgotten]),
            Ask::StoreByPair => Ok(vec![Happened::ByPair([((1, 2), 3)].into())]),
        }
    }

    fn apply(&mut self, event: &Happened) {
        match event {
            Happened::Opened => self.open = true,
            Happened::Marked(mark) => drop(self.marks.insert(*mark, *mark)),
            Happened::Forgotten => self.forgotten = true,
            Happened::Lost(..) | Happened::ByPair(_) => {}
        }
    }

    fn snapshots() -> Option<Snapshots<Self>> {
        Some(Snapshots::every(1, 1))
    }
}

/// Returns the message with which the test panics.
#[track_caller]
fn failure(test: impl FnOnce() + UnwindSafe) -> String {
    let Err(panic) = catch_unwind(test) else { panic!("it passed") };
    *panic.downcast::<String>().expect("these messages are formatted")
}

#[test]
fn stored_events_are_read_as_in_production() {
    Scenario::<Door>::given_stored([("Opened", 1, "null"), ("Marked", 1, "7")])
        .when(Ask::Open)
        .then_refused(IsOpen);
    for (event, reason) in [
        (("Closed", 1, "null"), "unknown event type"),
        (("Opened", 2, "null"), "schema version 2"),
        (("Marked", 1, "\"seven\""), "invalid type"),
    ] {
        let message = failure(|| drop(Scenario::<Door>::given_stored([event])));
        assert!(message.contains(event.0) && message.contains(reason), "{message}");
    }
}

#[test]
fn a_scenario_that_comes_out_as_told_passes() {
    let then = Scenario::<Door>::given_nothing().when(Ask::Open).then([Happened::Opened]);
    then.then_state(|door| assert!(door.open)).when(Ask::Open).then_refused(IsOpen);
    Scenario::<Door>::given([Happened::Forgotten])
        .when(Ask::Mark)
        .then((0..64).map(Happened::Marked));
}

#[test]
fn a_scenario_that_comes_out_otherwise_shows_all_of_it() {
    let open = || Scenario::<Door>::given([Happened::Opened]).when(Ask::Open);
    let shut = || Scenario::<Door>::given_nothing().when(Ask::Open);
    let refused = failure(|| drop(open().then([Happened::Marked(1)])));
    for part in ["given [\"Opened\"]", "expected [Marked(1)]", "decided  Err(IsOpen)"] {
        assert!(refused.contains(part), "{refused}");
    }
    failure(|| drop(open().then_nothing()));
    failure(|| drop(shut().then([Happened::Opened, Happened::Opened])));
    let decided = failure(|| drop(shut().then_nothing()));
    assert!(decided.contains("decided  Ok([Opened])"), "{decided}");
    let decided = failure(|| shut().then_refused(IsOpen));
    assert!(decided.contains("expected the refusal IsOpen"), "{decided}");
}

#[test]
fn an_event_that_cannot_be_stored_fails_its_first_scenario() {
    let message = failure(|| drop(Scenario::<Door>::given_nothing().when(Ask::StoreByPair)));
    assert!(message.contains("cannot be stored: key must be a string"), "{message}");
    let message = failure(|| drop(Scenario::<Door>::given_nothing().when(Ask::Lose)));
    assert!(message.contains("the event Lost is not equal to itself after encoding"), "{message}");
}

#[test]
fn what_a_snapshot_leaves_out_is_lost_in_the_scenario_too() {
    let then = Scenario::<Door>::given_nothing().when(Ask::Forget).then([Happened::Forgotten]);
    then.then_state(|door| assert!(!door.forgotten)).when(Ask::Open).then([Happened::Opened]);
}
