//! A store with hooks around each call: refused before, lost after, and passed on unchanged.

use std::sync::Mutex;

use actum::store::{
    AppendOutcome, CheckpointStore, EventStore, MemoryStore, NotCommitted, PartitionId,
};
use actum::testing::{InterceptedStore, Interceptor};
use actum::{GlobalPosition, StoreError};
use async_trait::async_trait;

use crate::support::events::foreign;

struct Passing;

impl Interceptor for Passing {}

actum::conformance!(passed_on, || async {
    (InterceptedStore::around(MemoryStore::new(), Passing), ())
});

/// Refuses the calls of one name before, or loses their replies.
#[derive(Default)]
struct Cut {
    refused: Mutex<&'static str>,
    lost: Mutex<&'static str>,
    calls: Mutex<Vec<&'static str>>,
}

#[async_trait]
impl Interceptor for Cut {
    async fn before(&self, call: &'static str) -> Result<(), StoreError> {
        self.calls.lock().unwrap().push(call);
        match *self.refused.lock().unwrap() == call {
            true => Err(StoreError::Unavailable("refused".into())),
            false => Ok(()),
        }
    }

    async fn after(&self, call: &'static str) -> Result<(), StoreError> {
        match *self.lost.lock().unwrap() == call {
            true => Err(StoreError::Unknown("lost".into())),
            false => Ok(()),
        }
    }
}

#[tokio::test]
async fn a_refused_call_does_nothing_and_a_lost_reply_leaves_what_was_done() {
    let store = InterceptedStore::around(MemoryStore::new(), Cut::default());
    let append = || store.append(vec![foreign("1", "Added", [1])]);
    *store.refused.lock().unwrap() = "append";
    let outcomes = append().await;
    let is_refused =
        matches!(outcomes[..], [AppendOutcome::NotCommitted(NotCommitted::Unavailable(_))]);
    assert!(is_refused, "{outcomes:?}");
    assert_eq!(store.head().await.unwrap(), GlobalPosition::ZERO);
    *store.refused.lock().unwrap() = "load_checkpoint";
    *store.lost.lock().unwrap() = "append";
    let outcomes = append().await;
    assert!(matches!(outcomes[..], [AppendOutcome::Unknown(_)]), "{outcomes:?}");
    assert_eq!(store.head().await.unwrap(), GlobalPosition(1));
    let loaded = store.load_checkpoint(&PartitionId::new("m@1", 0)).await;
    assert!(matches!(loaded, Err(StoreError::Unavailable(_))), "{loaded:?}");
    assert_eq!(
        *store.calls.lock().unwrap(),
        ["append", "head", "append", "head", "load_checkpoint"]
    );
}
