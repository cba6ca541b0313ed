//! Tests of the proxy itself.

use std::time::Duration;

use sqlx::postgres::PgConnection;
use sqlx::{Connection, Executor};
use tokio::time::timeout;

use super::Proxy;
use crate::support::postgres::{Database, Server, database};

const INSERT: &str = "INSERT INTO sent VALUES ($1)";
const SOON: Duration = Duration::from_millis(300);

/// A database with a table `sent`, a proxy before it, and a connection through that.
async fn connected() -> (Database, Proxy, PgConnection) {
    let database = database().await;
    database.connect().await.execute("CREATE TABLE sent (n int)").await.unwrap();
    let proxy = Proxy::start(database.port()).await;
    let client = PgConnection::connect(&database.url_by(proxy.port())).await.unwrap();
    (database, proxy, client)
}

async fn insert(client: &mut PgConnection, n: i32) -> sqlx::Result<()> {
    sqlx::query(INSERT).bind(n).execute(client).await.map(drop)
}

/// Rows of the table, read without the proxy.
async fn sent(database: &Database) -> Vec<i32> {
    let query = sqlx::query_scalar("SELECT n FROM sent ORDER BY n");
    query.fetch_all(&mut database.connect().await).await.unwrap()
}

#[tokio::test]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn a_statement_whose_reply_is_lost_is_in_the_table() {
    let (database, proxy, mut client) = connected().await;
    insert(&mut client, 1).await.unwrap();
    proxy.swallow_replies_to("INTO sent", 1);
    client.execute("SELECT 'another statement'").await.unwrap();
    assert_eq!(proxy.swallowed(), 0);
    // The statement is prepared already: its text is not sent again.
    insert(&mut client, 2).await.unwrap_err();
    assert_eq!((proxy.swallowed(), sent(&database).await), (1, vec![1, 2]));
    client.ping().await.unwrap_err();
    let mut next = PgConnection::connect(&database.url_by(proxy.port())).await.unwrap();
    insert(&mut next, 3).await.unwrap();
    assert_eq!((proxy.swallowed(), sent(&database).await), (1, vec![1, 2, 3]));
}

#[tokio::test]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn the_reply_to_a_commit_can_be_lost() {
    let (database, proxy, mut client) = connected().await;
    proxy.swallow_replies_to("COMMIT", 1);
    let mut transaction = client.begin().await.unwrap();
    insert(&mut transaction, 1).await.unwrap();
    transaction.commit().await.unwrap_err();
    assert_eq!((proxy.swallowed(), sent(&database).await), (1, vec![1]));
}

#[tokio::test]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn a_cut_closes_what_is_open_and_nothing_after() {
    let (database, proxy, mut client) = connected().await;
    proxy.cut();
    insert(&mut client, 1).await.unwrap_err();
    let mut next = PgConnection::connect(&database.url_by(proxy.port())).await.unwrap();
    insert(&mut next, 2).await.unwrap();
    assert_eq!(sent(&database).await, [2]);
}

#[tokio::test]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn a_blackhole_answers_nothing_and_closes_nothing() {
    let (database, proxy, mut client) = connected().await;
    proxy.blackhole();
    assert!(timeout(SOON, insert(&mut client, 1)).await.is_err(), "answered or closed");
    let url = database.url_by(proxy.port());
    assert!(timeout(SOON, PgConnection::connect(&url)).await.is_err(), "a new one got through");
    proxy.pass();
    let mut next = PgConnection::connect(&url).await.unwrap();
    insert(&mut next, 2).await.unwrap();
    assert!(timeout(SOON, client.ping()).await.is_err(), "a lost reply came back");
    assert_eq!(sent(&database).await, [2]);
}

#[tokio::test]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn delayed_bytes_arrive_after_their_sender_has_gone() {
    let (database, proxy, mut client) = connected().await;
    insert(&mut client, 1).await.unwrap();
    proxy.delay(4 * SOON);
    assert!(timeout(SOON / 4, insert(&mut client, 2)).await.is_err(), "not delayed");
    drop(client);
    while sent(&database).await != [1, 2] {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn new_connections_are_refused_until_they_pass() {
    let (database, proxy, mut client) = connected().await;
    let url = database.url_by(proxy.port());
    proxy.refuse();
    // The port is closed by a task of the proxy.
    while PgConnection::connect(&url).await.is_ok() {}
    insert(&mut client, 1).await.unwrap();
    proxy.pass();
    while PgConnection::connect(&url).await.is_err() {}
    assert_eq!(sent(&database).await, [1]);
}

#[tokio::test]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn a_crash_of_the_server_is_seen_through_the_proxy() {
    let server = Server::private().await;
    let proxy = Proxy::start(server.port()).await;
    let url = server.url_by(proxy.port());
    let mut client = PgConnection::connect(&url).await.unwrap();
    server.crash().await;
    client.ping().await.unwrap_err();
    PgConnection::connect(&url).await.unwrap_err();
    server.start().await;
    PgConnection::connect(&url).await.unwrap().ping().await.unwrap();
}
