//! Projections through an application, on both databases: rows that equal the fold, parked keys,
//! restarts, slow ones, several processes.

mod faults;
mod moved_files;
mod moved_keys;
mod owning;
mod parking;
mod rows;
mod versions;
mod waiting;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::Duration;

use actum::store::ProjectionStore;
use actum::{
    Application, ApplicationBuilder, BoxError, EventEnvelope, EventSources, GlobalPosition,
    Projection, Settings, SqlConnection, SqlValue,
};

use crate::support::counter::{Ask, Counted, Counter};
use crate::support::place::{Place, open_postgres, open_sqlite};

/// A checksum for each counter that shows a missing, repeated or misplaced event.
struct Mixes;

/// Counters whose poisoned events the code can project from now on.
static FIXED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

fn mixed(mix: i64, n: i64) -> i64 {
    mix.wrapping_mul(31).wrapping_add(n)
}

#[async_trait::async_trait]
impl Projection for Mixes {
    const NAME: &'static str = "mixes";
    const PARTITIONS: u32 = 3;
    type Event = EventEnvelope<Counted>;

    fn sources() -> EventSources<Self::Event> {
        EventSources::of::<Counter>()
    }

    async fn create(db: &mut SqlConnection<'_>) -> Result<(), BoxError> {
        db.execute("CREATE TABLE mixes (id TEXT PRIMARY KEY, mix BIGINT, events BIGINT)", &[])
            .await?;
        let steps = "CREATE TABLE steps (id TEXT, version BIGINT, position BIGINT, taken BOOLEAN,
                     PRIMARY KEY (id, version))";
        db.execute(steps, &[]).await?;
        Ok(())
    }

    async fn project(events: &[Self::Event], db: &mut SqlConnection<'_>) -> Result<(), BoxError> {
        let ids: Vec<SqlValue> = events.iter().map(|event| event.stream.id().into()).collect();
        let mut mixes: BTreeMap<String, (i64, i64)> = BTreeMap::new();
        for row in db.rows_in("SELECT id, mix, events FROM mixes WHERE id IN", &ids).await? {
            mixes.insert(row.get(0)?, (row.get(1)?, row.get(2)?));
        }
        let mut steps = Vec::new();
        for event in events {
            let is_poison = event.event == Counted::Poisoned;
            if is_poison && !FIXED.lock().unwrap().contains(event.stream.id()) {
                return Err("not for me".into());
            }
            let n = if let Counted::Added(n) = event.event { n } else { 0 };
            let (mix, count) = mixes.entry(event.stream.id().to_owned()).or_default();
            (*mix, *count) = (mixed(*mix, n), *count + 1);
            let (version, position) = (event.version.into(), event.position.into());
            steps.push(vec![event.stream.id().into(), version, position, true.into()]);
        }
        db.insert("steps", &["id", "version", "position", "taken"], steps, "").await?;
        let row =
            |(id, (mix, events)): (String, (i64, i64))| vec![id.into(), mix.into(), events.into()];
        let rows = mixes.into_iter().map(row).collect();
        let then = "ON CONFLICT (id) DO UPDATE SET mix = excluded.mix, events = excluded.events";
        db.insert("mixes", &["id", "mix", "events"], rows, then).await?;
        Ok(())
    }
}

/// Deletes the rows of [`Mixes`].
async fn drop_mixes(place: &Place) {
    match place {
        Place::Memory(_) => panic!("the memory store has no projections"),
        Place::Sqlite(directory) => {
            open_sqlite(directory).await.drop_projection("mixes", 1).await.unwrap();
        }
        Place::Postgres(database) => {
            open_postgres(database).await.drop_projection("mixes", 1).await.unwrap();
        }
    }
}

/// An application with counters, whose reads wait for half a minute.
async fn builder(place: &Place) -> ApplicationBuilder {
    let settings = Settings { read_within: Duration::from_secs(30), ..Settings::default() };
    place.builder().await.aggregate::<Counter>().settings(settings)
}

/// Mix and number of events by counter, all of one moment, and the position that they reflect.
async fn read_mixes(
    app: &Application,
    after: GlobalPosition,
) -> (BTreeMap<String, (i64, i64)>, GlobalPosition) {
    let read = app.query::<Mixes>().after(after).run(async |db, reflects| {
        let rows = db.rows("SELECT id, mix, events FROM mixes", &[]).await?;
        let rows = rows.iter().map(|row| Ok((row.get(0)?, (row.get(1)?, row.get(2)?))));
        Ok((rows.collect::<Result<_, BoxError>>()?, reflects))
    });
    read.await.unwrap()
}

async fn add(app: &Application, id: &str, n: i64) -> GlobalPosition {
    app.execute::<Counter>(id, Ask::Add(n)).await.unwrap().position
}
