//! Order, fairness, breakers and cost of the work queue, on a clock that the tests move.

use std::collections::HashSet;
use std::sync::mpsc;

use super::*;

const CALLS: Limits = Limits {
    at_once: 16,
    per_client: 6,
    per_destination: 4,
    per_unproven: 1,
    unproven_at_once: 12,
};

fn at(now: Instant, ms: u64) -> Instant {
    now + Duration::from_millis(ms)
}

fn to(client: &str, endpoint: &str) -> Destination {
    Destination { client: Some(client.to_owned()), endpoint: endpoint.to_owned() }
}

/// Starts everything that may start.
fn start(queue: &mut WorkQueue, now: Instant) -> Vec<String> {
    std::iter::from_fn(|| queue.next(now)).collect()
}

/// Opens an item that was never tried.
fn open(queue: &mut WorkQueue, id: &str, lane: &str, to: Destination, position: GlobalPosition) {
    queue.open(id, lane, to, position, 0, None);
}

fn done(queue: &mut WorkQueue, id: &str, now: Instant) {
    queue.finished(id, Health::Untested, now);
    queue.close(id);
}

fn again(queue: &mut WorkQueue, id: &str, pause: Option<Duration>, now: Instant) {
    queue.finished(id, Health::Untested, now);
    queue.again(id, pause, now);
}

/// Items by (id, lane), opened at positions 1, 2, 3, …
fn queue(items: &[(&str, &str)]) -> WorkQueue {
    let mut queue = WorkQueue::new(Limits::only(128));
    for (position, (id, lane)) in (1..).zip(items) {
        open(&mut queue, id, lane, Destination::default(), GlobalPosition(position));
    }
    queue
}

/// Callbacks, each a lane of its own.
fn open_callbacks(queue: &mut WorkQueue, first: u64, ids: &[String], to: &Destination) {
    for (position, id) in (first..).zip(ids) {
        open(queue, id, id, to.clone(), GlobalPosition(position));
    }
}

fn ids(name: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{name}{n}")).collect()
}

#[test]
fn only_the_first_of_a_lane_starts_and_lanes_do_not_wait_for_one_another() {
    let now = Instant::now();
    let mut queue = queue(&[("a1", "a"), ("a2", "a"), ("b1", "b"), ("a3", "a")]);
    assert_eq!(start(&mut queue, now), ["a1", "b1"]);
    done(&mut queue, "a1", now);
    assert_eq!(start(&mut queue, now), ["a2"]);
    done(&mut queue, "b1", now);
    done(&mut queue, "a2", now);
    assert_eq!(start(&mut queue, now), ["a3"]);
    done(&mut queue, "a3", now);
    assert_eq!(queue.next_due(now), None);
    assert!(queue.lanes.is_empty() && queue.open.is_empty() && queue.timers.is_empty());
}

#[test]
fn an_item_that_is_repeated_keeps_its_place_and_waits_longer_each_time() {
    let now = Instant::now();
    let mut queue = queue(&[("a1", "a"), ("a2", "a")]);
    let mut waited = Vec::new();
    for _ in 0..9 {
        assert_eq!(queue.next(at(now, 9_999)).as_deref(), Some("a1"));
        again(&mut queue, "a1", None, now);
        assert_eq!(queue.next(now), None);
        waited.push((queue.next_due(now).unwrap() - now).as_millis());
    }
    assert_eq!(waited, [50, 100, 200, 400, 800, 1600, 3200, 5000, 5000]);
    queue.next(at(now, 5_000));
    again(&mut queue, "a1", Some(Duration::from_secs(60)), now);
    assert_eq!(queue.next_due(now), Some(at(now, 60_000)));
}

#[test]
fn work_that_others_have_done_does_not_start_again() {
    let now = Instant::now();
    let mut waiting = queue(&[("a1", "a"), ("a2", "a"), ("a3", "a")]);
    waiting.close("a2");
    waiting.close("a1");
    waiting.close("unknown");
    assert_eq!(start(&mut waiting, now), ["a3"]);
    // Closed while it runs: the next one starts, and the result of the first changes nothing.
    let mut running = queue(&[("a1", "a"), ("a2", "a")]);
    assert_eq!(start(&mut running, now), ["a1"]);
    running.close("a1");
    assert_eq!(start(&mut running, now), ["a2"]);
    again(&mut running, "a1", None, now);
    assert_eq!((start(&mut running, now), running.next_due(now)), (vec![], None));
    // Closed while it waits for its time.
    again(&mut running, "a2", None, now);
    running.close("a2");
    assert_eq!((running.next_due(now), running.timers.len()), (None, 0));
}

#[test]
fn an_item_that_is_opened_twice_is_one_item_at_its_first_position() {
    let now = Instant::now();
    let mut queue = queue(&[("a1", "a"), ("a2", "a")]);
    open(&mut queue, "a1", "b", Destination::default(), GlobalPosition(9));
    assert_eq!(start(&mut queue, now), ["a1"]);
    assert!(queue.contains("a1") && queue.lanes.len() == 1);
    done(&mut queue, "a1", now);
    assert!(!queue.contains("a1") && queue.contains("a2"));
    assert_eq!(start(&mut queue, now), ["a2"]);
}

#[test]
fn a_restored_item_waits_for_its_time_and_its_lane_waits_behind_it() {
    let (now, mut queue) = (Instant::now(), WorkQueue::new(Limits::only(128)));
    let nowhere = Destination::default;
    queue.open("a1", "a", nowhere(), GlobalPosition(1), 3, Some(at(now, 700)));
    queue.open("a2", "a", nowhere(), GlobalPosition(2), 0, None);
    queue.open("b1", "b", nowhere(), GlobalPosition(3), 5, None);
    queue.open("c1", "c", nowhere(), GlobalPosition(4), 1, Some(now));
    assert_eq!(start(&mut queue, now), ["b1", "c1"]);
    assert_eq!(queue.next_due(now), Some(at(now, 700)));
    assert_eq!(start(&mut queue, at(now, 700)), ["a1"]);
    queue.finished("a1", Health::Untested, now);
    // Its backoff goes on where it was.
    let doubled = Some((4, Duration::from_millis(400)));
    assert_eq!(queue.again("a1", None, now), doubled);
    queue.close("a1");
    assert_eq!(start(&mut queue, now), ["a2"]);
    for id in ["a2", "b1", "c1"] {
        done(&mut queue, id, now);
    }
    assert_eq!(queue.again("a1", None, now), None, "it is closed");
    assert!(queue.lanes.is_empty() && queue.open.is_empty() && queue.timers.is_empty());
}

#[test]
fn items_that_this_release_cannot_perform_are_counted_until_they_are_closed() {
    let mut queue = queue(&[("a1", "a"), ("b1", "b")]);
    assert!(queue.mark_unable("a1"));
    assert!(!queue.mark_unable("a1") && !queue.mark_unable("unknown"));
    assert_eq!(queue.unable(), 1);
    queue.close("a1");
    assert_eq!(queue.unable(), 0);
}

#[test]
fn a_destination_that_hangs_takes_one_place_and_delays_nobody_else() {
    let now = Instant::now();
    let mut queue = WorkQueue::new(CALLS);
    open_callbacks(&mut queue, 1, &ids("dead", 300), &to("mallory", "https://dead"));
    open_callbacks(&mut queue, 1000, &ids("good", 3), &to("ada", "https://good"));
    assert_eq!(start(&mut queue, now), ["dead0", "good0"]);
    queue.finished("good0", Health::Up, now);
    queue.close("good0");
    assert_eq!(start(&mut queue, now), ["good1", "good2"], "a proven destination has more places");
}

#[test]
fn a_destination_that_fails_rests_and_is_then_tried_with_one_item() {
    let now = Instant::now();
    let mut queue = WorkQueue::new(CALLS);
    let (all, pause) = (ids("m", 20), Duration::from_secs(5));
    open_callbacks(&mut queue, 1, &all, &to("ada", "https://a"));
    assert_eq!(start(&mut queue, now), ["m0"]);
    queue.finished("m0", Health::Down(pause), now);
    queue.again("m0", Some(pause), now);
    assert_eq!(start(&mut queue, at(now, 4_999)), Vec::<String>::new());
    assert_eq!(start(&mut queue, at(now, 5_000)), ["m1"], "one probe");
    queue.finished("m1", Health::Up, at(now, 5_000));
    queue.close("m1");
    assert_eq!(start(&mut queue, at(now, 5_000)), ["m2", "m3", "m4", "m5"]);
    // Two failures may be accidents; the third in a row opens the breaker.
    for (id, rests) in [("m2", false), ("m3", false), ("m4", true)] {
        queue.finished(id, Health::Down(Duration::from_secs(3600)), at(now, 5_000));
        queue.again(id, Some(Duration::from_secs(3600)), at(now, 5_000));
        assert_eq!(start(&mut queue, at(now, 5_000)).is_empty(), rests, "after {id}");
    }
    for running in ["m5", "m6", "m7"] {
        queue.finished(running, Health::Untested, at(now, 5_000));
        queue.close(running);
    }
    let rested = at(now, 5_000 + 60_000);
    assert_eq!(queue.next_due(at(now, 5_000)), Some(rested), "a rest ends after a minute");
    assert_eq!(start(&mut queue, rested), ["m8"], "one probe");
}

#[test]
fn places_are_shared_out_in_turn_between_clients_whatever_each_has_waiting() {
    let now = Instant::now();
    let mut queue = WorkQueue::new(Limits { at_once: 1, ..Limits::only(128) });
    open_callbacks(&mut queue, 1, &ids("a", 1_000), &to("ada", ""));
    open_callbacks(&mut queue, 2_000, &ids("b", 2), &to("bob", ""));
    let mut order = Vec::new();
    for _ in 0..6 {
        let id = queue.next(now).unwrap();
        done(&mut queue, &id, now);
        order.push(id);
    }
    assert_eq!(order, ["a0", "b0", "a1", "b1", "a2", "a3"]);
}

#[test]
fn one_client_with_many_hanging_destinations_takes_only_its_own_places() {
    let now = Instant::now();
    let mut queue = WorkQueue::new(CALLS);
    for (position, id) in (1..).zip(ids("dead", 100)) {
        let to = to("mallory", &format!("https://{id}"));
        open(&mut queue, &id, &id, to, GlobalPosition(position));
    }
    assert_eq!(start(&mut queue, now).len(), CALLS.per_client);
    // And many such clients leave places to the destinations that work.
    for client in ["m1", "m2", "m3"] {
        for (position, id) in (1_000..).zip(ids(client, 100)) {
            let to = to(client, &format!("https://{id}"));
            open(&mut queue, &id, &id, to, GlobalPosition(position));
        }
    }
    let hanging = start(&mut queue, now);
    assert_eq!(hanging.len(), CALLS.unproven_at_once - CALLS.per_client);
    queue.finished(&hanging[0], Health::Up, now);
    queue.close(&hanging[0]);
    open_callbacks(&mut queue, 9_000, &ids("next", 2), &to("ada", "https://ada"));
    assert_eq!(start(&mut queue, now).len(), 1, "a place that is free again goes to the next");
}

#[test]
fn what_is_done_with_is_forgotten() {
    let now = Instant::now();
    let mut queue = WorkQueue::new(CALLS);
    for (position, id) in (1..).zip(ids("x", 200)) {
        let to = to(&format!("client{}", position % 40), &format!("https://{id}"));
        open(&mut queue, &id, &id, to, GlobalPosition(position));
    }
    let (mut now, mut seen) = (now, HashSet::new());
    while let Some(due) = queue.next_due(now) {
        now = now.max(due);
        for (number, id) in start(&mut queue, now).into_iter().enumerate() {
            if number % 3 == 0 && seen.insert(id.clone()) {
                queue.finished(&id, Health::Down(Duration::from_secs(1)), now);
                queue.again(&id, None, now);
            } else {
                queue.finished(&id, Health::Up, now);
                queue.close(&id);
            }
        }
    }
    assert!(queue.open.is_empty() && queue.lanes.is_empty() && queue.timers.is_empty());
    assert!(queue.destinations.is_empty(), "{:?}", queue.destinations);
}

#[test]
fn an_endpoint_that_worked_lately_is_not_behind_those_that_never_did() {
    let now = Instant::now();
    let mut queue = WorkQueue::new(CALLS);
    let good = to("ada", "https://good");
    open_callbacks(&mut queue, 1, &ids("first", 1), &good);
    assert_eq!(start(&mut queue, now), ["first0"]);
    queue.finished("first0", Health::Up, now);
    queue.close("first0");
    assert!(queue.destinations.is_empty());
    for (position, id) in (10..).zip(ids("dead", 100)) {
        let to = to(&id, &format!("https://{id}"));
        open(&mut queue, &id, &id, to, GlobalPosition(position));
    }
    assert_eq!(start(&mut queue, now).len(), CALLS.unproven_at_once);
    open_callbacks(&mut queue, 1_000, &ids("next", 1), &good);
    let half_an_hour = now + Duration::from_secs(1800);
    assert_eq!(start(&mut queue, half_an_hour), ["next0"]);
    // One that fails is unproven, and one that worked long ago is again.
    for n in 0..3 {
        queue.finished("next0", Health::Down(Duration::ZERO), half_an_hour);
        queue.again("next0", Some(Duration::ZERO), half_an_hour);
        let started = start(&mut queue, half_an_hour);
        assert_eq!(started.is_empty(), n == 2, "{n}: {started:?}");
    }
    queue.close("next0");
    open_callbacks(&mut queue, 2_000, &ids("last", 1), &good);
    assert_eq!(start(&mut queue, half_an_hour), Vec::<String>::new());
}

#[test]
fn an_endpoint_that_worked_long_ago_is_unproven_again() {
    let (now, good) = (Instant::now(), to("ada", "https://good"));
    let mut queue = WorkQueue::new(CALLS);
    open_callbacks(&mut queue, 1, &ids("first", 1), &good);
    start(&mut queue, now);
    queue.finished("first0", Health::Up, now);
    queue.close("first0");
    let later = now + destinations::PROVEN_FOR + Duration::from_secs(1);
    open_callbacks(&mut queue, 2, &ids("m", 4), &good);
    assert_eq!(start(&mut queue, later), ["m0"], "one probe");
}

/// Runs `work`, which takes minutes or hours if its cost is quadratic.
fn within_a_minute(work: impl FnOnce() + Send + 'static) {
    let (told, done) = mpsc::channel();
    std::thread::spawn(move || {
        work();
        let _ = told.send(());
    });
    done.recv_timeout(Duration::from_secs(60)).expect("it is not done within a minute");
}

#[test]
fn two_hundred_thousand_lanes_drain_at_the_cost_of_each_one() {
    within_a_minute(|| {
        let (now, mut queue) = (Instant::now(), WorkQueue::new(Limits::only(128)));
        open_callbacks(&mut queue, 1, &ids("x", 200_000), &to("ada", ""));
        let mut drained = 0;
        while let Some(id) = queue.next(now) {
            done(&mut queue, &id, now);
            drained += 1;
        }
        assert_eq!((drained, queue.open.len()), (200_000, 0));
    });
}

#[test]
fn a_lane_of_two_hundred_thousand_items_drains_at_the_cost_of_each_one() {
    within_a_minute(|| {
        let (now, mut queue) = (Instant::now(), WorkQueue::new(Limits::only(128)));
        for (position, id) in (1..).zip(ids("x", 200_000)) {
            open(&mut queue, &id, "hot", Destination::default(), GlobalPosition(position));
        }
        for expected in ids("x", 100_000) {
            let id = queue.next(now).unwrap();
            assert_eq!(id, expected);
            done(&mut queue, &id, now);
        }
        // The others are closed from the end, as by a former owner.
        for id in ids("x", 200_000).into_iter().skip(100_000).rev() {
            queue.close(&id);
        }
        assert_eq!(queue.next(now), None);
    });
}

#[test]
fn items_that_wait_for_their_time_are_closed_at_the_cost_of_each_one() {
    within_a_minute(|| {
        let (now, mut queue) = (Instant::now(), WorkQueue::new(Limits::only(1_000_000)));
        open_callbacks(&mut queue, 1, &ids("x", 200_000), &to("ada", ""));
        for id in start(&mut queue, now) {
            again(&mut queue, &id, Some(Duration::from_secs(9)), now);
        }
        ids("x", 200_000).iter().for_each(|id| queue.close(id));
        assert_eq!((queue.next_due(now), queue.timers.len()), (None, 0));
    });
}
