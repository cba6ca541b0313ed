//! Settings of the server, of the database and of the role: unsafe ones are refused by name, odd
//! ones make no difference.

use actum::store::{EventStore, Filter, PageLimit, PostgresOptions};
use actum::{ExpectedVersion, GlobalPosition};

use super::ledger::{append, committed, execute, keyed, one, open, quick, read_log, refusal};
use crate::support::postgres::{Database, Server, database};

const ANY: ExpectedVersion = ExpectedVersion::Any;

/// Gives the database a default for all sessions to come.
async fn with_default(database: &Database, setting: &str) {
    let name = database.name();
    execute(&mut database.connect().await, &format!("ALTER DATABASE {name} SET {setting}")).await;
}

/// Each unsafe setting is refused, and everything that was committed before stays.
#[tokio::test]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn a_server_that_does_not_sync_is_refused_by_name() {
    let server = Server::private().await;
    for setting in ["fsync", "full_page_writes"] {
        server.set(setting, "off").await;
        let message = refusal(quick(&server.url())).await;
        assert!(message.contains(&format!("unsafe setting {setting} = off")), "{message}");
        let schema = "SELECT to_regnamespace('actum')::text";
        let made: Option<String> =
            sqlx::query_scalar(schema).fetch_one(&mut server.connect().await).await.unwrap();
        assert_eq!(made, None, "a refusal changed something");
        let store = quick(&server.url()).unsafe_without_sync().open().await.unwrap();
        committed(one(&store, append("1", ANY)).await);
        drop(store);
        execute(&mut server.connect().await, "DROP SCHEMA actum CASCADE").await;
        server.set(setting, "on").await;
    }
    let store = open(&server.url()).await;
    committed(one(&store, append("1", ANY)).await);
}

#[tokio::test]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn a_default_that_is_unsafe_is_refused_by_name() {
    let defaults = [
        ("synchronous_commit = off", "unsafe setting synchronous_commit = off"),
        ("synchronous_commit = local", "unsafe setting synchronous_commit = local"),
        ("default_transaction_read_only = on", "unsafe setting transaction_read_only = on"),
        ("session_replication_role = replica", "unsafe setting session_replication_role = replica"),
    ];
    for (setting, refused) in defaults {
        let database = database().await;
        with_default(&database, setting).await;
        let message = refusal(quick(&database.url())).await;
        assert!(message.contains(refused), "{message}");
    }
}

#[tokio::test]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn a_database_in_another_encoding_is_refused_by_name() {
    let database = database().await;
    let ascii = format!("{}_ascii", database.name());
    let mut connection = database.connect().await;
    execute(
        &mut connection,
        &format!("CREATE DATABASE {ascii} ENCODING 'SQL_ASCII' TEMPLATE template0"),
    )
    .await;
    let message = refusal(quick(&database.url().replace(&database.name(), &ascii))).await;
    execute(&mut connection, &format!("DROP DATABASE {ascii} WITH (FORCE)")).await;
    assert!(message.contains("unsafe setting server_encoding = SQL_ASCII"), "{message}");
}

#[tokio::test]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn a_standby_is_refused_by_name() {
    let server = Server::private().await;
    let data = "SHOW data_directory";
    let data: String =
        sqlx::query_scalar(data).fetch_one(&mut server.connect().await).await.unwrap();
    server.stop().await;
    // The server waits for a primary that never comes, and answers reads meanwhile.
    std::fs::write(format!("{data}/standby.signal"), "").unwrap();
    server.start().await;
    let message = refusal(quick(&server.url())).await;
    assert!(message.contains("unsafe setting in_recovery = on"), "{message}");
}

#[tokio::test]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn odd_defaults_make_no_difference() {
    let database = database().await;
    for setting in [
        "default_transaction_isolation = serializable",
        "default_transaction_deferrable = on",
        "TimeZone = 'Asia/Kathmandu'",
        "DateStyle = 'German, DMY'",
        "IntervalStyle = sql_standard",
        "bytea_output = escape",
        "client_encoding = LATIN1",
        "search_path = nowhere",
        "statement_timeout = '1h'",
        "standard_conforming_strings = off",
        "plpgsql.variable_conflict = error",
    ] {
        with_default(&database, setting).await;
    }
    let store = open(&database.url()).await;
    let name = database.name();
    execute(&mut database.connect().await, &format!("ALTER DATABASE {name} RESET ALL")).await;
    let plain = open(&database.url()).await;
    for n in 0..20 {
        let (a, b) = (keyed("1", ANY, &format!("a{n}")), keyed("1", ANY, &format!("b{n}")));
        let (a, b) = tokio::join!(one(&store, a), one(&plain, b));
        assert_ne!(committed(a).position, committed(b).position);
    }
    let read = async |store: &actum::store::PostgresStore| {
        store
            .read_all(GlobalPosition::ZERO, &Filter::all(), PageLimit::events(99))
            .await
            .unwrap()
            .events
    };
    let (odd, events) = (read(&store).await, read(&plain).await);
    assert_eq!((odd.len(), &odd), (40, &events));
    assert_eq!(read_log(&mut database.connect().await).await.len(), 40);
}

/// The check at the start would be of little use if a reload could undo it.
#[tokio::test]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn a_reload_of_the_configuration_does_not_weaken_a_running_store() {
    let server = Server::private().await;
    let store = open(&server.url()).await;
    committed(one(&store, append("1", ANY)).await);
    let witness = "CREATE TABLE public.seen (setting text);
        CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            INSERT INTO public.seen VALUES (current_setting('synchronous_commit'));
            RETURN NULL;
        END $$;
        CREATE TRIGGER see AFTER INSERT ON actum.events EXECUTE FUNCTION see()";
    let mut connection = server.connect().await;
    execute(&mut connection, witness).await;
    server.set("synchronous_commit", "off").await;
    committed(one(&store, append("1", ANY)).await);
    let seen: Vec<String> = sqlx::query_scalar("SELECT setting FROM public.seen")
        .fetch_all(&mut connection)
        .await
        .unwrap();
    assert_eq!(seen, ["on"]);
    let message = refusal(quick(&server.url())).await;
    assert!(message.contains("unsafe setting synchronous_commit = off"), "{message}");
}

#[tokio::test]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn without_sync_means_without_waiting_for_the_disk() {
    let database = database().await;
    let store = PostgresOptions::new(&database.url()).unsafe_without_sync().open().await.unwrap();
    let witness = "CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            ASSERT current_setting('synchronous_commit') = 'off';
            RETURN NULL;
        END $$;
        CREATE TRIGGER see AFTER INSERT ON actum.events EXECUTE FUNCTION see()";
    execute(&mut database.connect().await, witness).await;
    committed(one(&store, append("1", ANY)).await);
}
