//! Event handlers that fail: what is parked, what waits, what is bounded, and where the checkpoint is.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use actum::operations::{ParkedKey, SubscriptionState};
use actum::store::AppendOutcome;
use actum::{
    Application, Attempt, BoxError, EventEnvelope, EventHandler, EventSources, StartPosition,
};
use async_trait::async_trait;
use tokio::time::sleep;

use super::{FAILS, Recorder, Script, add, start, versions};
use crate::support::counter::{Ask, Counted, Counter};
use crate::support::events::foreign;
use crate::support::place::{Place, on_every_place};
use crate::support::waiting::{PATIENCE, poll, until};

/// Appends events past the application, which is faster than commands.
async fn write(app: &Application, events: impl Iterator<Item = (String, i64)>) {
    let appends: Vec<_> = events.map(|(id, n)| foreign(&id, "Added", [n])).collect();
    for some in appends.chunks(1_000) {
        let outcomes = app.store().append(some.to_vec()).await;
        let is_stored = |outcome: &AppendOutcome| matches!(outcome, AppendOutcome::Committed(_));
        assert!(outcomes.iter().all(is_stored), "{outcomes:?}");
    }
}

async fn parked(app: &Application, holds: impl Fn(&[ParkedKey]) -> bool) -> Vec<ParkedKey> {
    let parked = poll(PATIENCE, async || {
        let keys = app.operations().parked("recorder").await.unwrap();
        if holds(&keys) { Ok(keys) } else { Err(keys.len()) }
    });
    parked.await
}

/// Position that each partition has saved, in this process.
async fn saved(app: &Application) -> Vec<u64> {
    let status = app.operations().status().await;
    let of = status.subscriptions.iter().find(|known| known.name == "recorder").unwrap();
    of.partitions.iter().map(|partition| partition.position.unwrap().0).collect()
}

async fn one_event_in_ten_thousand_fails_for_ever_and_every_other_key_is_handled(place: Place) {
    const EVENTS: i64 = 20_000;
    let id = |n: i64| (n * n % 499).to_string();
    let number = |n: i64| if n % 10_000 == 4_007 { FAILS } else { n % 600 };
    let script = Arc::new(Script::default());
    let app = start(&place, &script, StartPosition::Beginning).await;
    write(&app, (0..EVENTS).map(|n| (id(n), number(n)))).await;
    let mut expected: HashMap<String, u64> = HashMap::new();
    (0..EVENTS).for_each(|n| *expected.entry(id(n)).or_default() += 1);
    // The number of events of the two keys that come before the one that fails.
    let before = |key: &str, at: i64| (0..at).filter(|n| id(*n) == key).count() as u64;
    let stuck = [4_007, 14_007].map(|n| (id(n), before(&id(n), n)));
    let handled = |key: &str| script.handled(key);
    until(async || {
        expected.iter().all(|(key, count)| {
            let stuck = stuck.iter().find(|(stuck, _)| stuck == key);
            handled(key) == versions(stuck.map_or(*count, |(_, before)| *before))
        })
    })
    .await;
    let waiting = |key: &ParkedKey| key.waiting + before(&key.key, key.position.0.cast_signed());
    parked(&app, |keys| keys.len() == 2 && keys.iter().all(|key| waiting(key) > 0)).await;
    script.is_fixed.store(true, Ordering::SeqCst);
    assert_eq!(app.operations().retry_all_parked("recorder").await.unwrap(), 2);
    until(async || expected.iter().all(|(key, count)| handled(key) == versions(*count))).await;
    parked(&app, <[_]>::is_empty).await;
    app.shutdown().await;
}

async fn the_checkpoint_passes_no_event_that_is_not_handled_and_memory_is_bounded(place: Place) {
    const EVENTS: i64 = 15_000;
    let script = Arc::new(Script::default());
    script.is_patient.store(true, Ordering::SeqCst);
    let app = start(&place, &script, StartPosition::Beginning).await;
    add(&app, "good", 3).await;
    add(&app, "hangs", 1).await;
    let others = |n: i64| format!("c{}", n % 50);
    write(&app, (0..EVENTS).map(|n| (others(n), n % 600))).await;
    until(async || script.count() > 5_000).await;
    let mut last = 0;
    until(async || {
        sleep(Duration::from_millis(300)).await;
        std::mem::replace(&mut last, script.count()) == last
    })
    .await;
    // One partition has handled all of its events, the other one at most 5,000.
    let all = usize::try_from(EVENTS / 50).unwrap();
    let counts = (0..50).map(|n| script.handled(&others(n)).len());
    let of_the_other: usize = counts.filter(|count| *count < all).sum();
    assert!((4_000..5_000).contains(&of_the_other), "{of_the_other} of {last} events are handled");
    let positions = saved(&app).await;
    assert_eq!((positions.len(), positions.iter().min()), (2, Some(&3)), "{positions:?}");
    // Without a shutdown, as in a crash: what was not saved comes again, and nothing is lost.
    drop(app);
    script.is_fixed.store(true, Ordering::SeqCst);
    let app = start(&place, &script, StartPosition::Beginning).await;
    until(async || script.handled("hangs") == [1]).await;
    let is_complete = |n: i64| {
        let mut seen = script.handled(&others(n));
        seen.sort_unstable();
        seen.dedup();
        seen == versions(EVENTS.unsigned_abs() / 50)
    };
    until(async || (0..50).all(is_complete)).await;
    assert_eq!(script.handled("good"), versions(3));
    app.shutdown().await;
}

async fn events_that_come_while_a_key_is_drained_are_handled_once(place: Place) {
    let script = Arc::new(Script::default());
    let app = start(&place, &script, StartPosition::Beginning).await;
    app.execute::<Counter>("slow", Ask::Add(FAILS)).await.unwrap();
    add(&app, "slow", 100).await;
    parked(&app, |keys| keys.iter().any(|key| key.waiting == 100)).await;
    script.is_fixed.store(true, Ordering::SeqCst);
    app.operations().retry_parked("recorder", "slow").await.unwrap();
    // The retry takes two seconds, in which the checkpoint passes some of these.
    for _ in 0..80 {
        add(&app, "slow", 1).await;
        sleep(Duration::from_millis(30)).await;
    }
    until(async || script.handled("slow").len() >= 181).await;
    parked(&app, <[_]>::is_empty).await;
    assert_eq!(script.handled("slow"), versions(181));
    app.shutdown().await;
}

async fn an_event_that_does_not_decode_parks_its_key_alone(place: Place) {
    let script = Arc::new(Script::default());
    let app = start(&place, &script, StartPosition::Beginning).await;
    let unknown = foreign("odd", "Halved", ["{}"]);
    app.store().append(vec![unknown]).await;
    write(&app, [("odd".to_owned(), 1), ("even".to_owned(), 2)].into_iter()).await;
    let keys = parked(&app, |keys| keys.iter().any(|key| key.waiting == 1)).await;
    assert_eq!((keys.len(), &*keys[0].key, keys[0].attempts), (1, "odd", 1));
    assert!(keys[0].reason.contains("Halved"), "{}", keys[0].reason);
    until(async || script.handled("even") == versions(1)).await;
    let position = keys[0].position;
    app.operations().skip_parked("recorder", "odd", position, "of a later release").await.unwrap();
    until(async || script.handled("odd") == [2]).await;
    app.shutdown().await;
    drop(app);
    let app = start(&place, &script, StartPosition::Beginning).await;
    assert_eq!(app.operations().skipped("recorder").await.unwrap().len(), 1);
    write(&app, [("odd".to_owned(), 1)].into_iter()).await;
    until(async || script.handled("odd") == [2, 3]).await;
    app.shutdown().await;
}

/// As [`Recorder`], with keys from the content of the events.
struct ByContent(Recorder);

#[async_trait]
impl EventHandler for ByContent {
    const NAME: &'static str = "recorder";
    type Event = EventEnvelope<Counted>;

    fn sources() -> EventSources<Self::Event> {
        EventSources::by::<Counter>(|event| {
            let id = event.stream.id();
            [format!("{id}-1"), format!("{id}-2")]
        })
    }

    async fn handle(&self, event: &Self::Event, attempt: &Attempt) -> Result<(), BoxError> {
        self.0.handle(event, attempt).await
    }
}

async fn an_event_whose_keys_are_unknown_halts_before_it(place: Place) {
    let script = Arc::new(Script::default());
    let builder = place.builder().await.aggregate::<Counter>();
    let handler = ByContent(Recorder(Arc::clone(&script)));
    let app = builder.event_handler(handler, StartPosition::Beginning).start().await.unwrap();
    add(&app, "a", 2).await;
    app.store().append(vec![foreign("odd", "Halved", ["{}"])]).await;
    add(&app, "a", 1).await;
    until(async || {
        let status = app.operations().status().await;
        let partition = &status.subscriptions[0].partitions[0];
        partition.state == Some(SubscriptionState::Halted) && partition.position.unwrap().0 == 2
    })
    .await;
    assert_eq!([script.handled("a-1"), script.handled("a-2")], [versions(2), versions(2)]);
    app.shutdown().await;
}

async fn beyond_a_thousand_parked_keys_nothing_more_is_read_until_they_are_handled(place: Place) {
    const KEYS: usize = 5_000;
    let script = Arc::new(Script::default());
    let app = start(&place, &script, StartPosition::Beginning).await;
    let fails = (0..KEYS).map(|n| (format!("c{n}"), FAILS));
    write(&app, fails.chain([("c0".to_owned(), 1)])).await;
    // A thousand in each of two partitions.
    parked(&app, |keys| keys.len() == 2_000).await;
    sleep(Duration::from_millis(500)).await;
    assert_eq!(app.operations().parked("recorder").await.unwrap().len(), 2_000);
    assert_eq!((app.readiness().ready, script.count()), (true, 0));
    // What failed outside works again, without a restart.
    script.is_fixed.store(true, Ordering::SeqCst);
    app.operations().retry_all_parked("recorder").await.unwrap();
    until(async || (1..KEYS).all(|n| script.handled(&format!("c{n}")) == [1])).await;
    until(async || script.handled("c0") == [1, 2]).await;
    parked(&app, <[_]>::is_empty).await;
    app.shutdown().await;
}

async fn many_parked_keys_are_tried_first_after_a_restart(place: Place) {
    const KEYS: usize = 1_400;
    let script = Arc::new(Script::default());
    let app = start(&place, &script, StartPosition::Beginning).await;
    // One that hangs keeps the checkpoint before the others, so they must not wait for it.
    add(&app, "hangs", 1).await;
    write(&app, (0..KEYS).map(|n| (format!("c{n}"), FAILS))).await;
    parked(&app, |keys| keys.len() == KEYS + 1).await;
    app.shutdown().await;
    drop(app);
    script.is_fixed.store(true, Ordering::SeqCst);
    let app = start(&place, &script, StartPosition::Beginning).await;
    until(async || (0..KEYS).all(|n| script.handled(&format!("c{n}")) == [1])).await;
    parked(&app, <[_]>::is_empty).await;
    app.shutdown().await;
}

on_every_place!(
    one_event_in_ten_thousand_fails_for_ever_and_every_other_key_is_handled,
    the_checkpoint_passes_no_event_that_is_not_handled_and_memory_is_bounded,
    events_that_come_while_a_key_is_drained_are_handled_once,
    an_event_that_does_not_decode_parks_its_key_alone,
    an_event_whose_keys_are_unknown_halts_before_it,
    beyond_a_thousand_parked_keys_nothing_more_is_read_until_they_are_handled,
    many_parked_keys_are_tried_first_after_a_restart,
);
