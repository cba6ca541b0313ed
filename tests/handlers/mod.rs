//! Event handlers: at least once, in order for each key, from a checkpoint that passes no event which
//! was not handled.

mod crash;
mod failures;
mod pauses;
mod registration;
mod replays;
mod requests;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actum::{
    Application, Attempt, BoxError, EventEnvelope, EventHandler, EventSources, GlobalPosition,
    HandlerSettings, StartError, StartPosition,
};
use async_trait::async_trait;
use tokio::time::sleep;

use crate::support::counter::{Ask, Counted, Counter};
use crate::support::place::{Place, on_every_place};
use crate::support::waiting::until;

/// Record of a [`Recorder`], and instructions to it.
#[derive(Default)]
struct Script {
    /// Versions handled, by key, in the order in which they were handled.
    handled: Mutex<HashMap<String, Vec<u64>>>,
    /// Attempt numbers at events that failed.
    failed: Mutex<Vec<u32>>,
    is_fixed: AtomicBool,
    /// An attempt is not cut off.
    is_patient: AtomicBool,
}

/// A number that fails until the script is fixed.
const FAILS: i64 = 666;

impl Script {
    fn handled(&self, key: &str) -> Vec<u64> {
        self.handled.lock().unwrap().get(key).cloned().unwrap_or_default()
    }

    fn count(&self) -> usize {
        self.handled.lock().unwrap().values().map(Vec::len).sum()
    }
}

/// Records events. Keys that begin with `fails`, `hangs` or `panics` do so until the script is fixed.
/// Keys that begin with `slow` take a moment.
struct Recorder(Arc<Script>);

#[async_trait]
impl EventHandler for Recorder {
    const NAME: &'static str = "recorder";
    const PARTITIONS: u32 = 2;
    type Event = EventEnvelope<Counted>;

    fn sources() -> EventSources<Self::Event> {
        EventSources::of::<Counter>()
    }

    async fn handle(&self, event: &Self::Event, attempt: &Attempt) -> Result<(), BoxError> {
        assert_eq!(event.event_id, attempt.event.event_id);
        let key = event.key();
        if !self.0.is_fixed.load(Ordering::SeqCst) {
            if key.starts_with("fails") || key.starts_with("hangs") || key.starts_with("panics") {
                self.0.failed.lock().unwrap().push(attempt.number);
            }
            match key {
                _ if key.starts_with("fails") => return Err("no such mailbox".into()),
                _ if key.starts_with("hangs") => std::future::pending::<()>().await,
                _ if key.starts_with("panics") => panic!("told to panic"),
                _ if event.event == Counted::Added(FAILS) => return Err("no such number".into()),
                _ => {}
            }
        }
        if key.starts_with("slow") {
            sleep(Duration::from_millis(20)).await;
        }
        let mut handled = self.0.handled.lock().unwrap();
        handled.entry(key.to_owned()).or_default().push(event.version.0);
        Ok(())
    }

    fn settings(&self) -> HandlerSettings {
        HandlerSettings {
            timeout: Duration::from_millis(if self.0.is_patient.load(Ordering::SeqCst) {
                60_000
            } else {
                300
            }),
            attempts: 2,
            first_pause: Duration::from_millis(5),
            longest_pause: Duration::from_millis(100),
            ..HandlerSettings::default()
        }
    }
}

async fn start(place: &Place, script: &Arc<Script>, from: StartPosition) -> Application {
    let builder = place.builder().await.aggregate::<Counter>();
    builder.event_handler(Recorder(Arc::clone(script)), from).start().await.unwrap()
}

async fn add(app: &Application, counter: &str, count: usize) -> GlobalPosition {
    let mut last = GlobalPosition::ZERO;
    for _ in 0..count {
        last = app.execute::<Counter>(counter, Ask::Add(1)).await.unwrap().position;
    }
    last
}

fn versions(count: u64) -> Vec<u64> {
    (1..=count).collect()
}

async fn one_key_that_fails_is_parked_and_all_others_are_handled_in_order(place: Place) {
    let script = Arc::new(Script::default());
    let app = start(&place, &script, StartPosition::Beginning).await;
    for _ in 0..4 {
        for n in 0..20 {
            add(&app, &format!("c{n}"), 2).await;
        }
        add(&app, "fails", 2).await;
    }
    until(async || (0..20).all(|n| script.handled(&format!("c{n}")) == versions(8))).await;
    let parked = async || app.operations().parked("recorder").await.unwrap();
    until(async || parked().await.iter().any(|key| key.waiting == 7)).await;
    let [key] = &parked().await[..] else { panic!("one key is parked") };
    assert_eq!((&*key.key, &*key.reason), ("fails", "no such mailbox"));
    assert_eq!(script.handled("fails"), versions(0));
    assert_eq!((key.attempts >= 2, &script.failed.lock().unwrap()[..2]), (true, &[1, 2][..]));
    let status = app.operations().status().await;
    let [handler] = &status.subscriptions[..] else { panic!("{status:?}") };
    assert_eq!((&*handler.name, handler.parked_keys), ("recorder", Some(1)));
    assert_eq!(handler.parked[0].reason, "no such mailbox");
    // After the fix, everything comes, in order, also what came meanwhile.
    script.is_fixed.store(true, Ordering::SeqCst);
    app.operations().retry_parked("recorder", "fails").await.unwrap();
    add(&app, "fails", 2).await;
    until(async || script.handled("fails") == versions(10)).await;
    until(async || parked().await.is_empty()).await;
    // Stopped before what is handled last is saved in its time.
    add(&app, "c0", 1).await;
    until(async || script.handled("c0") == versions(9)).await;
    app.shutdown().await;
    drop(app);
    // Nothing comes again after an orderly stop.
    let app = start(&place, &script, StartPosition::Beginning).await;
    add(&app, "c0", 1).await;
    until(async || script.handled("c0").len() >= 10).await;
    assert_eq!(script.handled("c0"), versions(10));
    assert_eq!(script.count(), 10 + 19 * 8 + 10);
    app.shutdown().await;
}

async fn a_handler_that_hangs_or_panics_parks_its_key_and_a_new_term_tries_again(place: Place) {
    let script = Arc::new(Script::default());
    let app = start(&place, &script, StartPosition::Beginning).await;
    let parked = async |app: &Application| app.operations().parked("recorder").await.unwrap();
    for key in ["hangs", "good", "panics", "good"] {
        add(&app, key, 1).await;
    }
    until(async || script.handled("good") == versions(2)).await;
    until(async || parked(&app).await.len() == 2).await;
    let reasons: Vec<_> = parked(&app).await.into_iter().map(|key| key.reason).collect();
    assert!(reasons[0].contains("longer than 300ms"), "{reasons:?}");
    assert_eq!(reasons[1], "panicked: told to panic");
    app.shutdown().await;
    drop(app);
    script.is_fixed.store(true, Ordering::SeqCst);
    let app = start(&place, &script, StartPosition::Beginning).await;
    until(async || parked(&app).await.is_empty()).await;
    assert_eq!((script.handled("hangs"), script.handled("panics")), (vec![1], vec![1]));
    assert_eq!(script.handled("good"), versions(2));
    app.shutdown().await;
}

async fn an_event_that_is_skipped_is_left_out_and_those_behind_it_follow(place: Place) {
    let script = Arc::new(Script::default());
    let app = start(&place, &script, StartPosition::Beginning).await;
    let position = add(&app, "fails", 1).await;
    until(async || !app.operations().parked("recorder").await.unwrap().is_empty()).await;
    add(&app, "fails", 1).await;
    script.is_fixed.store(true, Ordering::SeqCst);
    app.operations().skip_parked("recorder", "fails", position, "nobody lives there").await.ok();
    until(async || script.handled("fails").contains(&2)).await;
    // The skip is saved with the end of the retry.
    until(async || app.operations().parked("recorder").await.unwrap().is_empty()).await;
    let skipped = app.operations().skipped("recorder").await.unwrap();
    // The automatic retry may have been faster than the operator.
    let expected = if skipped.is_empty() { versions(2) } else { vec![2] };
    assert_eq!(script.handled("fails"), expected);
    app.shutdown().await;
}

async fn a_new_handler_in_an_old_log_starts_where_it_is_told(place: Place) {
    let app = place.builder().await.aggregate::<Counter>().start().await.unwrap();
    let old = add(&app, "a", 30).await;
    app.shutdown().await;
    drop(app);
    let script = Arc::new(Script::default());
    let app = start(&place, &script, StartPosition::Now).await;
    // Not even the first event is handled yet, and the position is known already.
    app.shutdown().await;
    drop(app);
    let app = place.builder().await.aggregate::<Counter>().start().await.unwrap();
    add(&app, "a", 1).await;
    app.shutdown().await;
    drop(app);
    // The position counts at the first start only.
    let app = start(&place, &script, StartPosition::Beginning).await;
    add(&app, "a", 1).await;
    until(async || script.handled("a") == [31, 32]).await;
    assert_eq!(script.count(), 2);
    app.shutdown().await;
    drop(app);
    let app = start(&place, &script, StartPosition::After(old)).await;
    add(&app, "a", 1).await;
    until(async || script.handled("a") == [31, 32, 33]).await;
    app.shutdown().await;
}

async fn a_handler_starts_after_a_position_of_the_log_and_no_other(place: Place) {
    let app = place.builder().await.aggregate::<Counter>().start().await.unwrap();
    add(&app, "a", 5).await;
    app.shutdown().await;
    drop(app);
    let script = Arc::new(Script::default());
    let builder = place.builder().await.aggregate::<Counter>();
    let beyond = StartPosition::After(GlobalPosition(6));
    match builder.event_handler(Recorder(Arc::clone(&script)), beyond).start().await {
        Err(StartError::StartPosition { head, .. }) => assert_eq!(head, GlobalPosition(5)),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it starts"),
    }
    let app = start(&place, &script, StartPosition::After(GlobalPosition(3))).await;
    until(async || script.handled("a") == [4, 5]).await;
    app.shutdown().await;
}

on_every_place!(
    one_key_that_fails_is_parked_and_all_others_are_handled_in_order,
    a_handler_that_hangs_or_panics_parks_its_key_and_a_new_term_tries_again,
    an_event_that_is_skipped_is_left_out_and_those_behind_it_follow,
    a_new_handler_in_an_old_log_starts_where_it_is_told,
    a_handler_starts_after_a_position_of_the_log_and_no_other,
);
