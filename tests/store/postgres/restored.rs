//! Rows of a projection and their checkpoint are in two schemas, and the owner of a partition may
//! be stopped while it writes: what a successor does about either.

use std::time::Duration;

use actum::GlobalPosition;
use actum::store::{
    Checkpoint, CheckpointUpdate, EventStore, LeaseStore, PartitionId, PostgresStore,
    ProjectionStore,
};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Executor};
use uuid::Uuid;

use super::ledger::{execute, open, until, within};
use crate::support::child::BankProcess;
use crate::support::postgres::{Database, database};

const TABLES: [&str; 6] = ["events", "commands", "claims", "documents", "checkpoints", "versions"];

async fn number(root: &mut PgConnection, sql: &str) -> i64 {
    sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_one(root).await.unwrap()
}

/// Waits until the statement has saved its checkpoint there.
async fn saved(root: &mut PgConnection, position: i64) {
    let saved =
        "SELECT coalesce(max(position), 0) FROM actum.checkpoints WHERE model = 'statement@1'";
    until(async || number(root, saved).await == position).await;
}

/// Copies the tables of the log, as `pg_dump -n actum` would.
async fn back_up(root: &mut PgConnection) {
    execute(root, "CREATE SCHEMA kept").await;
    for table in TABLES {
        execute(root, &format!("CREATE TABLE kept.{table} AS TABLE actum.{table}")).await;
    }
}

/// Puts the copies back, and nothing else: the schema of the rows stays as it is.
async fn restore(root: &mut PgConnection) {
    execute(root, "SET session_replication_role = replica").await;
    for table in TABLES {
        // A generated column cannot be written, so it is not among the copied ones.
        let columns: String = sqlx::query_scalar(
            "SELECT string_agg(quote_ident(column_name), ', ') FROM information_schema.columns
             WHERE table_schema = 'actum' AND table_name = $1 AND is_generated = 'NEVER'",
        )
        .bind(table)
        .fetch_one(&mut *root)
        .await
        .unwrap();
        let restore = format!(
            "DELETE FROM actum.{table};
             INSERT INTO actum.{table} ({columns}) SELECT {columns} FROM kept.{table}"
        );
        execute(root, &restore).await;
    }
    execute(root, "SET session_replication_role = origin").await;
}

fn credit(bank: &BankProcess, amount: i64) {
    let body = format!("{{\"amount\":{amount}}}");
    let answer = bank.client().post("/accounts/ada/credit", &body, None).unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
}

async fn bank_with_a_statement(database: &Database, root: &mut PgConnection) -> BankProcess {
    let bank = BankProcess::start(&database.url(), &[]).expect("the bank starts");
    let ada = r#"{"id":"ada","owner":"Ada","currency":"EUR"}"#;
    assert_eq!(bank.client().post("/accounts", ada, None).unwrap().status, 201);
    for _ in 0..4 {
        credit(&bank, 10);
    }
    saved(root, 5).await;
    bank
}

/// The statement is refused by name, in the owner's process and in any other, and nothing is added.
async fn assert_refused(database: &Database, root: &mut PgConnection) {
    let bookings = "SELECT count(*) FROM actum_statement_1.bookings";
    let before = number(root, bookings).await;
    let bank = BankProcess::start(&database.url(), &[]).expect("the bank starts");
    let ready = || bank.client().get("/health/ready").unwrap();
    until(async || ready().status == 503 && ready().text.contains("restored without the other"))
        .await;
    credit(&bank, 100);
    let statement = bank.client().get("/accounts/ada/statement").unwrap();
    assert!(statement.status >= 500, "{statement:?}");
    let beside = BankProcess::start(&database.url(), &[]).expect("a second bank starts");
    let statement = beside.client().get("/accounts/ada/statement").unwrap();
    assert!(statement.status >= 500, "{statement:?}");
    assert_eq!(number(root, bookings).await, before);
}

/// Five bookings of the rows are in no log any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn rows_that_are_ahead_of_a_restored_checkpoint_are_refused() {
    let database = database().await;
    let mut root = database.connect().await;
    let bank = bank_with_a_statement(&database, &mut root).await;
    back_up(&mut root).await;
    for _ in 0..5 {
        credit(&bank, 1);
    }
    saved(&mut root, 10).await;
    bank.terminate();
    restore(&mut root).await;
    assert_refused(&database, &mut root).await;
}

/// The log was written again up to the same position: the number is the same, the event is not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn rows_at_the_position_of_another_event_are_refused() {
    let database = database().await;
    let mut root = database.connect().await;
    let bank = bank_with_a_statement(&database, &mut root).await;
    bank.terminate();
    let other = "UPDATE actum_statement_1.actum_mark SET event_id = gen_random_uuid()";
    execute(&mut root, other).await;
    assert_refused(&database, &mut root).await;
}

/// The rows are older than their checkpoint, or gone but for their tables.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn rows_that_are_behind_their_checkpoint_are_refused() {
    let database = database().await;
    let mut root = database.connect().await;
    bank_with_a_statement(&database, &mut root).await.terminate();
    let older = "UPDATE actum_statement_1.actum_mark SET position = 2, event_id =
                 (SELECT event_id FROM actum.events WHERE position = 2)";
    execute(&mut root, older).await;
    assert_refused(&database, &mut root).await;
    execute(&mut root, "DELETE FROM actum_statement_1.actum_mark").await;
    assert_refused(&database, &mut root).await;
}

/// A retry of a parked key has changed the rows while the position stood still.
#[tokio::test]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn rows_from_before_or_after_a_retry_in_place_are_refused() {
    let database = database().await;
    let store = open(&database.url()).await;
    let partition = PartitionId::new("sums@1", 0);
    let place = store.open_projection("sums", 1).await.unwrap();
    place.begin_making().await.unwrap().expect("it is new").commit(None).await.unwrap();
    let lease = owner(&store, &partition).await;
    let (log_id, event_id) = (store.info().identity.log_id, Uuid::now_v7());
    let checkpoint = Checkpoint { log_id, position: GlobalPosition(10), event_id };
    let step = async |step, from| {
        let (partition, lease) = (partition.clone(), lease.clone());
        let (parked, work) = (Vec::new(), Vec::new());
        let update = CheckpointUpdate {
            partition,
            from,
            sequence: step,
            checkpoint,
            parked,
            work,
            lease,
            is_replay: false,
        };
        let transaction = place.begin(&update.partition, &update.lease).await.unwrap();
        transaction.commit(Some(&update)).await.unwrap();
    };
    step(1, GlobalPosition::ZERO).await;
    let mut root = database.connect().await;
    execute(&mut root, "CREATE TABLE mark AS TABLE actum_sums_1.actum_mark").await;
    step(2, GlobalPosition(10)).await;
    assert_eq!(place.resume(&partition, &lease).await.unwrap(), Some(checkpoint));
    let older = "DELETE FROM actum_sums_1.actum_mark;
                 INSERT INTO actum_sums_1.actum_mark SELECT * FROM mark";
    let swapped =
        "UPDATE actum_sums_1.actum_mark SET step = 2; UPDATE actum.checkpoints SET step = 1";
    for restored in [older, swapped] {
        execute(&mut root, restored).await;
        let refused = place.resume(&partition, &lease).await.unwrap_err().to_string();
        assert!(refused.contains("restored without the other"), "{refused}");
        let mut query = place.read().await.unwrap();
        query.checkpoints(std::slice::from_ref(&partition)).await.unwrap_err();
        query.end().await;
    }
}

const LASTS: Duration = Duration::from_millis(200);

async fn owner(store: &PostgresStore, partition: &PartitionId) -> actum::store::Lease {
    let name = partition.to_string();
    let mut lease = None;
    until(async || {
        lease = store.acquire_lease(&name, Uuid::now_v7(), LASTS).await.unwrap();
        lease.is_some()
    })
    .await;
    lease.expect("it was granted")
}

/// The owner stands in a transaction with a lock on a row, under a role whose sessions the
/// successor's role may not end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn a_successor_needs_no_right_to_end_the_sessions_of_a_stopped_owner() {
    let database = database().await;
    let former = open(&database.url()).await; // a superuser, whose sessions no other role may end
    let partition = PartitionId::new("sums@1", 0);
    let place = former.open_projection("sums", 1).await.unwrap();
    let mut making = place.begin_making().await.unwrap().expect("it is new");
    making.connection().execute("CREATE TABLE sums (sum bigint)", &[]).await.unwrap();
    making.connection().execute("INSERT INTO sums VALUES (1)", &[]).await.unwrap();
    making.commit(None).await.unwrap();
    let lease = owner(&former, &partition).await;
    assert_eq!(place.resume(&partition, &lease).await.unwrap(), None);
    let mut stopped = place.begin(&partition, &lease).await.unwrap();
    stopped.connection().execute("UPDATE sums SET sum = 2", &[]).await.unwrap();

    let role = format!("{}_second", database.name());
    let mut root = database.connect().await;
    let grants = format!(
        "DROP ROLE IF EXISTS {role}; CREATE ROLE {role} LOGIN;
         GRANT USAGE ON SCHEMA actum, actum_sums_1 TO {role};
         GRANT ALL ON ALL TABLES IN SCHEMA actum, actum_sums_1 TO {role}"
    );
    execute(&mut root, &grants).await;
    let second = open(&database.url().replace("actum@", &format!("{role}@"))).await;
    let lease = owner(&second, &partition).await;
    let place = second.open_projection("sums", 1).await.unwrap();
    assert_eq!(within(place.resume(&partition, &lease)).await.unwrap(), None);
    let mut taking_over = within(place.begin(&partition, &lease)).await.unwrap();
    // The row is free once the server has ended the idle transaction.
    let update = "UPDATE sums SET sum = sum + 10";
    assert_eq!(within(taking_over.connection().execute(update, &[])).await.unwrap(), 1);
    drop(taking_over);
    stopped.connection().execute("UPDATE sums SET sum = 3", &[]).await.unwrap_err();
    assert_eq!(number(&mut root, "SELECT sum FROM actum_sums_1.sums").await, 1);
    drop((stopped, place, second, former));
    until(async || {
        let drop = format!("DROP OWNED BY {role}; DROP ROLE {role}");
        root.execute(AssertSqlSafe(drop)).await.is_ok()
    })
    .await;
}
