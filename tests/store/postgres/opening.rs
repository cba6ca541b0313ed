//! Opening a log that cannot be opened, and opening one many times at once.

use actum::ExpectedVersion;
use actum::store::{EventStore, PostgresOptions};
use sqlx::{AssertSqlSafe, Executor};

use super::ledger::{
    append, committed, keyed, no_answer, one, open, quick, read_log, refusal, terminate, until,
    within,
};
use crate::support::child::BankProcess;
use crate::support::postgres::{Database, Server, database, free_port};

const ANY: ExpectedVersion = ExpectedVersion::Any;

async fn execute(database: &Database, statement: &str) {
    database.connect().await.execute(AssertSqlSafe(statement)).await.unwrap();
}

/// Creates a role that may only connect, and returns its URL.
async fn role(database: &Database, name: &str) -> String {
    execute(database, &format!("DROP ROLE IF EXISTS {name}; CREATE ROLE {name} LOGIN")).await;
    database.url().replace("actum@", &format!("{name}@"))
}

async fn drop_role(database: &Database, name: &str) {
    execute(database, &format!("DROP OWNED BY {name}; DROP ROLE {name}")).await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn whatever_is_wrong_with_the_address_is_said_without_its_secrets() {
    let database = database().await;
    let good = database.url().replace("actum@", "actum:s3cret@");
    let silent = format!("127.0.0.1:{}", free_port());
    let table = [
        (good.replace(&database.name(), "nowhere"), "\"nowhere\" does not exist", "createdb"),
        (good.replace(&format!("127.0.0.1:{}", database.port()), &silent), "refused", &*silent),
        (good.replace("127.0.0.1", "no.such.host.invalid"), "no.such.host.invalid", "reached"),
        (good.replace("actum:", "nobody_here:"), "\"nobody_here\" does not exist", "user"),
        (good.replace("postgres://", "postgres//"), "no URL", "postgres://user"),
        (good.replace("127.0.0.1:", "127.0.0.1:s3cret"), "no URL", "postgres://user"),
        (format!("{good}?sslmode=s3cret"), "", "postgres://"),
    ];
    for (url, what, advice) in table {
        let message = refusal(quick(&url)).await;
        assert!(message.contains(what) && message.contains(advice), "{url}: {message}");
        assert!(!message.contains("s3cret"), "{message}");
    }
}

/// The setting is wrong from the start, or becomes wrong later. Commands are answered, and succeed
/// once it is right again.
#[tokio::test]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn a_password_that_is_wrong_or_was_changed_is_said_and_asked_for_again() {
    let server = Server::private().await;
    let mut root = server.connect().await;
    let setup = "CREATE ROLE app LOGIN SUPERUSER PASSWORD 'right-s3cret'";
    root.execute(setup).await.unwrap();
    server
        .allow("host all actum 127.0.0.1/32 trust\nhost all app 127.0.0.1/32 scram-sha-256")
        .await;
    let by = |password: &str| server.url().replace("actum@", &format!("app:{password}@"));
    let message = refusal(quick(&by("wrong-s3cret"))).await;
    let advice = "check user and password";
    assert!(message.contains("authentication failed") && message.contains(advice), "{message}");
    assert!(!message.contains("s3cret"), "{message}");
    let store = open(&by("right-s3cret")).await;
    committed(one(&store, append("1", ANY)).await);
    root.execute("ALTER ROLE app PASSWORD 'new-s3cret'").await.unwrap();
    committed(one(&store, append("1", ANY)).await);
    until(async || {
        terminate(&mut root, "usename = 'app'").await; // also those that are just beginning
        store.info().trouble.is_some_and(|trouble| trouble.contains(advice))
    })
    .await;
    assert!(!store.info().trouble.unwrap_or_default().contains("s3cret"));
    let read = no_answer(store.head().await);
    assert!(read.contains(advice), "{read}");
    root.execute("ALTER ROLE app PASSWORD 'right-s3cret'").await.unwrap();
    committed(one(&store, append("1", ANY)).await);
    until(async || store.info().trouble.is_none()).await;
    assert_eq!(read_log(&mut root).await.len(), 3);
}

#[tokio::test]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn a_schema_of_another_program_or_a_newer_release_is_refused_and_left_as_it_is() {
    let theirs = database().await;
    execute(&theirs, "CREATE SCHEMA actum; CREATE TABLE actum.plays (title text)").await;
    let message = refusal(quick(&theirs.url())).await;
    assert!(message.contains("another program") && message.contains("plays"), "{message}");
    let tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'actum'";
    let tables: i64 =
        sqlx::query_scalar(tables).fetch_one(&mut theirs.connect().await).await.unwrap();
    assert_eq!(tables, 1);
    let newer = database().await;
    drop(open(&newer.url()).await);
    execute(&newer, "UPDATE actum.migrations SET version = version + 10").await;
    let message = refusal(quick(&newer.url())).await;
    assert!(message.contains("its schema is version 13") && message.contains("newer"), "{message}");
}

#[tokio::test]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn a_role_that_may_not_create_runs_on_a_migrated_log_only() {
    let database = database().await;
    let name = format!("{}_app", database.name());
    let url = role(&database, &name).await;
    let message = refusal(quick(&url)).await;
    assert!(message.contains("cannot be migrated") && message.contains("permission"), "{message}");
    drop(open(&database.url()).await);
    let message = refusal(quick(&url)).await;
    assert!(message.contains("lacks a privilege"), "{message}");
    let grants = format!(
        "GRANT USAGE ON SCHEMA actum TO {name};
         GRANT SELECT ON ALL TABLES IN SCHEMA actum TO {name};
         GRANT INSERT ON actum.events, actum.commands TO {name};
         GRANT INSERT, UPDATE ON actum.documents, actum.checkpoints, actum.snapshots, actum.leases
         TO {name};
         GRANT DELETE ON actum.documents TO {name}"
    );
    execute(&database, &grants).await;
    let store = open(&url).await;
    let first = committed(one(&store, keyed("1", ANY, "k")).await);
    assert_eq!(committed(one(&store, keyed("1", ANY, "k")).await).position, first.position);
    actum::testing::conformance::documents::documents_and_checkpoint_are_stored_together(store)
        .await;
    drop_role(&database, &name).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn ten_that_open_a_fresh_database_at_once_all_succeed() {
    for _ in 0..5 {
        let database = database().await;
        let opening = (0..10).map(|n| {
            let options = PostgresOptions::new(&database.url());
            tokio::spawn(async move {
                let store = options.open().await.unwrap();
                committed(one(&store, append(&n.to_string(), ANY)).await);
                store.info().identity
            })
        });
        let opening: Vec<_> = opening.collect();
        let mut logs = Vec::new();
        for opened in opening {
            logs.push(within(opened).await.unwrap());
        }
        assert!(logs.iter().all(|log| *log == logs[0]), "{logs:?}");
        assert_eq!(read_log(&mut database.connect().await).await.len(), 10);
    }
}

/// The bank crashes at each step of the migration, and the next start completes it.
#[tokio::test]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn a_crash_in_the_migration_is_finished_at_the_next_start() {
    let mut crashes = 0;
    loop {
        let database = database().await;
        let at = format!("migrate:{}", crashes + 1);
        if BankProcess::start(&database.url(), &[("ACTUM_CRASH_AT", &at)]).is_some() {
            break;
        }
        crashes += 1;
        let bank = BankProcess::start(&database.url(), &[]).expect("it does not start again");
        let body = r#"{"id":"1","owner":"Ada","currency":"EUR"}"#;
        assert_eq!(bank.client().post("/accounts", body, None).unwrap().status, 201);
        assert_eq!(read_log(&mut database.connect().await).await.len(), 1);
    }
    assert_eq!(crashes, 2);
}

/// Refused both when the pooler passes on session settings and when it does not.
#[tokio::test]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn a_pooler_that_shares_sessions_is_refused_by_name() {
    let plain = database().await;
    let message = refusal(PostgresOptions::new(&plain.url_by_pgbouncer())).await;
    assert!(message.contains("pooler"), "{message}");
    // As if it had passed the settings on.
    let told = database().await;
    let name = told.name();
    for setting in ["statement_timeout = '10s'", "default_transaction_isolation = 'read committed'"]
    {
        execute(&told, &format!("ALTER DATABASE {name} SET {setting}")).await;
    }
    let message = refusal(PostgresOptions::new(&told.url_by_pgbouncer())).await;
    assert!(message.contains("pooler") && !message.contains("unsafe setting"), "{message}");
}
