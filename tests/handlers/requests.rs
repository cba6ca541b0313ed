//! Requests for many parked keys at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use actum::store::{MemoryStore, ParkedPage, ParkedQuery, Store};
use actum::testing::{InterceptedStore, Interceptor};
use actum::{Application, StartPosition, StoreError};
use async_trait::async_trait;

use super::{Recorder, Script, add};
use crate::support::counter::Counter;
use crate::support::place::run;
use crate::support::waiting::until;

const KEYS: usize = 200;

/// Counts reads of the requests for parked keys.
#[derive(Default)]
struct Reads(AtomicUsize);

#[async_trait]
impl Interceptor for Reads {
    async fn load_parked(
        &self,
        store: &dyn Store,
        model: &str,
        query: &ParkedQuery,
    ) -> Result<ParkedPage, StoreError> {
        self.0.fetch_add(usize::from(query.only_requested), Ordering::SeqCst);
        store.load_parked(model, query).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_requests_are_read_a_few_times_and_not_at_each_key() {
    run(async {
        let store = InterceptedStore::around(MemoryStore::new(), Reads::default());
        let script = Arc::new(Script::default());
        let app = Application::builder(store.clone()).aggregate::<Counter>();
        let app = app.event_handler(Recorder(Arc::clone(&script)), StartPosition::Beginning);
        let app = app.start().await.unwrap();
        for n in 0..KEYS {
            add(&app, &format!("fails-{n}"), 1).await;
        }
        let parked = async || app.operations().parked("recorder").await.unwrap().len();
        until(async || parked().await == KEYS).await;
        script.is_fixed.store(true, Ordering::SeqCst);
        let before = store.0.load(Ordering::SeqCst);
        app.operations().retry_all_parked("recorder").await.unwrap();
        until(async || parked().await == 0).await;
        let reads = store.0.load(Ordering::SeqCst) - before;
        assert!(reads < KEYS / 4, "the requests were read {reads} times");
        assert_eq!(script.count(), KEYS);
        app.shutdown().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_parked_key_no_requests_are_read() {
    run(async {
        let store = InterceptedStore::around(MemoryStore::new(), Reads::default());
        let script = Arc::new(Script::default());
        let app = Application::builder(store.clone()).aggregate::<Counter>();
        let app = app.event_handler(Recorder(Arc::clone(&script)), StartPosition::Beginning);
        let app = app.start().await.unwrap();
        // A checkpoint is saved after each of them, and with it the follower looks at what is due.
        for n in 1..=3 {
            let added = add(&app, "a", 1).await;
            until(async || script.handled("a").len() == n).await;
            until(async || {
                let status = app.operations().status().await;
                let mut partitions = status.subscriptions[0].partitions.iter();
                partitions.all(|partition| partition.position == Some(added))
            })
            .await;
        }
        assert_eq!(store.0.load(Ordering::SeqCst), 0);
        app.shutdown().await;
    })
    .await;
}
