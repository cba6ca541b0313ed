//! Tests that old idempotency keys are deleted by the clock.

use super::*;
use crate::command::CommandKey;
use crate::event::{ExpectedVersion, StreamId};
use crate::store::contract::{Append, EventStore};
use crate::store::memory::MemoryStore;
use crate::testing::ManualClock;

#[tokio::test]
async fn keys_go_when_the_clock_says_that_they_are_old_and_not_before() {
    let clock = ManualClock::new();
    let store = MemoryStore::with_clock(clock.clone());
    let keyed = |n: usize| Append {
        stream: StreamId::new("ledger", "a").unwrap(),
        expected: ExpectedVersion::Any,
        events: vec![],
        command: Some(CommandKey::new(n.to_string(), b"").unwrap()),
        claims: vec![],
        chained: false,
    };
    let known = async |n: usize| {
        let key = CommandKey::new(n.to_string(), b"").unwrap();
        let stream = StreamId::new("ledger", "a").unwrap();
        let told = store.confirm(&stream, Default::default(), Some(key.clone())).await.unwrap();
        told != crate::store::contract::Confirmation::Current
    };
    let day = Duration::from_secs(86_400);
    store.append((0..AT_MOST + 1).map(keyed).collect()).await;
    clock.advance(day);
    store.append(vec![keyed(9999)]).await;
    assert!(!forget(&store, &clock, day).await.unwrap() && known(0).await);
    assert!(!forget(&store, &clock, Duration::MAX).await.unwrap());
    clock.advance(Duration::from_micros(1));
    assert!(forget(&store, &clock, day).await.unwrap());
    assert!(!forget(&store, &clock, day).await.unwrap());
    assert!(!known(0).await && !known(AT_MOST).await && known(9999).await);
}
