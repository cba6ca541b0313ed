//! Every answer names exactly the position it reflects, and none denies what the log has.

use tokio::sync::watch;

use super::owning::{Watched, lasting};
use super::*;
use crate::partition::FollowerControl;
use crate::read_model::served::Served;
use crate::store::contract::DocumentRange;

/// The document of "a" after the first `events` notes: note `n` has the position `n + 1`.
fn after(events: u64) -> Sums {
    expected(&(0..events).collect::<Vec<_>>())
}

#[tokio::test]
async fn a_standby_names_the_position_of_its_document_whether_asked_for_one_or_not() {
    let memory = MemoryStore::new();
    let process = || Watched::default().process(&memory, lasting());
    let (one, two) = (process(), process());
    let owner = one.sums().await;
    until(|| owner.progress().is_owner).await;
    note(&memory, "a", 0).await;
    let standby = two.sums().await;
    let (mut last, mut positions) = (1, 0);
    for n in 1..200 {
        note(&memory, "a", n).await;
        if n % 10 == 5 {
            until(|| owner.progress().saved.0 == n + 1).await;
            let Document { body, position } = read(&standby, "a", 0).await;
            assert_eq!((body, position.0), (after(n + 1), n + 1), "it is saved");
        }
        // Nobody waits: what is saved by now is answered, and named as what it is.
        let Document { body, position } = read(&standby, "a", 0).await;
        assert_eq!(body, after(position.0), "at {position}");
        assert!(position.0 >= last);
        positions += u64::from(position.0 > last);
        last = position.0;
        if n % 10 == 0 {
            let Document { body, position } = read(&standby, "a", n).await;
            assert_eq!(body, after(position.0), "at {position}");
            last = position.0;
        }
    }
    assert!(positions > 0, "it never moves unless it is asked for a position");
    assert!(!standby.progress().is_owner);
}

#[tokio::test]
async fn an_owner_names_the_position_of_a_document_that_it_loads_while_it_folds() {
    let memory = MemoryStore::new();
    let settings = Pacing { hot_documents: 1, ..lasting() };
    let process = Process::new(obliging_over(&memory), settings);
    let owner = process.sums().await;
    for n in 0..150 {
        // "a" has moved at the even positions; each other key sends it out of memory.
        note(&memory, &format!("other-{n}"), 0).await;
        note(&memory, "a", n).await;
        let Document { body, position } = read(&owner, "a", 2).await;
        assert_eq!(body, after(position.0 / 2), "at {position}");
    }
}

fn obliging_over(memory: &MemoryStore) -> TestStore {
    TestStore::over(memory.clone(), |_| {
        Box::pin(async {
            tokio::task::yield_now().await;
            Ok(())
        })
    })
}

#[tokio::test]
async fn a_read_model_that_is_behind_does_not_deny_what_the_log_has() {
    let (memory, watched) = (MemoryStore::new(), Watched::default());
    let (one, two) = (watched.process(&memory, lasting()), watched.process(&memory, lasting()));
    let owner = one.sums().await;
    until(|| owner.progress().is_owner).await;
    let standby = two.sums().await;
    for n in 0..40 {
        let (key, head) = (format!("opened-{n}"), n + 1);
        note(&memory, &key, n).await;
        for model in [&owner, &standby] {
            let document = read(model, &key, 0).await;
            assert_eq!((document.body, document.position.0), (expected(&[n]), head));
        }
    }
    watched.hold(&["read"]);
    note(&memory, "late", 1).await;
    for model in [&owner, &standby] {
        let late = model.read("late", GlobalPosition::ZERO, Duration::from_millis(50)).await;
        let Err(ReadError::NotYet { wanted, reached, .. }) = late else { panic!("{late:?}") };
        assert_eq!((wanted.0, reached.0), (41, 40));
    }
    watched.hold(&[]);
    for model in [&owner, &standby] {
        assert_eq!(read(model, "late", 0).await.body, expected(&[1]));
        let never = model.read("never", GlobalPosition::ZERO, WITHIN).await;
        let Err(ReadError::NotFound { reflects, .. }) = never else { panic!("{never:?}") };
        assert_eq!(reflects.0, 41);
    }
}

/// The standby's document and what it knows of parked keys are of one moment: a key that is parked
/// and released over and over is either parked or whole.
#[tokio::test]
async fn a_standby_answers_a_key_as_parked_or_whole_and_never_in_between() {
    let memory = MemoryStore::new();
    let mut settings = lasting();
    settings.parking.tries = 0;
    settings.requests_every = Duration::from_millis(1);
    let process = || Process::new(obliging_over(&memory).shared(), settings.clone());
    let (one, two) = (process(), process());
    let owner = one.start::<Brittle>(1).await.unwrap();
    until(|| owner.progress().is_owner).await;
    let standby = two.start::<Brittle>(1).await.unwrap();
    let mut head = 0;
    let (mut parked, mut whole) = (0, 0);
    for _ in 0..40 {
        poison(&memory, "a").await;
        note(&memory, "a", 1).await;
        let poisoned = GlobalPosition(head + 1);
        head += 2;
        let mut has_asked = false;
        loop {
            match standby.read("a", poisoned, WITHIN).await {
                Err(ReadError::Parked { position, reflects, .. }) => {
                    parked += 1;
                    assert!(position == poisoned && reflects >= poisoned, "{position} {reflects}");
                }
                // Before its first event was taken in.
                Err(ReadError::NotFound { .. }) => panic!("it is parked at its first event"),
                Ok(document) => {
                    whole += 1;
                    // Half of the events are left out, so what is there follows from the position.
                    assert_eq!(document.events, document.position.0 / 2);
                    break;
                }
                Err(error) => panic!("{error}"),
            }
            if !has_asked {
                let skip = crate::store::contract::ParkedRequest::Skip { reason: "no".into() };
                let asked = memory.request_parked("brittle@1", "a", poisoned, skip).await;
                has_asked = asked.unwrap();
            }
        }
    }
    assert!(parked >= 40 && whole == 40, "{parked} {whole}");
}

#[tokio::test]
async fn a_read_that_waits_for_a_version_that_is_dropped_is_answered_by_the_new_one() {
    let memory = MemoryStore::new();
    note(&memory, "a", 0).await;
    let process = || Watched::default().process(&memory, lasting());
    let (one, two) = (process(), process());
    let (old, own) = (one.sums().await, two.sums().await);
    let (_serving, active) = watch::channel(Sums::VERSION);
    let served = Served::beside(own, old.clone(), active);
    let read = |after| served.read("a", GlobalPosition(after), WITHIN);
    assert_eq!(read(1).await.unwrap().body, after(1));
    let (waited, ()) = tokio::join!(read(2), async {
        old.flush_and_stop().await;
        note(&memory, "a", 1).await;
    });
    assert_eq!(waited.unwrap().body, after(2));
    // The new version does not go back behind what the old one has returned.
    let range = DocumentRange::default();
    let page = served.list(&memory, &range, GlobalPosition(2), WITHIN).await.unwrap();
    assert_eq!(page.documents, [("a".to_owned(), after(2))]);
}
