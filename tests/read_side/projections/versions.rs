//! A new version of a projection beside the one that serves: queries go on, and the switch is one row.

use actum::operations::{Comparison, OperationError};
use actum::store::{PostgresStore, VersionStore};
use actum::{
    Application, BoxError, ComparedRows, EventEnvelope, EventSources, GlobalPosition, Projection,
    Settings, SqlConnection,
};

use super::{add, builder};
use crate::support::counter::{Counted, Counter};
use crate::support::place::{Place, on_both_places};
use crate::support::waiting::until;

/// One row for each event of a counter, repeated as often as the version's number says.
struct Added<const V: u32>;

#[async_trait::async_trait]
impl<const V: u32> Projection for Added<V> {
    const NAME: &'static str = "added";
    const VERSION: u32 = V;
    type Event = EventEnvelope<Counted>;

    fn sources() -> EventSources<Self::Event> {
        EventSources::of::<Counter>()
    }

    async fn create(db: &mut SqlConnection<'_>) -> Result<(), BoxError> {
        db.execute("CREATE TABLE added (position BIGINT PRIMARY KEY, n BIGINT)", &[]).await?;
        Ok(())
    }

    async fn project(events: &[Self::Event], db: &mut SqlConnection<'_>) -> Result<(), BoxError> {
        let rows = events.iter().map(|event| {
            let n = if let Counted::Added(n) = event.event { n } else { 0 };
            vec![event.position.into(), (n * i64::from(V)).into()]
        });
        db.insert("added", &["position", "n"], rows.collect(), "").await?;
        Ok(())
    }
}

/// The sum of all that was added, and the position that it reflects.
async fn sum(app: &Application, after: GlobalPosition) -> (i64, GlobalPosition) {
    let query = app.query::<Added<2>>().after(after).run(async |db, reflects| {
        let rows = db.rows("SELECT CAST(sum(n) AS BIGINT) FROM added", &[]).await?;
        Ok((rows[0].get(0)?, reflects))
    });
    query.await.unwrap()
}

async fn a_new_version_is_built_beside_the_old_one_and_switched_to(place: Place) {
    let app = builder(&place).await.projection::<Added<1>>().start().await.unwrap();
    for n in 1..=50 {
        add(&app, &format!("{}", n % 7), n).await;
    }
    app.shutdown().await;
    drop(app);

    let by_hand = Settings { switch_by_itself: false, ..Settings::default() };
    let builder = builder(&place).await.settings(by_hand);
    let builder = builder.projection_replacing::<Added<2>, Added<1>>();
    let app = builder.start().await.unwrap();
    let position = add(&app, "1", 100).await;
    let (old, mut seen) = sum(&app, position).await;
    assert_eq!(old, 1375, "the old version answers as long as it serves");

    until(async || app.operations().compare_versions("added").await.unwrap().equal == 1).await;
    let compared = app.operations().compare_versions("added").await.unwrap();
    assert_eq!((compared.old_documents, compared.new_documents), (51, 51));
    for (serving, factor) in [(2, 2), (1, 1), (2, 2)] {
        let refused =
            app.operations().drop_version("added", if serving == 2 { 1 } else { 2 }).await;
        assert!(matches!(refused, Err(OperationError::Serves { .. })), "{refused:?}");
        app.operations().serve_version("added", serving).await.unwrap();
        let (now, reflects) = sum(&app, GlobalPosition::ZERO).await;
        assert_eq!(now, 1375 * factor);
        assert!(reflects >= seen, "it went back from {seen} to {reflects}");
        seen = reflects;
    }
    app.operations().drop_version("added", 1).await.unwrap();
    let left: Vec<_> =
        app.operations().versions("added").await.unwrap().iter().map(|v| v.number).collect();
    assert_eq!(left, [2]);
    let position = add(&app, "1", 1).await;
    assert_eq!(sum(&app, position).await.0, 2 * 1376);
    app.shutdown().await;
}

#[tokio::test]
async fn on_sqlite_a_new_version_is_built_beside_the_old_one() {
    a_new_version_is_built_beside_the_old_one_and_switched_to(Place::sqlite()).await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn on_postgres_a_new_version_is_built_beside_the_old_one() {
    a_new_version_is_built_beside_the_old_one_and_switched_to(Place::postgres().await).await;
}

/// Lets the deletion of the first version's tables fail for as long as the result is kept.
async fn obstruct(place: &Place) -> Box<dyn std::any::Any> {
    match place {
        Place::Memory(_) => panic!("the memory store has no tables"),
        Place::Sqlite(directory) => {
            let in_the_way = directory.file("log.db.added@1-journal");
            std::fs::create_dir(&in_the_way).unwrap();
            Box::new(InTheWay(in_the_way))
        }
        Place::Postgres(database) => {
            let mut reader = database.connect().await;
            let statements = "BEGIN; LOCK TABLE actum_added_1.added IN ACCESS SHARE MODE";
            sqlx::raw_sql(statements).execute(&mut reader).await.unwrap();
            Box::new(reader)
        }
    }
}

/// A directory where a file would be.
struct InTheWay(String);

impl Drop for InTheWay {
    fn drop(&mut self) {
        std::fs::remove_dir(&self.0).unwrap();
    }
}

/// Checks that the tables of the first version are there.
async fn has_tables(place: &Place) -> bool {
    match place {
        Place::Memory(_) => panic!("the memory store has no tables"),
        Place::Sqlite(directory) => std::fs::exists(directory.file("log.db.added@1")).unwrap(),
        Place::Postgres(database) => {
            let found = "SELECT to_regnamespace('actum_added_1') IS NOT NULL";
            sqlx::query_scalar(found).fetch_one(&mut database.connect().await).await.unwrap()
        }
    }
}

async fn a_drop_that_ends_half_way_is_continued(place: Place) {
    let app = builder(&place).await.projection::<Added<1>>().start().await.unwrap();
    add(&app, "1", 1).await;
    app.shutdown().await;
    drop(app);
    let builder = builder(&place).await.projection_replacing::<Added<2>, Added<1>>();
    let app = builder.start().await.unwrap();
    until(async || {
        app.operations()
            .versions("added")
            .await
            .unwrap()
            .iter()
            .any(|v| v.number == 2 && v.is_serving)
    })
    .await;
    let in_the_way = obstruct(&place).await;
    let failed = app.operations().drop_version("added", 1).await;
    assert!(matches!(failed, Err(OperationError::Unavailable(_))), "{failed:?}");
    assert!(has_tables(&place).await);
    drop(in_the_way);
    app.operations().drop_version("added", 1).await.unwrap();
    assert!(!has_tables(&place).await, "nothing leads to them any more");
    let unknown = app.operations().drop_version("added", 1).await;
    assert!(matches!(unknown, Err(OperationError::Unknown { .. })), "{unknown:?}");
    app.shutdown().await;
}

/// In SQL and without quotes `Added` is `added`, of which the version serves.
#[tokio::test]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn on_postgres_a_read_model_is_dropped_and_no_projection_of_a_similar_name() {
    let place = Place::postgres().await;
    let app = builder(&place).await.projection::<Added<2>>().start().await.unwrap();
    let position = add(&app, "1", 1).await;
    let Place::Postgres(database) = &place else { return };
    let store = PostgresStore::open(&database.url()).await.unwrap();
    for name in ["Added", "credit-limit", "o'clock"] {
        store.register_version(name, 2, 1).await.unwrap();
        app.operations().drop_version(name, 2).await.unwrap();
        let gone = app.operations().versions(name).await;
        assert!(matches!(gone, Err(OperationError::Unknown { .. })), "{gone:?}");
    }
    assert_eq!(sum(&app, position).await.0, 2);
    app.shutdown().await;
}

async fn a_new_version_that_is_not_compared_is_held_back_unless_all_of_it_may_differ(place: Place) {
    let app = builder(&place).await.projection::<Added<1>>().start().await.unwrap();
    add(&app, "1", 1).await;
    app.shutdown().await;
    drop(app);
    let careful = Settings { switch_up_to_different: 0.5, ..Settings::default() };
    let careful = builder(&place).await.settings(careful);
    let app = careful.projection::<Added<2>>().start().await.unwrap();
    // The version has caught up within a second, and could become active a second later.
    tokio::time::sleep(std::time::Duration::from_secs(4)).await;
    let compared = app.operations().compare_versions("added").await.unwrap();
    assert!(compared.to_string().starts_with("not compared: "), "{compared}");
    let serves = async |number: u32| {
        let versions = app.operations().versions("added").await.unwrap();
        versions.iter().any(|version| version.number == number && version.is_serving)
    };
    assert!(serves(1).await, "it served by itself, and nothing was compared");
    app.operations().serve_version("added", 2).await.unwrap();
    assert!(serves(2).await);
    app.shutdown().await;
    drop(app);
    // By default all rows may differ, so the version becomes active by itself.
    let app = builder(&place).await.projection::<Added<3>>().start().await.unwrap();
    until(async || {
        app.operations()
            .versions("added")
            .await
            .unwrap()
            .iter()
            .any(|v| v.number == 3 && v.is_serving)
    })
    .await;
    app.shutdown().await;
}

/// For each event as many lines as it adds. Of a thousand lines, the third version changes one,
/// leaves one out and adds one.
struct Lines<const V: u32>;

#[async_trait::async_trait]
impl<const V: u32> Projection for Lines<V> {
    const NAME: &'static str = "lines";
    const VERSION: u32 = V;
    type Event = EventEnvelope<Counted>;

    fn sources() -> EventSources<Self::Event> {
        EventSources::of::<Counter>()
    }

    async fn create(db: &mut SqlConnection<'_>) -> Result<(), BoxError> {
        let lines = "CREATE TABLE lines (id TEXT, position BIGINT, line BIGINT, text TEXT,
                     PRIMARY KEY (id, position, line))";
        db.execute(lines, &[]).await?;
        Ok(())
    }

    fn compared() -> &'static [ComparedRows] {
        &[ComparedRows { table: "lines", key: &["id", "position", "line"], columns: &["text"] }]
    }

    async fn project(events: &[Self::Event], db: &mut SqlConnection<'_>) -> Result<(), BoxError> {
        let mut rows = Vec::new();
        for event in events {
            let Counted::Added(n) = event.event else { continue };
            for line in 0..n + 1 {
                let text = match (V, line % 1000) {
                    (3, 500) => continue,
                    (3, 7) => format!("another {line}"),
                    _ if line == n && V < 3 => continue,
                    _ => format!("line {line}"),
                };
                let (id, position) = (event.stream.id().into(), event.position.into());
                rows.push(vec![id, position, line.into(), text.into()]);
            }
        }
        db.insert("lines", &["id", "position", "line", "text"], rows, "").await?;
        Ok(())
    }
}

/// Compares `V` with the first version once it has caught up.
async fn compared<const V: u32>(place: &Place) -> Comparison {
    let by_hand = Settings { switch_by_itself: false, ..Settings::default() };
    let builder = builder(place).await.settings(by_hand);
    let app = builder.projection_replacing::<Lines<V>, Lines<1>>().start().await.unwrap();
    let mut compared = Comparison::default();
    until(async || {
        compared = app.operations().compare_versions("lines").await.unwrap();
        compared.new_documents >= 3000
    })
    .await;
    app.shutdown().await;
    compared
}

async fn rows_that_a_new_version_changes_are_told_exactly(place: Place) {
    let app = builder(&place).await.projection::<Lines<1>>().start().await.unwrap();
    for id in ["a", "Z", "_"] {
        add(&app, id, 1000).await;
    }
    let lines = app
        .query::<Lines<1>>()
        .after(GlobalPosition(3))
        .run(async |db, _| Ok(db.rows("SELECT line FROM lines", &[]).await?.len()));
    assert_eq!(lines.await.unwrap(), 3000);
    app.shutdown().await;
    drop(app);

    let same = compared::<2>(&place).await;
    let counts = (same.old_documents, same.new_documents, same.equal, same.different);
    assert_eq!(counts, (3000, 3000, 3000, 0), "{same}");

    let changed = compared::<3>(&place).await;
    let counts = (changed.old_documents, changed.new_documents, changed.equal, changed.different);
    assert_eq!(counts, (3000, 3000, 3 * 998, 3 * 3), "{changed}");
    let line = |key: &str| {
        let mut found = changed.differences.iter().filter(|difference| difference.key == key);
        let found = found.next().unwrap_or_else(|| panic!("no {key}: {changed}"));
        (found.old.clone(), found.new.clone())
    };
    let text = |text: &str| Some(format!("[{text:?}]"));
    for (id, position) in [("a", 1), ("Z", 2), ("_", 3)] {
        let of = |number: i64| line(&format!("lines[{id:?},{position},{number}]"));
        assert_eq!(of(7), (text("line 7"), text("another 7")));
        assert_eq!(of(500), (text("line 500"), None));
        assert_eq!(of(1000), (None, text("line 1000")));
    }
}

on_both_places!(
    rows_that_a_new_version_changes_are_told_exactly,
    a_drop_that_ends_half_way_is_continued,
    a_new_version_that_is_not_compared_is_held_back_unless_all_of_it_may_differ,
);
