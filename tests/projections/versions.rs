//! A new version of a projection beside the one that serves: queries go on, and the switch is one row.

use actum::{
    Application, BoxError, EventEnvelope, EventSources, GlobalPosition, OperationError, Projection,
    Settings, SqlConnection,
};

use super::{Place, add, until};
use crate::counter::{Counted, Counter};

/// What each event of a counter added, as often as the version's number says.
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
    let query = app.query::<Added<2>, _>(after, async |db, reflects| {
        let rows = db.rows("SELECT CAST(sum(n) AS BIGINT) FROM added", &[]).await?;
        Ok((rows[0].get(0)?, reflects))
    });
    query.await.unwrap()
}

async fn a_new_version_is_built_beside_the_old_one_and_switched_to(place: Place) {
    let app = place.builder().await.projection::<Added<1>>().start().await.unwrap();
    for n in 1..=50 {
        add(&app, &format!("{}", n % 7), n).await;
    }
    app.shutdown().await;
    drop(app);

    let by_hand = Settings { switch_by_itself: false, ..Settings::default() };
    let builder = place.builder().await.settings(by_hand);
    let builder = builder.projection_replacing::<Added<2>, Added<1>>();
    let app = builder.start().await.unwrap();
    let position = add(&app, "1", 100).await;
    let (old, mut seen) = sum(&app, position).await;
    assert_eq!(old, 1375, "the old version answers as long as it serves");

    until(async || app.compare_versions("added").await.unwrap().equal == 1).await;
    let compared = app.compare_versions("added").await.unwrap();
    assert_eq!((compared.old_documents, compared.new_documents), (51, 51));
    for (serving, factor) in [(2, 2), (1, 1), (2, 2)] {
        let refused = app.drop_version("added", if serving == 2 { 1 } else { 2 }).await;
        assert!(matches!(refused, Err(OperationError::Serves { .. })), "{refused:?}");
        app.serve_version("added", serving).await.unwrap();
        let (now, reflects) = sum(&app, GlobalPosition::ZERO).await;
        assert_eq!(now, 1375 * factor);
        assert!(reflects >= seen, "it went back from {seen} to {reflects}");
        seen = reflects;
    }
    app.drop_version("added", 1).await.unwrap();
    let left: Vec<_> = app.versions("added").await.unwrap().iter().map(|v| v.number).collect();
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
