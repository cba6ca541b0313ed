//! A process dies between any two steps of a deadline or of a scheduled command: before it fires, after
//! it has fired, before and after that is recorded. The next process leads to one effect.

use std::collections::BTreeMap;

use actum::store::{Clock, SystemClock};
use tokio::task::{JoinSet, spawn_blocking};

use crate::support::child::read_log;
use crate::support::place::{Place, on_both_places};
use crate::support::program::Program;

/// Failpoints of deadlines. The saves also come before the deadline fires.
const DEADLINES: [(&str, &[u32]); 5] = [
    ("process.due", &[1, 3]),
    ("process.input_stored", &[1, 2]),
    ("process.executed", &[1, 3]),
    ("process.before_checkpoint", &[1, 2, 3]),
    ("process.after_checkpoint", &[1, 2]),
];

/// Failpoints of scheduled commands.
const SCHEDULED: [(&str, &[u32]); 5] = [
    ("later.due", &[1, 3]),
    ("later.before_outcome", &[1, 2]),
    ("later.after_outcome", &[1, 3]),
    ("later.before_checkpoint", &[1, 2, 3]),
    ("later.after_checkpoint", &[1, 2]),
];

/// Number of timers, and of scheduled commands.
const EACH: usize = 3;

/// Milliseconds from now until all is due: the first process has asked for it by then.
const DUE_IN: i128 = 400;

/// One process that dies at a point, and one after it. Returns true if the first one died.
fn crashes_at(store: &str, until: &str, at: &str) -> bool {
    let program = env!("CARGO_BIN_EXE_deadline-process");
    let mut process = Program::start(program, &[store, until], &[("ACTUM_CRASH_AT", at)]);
    // What is saved at once depends on the time, so it may pass the point less often. The last save is
    // the one when it stops.
    process.says("done");
    let has_died = !process.ends();
    let mut process = Program::start(program, &[store, until], &[]);
    assert!(process.says("done"), "it does not recover from {at}");
    process.stop();
    has_died
}

/// The log has one effect of each deadline and of each scheduled command, and one record of it.
async fn has_one_effect_of_each(store: &str, at: &str) {
    let mut events: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (stream, event, _) in read_log(store).await {
        events.entry(stream).or_default().push(event);
    }
    for (kind, expected) in [
        ("timer-", &["Waits", "Ended"][..]),
        ("process-", &["DeadlineReached"]),
        ("command-", &["Accepted", "Committed"]),
    ] {
        let streams = events.iter().filter(|(stream, _)| stream.starts_with(kind));
        let stored: Vec<_> = streams.map(|(_, stored)| stored).collect();
        assert_eq!(stored, [expected; EACH], "{at}: {events:?}");
    }
    assert_eq!(events["tally-all"], ["Added"; EACH], "{at}: {events:?}");
}

/// Each case has a place of its own, and all run at the same time, because they mostly wait.
async fn at_each(points: &'static [(&'static str, &'static [u32])], is_sqlite: bool) {
    let mut cases = JoinSet::new();
    // The lease of a dead process expires after seconds on a server, so there each point has one case.
    let most = if is_sqlite { usize::MAX } else { 1 };
    let passes = |passes: &'static [u32]| passes.iter().take(most);
    for (point, pass) in
        points.iter().flat_map(|(point, all)| passes(all).map(move |it| (*point, *it)))
    {
        cases.spawn(async move {
            let place = if is_sqlite { Place::sqlite() } else { Place::postgres().await };
            let (url, log) = (place.url(), place.log());
            let (at, now) = (format!("{point}:{pass}"), SystemClock.now().unix_timestamp_nanos());
            let until = (now / 1_000_000 + DUE_IN).to_string();
            let asked = at.clone();
            let died = spawn_blocking(move || crashes_at(&url, &until, &asked)).await.unwrap();
            has_one_effect_of_each(&log, &at).await;
            (point, died)
        });
    }
    let ended = cases.join_all().await;
    for (point, _) in points {
        let has_died = ended.iter().any(|(of, died)| of == point && *died);
        assert!(has_died, "the point {point} was never passed");
    }
}

async fn a_crash_at_each_step_of_a_deadline_leads_to_one_effect(place: Place) {
    at_each(&DEADLINES, matches!(place, Place::Sqlite(_))).await;
}

async fn a_crash_at_each_step_of_a_scheduled_command_leads_to_one_effect(place: Place) {
    at_each(&SCHEDULED, matches!(place, Place::Sqlite(_))).await;
}

on_both_places!(
    a_crash_at_each_step_of_a_deadline_leads_to_one_effect,
    a_crash_at_each_step_of_a_scheduled_command_leads_to_one_effect,
);
