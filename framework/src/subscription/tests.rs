//! Tests that a follower gets every event once and in order, whatever the timing.

mod bytes;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::TailSettings;
use super::reader::Subscription;
use super::tail::Tail;
use super::test_store::{Call, TestStore, append};
use crate::error::StoreError;
use crate::event::GlobalPosition;
use crate::store::contract::{Filter, Page};
use crate::store::memory::MemoryStore;

/// A small random generator with a fixed seed, so a failure can be reproduced.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn below(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

fn quick() -> TailSettings {
    TailSettings {
        page: 3,
        catch_up_page: 4,
        page_bytes: 1 << 20,
        shared_pages: 2,
        shared_bytes: 1 << 20,
        waiting_pages: 1,
        waiting_bytes: 1 << 20,
        join_within: 6,
        poll: Duration::from_millis(5),
        first_delay: Duration::from_micros(10),
        longest_delay: Duration::from_micros(50),
    }
}

fn start(store: impl crate::store::contract::Store, settings: TailSettings) -> Tail {
    Tail::start(Arc::new(store), GlobalPosition::ZERO, settings, |task| {
        tokio::spawn(task);
    })
}

async fn deposit(store: &MemoryStore, stream: (&str, &str), count: u64) {
    append(store, stream, &vec![("Deposited", "{}".to_owned()); count as usize]).await;
}

async fn next(subscription: &mut Subscription) -> Arc<Page> {
    subscription.next().await.unwrap().expect("the tail was not stopped")
}

fn accounts() -> Filter {
    Filter { aggregate_types: vec!["account".into()] }
}

/// Checks that `page` continues after `last` without a gap, and returns its last position.
fn continued(last: u64, page: &Page, log: &[String], filter: &Filter) -> u64 {
    let expected = (last + 1..=page.scanned_to.0)
        .filter(|position| filter.admits(&log[*position as usize - 1]))
        .collect::<Vec<_>>();
    let given = page.events.iter().filter(|e| filter.admits(e.stream.aggregate_type()));
    let given = given.map(|e| e.position.0).collect::<Vec<_>>();
    assert_eq!(given, expected, "after {last} up to {}", page.scanned_to);
    assert!(page.scanned_to.0 > last, "a page that brings nothing");
    page.scanned_to.0
}

/// One thread and a fixed seed; the yields decide which task runs when.
async fn switches(seed: u64, filter: Filter, least: u64) {
    let dice = Arc::new(Mutex::new(Dice(seed)));
    let hook_dice = Arc::clone(&dice);
    let store = TestStore::new(move |_| {
        let (yields, fails) = {
            let mut dice = hook_dice.lock().unwrap();
            (dice.below(4), dice.below(50) == 0)
        };
        Box::pin(async move {
            for _ in 0..yields {
                tokio::task::yield_now().await;
            }
            match fails {
                true => Err(StoreError::Unavailable("by chance".into())),
                false => Ok(()),
            }
        })
    });
    let memory = store.memory.clone();
    let tail = start(store, quick());
    let mut subscription = tail.subscribe("test", filter.clone(), GlobalPosition::ZERO);
    let roll = |sides| dice.lock().unwrap().below(sides);
    let (mut log, mut last) = (Vec::new(), 0);
    while subscription.changes() < least {
        for _ in 0..1 + roll(8) {
            let (kind, count) = (["account", "transfer"][roll(2) as usize], 1 + roll(3));
            deposit(&memory, (kind, "1"), count).await;
            log.extend((0..count).map(|_| kind.to_owned()));
            for _ in 0..roll(4) {
                tokio::task::yield_now().await;
            }
        }
        for _ in 0..roll(10) {
            if last == log.len() as u64 {
                break;
            }
            let page = match roll(3) {
                // Cancelled at any point, then called again.
                0 => tokio::select! {
                    biased;
                    page = next(&mut subscription) => page,
                    () = tokio::task::yield_now() => continue,
                },
                _ => next(&mut subscription).await,
            };
            last = continued(last, &page, &log, &filter);
        }
    }
    while last < log.len() as u64 {
        let page = next(&mut subscription).await;
        last = continued(last, &page, &log, &filter);
    }
}

#[tokio::test]
async fn ten_thousand_switches_between_catch_up_and_tail_lose_and_repeat_nothing() {
    for seed in 1..=5 {
        switches(seed, Filter::all(), 1_000).await;
        switches(seed + 100, accounts(), 1_000).await;
    }
}

/// A store whose pages wait until the gate opens, and the positions of the reads that have begun.
fn gated() -> (TestStore, Arc<tokio::sync::Semaphore>, Arc<Mutex<Vec<u64>>>) {
    let (gate, began) = (Arc::new(tokio::sync::Semaphore::new(0)), Arc::<Mutex<Vec<_>>>::default());
    let (waits, counts) = (Arc::clone(&gate), Arc::clone(&began));
    let store = TestStore::new(move |call| {
        let (gate, began) = (Arc::clone(&waits), Arc::clone(&counts));
        Box::pin(async move {
            if let Call::ReadAll(after) = call {
                began.lock().unwrap().push(after.0);
                drop(gate.acquire().await);
            }
            Ok(())
        })
    });
    (store, gate, began)
}

/// Calls `next` repeatedly and drops each call at once.
async fn interrupted(subscription: &mut Subscription, times: usize) {
    for _ in 0..times {
        let waited = tokio::time::timeout(Duration::from_millis(1), subscription.next()).await;
        assert!(waited.is_err(), "the gate is closed");
    }
}

#[tokio::test]
async fn a_read_survives_those_who_stop_waiting_for_it() {
    for filter in [Filter::all(), accounts()] {
        let (store, gate, began) = gated();
        deposit(&store.memory, ("account", "1"), 8).await;
        let tail = start(store, TailSettings { join_within: 0, ..quick() });
        let mut subscription = tail.subscribe("test", filter.clone(), GlobalPosition::ZERO);
        interrupted(&mut subscription, 20).await;
        assert_eq!(*began.lock().unwrap(), [0], "one read for all who waited");
        gate.add_permits(1_000);
        let log = vec!["account".to_owned(); 8];
        let mut last = 0;
        while last < 8 {
            let page = next(&mut subscription).await;
            last = continued(last, &page, &log, &filter);
        }
        let began = began.lock().unwrap().clone();
        assert!(began.iter().filter(|after| **after == 4).count() <= 1, "{began:?}");
    }
}

#[tokio::test]
async fn who_has_joined_the_tail_keeps_no_page_that_was_read_ahead() {
    let memory = MemoryStore::new();
    deposit(&memory, ("account", "1"), 8).await;
    let settings = TailSettings { join_within: 2, ..quick() };
    let tail = Tail::start(Arc::new(memory.clone()), GlobalPosition(8), settings, |task| {
        tokio::spawn(task);
    });
    let mut subscription = tail.subscribe("test", Filter::all(), GlobalPosition::ZERO);
    // Two full pages by its own cursor: the next one is read ahead although the log ends here.
    assert_eq!(next(&mut subscription).await.scanned_to.0, 4);
    assert_eq!(next(&mut subscription).await.scanned_to.0, 8);
    assert!(subscription.reads_ahead());
    interrupted(&mut subscription, 1).await;
    deposit(&memory, ("account", "1"), 1).await;
    assert_eq!(next(&mut subscription).await.scanned_to.0, 9);
    assert!(subscription.is_at_tail() && !subscription.reads_ahead());
}

#[tokio::test]
async fn a_read_between_the_cursor_and_the_tail_survives_those_who_stop_waiting_for_it() {
    let (store, gate, began) = gated();
    deposit(&store.memory, ("account", "1"), 3).await;
    // Close enough to join at once: it only reads the events before the tail's position by itself.
    let tail = Tail::start(Arc::new(store), GlobalPosition(3), quick(), |task| {
        tokio::spawn(task);
    });
    let mut other = tail.subscribe("other", Filter::all(), GlobalPosition(3));
    let mut subscription = tail.subscribe("test", Filter::all(), GlobalPosition::ZERO);
    interrupted(&mut other, 1).await;
    interrupted(&mut subscription, 20).await;
    let own = began.lock().unwrap().iter().filter(|after| **after == 0).count();
    assert_eq!(own, 1, "one read for all who waited");
    gate.add_permits(1_000);
    assert_eq!(next(&mut subscription).await.scanned_to.0, 3);
}

#[tokio::test]
async fn what_the_tail_has_handed_on_meanwhile_is_one_page_up_to_a_full_one() {
    let memory = MemoryStore::new();
    let settings = TailSettings { page: 2, catch_up_page: 6, waiting_pages: 8, ..quick() };
    let tail = start(memory.clone(), settings);
    let mut subscription = tail.subscribe("test", Filter::all(), GlobalPosition::ZERO);
    deposit(&memory, ("account", "1"), 1).await;
    assert_eq!(next(&mut subscription).await.scanned_to.0, 1);
    for head in [3, 5, 7, 9, 11] {
        deposit(&memory, ("account", "1"), 2).await;
        while tail.status().position.0 < head {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    let mut last = 1;
    for (events, scanned_to) in [(6, 7), (4, 11)] {
        let page = next(&mut subscription).await;
        assert_eq!((page.events.len(), page.scanned_to.0), (events, scanned_to));
        last = continued(last, &page, &vec!["account".to_owned(); 11], &Filter::all());
    }
}

#[tokio::test]
async fn one_read_of_the_tail_feeds_every_subscription() {
    let reads = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&reads);
    let store = TestStore::new(move |call| {
        counted.fetch_add(u64::from(matches!(call, Call::ReadAll(_))), Ordering::Relaxed);
        Box::pin(async { Ok(()) })
    });
    let memory = store.memory.clone();
    let tail = start(store, TailSettings { poll: Duration::from_secs(60), ..Default::default() });
    let mut many = Vec::new();
    for i in 0..20 {
        many.push(tail.subscribe(&i.to_string(), Filter::all(), GlobalPosition::ZERO));
    }
    let mut all = tokio::task::JoinSet::new();
    for mut subscription in many {
        all.spawn(async move {
            while subscription.position().0 < 5 {
                next(&mut subscription).await;
            }
        });
    }
    while tail.status().joined < 20 {
        tokio::task::yield_now().await;
    }
    let before = reads.load(Ordering::Relaxed);
    deposit(&memory, ("account", "1"), 5).await;
    all.join_all().await;
    assert_eq!(reads.load(Ordering::Relaxed) - before, 1);
}

#[tokio::test]
async fn followers_in_step_read_each_page_once_wherever_they_began() {
    let reads = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&reads);
    let store = TestStore::new(move |call| {
        counted.fetch_add(u64::from(matches!(call, Call::ReadAll(_))), Ordering::Relaxed);
        Box::pin(async {
            tokio::task::yield_now().await;
            Ok(())
        })
    });
    deposit(&store.memory, ("account", "1"), 400).await;
    let log = vec!["account".to_owned(); 400];
    // No subscription is close enough to join before the end.
    let tail = start(store, TailSettings { join_within: 0, ..quick() });
    let mut ahead = tail.subscribe("ahead", Filter::all(), GlobalPosition(399));
    next(&mut ahead).await;
    reads.store(0, Ordering::Relaxed);
    let mut followers: Vec<_> =
        (0..4).map(|n| tail.subscribe(&n.to_string(), Filter::all(), GlobalPosition(n))).collect();
    while followers[0].position().0 < 400 {
        for follower in &mut followers {
            if follower.position().0 < 400 {
                let (last, page) = (follower.position().0, next(follower).await);
                continued(last, &page, &log, &Filter::all());
            }
        }
    }
    let reads = reads.load(Ordering::Relaxed);
    assert!((100..110).contains(&reads), "{reads} reads of 100 pages for four followers");
}

#[tokio::test]
async fn a_lost_hint_only_delays() {
    let memory = MemoryStore::new();
    let store = TestStore::over(memory.clone(), |_| Box::pin(async { Ok(()) }));
    let deaf = store.deaf();
    let tail = start(deaf, quick());
    let mut subscription = tail.subscribe("test", Filter::all(), GlobalPosition::ZERO);
    for position in 1..=3 {
        deposit(&memory, ("account", "1"), 1).await;
        assert_eq!(next(&mut subscription).await.scanned_to, GlobalPosition(position));
    }
}

#[tokio::test]
async fn a_hole_in_the_log_reaches_every_follower_with_both_positions() {
    let torn = Arc::new(AtomicBool::new(false));
    let is_torn = Arc::clone(&torn);
    let store = TestStore::new(move |_| {
        let torn = is_torn.load(Ordering::Relaxed);
        Box::pin(async move {
            match torn {
                true => Err(StoreError::Hole { what: "position".into(), after: 2, found: 4 }),
                false => Ok(()),
            }
        })
    });
    let memory = store.memory.clone();
    let tail = start(store, TailSettings { page: 2, ..quick() });
    let mut first = tail.subscribe("first", Filter::all(), GlobalPosition::ZERO);
    let mut second = tail.subscribe("second", Filter::all(), GlobalPosition::ZERO);
    deposit(&memory, ("account", "1"), 2).await;
    next(&mut first).await;
    next(&mut second).await;
    torn.store(true, Ordering::Relaxed);
    deposit(&memory, ("account", "1"), 2).await;
    for follower in [&mut first, &mut second] {
        let error = follower.next().await.unwrap_err();
        assert!(matches!(error, StoreError::Hole { after: 2, found: 4, .. }), "{error}");
    }
    assert!(tail.status().trouble.unwrap().contains("position 4 follows 2"));
}

#[tokio::test]
async fn a_store_that_comes_back_is_read_on_and_its_absence_was_visible() {
    let down = Arc::new(AtomicBool::new(false));
    let is_down = Arc::clone(&down);
    let store = TestStore::new(move |_| {
        let down = is_down.load(Ordering::Relaxed);
        Box::pin(
            async move { if down { Err(StoreError::Unavailable("gone".into())) } else { Ok(()) } },
        )
    });
    let memory = store.memory.clone();
    let tail = start(store, quick());
    let mut subscription = tail.subscribe("test", Filter::all(), GlobalPosition::ZERO);
    deposit(&memory, ("account", "1"), 1).await;
    next(&mut subscription).await;
    down.store(true, Ordering::Relaxed);
    deposit(&memory, ("account", "1"), 1).await;
    while tail.status().trouble.is_none() {
        tokio::task::yield_now().await;
    }
    down.store(false, Ordering::Relaxed);
    assert_eq!(next(&mut subscription).await.scanned_to, GlobalPosition(2));
    assert_eq!(tail.status().trouble, None);
}

#[tokio::test]
async fn a_stopped_tail_ends_its_subscriptions() {
    let tail = start(MemoryStore::new(), TailSettings::default());
    let mut waiting = tail.subscribe("waiting", Filter::all(), GlobalPosition::ZERO);
    let waiter = tokio::spawn(async move { waiting.next().await.unwrap().is_none() });
    while tail.status().joined == 0 {
        tokio::task::yield_now().await;
    }
    tail.stop();
    assert!(waiter.await.unwrap());
    let mut late = tail.subscribe("late", Filter::all(), GlobalPosition::ZERO);
    assert!(late.next().await.unwrap().is_none());
}
