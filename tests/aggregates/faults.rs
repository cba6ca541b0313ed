//! Aggregates over a store that fails: an unknown outcome is not guessed, and a failed append
//! changes nothing.

use actum::store::{Append, EventStore, MemoryStore, NewEvent, Snapshot, SnapshotStore};
use actum::testing::{Fault, FaultyStore, ManualClock};
use actum::{
    Aggregate, Application, CommandError, ExpectedVersion, GlobalPosition, Snapshots, StreamId,
    StreamVersion,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::support::counter::{Ask, BelowZero, Counter};
use crate::support::events::{append, event, keyed};

async fn faulty() -> (FaultyStore, Application) {
    let store = FaultyStore::new(MemoryStore::new());
    let app = Application::builder(store.clone()).aggregate::<Counter>().start().await.unwrap();
    (store, app)
}

#[tokio::test]
async fn a_retry_after_a_lost_answer_acts_once_whether_it_was_stored_or_not() {
    for (fault, replayed) in [(Fault::UnknownButStored, true), (Fault::UnknownNotStored, false)] {
        let (store, app) = faulty().await;
        app.execute::<Counter>("1", Ask::Add(5)).await.unwrap();
        store.fail_next(fault);
        let lost = app.execute_with::<Counter>("1", Ask::Add(-5), keyed("a")).await;
        assert!(matches!(lost, Err(CommandError::Unknown)), "{lost:?}");
        let again = app.execute_with::<Counter>("1", Ask::Add(-5), keyed("a")).await.unwrap();
        assert_eq!((again.version, again.replayed), (StreamVersion(2), replayed));
        // The sum is zero now, whatever the actor assumed meanwhile.
        let refused = app.execute::<Counter>("1", Ask::Add(-1)).await;
        assert!(matches!(refused, Err(CommandError::Refused(BelowZero(-1)))), "{refused:?}");
        assert_eq!(store.head().await.unwrap(), GlobalPosition(2));
    }
}

#[tokio::test]
async fn an_append_that_the_store_did_not_accept_changes_nothing() {
    let (store, app) = faulty().await;
    app.execute::<Counter>("1", Ask::Add(5)).await.unwrap();
    store.fail_next(Fault::Unavailable);
    let failed = app.execute::<Counter>("1", Ask::Add(7)).await;
    assert!(matches!(failed, Err(CommandError::Unavailable(_))), "{failed:?}");
    let refused = app.execute::<Counter>("1", Ask::Add(-6)).await;
    assert!(matches!(refused, Err(CommandError::Refused(BelowZero(-1)))), "{refused:?}");
    assert_eq!(app.execute::<Counter>("1", Ask::Add(-5)).await.unwrap().version.0, 2);
}

#[tokio::test]
async fn a_decision_on_a_lost_append_is_made_again() {
    let (store, app) = faulty().await;
    app.execute::<Counter>("1", Ask::Add(1)).await.unwrap();
    store.fail_next(Fault::UnknownNotStored);
    // Both are in one round: the second is only admissible if the first is stored.
    let (lost, refused) = tokio::join!(
        app.execute::<Counter>("1", Ask::Add(10)),
        app.execute::<Counter>("1", Ask::Add(-11)),
    );
    assert!(matches!(lost, Err(CommandError::Unknown)), "{lost:?}");
    assert!(refused.is_err(), "it drew on money that never came: {refused:?}");
    assert_eq!(store.head().await.unwrap(), GlobalPosition(1));
}

#[tokio::test]
async fn a_failed_load_is_tried_again_with_the_next_command() {
    let (store, app) = faulty().await;
    store.fail_next(Fault::ReadError);
    let failed = app.execute::<Counter>("1", Ask::Add(1)).await;
    assert!(matches!(failed, Err(CommandError::Unavailable(_))), "{failed:?}");
    app.execute::<Counter>("1", Ask::Add(1)).await.unwrap();
}

#[tokio::test]
async fn a_short_page_is_not_the_end_of_a_stream() {
    let (store, app) = faulty().await;
    app.execute::<Counter>("1", Ask::AddTwice(5)).await.unwrap();
    let fresh = Application::builder(store.clone()).aggregate::<Counter>();
    let fresh = fresh.start().await.unwrap();
    (0..100).for_each(|_| store.fail_next(Fault::ShortRead));
    let committed = fresh.execute::<Counter>("1", Ask::Add(-10)).await.unwrap();
    assert_eq!(committed.version, StreamVersion(3));
}

/// Remembers the noted numbers, so that a forged snapshot differs from a fold.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
struct Notebook {
    notes: Vec<u64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum NoteTaken {
    Noted(u64),
}

impl Aggregate for Notebook {
    const TYPE: &'static str = "notebook";
    type Command = u64;
    type Event = NoteTaken;
    type Error = BelowZero;

    /// The refusal contains the sum, so that a test can see the state.
    fn handle(&self, number: u64) -> Result<Vec<NoteTaken>, BelowZero> {
        match number {
            0 => Err(BelowZero(self.notes.iter().sum::<u64>() as i64)),
            number => Ok(vec![NoteTaken::Noted(number)]),
        }
    }

    fn apply(&mut self, NoteTaken::Noted(number): &NoteTaken) {
        self.notes.push(*number);
    }

    fn snapshots() -> Option<Snapshots<Self>> {
        Some(Snapshots::every(3, 2))
    }
}

/// The sum that an application started now on this store sees.
async fn sum(store: &MemoryStore) -> i64 {
    let app = Application::builder(store.clone()).aggregate::<Notebook>().start().await.unwrap();
    match app.execute::<Notebook>("1", 0).await {
        Err(CommandError::Refused(BelowZero(sum))) => sum,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_snapshot_is_used_only_when_nothing_about_it_is_in_doubt() {
    let store = MemoryStore::with_clock(ManualClock::new());
    let app = Application::builder(store.clone()).aggregate::<Notebook>().start().await.unwrap();
    for number in 1..=4 {
        app.execute::<Notebook>("1", number).await.unwrap();
    }
    let stream = StreamId::new("notebook", "1").unwrap();
    let kept = loop {
        match store.load_snapshot(&stream).await.unwrap() {
            Some(kept) => break kept,
            None => tokio::task::yield_now().await,
        }
    };
    assert_eq!((kept.version.0, kept.state.as_str()), (3, r#"{"notes":[1,2,3]}"#));
    assert_eq!(sum(&store).await, 10);
    let forged = r#"{"notes":[100]}"#;
    let with = |version: u64, position: u64, state_version, state: &str| {
        let (version, position) = (StreamVersion(version), GlobalPosition(position));
        let event_id = noted(version.0);
        Snapshot::new(stream.clone(), version, position, event_id, state_version, state.to_owned())
    };
    // A valid snapshot is used, which shows that snapshots are used at all. Each of the others
    // differs from it in one respect.
    assert_eq!(sum_with(with(4, 4, 2, forged)).await, 100);
    let doubtful = [
        Snapshot { state: forged.into(), ..with(4, 4, 2, r#"{"notes":[10]}"#) },
        with(4, 4, 1, forged),
        with(4, 4, 3, forged),
        with(4, 3, 2, forged),
        with(5, 5, 2, forged),
        // The position is right, and the event there is another one: the log was written again.
        Snapshot { event_id: Uuid::now_v7(), ..with(4, 4, 2, forged) },
        Snapshot { event_id: noted(3), ..with(4, 4, 2, forged) },
        with(0, 0, 2, forged),
        with(4, 4, 2, r#"{"notes":"none"}"#),
        with(4, 4, 2, r#"{"notes":[1"#),
    ];
    for snapshot in doubtful {
        assert_eq!(sum_with(snapshot.clone()).await, 10, "{snapshot:?} was believed");
    }
}

/// The id of the event at this version, of those below.
fn noted(version: u64) -> Uuid {
    Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 + u128::from(version))
}

/// The sum of 1, 2, 3, 4 as seen beside this snapshot.
async fn sum_with(snapshot: Snapshot) -> i64 {
    let store = MemoryStore::new();
    // The snapshot comes first: a store keeps none that is older than the one it has.
    store.save_snapshot(snapshot).await.unwrap();
    let events = (1..=4).map(|number: u64| NewEvent {
        event_id: noted(number),
        ..event("Noted", &number.to_string())
    });
    let append = Append { expected: ExpectedVersion::NoStream, ..append("notebook", "1", events) };
    store.append(vec![append]).await;
    assert_eq!(store.head().await.unwrap(), GlobalPosition(4));
    sum(&store).await
}
