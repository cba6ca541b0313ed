//! Tests of the window of an event handler.

use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;
use tokio::time::Instant;
use uuid::Uuid;

use super::window::{Item, Window};
use crate::catch_panic::Isolated;
use crate::event::{GlobalPosition, RecordedEvent, StreamId, StreamVersion};

fn item(key: &str, position: u64) -> Item<()> {
    let recorded = RecordedEvent {
        position: GlobalPosition(position),
        stream: StreamId::new("account", key).unwrap(),
        version: StreamVersion(position),
        event_id: Uuid::from_u128(position.into()),
        event_type: "Opened".to_owned(),
        schema_version: 1,
        payload: "{}".to_owned(),
        metadata: "{}".to_owned(),
        recorded_at: OffsetDateTime::UNIX_EPOCH,
    };
    Item { event: Ok(Isolated::new(())), recorded: Arc::new(recorded), attempts: 0 }
}

fn window(events: &[(&str, u64)]) -> Window<()> {
    let mut window = Window::new();
    events.iter().for_each(|(key, position)| window.push(key, item(key, *position)));
    window
}

/// Starts everything that may start, and returns it by position.
fn start(window: &mut Window<()>, now: Instant) -> Vec<(Arc<str>, Item<()>)> {
    std::iter::from_fn(|| window.next(now)).collect()
}

fn positions(started: &[(Arc<str>, Item<()>)]) -> Vec<u64> {
    started.iter().map(|(_, item)| item.recorded.position.0).collect()
}

fn oldest(window: &Window<()>) -> Option<u64> {
    window.oldest().map(|position| position.0)
}

#[test]
fn keys_run_beside_one_another_and_events_of_a_key_one_after_the_other() {
    let (mut window, now) = (window(&[("a", 1), ("b", 2), ("a", 3), ("b", 4)]), Instant::now());
    let started = start(&mut window, now);
    assert_eq!(positions(&started), [1, 2]);
    assert_eq!(window.next_due(now), None);
    // The younger one ends first: the checkpoint stays before the older one.
    window.handled(&started[1].0, &started[1].1);
    assert_eq!(oldest(&window), Some(1));
    let next = start(&mut window, now);
    assert_eq!(positions(&next), [4]);
    window.handled(&started[0].0, &started[0].1);
    assert_eq!(oldest(&window), Some(3));
    let last = start(&mut window, now);
    last.iter().chain(&next).for_each(|(key, item)| window.handled(key, item));
    assert_eq!((oldest(&window), window.next_due(now)), (None, None));
}

#[test]
fn a_postponed_event_holds_back_its_key_and_the_checkpoint_and_no_other_key() {
    let (mut window, now) = (window(&[("a", 1), ("a", 2), ("b", 3)]), Instant::now());
    let mut started = start(&mut window, now);
    let (key, other) = started.pop().unwrap();
    window.handled(&key, &other);
    let (key, first) = started.pop().unwrap();
    let due = now + Duration::from_secs(1);
    window.again(key, first, due);
    assert_eq!((positions(&start(&mut window, now)), window.next_due(now)), (vec![], Some(due)));
    assert_eq!(oldest(&window), Some(1));
    let again = start(&mut window, due);
    assert_eq!(positions(&again), [1]);
    window.handled(&again[0].0, &again[0].1);
    assert_eq!(positions(&start(&mut window, due)), [2]);
}

#[test]
fn events_behind_a_parked_key_hold_no_checkpoint_and_flow_when_it_is_released() {
    let (mut window, now) = (window(&[("a", 1), ("a", 2), ("b", 3), ("a", 4)]), Instant::now());
    let started = start(&mut window, now);
    let (key, first) = &started[0];
    window.park(key, first);
    assert_eq!((oldest(&window), window.may_pass_behind()), (Some(3), true));
    let passed = window.take_behind(GlobalPosition(2));
    assert_eq!(passed, [(Arc::from("a"), GlobalPosition(2))]);
    assert!(!window.may_pass_behind());
    window.push_behind("a", item("a", 5));
    window.release("a");
    assert_eq!(oldest(&window), Some(3));
    let released = start(&mut window, now);
    assert_eq!(positions(&released), [4]);
    window.handled(&released[0].0, &released[0].1);
    assert_eq!(positions(&start(&mut window, now)), [5]);
}

#[test]
fn an_event_of_several_keys_holds_the_checkpoint_until_all_of_them_are_handled() {
    let (mut window, now) = (window(&[("a", 7), ("b", 7)]), Instant::now());
    let started = start(&mut window, now);
    window.handled(&started[0].0, &started[0].1);
    assert_eq!(oldest(&window), Some(7));
    window.park(&started[1].0, &started[1].1);
    assert_eq!(oldest(&window), None);
}

#[test]
fn the_window_is_bounded_by_number_and_bytes_also_of_what_waits_behind_parked_keys() {
    let mut window = Window::new();
    for n in 0..2_000 {
        assert!(!window.is_full(), "{n}");
        match n % 2 {
            0 => window.push("a", item("a", n)),
            _ => window.push_behind("b", item("b", n)),
        }
    }
    assert!(window.is_full());
    assert_eq!(window.take_behind(GlobalPosition(1)).len(), 1);
    assert!(!window.is_full());
    let mut window = Window::new();
    let mut large = item("a", 1);
    Arc::get_mut(&mut large.recorded).unwrap().payload = "x".repeat(8 << 20);
    window.push("a", large);
    assert!(window.is_full());
    let (key, large) = window.next(Instant::now()).unwrap();
    window.handled(&key, &large);
    assert!(!window.is_full());
}

#[test]
fn events_that_are_handled_ahead_of_an_old_one_are_bounded() {
    let (mut window, now) = (window(&[("old", 1)]), Instant::now());
    let old = start(&mut window, now);
    for n in 2..=5_000 {
        assert!(!window.is_full(), "{n}");
        window.push("a", item("a", n));
        let handled = start(&mut window, now);
        window.handled(&handled[0].0, &handled[0].1);
    }
    assert!(window.is_held_up() && window.is_full());
    window.handled(&old[0].0, &old[0].1);
    assert!(!window.is_full());
    assert_eq!(oldest(&window), None);
}
