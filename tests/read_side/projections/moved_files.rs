//! The file of a projection on SQLite is moved, replaced or given a second name while it is in use:
//! no row is committed to a file that a restart would not find.

use std::time::Duration;

use actum::{BoxError, GlobalPosition, ReadError, Settings};

use super::{Mixes, add, builder, mixed};
use crate::store::sqlite::identity::sh;
use crate::support::place::Place;
use crate::support::waiting::until;

/// The position that the rows reflect, once they reflect this one.
async fn reflected(
    app: &actum::Application,
    after: GlobalPosition,
) -> Result<GlobalPosition, ReadError> {
    app.query::<Mixes>().after(after).run(async |_, reflects| Ok::<_, BoxError>(reflects)).await
}

/// The last error of each partition.
async fn errors(app: &actum::Application) -> String {
    format!("{:?}", app.operations().status().await.subscriptions)
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_wait_until_their_file_is_back_at_its_path() {
    const FILE: &str = "log.db.mixes@1";
    for (gone, back) in [
        ("mv FILE elsewhere", "mv elsewhere FILE"),
        ("mv FILE elsewhere; cp elsewhere FILE", "mv elsewhere FILE"),
        ("mv FILE elsewhere; ln -s elsewhere FILE", "mv elsewhere FILE"),
        ("ln FILE second", "rm second"),
        ("mv FILE-wal elsewhere", "mv elsewhere FILE-wal"),
        ("mv FILE-shm elsewhere", "mv elsewhere FILE-shm"),
    ] {
        let place = Place::sqlite();
        let Place::Sqlite(directory) = &place else { panic!("not SQLite") };
        let settings = Settings { read_within: Duration::from_secs(1), ..Settings::default() };
        let builder = builder(&place).await.settings(settings).projection::<Mixes>();
        let app = builder.start().await.unwrap();
        let first = add(&app, "1", 1).await;
        until(async || reflected(&app, first).await.is_ok()).await;
        sh(directory, &gone.replace("FILE", FILE));
        let second = add(&app, "1", 2).await;
        let late = reflected(&app, second).await;
        assert!(matches!(late, Err(ReadError::NotYet { .. })), "{gone}: {late:?}");
        until(async || errors(&app).await.contains(FILE)).await;
        sh(directory, &back.replace("FILE", FILE));
        until(async || reflected(&app, second).await.is_ok()).await;
        let (mixes, _) = super::read_mixes(&app, second).await;
        assert_eq!(mixes["1"], (mixed(mixed(0, 1), 2), 2), "{back}");
        app.shutdown().await;
    }
}
