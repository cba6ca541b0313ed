//! Several applications in one database: schemas of their own, and the name of the program whose
//! log it is. Also what a start reports while another session holds the lock of a migration.

use std::time::Duration;

use actum::store::{EventStore, PostgresStore, ProjectionStore};
use actum::{ExpectedVersion, GlobalPosition, StartError};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Executor};

use super::ledger::{append, committed, one, open, quick, refusal, until, within};
use crate::support::child::BankProcess;
use crate::support::postgres::database;

const ANY: ExpectedVersion = ExpectedVersion::Any;

async fn open_in(url: &str, schema: &str) -> PostgresStore {
    within(quick(url).schema(schema).open()).await.unwrap()
}

async fn count(connection: &mut PgConnection, sql: &str) -> i64 {
    sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_one(connection).await.unwrap()
}

/// Tables, positions, identity, writer lock and notifications are the schema's own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn logs_in_two_schemas_have_nothing_in_common() {
    let database = database().await;
    let first = open(&database.url()).await;
    let second = open_in(&database.url(), "shop").await;
    assert_ne!(first.info().identity, second.info().identity);
    for expected in 1..=3 {
        assert_eq!(committed(one(&first, append("1", ANY)).await).position.0, expected);
    }
    assert_eq!(committed(one(&second, append("1", ANY)).await).position, GlobalPosition(1));
    let mut root = database.connect().await;
    assert_eq!(count(&mut root, "SELECT count(*) FROM actum.events").await, 3);
    assert_eq!(count(&mut root, "SELECT count(*) FROM shop.events").await, 1);
    assert_eq!(count(&mut root, "SELECT count(*) FROM shop.migrations").await, 3);
    // The writer lock of the default schema is held: the other log is written all the same.
    root.execute("SELECT pg_advisory_lock(1633907821, 1)").await.unwrap();
    assert_eq!(committed(one(&second, append("1", ANY)).await).position, GlobalPosition(2));
    root.execute("SELECT pg_advisory_unlock(1633907821, 1)").await.unwrap();
    // A notification reaches the processes of its log, and raises no other head.
    let beside = open_in(&database.url(), "shop").await;
    let mut head = beside.watch_head();
    assert_eq!(committed(one(&second, append("1", ANY)).await).position, GlobalPosition(3));
    within(head.wait_for(|head| head.0 == 3)).await.unwrap();
    assert_eq!(first.watch_head().borrow().0, 3);
    assert_eq!(second.head().await.unwrap(), GlobalPosition(3));
}

/// Projections too: each has its schema beside the log's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn two_applications_share_one_database_in_schemas_of_their_own() {
    let database = database().await;
    let start = async |schema: &str, name: &str| {
        let store = open_in(&database.url(), schema).await;
        example_bank::application(store).name(name).start().await.unwrap()
    };
    let (north, south) = (start("north", "bank north").await, start("south", "bank south").await);
    let mut root = database.connect().await;
    for schema in ["north_statement_1", "south_statement_1"] {
        let made = format!("SELECT count(*) FROM pg_namespace WHERE nspname = '{schema}'");
        assert_eq!(count(&mut root, &made).await, 1, "{schema}");
    }
    within(async {
        north.shutdown().await;
        south.shutdown().await;
    })
    .await;
}

/// The log in `bank` has the model `eu_statement@1`, and the log in `bank_eu` has `statement@1`.
#[tokio::test]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn a_dropped_version_takes_no_other_applications_schema_along() {
    let database = database().await;
    let bank = open_in(&database.url(), "bank").await;
    let other = open_in(&database.url(), "bank_eu").await;
    let place = other.open_projection("statement", 1).await.unwrap();
    let making = place.begin_making().await.unwrap().expect("it is new");
    making.commit(None).await.unwrap();
    let mut root = database.connect().await;
    let made = "SELECT count(*) FROM pg_namespace WHERE nspname = 'bank_eu_statement_1'";
    // Names of read models, of which the last two no projection can have.
    for name in ["eu_statement", "Order-Lines", "it's"] {
        bank.drop_projection(name, 1).await.unwrap();
        assert_eq!(count(&mut root, made).await, 1, "{name}");
    }
    other.drop_projection("statement", 1).await.unwrap();
    assert_eq!(count(&mut root, made).await, 0);
}

#[tokio::test]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn a_schema_that_cannot_be_used_is_refused_by_name() {
    let database = database().await;
    for (schema, said) in [
        ("Shop", "\"Shop\" cannot be the schema"),
        ("a;b", "cannot be the schema"),
        ("pg_shop", "PostgreSQL's own"),
        ("user", "a word of SQL"),
    ] {
        let message = refusal(quick(&database.url()).schema(schema)).await;
        assert!(message.contains(said), "{schema}: {message}");
    }
    let mut root = database.connect().await;
    root.execute("CREATE SCHEMA plays; CREATE TABLE plays.titles (title text)").await.unwrap();
    let message = refusal(quick(&database.url()).schema("plays")).await;
    assert!(message.contains("the schema plays belongs to another program"), "{message}");
}

/// The bank has begun the log; a second program has an aggregate of the same type.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn a_program_of_another_name_is_refused_and_the_same_one_is_not() {
    let database = database().await;
    drop(BankProcess::start(&database.url(), &[]).expect("the bank starts"));
    let start = async |name: Option<&str>| {
        let builder = example_bank::application(open(&database.url()).await);
        match name {
            Some(name) => builder.name(name).start().await,
            None => builder.start().await,
        }
    };
    for name in [None, Some("shop")] {
        let Err(error) = start(name).await else { panic!("{name:?} started on the bank's log") };
        assert!(matches!(&error, StartError::OtherProgram { found, .. } if found == "bank"));
        assert!(error.to_string().contains("belongs to the program \"bank\""), "{error}");
    }
    let again = start(Some("bank")).await.unwrap();
    within(again.shutdown()).await;
}

/// The library of another program takes one lock for the whole database.
#[tokio::test]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn another_programs_migration_holds_nothing_up() {
    let database = database().await;
    let mut root = database.connect().await;
    sqlx::migrate::Migrate::lock(&mut root).await.unwrap();
    let store = open(&database.url()).await;
    committed(one(&store, append("1", ANY)).await);
}

#[tokio::test]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn a_migration_that_another_session_holds_up_is_reported_with_that_session() {
    let database = database().await;
    let mut root = database.connect().await;
    root.execute("SELECT pg_advisory_lock(1633907822, 1)").await.unwrap();
    let pid = count(&mut root, "SELECT pg_backend_pid()::bigint").await;
    let message = refusal(quick(&database.url())).await;
    assert!(message.contains(&format!("session {pid}")), "{message}");
    assert!(message.contains("migration") && !message.contains("timeout"), "{message}");
    root.execute("SELECT pg_advisory_unlock(1633907822, 1)").await.unwrap();
    open(&database.url()).await;
}

/// A row that lives longer than it was granted for was written before the clock was set back, or by
/// hand.
#[tokio::test]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn a_lease_or_membership_that_expires_too_late_has_expired() {
    use actum::store::LeaseStore;
    let database = database().await;
    let store = open(&database.url()).await;
    let mut root = database.connect().await;
    let (one, two) = (uuid::Uuid::now_v7(), uuid::Uuid::now_v7());
    let lasts = Duration::from_secs(3);
    let late = ["expires_at + interval '1 hour'", "expires_at + interval '7 s'", "'infinity'"];
    for (number, late) in late.into_iter().enumerate() {
        let (name, model) = (format!("sums@1/{number}"), format!("sums@{number}"));
        let names = [name.clone()];
        let lease = store.acquire_lease(&name, one, lasts).await.unwrap().unwrap();
        assert_eq!(store.acquire_lease(&name, two, lasts).await.unwrap(), None);
        assert_eq!(store.join(&model, one, lasts).await.unwrap(), [one]);
        let set_back = format!(
            "UPDATE actum.leases SET expires_at = {late} WHERE name = '{name}';
             UPDATE actum.members SET expires_at = {late} WHERE model = '{model}'"
        );
        root.execute(AssertSqlSafe(set_back)).await.unwrap();
        assert_eq!(store.holders(&names).await.unwrap(), [None], "{late}");
        assert_eq!(store.join(&model, two, lasts).await.unwrap(), [two], "{late}");
        // The owner is alive: its next renewal puts the row right.
        assert!(store.renew_lease(&lease, lasts).await.unwrap());
        assert_eq!(store.holders(&names).await.unwrap(), [Some(one)]);
        assert_eq!(store.acquire_lease(&name, two, lasts).await.unwrap(), None);
        let set_back = format!("UPDATE actum.leases SET expires_at = {late} WHERE name = '{name}'");
        root.execute(AssertSqlSafe(set_back)).await.unwrap();
        let taken = store.acquire_lease(&name, two, lasts).await.unwrap().unwrap();
        assert!(taken.token > lease.token);
        assert!(!store.renew_lease(&lease, lasts).await.unwrap(), "{late}");
        until(async || store.holders(&names).await.unwrap() == [Some(two)]).await;
    }
}
