//! Keys that no database can store: their events are parked on every store, the other keys go on,
//! and a read of such a key finds no document.

use std::time::Duration;

use actum::operations::ParkedKey;
use actum::store::{MAX_KEY_BYTES, Store};
use actum::{Application, EventEnvelope, Fold, ReadError, ReadModel, Sources};
use serde::{Deserialize, Serialize};

use crate::support::counter::{Ask, Counted, Counter};
use crate::support::place::on_every_store;
use crate::support::waiting::{check, poll};

/// The last number added, by a key as long as the number; a negative one has a NUL in it.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
struct Last(i64);

impl ReadModel for Last {
    const NAME: &'static str = "last";

    fn sources() -> Sources<Self> {
        Sources::by::<Counter>(|event| {
            let Counted::Added(n) = event.event else { return None };
            Some(if n < 0 { "a\0b".to_owned() } else { "k".repeat(n as usize) })
        })
    }
}

/// The next release, in which the keys are fixed.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
struct Mended(i64);

impl ReadModel for Mended {
    const NAME: &'static str = "last";

    fn sources() -> Sources<Self> {
        Sources::by::<Counter>(|event| {
            let Counted::Added(n) = event.event else { return None };
            let is_good = (0..=MAX_KEY_BYTES as i64).contains(&n);
            Some(if is_good { "k".repeat(n as usize) } else { "a good one".to_owned() })
        })
    }
}

impl Fold<Counter> for Mended {
    fn apply(&mut self, _: &EventEnvelope<Counted>) {}
}

impl Fold<Counter> for Last {
    fn apply(&mut self, event: &EventEnvelope<Counted>) {
        let Counted::Added(n) = event.event else { return };
        self.0 = n;
    }
}

async fn keys_that_cannot_be_kept_are_parked(store: impl Store + Clone, bad: i64) {
    let builder = Application::builder(store.clone()).aggregate::<Counter>().read_model::<Last>();
    let app = builder.start().await.unwrap();
    let longest = MAX_KEY_BYTES as i64;
    let kept = app.execute::<Counter>("1", Ask::Add(longest)).await.unwrap();
    let key = "k".repeat(MAX_KEY_BYTES);
    assert_eq!(app.read::<Last>(&key).after(kept.position).await.unwrap().0, longest);
    for absent in ["a\0b".to_owned(), format!("{key}k")] {
        let found = app.read::<Last>(&absent).after(kept.position).await;
        assert!(matches!(found, Err(ReadError::NotFound { .. })), "{found:?}");
    }
    let poison = app.execute::<Counter>("1", Ask::Add(bad)).await.unwrap();
    let last = app.execute::<Counter>("1", Ask::Add(longest)).await.unwrap();
    assert_eq!(app.read::<Last>(&key).after(last.position).await.unwrap().0, longest);
    let parked = parked(&app, |parked| parked.position == poison.position).await;
    assert!(parked.reason.contains("is not a valid key of a document"), "{parked:?}");
    app.shutdown().await;
    // Applying it to another key now would be out of order, and skipping it would be wrong.
    let app = Application::builder(store).read_model::<Mended>().start().await.unwrap();
    self::parked(&app, |parked| parked.reason.contains("raise the VERSION")).await;
    app.shutdown().await;
}

/// Waits for the one parked key to be as it should be.
async fn parked(app: &Application, is_so: impl Fn(&ParkedKey) -> bool) -> ParkedKey {
    poll(Duration::from_secs(30), async || {
        let parked = app.operations().parked("last").await.unwrap();
        check(parked, |parked| parked.len() == 1 && is_so(&parked[0]))
    })
    .await
    .remove(0)
}

async fn a_key_with_a_nul_is_parked(store: impl Store + Clone) {
    keys_that_cannot_be_kept_are_parked(store, -1).await;
}

async fn a_key_that_is_too_long_is_parked(store: impl Store + Clone) {
    keys_that_cannot_be_kept_are_parked(store, MAX_KEY_BYTES as i64 + 1).await;
}

on_every_store!(a_key_with_a_nul_is_parked, a_key_that_is_too_long_is_parked);
