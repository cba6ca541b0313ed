//! The version check alone: verdicts, density, replays, and what a batch sees of itself.
//!
//! The conformance suite puts the same rules to whole stores; here they need none.

use super::{Current, PastCommand, Plan, confirmation, plan};
use crate::command::{Claim, ClaimName, CommandKey};
use crate::event::ExpectedVersion::{Any, Exact, NoStream, StreamExists};
use crate::event::{ExpectedVersion, GlobalPosition, NewEvent, StreamId, StreamVersion, Tip};
use crate::store::contract::{Append, AppendOutcome, Confirmation, NotCommitted};
use uuid::Uuid;

fn stream(id: &str) -> StreamId {
    StreamId::new("ledger", id).unwrap()
}

fn event(id: u128) -> NewEvent {
    NewEvent {
        event_id: Uuid::from_u128(id),
        event_type: "Booked".into(),
        schema_version: 1,
        payload: "1".into(),
        metadata: "{}".into(),
    }
}

/// An append of the events with these ids.
fn append(id: &str, expected: ExpectedVersion, events: std::ops::Range<u128>) -> Append {
    let events = events.map(event).collect();
    Append { stream: stream(id), expected, events, command: None, claims: vec![], chained: false }
}

fn key(id: &str, request: &str) -> CommandKey {
    CommandKey::new(id, request.as_bytes()).unwrap()
}

fn keyed(append: Append, id: &str, request: &str) -> Append {
    Append { command: Some(key(id, request)), ..append }
}

fn tip(version: u64, position: u64) -> Tip {
    Tip { version: StreamVersion(version), position: GlobalPosition(position) }
}

/// A log of ten events, the stream `two` having the fourth and the ninth.
fn ten() -> Current {
    let tips = [(stream("two"), tip(2, 9))].into();
    Current { head: GlobalPosition(10), tips, ..Current::default() }
}

/// `stored version@position`, `replayed …` or the refusal, for each append.
fn verdicts(plan: &Plan<'_>) -> Vec<String> {
    let told = plan.outcomes.iter().map(|outcome| match outcome {
        AppendOutcome::Committed(c) => {
            let how = if c.replayed { "replayed" } else { "stored" };
            format!("{how} {}@{}", c.version, c.position)
        }
        AppendOutcome::NotCommitted(NotCommitted::Conflict { actual }) => {
            format!("conflict {actual}")
        }
        AppendOutcome::NotCommitted(NotCommitted::Claimed { claim, holder }) => {
            format!("{claim} of {}", holder.id())
        }
        AppendOutcome::NotCommitted(NotCommitted::KeyReused) => "key reused".into(),
        AppendOutcome::NotCommitted(NotCommitted::Invalid(_)) => "invalid".into(),
        other => format!("{other:?}"),
    });
    told.collect()
}

fn rows(plan: &Plan<'_>) -> Vec<(u64, String, u64, u128)> {
    let rows = plan.rows.iter();
    rows.map(|r| (r.position.0, r.stream.id().to_owned(), r.version.0, r.event.event_id.as_u128()))
        .collect()
}

#[test]
fn every_expectation_has_its_verdict_on_an_absent_stream_and_on_one_of_two() {
    let exact = |version| Exact(StreamVersion(version));
    let table = [
        (Any, "stored 1@11", "stored 3@11"),
        (NoStream, "stored 1@11", "conflict 2"),
        (StreamExists, "conflict 0", "stored 3@11"),
        (exact(0), "stored 1@11", "conflict 2"),
        (exact(1), "conflict 0", "conflict 2"),
        (exact(2), "conflict 0", "stored 3@11"),
        (exact(3), "conflict 0", "conflict 2"),
        (exact(u64::MAX), "conflict 0", "conflict 2"),
    ];
    for (expected, absent, two) in table {
        for (id, verdict) in [("absent", absent), ("two", two)] {
            let batch = [append(id, expected, 1..2)];
            assert_eq!(verdicts(&plan(&batch, ten())), [verdict], "{expected:?} of {id}");
        }
    }
}

#[test]
fn refused_appends_take_no_position() {
    let bad = NewEvent { payload: "{".into(), ..event(50) };
    let batch = [
        append("a", Any, 1..3),
        append("two", NoStream, 3..8),
        append("two", Exact(StreamVersion(2)), 8..9),
        Append { events: vec![event(51), bad], ..append("a", Any, 0..0) },
        append("a", Exact(StreamVersion(1)), 9..10),
        append("a", Exact(StreamVersion(2)), 10..11),
    ];
    let plan = plan(&batch, ten());
    assert_eq!(
        verdicts(&plan),
        ["stored 2@12", "conflict 2", "stored 3@13", "invalid", "conflict 2", "stored 3@14"]
    );
    let expected = [(11, "a", 1, 1), (12, "a", 2, 2), (13, "two", 3, 8), (14, "a", 3, 10)];
    assert_eq!(rows(&plan), expected.map(|(p, id, v, e)| (p, id.to_owned(), v, e)));
    assert_eq!(plan.after.head, GlobalPosition(14));
    assert_eq!(plan.after.tips[&stream("a")], tip(3, 14));
}

#[test]
fn a_known_command_is_answered_as_it_was_whatever_it_expects() {
    let first = [keyed(append("two", Any, 1..2), "k", "x")];
    let after = plan(&first, ten()).after;
    let batch = [
        keyed(append("two", NoStream, 2..5), "k", "x"),
        keyed(append("other", Any, 5..6), "k", "y"),
        append("two", Any, 6..7),
        keyed(append("two", Exact(StreamVersion(2)), 7..8), "k", "x"),
    ];
    let plan = plan(&batch, after);
    assert_eq!(verdicts(&plan), ["replayed 3@11", "key reused", "stored 4@12", "replayed 3@11"]);
    assert_eq!(rows(&plan).len(), 1);
    assert!(plan.commands.is_empty(), "an outcome once kept was kept again");
}

#[test]
fn a_command_is_known_to_the_rest_of_its_own_batch() {
    let batch = [
        keyed(append("a", StreamExists, 1..2), "k", "x"),
        keyed(append("a", Any, 2..3), "k", "x"),
        keyed(append("a", Any, 3..4), "k", "x"),
        keyed(append("b", Any, 4..5), "k", "y"),
        keyed(append("two", Any, 0..0), "nothing", "x"),
        keyed(append("two", Any, 5..9), "nothing", "x"),
    ];
    let plan = plan(&batch, ten());
    assert_eq!(
        verdicts(&plan),
        ["conflict 0", "stored 1@11", "replayed 1@11", "key reused", "stored 2@9", "replayed 2@9"]
    );
    let kept: Vec<_> = plan.commands.iter().map(|kept| (&*kept.key.id, kept.tip)).collect();
    assert_eq!(kept, [("k", tip(1, 11)), ("nothing", tip(2, 9))]);
}

#[test]
fn an_event_id_is_stored_once() {
    let stored = [(Uuid::from_u128(1), (stream("two"), tip(1, 4)))].into();
    let batch = [
        append("a", Any, 1..2),
        append("a", Any, 2..3),
        append("b", Any, 2..4),
        Append { events: vec![event(9), event(9)], ..append("c", Any, 0..0) },
    ];
    let plan = plan(&batch, Current { stored, ..ten() });
    assert_eq!(verdicts(&plan), ["invalid", "stored 1@11", "invalid", "invalid"]);
    assert_eq!(rows(&plan), [(11, "a".to_owned(), 1, 2)]);
}

#[test]
fn an_append_whose_events_stand_is_answered_as_replayed() {
    let stands = |id: u128, version, position| {
        (Uuid::from_u128(id), (stream("two"), tip(version, position)))
    };
    let stored = [stands(1, 1, 4), stands(2, 2, 9)].into();
    let batch = [
        append("two", NoStream, 1..3),
        append("two", Any, 1..2),
        append("elsewhere", Any, 1..3),
        append("two", Any, 2..4),
        Append { events: vec![event(2), event(1)], ..append("two", Any, 0..0) },
    ];
    let plan = plan(&batch, Current { stored, ..ten() });
    assert_eq!(verdicts(&plan), ["replayed 2@9", "replayed 1@4", "invalid", "invalid", "invalid"]);
    assert!(plan.rows.is_empty() && plan.after.head == GlobalPosition(10));
}

#[test]
fn a_chained_append_falls_unless_the_one_before_is_stored_now() {
    let chained = |append| Append { chained: true, ..append };
    let exact = |version| Exact(StreamVersion(version));
    let batch = [
        append("two", exact(1), 1..2),
        chained(append("two", exact(2), 2..3)),
        append("two", exact(2), 3..4),
        chained(append("two", exact(3), 4..5)),
        chained(append("two", exact(3), 5..6)),
        chained(append("two", exact(4), 6..7)),
    ];
    assert_eq!(
        verdicts(&plan(&batch, ten())),
        ["conflict 2", "conflict 2", "stored 3@11", "stored 4@12", "conflict 4", "conflict 4"]
    );
}

#[test]
fn an_append_is_chained_only_to_one_directly_before_it_to_its_own_stream() {
    let chained = |append| Append { chained: true, ..append };
    let batch = [
        chained(append("two", Any, 1..2)),
        append("two", Any, 2..3),
        chained(append("other", Any, 3..4)),
        chained(append("two", Any, 4..5)),
        append("two", Any, 5..6),
        append("other", Any, 6..7),
        chained(append("two", Any, 7..8)),
        append("two", Any, 8..9),
        chained(append("two", Any, 9..10)),
    ];
    let told = ["conflict 2", "stored 3@11", "conflict 0", "conflict 3", "stored 4@12"];
    let rest = ["stored 1@13", "conflict 4", "stored 5@14", "stored 6@15"];
    assert_eq!(verdicts(&plan(&batch, ten())), [&told[..], &rest[..]].concat());
}

#[test]
fn a_confirmation_looks_for_the_command_before_the_version() {
    let key = key("k", "x");
    let other = PastCommand { fingerprint: [0; 16], tip: tip(1, 1) };
    let same = PastCommand { fingerprint: key.fingerprint, tip: tip(1, 1) };
    let at = |past, actual| confirmation(past, StreamVersion(actual), StreamVersion(5));
    assert_eq!(at(None, 5), Confirmation::Current);
    assert_eq!(at(None, 6), Confirmation::Stale { actual: StreamVersion(6) });
    assert_eq!(at(Some((&key, &other)), 5), Confirmation::KeyReused);
    let Confirmation::Replayed(past) = at(Some((&key, &same)), 6) else { panic!("not replayed") };
    assert_eq!((past.version.0, past.position.0, past.replayed), (1, 1, true));
}

/// `n` takes it, `-n` releases it.
fn claims(named: &[i32]) -> Vec<Claim> {
    let claim = |n: &i32| match n {
        1.. => Claim::take("name", &n.to_string()),
        _ => Claim::release("name", &(-n).to_string()),
    };
    named.iter().map(claim).collect()
}

fn name(n: i32) -> ClaimName {
    ("name".into(), n.to_string().into())
}

/// Claims to write: the claim, its former holder, its present holder and the position.
fn changes(plan: &Plan<'_>) -> Vec<(String, Option<String>, Option<String>, u64)> {
    let id = |stream: &StreamId| stream.id().to_owned();
    let changed = plan.changed_claims().map(|(name, touched, holder)| {
        assert!(holder.is_none_or(|holder| holder == touched.by));
        let before = touched.before.as_ref().map(id);
        (name.1.to_string(), before, holder.map(id), touched.position.0)
    });
    changed.collect()
}

#[test]
fn a_claim_is_judged_on_what_the_batch_did_before() {
    let claiming = |id: &str, event: u128, named: &[i32]| {
        let append = append(id, Any, event..event + 1);
        Append { claims: claims(named), ..append }
    };
    let held = [(name(1), Some(stream("two"))), (name(5), Some(stream("two"))), (name(2), None)];
    let batch = [
        claiming("a", 1, &[2, 1]),
        claiming("two", 2, &[-1, 1, -1]),
        claiming("a", 3, &[1, 2, -2]),
        claiming("two", 4, &[3, 3, -3, -2]),
        claiming("two", 5, &[1]),
        claiming("b", 6, &[-1, 4]),
        claiming("two", 7, &[-5]),
        claiming("two", 8, &[5]),
    ];
    let plan = plan(&batch, Current { claims: held.into(), ..ten() });
    let told = ["name \"1\" of two", "stored 3@11", "stored 1@12", "stored 4@13"];
    let rest = ["name \"1\" of a", "stored 1@14", "stored 5@15", "stored 6@16"];
    assert_eq!(verdicts(&plan), [&told[..], &rest[..]].concat());
    // Neither what was taken and released again is written, nor what came back.
    let (two, a, b) = (Some("two".to_owned()), Some("a".to_owned()), Some("b".to_owned()));
    assert_eq!(changes(&plan), [("1".to_owned(), two, a, 12), ("4".to_owned(), None, b, 14)]);
}

#[test]
fn a_version_is_judged_before_a_claim_and_a_stored_append_before_both() {
    let held = [(name(1), Some(stream("two")))].into();
    let stored = [(Uuid::from_u128(1), (stream("a"), tip(1, 4)))].into();
    let tips = [(stream("a"), tip(1, 4))].into();
    let log = Current { head: GlobalPosition(10), tips, claims: held, stored, ..ten() };
    let taking = |append| Append { claims: claims(&[1]), ..append };
    let known = PastCommand { fingerprint: key("k", "x").fingerprint, tip: tip(1, 4) };
    let log = Current { commands: [("k".to_owned(), known)].into(), ..log };
    let batch = [
        taking(append("a", Any, 1..2)),
        taking(keyed(append("a", Any, 2..3), "k", "x")),
        taking(append("a", NoStream, 3..4)),
        taking(append("a", Any, 4..5)),
        Append { chained: true, ..append("a", Any, 5..6) },
        Append { claims: claims(&[0]), ..append("a", Any, 6..7) },
        taking(append("a", Any, 0..0)),
    ];
    let plan = plan(&batch, log.clone());
    assert_eq!(
        verdicts(&plan),
        [
            "replayed 1@4",
            "replayed 1@4",
            "conflict 1",
            "name \"1\" of two",
            "conflict 1",
            "stored 2@11",
            "invalid"
        ]
    );
    assert_eq!(changes(&plan), []);
    // It may be one that was stored before the claim went to another: its events are looked for.
    assert!(super::plan(&batch[3..4], log.clone()).has_refusals());
    assert!(!super::plan(&batch[5..6], log).has_refusals());
}
