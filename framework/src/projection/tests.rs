//! When a projection commits: at once as long as it is behind, seldom at the tail, and for whoever waits.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;
use uuid::Uuid;

use super::Projection;
use super::handle::ProjectorHandle;
use super::served::ServedProjection;
use super::start::{Start, start};
use crate::error::BoxError;
use crate::event::{EventEnvelope, GlobalPosition};
use crate::partition::{FollowerControl, LeaseRenewer, Pacing, overall};
use crate::store::contract::Store;
use crate::store::contract::sql::SqlConnection;
use crate::store::sqlite::SqliteStore;
use crate::subscription::sources::EventSources;
use crate::subscription::{Tail, TailSettings};
use crate::threads::Task;
use crate::till::{Rung, Till};

const WITHIN: Duration = Duration::from_secs(20);

/// The positions at which the till rang.
struct Rings;

#[async_trait]
impl Projection for Rings {
    const NAME: &'static str = "rings";
    type Event = EventEnvelope<Rung>;

    fn sources() -> EventSources<Self::Event> {
        EventSources::of::<Till>()
    }

    async fn create(db: &mut SqlConnection<'_>) -> Result<(), BoxError> {
        db.execute("CREATE TABLE rings (position BIGINT PRIMARY KEY)", &[]).await?;
        Ok(())
    }

    async fn project(events: &[Self::Event], db: &mut SqlConnection<'_>) -> Result<(), BoxError> {
        let rows = events.iter().map(|event| vec![event.position.into()]).collect();
        db.insert("rings", &["position"], rows, "").await?;
        Ok(())
    }
}

/// The same, but the second event is refused.
struct Picky;

#[async_trait]
impl Projection for Picky {
    const NAME: &'static str = "picky";
    type Event = EventEnvelope<Rung>;

    fn sources() -> EventSources<Self::Event> {
        EventSources::of::<Till>()
    }

    async fn create(db: &mut SqlConnection<'_>) -> Result<(), BoxError> {
        Rings::create(db).await
    }

    async fn project(events: &[Self::Event], db: &mut SqlConnection<'_>) -> Result<(), BoxError> {
        if events.iter().any(|event| event.position.0 == 2) {
            return Err("not that one".into());
        }
        Rings::project(events, db).await
    }
}

/// A log in a folder of its own.
struct Place {
    folder: PathBuf,
    store: Arc<SqliteStore>,
}

impl Place {
    async fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("actum-{}", Uuid::now_v7()));
        std::fs::create_dir(&folder).unwrap();
        let file = folder.join("log.db");
        let store = Arc::new(SqliteStore::open(file.to_str().unwrap()).await.unwrap());
        Self { folder, store }
    }

    /// The projection, which gathers for longer than any test lasts.
    async fn start<P: Projection>(&self) -> ProjectorHandle {
        let store: Arc<dyn Store> = Arc::clone(&self.store) as _;
        let spawn: fn(Task) = |task| drop(tokio::spawn(task));
        let small = TailSettings { catch_up_page: 2, join_within: 1, ..TailSettings::default() };
        let tail = Tail::start(Arc::clone(&store), GlobalPosition::ZERO, small, spawn);
        let gather_for = Duration::from_secs(3600);
        let pacing = Pacing { gather_for, ..Pacing::default() };
        let renewer = LeaseRenewer::start(store, Uuid::now_v7(), &pacing, spawn);
        start::<P>(Start { renewer, tail, pacing, spawn: Arc::new(spawn) }).await.unwrap()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.folder).unwrap();
    }
}

async fn until_saved(rings: &ProjectorHandle, position: u64) {
    let mut progress = rings.followers.progress[0].watch();
    let saved = progress.wait_for(|now| now.saved.0 >= position);
    tokio::time::timeout(WITHIN, saved).await.expect("it was never saved").unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_the_tail_events_gather_until_somebody_waits_for_them() {
    let place = Place::new().await;
    let rings = place.start::<Rings>().await;
    Till::ring(&*place.store, 1).await;
    until_saved(&rings, 1).await;
    Till::ring(&*place.store, 1).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(overall(&rings.followers.progress).saved.0, 1);
    let asked = rings.query(GlobalPosition(2), WITHIN, async |_, reflects| Ok(reflects)).await;
    assert_eq!(asked.unwrap().1.0, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_long_as_it_is_behind_nothing_gathers() {
    let place = Place::new().await;
    Till::ring(&*place.store, 7).await;
    until_saved(&place.start::<Rings>().await, 7).await;
}

/// To open another connection would wait for the query that is being read, as long as the file may be
/// busy: 5 s.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_event_waits_for_no_query() {
    let place = Place::new().await;
    let rings = place.start::<Picky>().await;
    Till::ring(&*place.store, 1).await;
    until_saved(&rings, 1).await;
    let (reads, is_reading) = tokio::sync::oneshot::channel();
    let (ends, has_ended) = tokio::sync::oneshot::channel::<()>();
    let slow = rings.query(GlobalPosition(1), WITHIN, async move |db, _| {
        db.rows("SELECT position FROM rings", &[]).await?;
        let _ = reads.send(());
        Ok(has_ended.await?)
    });
    let beside = async {
        is_reading.await.unwrap();
        Till::ring(&*place.store, 1).await;
        let within = Duration::from_secs(3);
        let asked = rings.query(GlobalPosition(2), within, async |_, reflects| Ok(reflects)).await;
        ends.send(()).unwrap();
        asked
    };
    let (slow, asked) = tokio::join!(slow, beside);
    slow.unwrap();
    assert_eq!(asked.unwrap().1.0, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_that_waits_for_a_version_that_is_dropped_is_answered_by_the_new_one() {
    let place = Place::new().await;
    Till::ring(&*place.store, 1).await;
    let old = Arc::new(place.start::<Rings>().await);
    until_saved(&old, 1).await;
    let own = Arc::new(place.start::<Rings>().await);
    let (_serving, active) = watch::channel(Rings::VERSION);
    let served = ServedProjection::beside(own, Arc::clone(&old), active);
    let query =
        |after| served.query(GlobalPosition(after), WITHIN, async |_, reflects| Ok(reflects));
    assert_eq!(query(1).await.unwrap().0, 1);
    let (waited, ()) = tokio::join!(query(2), async {
        old.flush_and_stop().await;
        Till::ring(&*place.store, 1).await;
    });
    assert_eq!(waited.unwrap().0, 2);
}
