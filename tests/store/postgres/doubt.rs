//! Commits whose answer is lost, and networks that fail: every caller learns the outcome, and every
//! append is stored at most once.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use actum::store::{Append, AppendOutcome, EventStore, Filter, PageLimit, PostgresStore};
use actum::{ExpectedVersion, GlobalPosition, StreamVersion};
use sqlx::Executor;
use tokio::net::TcpStream;

use super::ledger::{
    Load, all, append, assert_holds, committed, keyed, no_answer, one, open, progress, read_log,
    terminate, unavailable, until, within,
};
use crate::support::postgres::{Database, database};
use crate::support::proxy::Proxy;

const APPEND: &str = "actum.append(";

/// A log, and a store that reaches it through a network that fails on demand.
async fn connected() -> (Database, Proxy, PostgresStore) {
    let database = database().await;
    let proxy = Proxy::start(database.port()).await;
    let store = open(&database.url_by(proxy.port())).await;
    (database, proxy, store)
}

fn spawn(store: &PostgresStore, append: Append) -> tokio::task::JoinHandle<AppendOutcome> {
    let store = store.clone();
    tokio::spawn(async move { one(&store, append).await })
}

/// Runs for each expected version, with and without a command id.
#[tokio::test]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn an_append_whose_answer_is_lost_is_answered_once_and_stored_once() {
    let (database, proxy, store) = connected().await;
    let expectations = [
        ExpectedVersion::NoStream,
        ExpectedVersion::StreamExists,
        ExpectedVersion::Exact(StreamVersion(2)),
        ExpectedVersion::Any,
    ];
    let mut stored = 0;
    for (id, keyed) in [("plain", None), ("keyed", Some("key"))] {
        for expected in expectations {
            let key = keyed.map(|key| format!("{key}-{expected:?}"));
            let append = key
                .map_or_else(|| append(id, expected), |k| super::ledger::keyed(id, expected, &k));
            let event_id = append.events[0].event_id;
            proxy.swallow_replies_to(APPEND, 1);
            let found = committed(one(&store, append).await);
            stored += 1;
            assert_eq!((found.position.0, proxy.swallowed()), (stored, stored as usize));
            let log = read_log(&mut database.connect().await).await;
            assert_eq!((log.len() as u64, log.last()), (stored, Some(&event_id)));
        }
    }
}

/// The answer to a refusal is lost: sent again it is refused again.
#[tokio::test]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn a_conflict_whose_answer_is_lost_is_a_conflict() {
    let (database, proxy, store) = connected().await;
    committed(one(&store, append("1", ExpectedVersion::NoStream)).await);
    proxy.swallow_replies_to(APPEND, 1);
    super::ledger::refused(one(&store, append("1", ExpectedVersion::NoStream)).await);
    assert_eq!(proxy.swallowed(), 1);
    assert_eq!(read_log(&mut database.connect().await).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn of_fifty_concurrent_appends_with_lost_answers_each_is_stored_once() {
    let (database, proxy, store) = connected().await;
    committed(one(&store, append("exists", ExpectedVersion::Any)).await);
    proxy.swallow_replies_to(APPEND, 4);
    let appends = (0..50).map(|n: usize| match n % 5 {
        0 => keyed("any", ExpectedVersion::Any, &format!("k{n}")),
        1 => append("any", ExpectedVersion::Any),
        2 => append(&format!("new-{n}"), ExpectedVersion::NoStream),
        3 => keyed("exists", ExpectedVersion::StreamExists, &format!("k{n}")),
        _ => append("exact", ExpectedVersion::Exact(StreamVersion(n as u64 / 25))),
    });
    let appends: Vec<_> = appends.collect();
    let ids: Vec<_> = appends.iter().map(|append| append.events[0].event_id).collect();
    let asked: Vec<_> = appends.into_iter().map(|append| spawn(&store, append)).collect();
    let mut told = HashSet::new();
    for (id, asked) in ids.iter().zip(asked) {
        match within(asked).await.unwrap() {
            AppendOutcome::Committed(found) => drop(told.insert((found.position.0, *id))),
            AppendOutcome::NotCommitted(_) => {}
            unknown => panic!("{unknown:?}"),
        }
    }
    assert_eq!(proxy.swallowed(), 4);
    let log = read_log(&mut database.connect().await).await;
    let stored = (1..).zip(log).skip(1).collect::<HashSet<_>>();
    assert_eq!(told, stored);
    assert!(stored.len() >= 41, "{}", stored.len());
}

/// The server still has the first attempt to carry out when the second is answered: it must not.
#[tokio::test]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn a_late_first_attempt_stores_nothing_once_the_second_is_answered() {
    let database = database().await;
    let proxy = Proxy::start(database.port()).await;
    // The timeout is long enough for the first attempt to stay open.
    let store = PostgresStore::open(&database.url_by(proxy.port())).await.unwrap();
    let mut root = database.connect().await;
    committed(one(&store, append("1", ExpectedVersion::Any)).await);
    // The first attempt waits for the writer lock when its connection is lost.
    sqlx::query("SELECT pg_advisory_lock(1633907821, 1)").execute(&mut root).await.unwrap();
    let append = append("1", ExpectedVersion::Exact(StreamVersion(1)));
    let event_id = append.events[0].event_id;
    let asked = spawn(&store, append);
    let mut other = database.connect().await;
    let mut waiting = async || -> Vec<i32> {
        let waiting = "SELECT pid FROM pg_locks JOIN pg_database AS d ON d.oid = database
                       WHERE locktype = 'advisory' AND NOT granted AND datname = current_database()";
        sqlx::query_scalar(waiting).fetch_all(&mut other).await.unwrap()
    };
    until(async || !waiting().await.is_empty()).await;
    let first = waiting().await[0];
    proxy.cut();
    let mut then = Vec::new();
    until(async || {
        then = waiting().await;
        then.iter().any(|session| *session != first)
    })
    .await;
    assert!(!then.contains(&first), "sent again while the first attempt may still be stored");
    sqlx::query("SELECT pg_advisory_unlock(1633907821, 1)").execute(&mut root).await.unwrap();
    assert_eq!(committed(within(asked).await.unwrap()).position.0, 2);
    let log = read_log(&mut root).await;
    assert_eq!((log.len(), log[1]), (2, event_id));
}

/// Neither side learns that the connection is dead. The store notices the silence within its
/// timeout, reports the trouble, and answers the waiting calls afterwards.
#[tokio::test]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn a_black_hole_is_noticed_and_survived() {
    let (database, proxy, store) = connected().await;
    committed(one(&store, append("1", ExpectedVersion::Any)).await);
    assert_eq!(store.head().await.unwrap(), GlobalPosition(1));
    proxy.blackhole();
    let asked = spawn(&store, keyed("1", ExpectedVersion::Any, "k"));
    no_answer(within(store.head()).await);
    until(async || store.info().trouble.is_some()).await;
    assert!(!asked.is_finished(), "nobody can know");
    proxy.pass();
    assert_eq!(committed(within(asked).await.unwrap()).position.0, 2);
    until(async || store.info().trouble.is_none()).await;
    until(async || store.head().await.is_ok()).await;
    assert_eq!(read_log(&mut database.connect().await).await.len(), 2);
    // Hints go both ways again.
    let other = open(&database.url()).await;
    let mut head = store.watch_head();
    committed(one(&other, append("1", ExpectedVersion::Any)).await);
    within(head.wait_for(|head| head.0 == 3)).await.unwrap();
    let mut head = other.watch_head();
    committed(one(&store, append("1", ExpectedVersion::Any)).await);
    within(head.wait_for(|head| head.0 == 4)).await.unwrap();
}

/// Nothing was sent, so no outcome is unknown.
#[tokio::test]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn an_append_is_refused_while_no_server_listens_and_stored_later() {
    let (database, proxy, store) = connected().await;
    committed(one(&store, append("1", ExpectedVersion::Any)).await);
    // Appends in flight have an unknown outcome when the line is cut, later ones have not.
    proxy.refuse();
    proxy.cut();
    let doubtful = spawn(&store, append("1", ExpectedVersion::Any));
    until(async || store.info().trouble.is_some()).await;
    no_answer(within(store.head()).await);
    proxy.pass();
    assert_eq!(committed(within(doubtful).await.unwrap()).position.0, 2);
    until(async || store.info().trouble.is_none()).await;
    drop(store);
    let fresh = open(&database.url_by(proxy.port())).await;
    proxy.refuse();
    // The port is closed by a task of the proxy.
    until(async || TcpStream::connect(("127.0.0.1", proxy.port())).await.is_err()).await;
    let began = Instant::now();
    let reason = unavailable(one(&fresh, append("1", ExpectedVersion::Any)).await);
    assert!(
        reason.contains("refused") && reason.contains("check that the server runs"),
        "{reason}"
    );
    assert!(began.elapsed() < Duration::from_secs(20));
    proxy.pass();
    until(async || {
        let outcome = one(&fresh, append("1", ExpectedVersion::Any)).await;
        matches!(outcome, AppendOutcome::Committed(_))
    })
    .await;
    assert_eq!(read_log(&mut database.connect().await).await.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn cuts_and_delays_under_load_lose_and_double_nothing() {
    let (database, proxy, store) = connected().await;
    let load = Load::start(&store, 8);
    for turn in 0..12 {
        match turn % 4 {
            0 => proxy.cut(),
            1 => proxy.delay(Duration::from_millis(10)),
            2 => proxy.swallow_replies_to(APPEND, 2),
            _ => proxy.pass(),
        }
        progress(&store, 2).await;
    }
    proxy.pass();
    proxy.cut();
    let done = load.end().await;
    assert!(proxy.swallowed() >= 3 && done.len() > 20, "{} {}", proxy.swallowed(), done.len());
    assert_holds(&read_log(&mut database.connect().await).await, &done);
}

/// Terminates a session of any kind, twenty times.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn sessions_that_are_terminated_under_load_lose_and_double_nothing() {
    let database = database().await;
    let (one, two) = (open(&database.url()).await, open(&database.url()).await);
    let (first, second) = (Load::start(&one, 4), Load::start(&two, 4));
    let reader = one.clone();
    let reading = tokio::spawn(async move {
        let mut after = GlobalPosition::ZERO;
        loop {
            match reader.read_all(after, &Filter::all(), PageLimit::events(100)).await {
                Ok(page) => {
                    after = page.scanned_to;
                    tokio::task::yield_now().await;
                }
                Err(error @ actum::StoreError::Hole { .. }) => panic!("{error}"),
                Err(_) => {}
            }
        }
    });
    let mut root = database.connect().await;
    let mut ended = 0;
    for _ in 0..20 {
        ended += terminate(&mut root, "true").await;
        progress(&one, 3).await;
    }
    let mut done = first.end().await;
    done.extend(second.end().await);
    assert!(ended >= 20 && done.len() > 20, "{ended} {}", done.len());
    assert!(!reading.is_finished(), "a reader saw a hole");
    reading.abort();
    assert_holds(&read_log(&mut root).await, &done);
    assert_eq!(all(&one, Vec::new()).await.len(), 0);
}

/// The first call stores one of two appends and finds that the other's stream is elsewhere. Before
/// the second call the epoch is raised.
#[tokio::test]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn appends_stored_by_one_call_are_committed_though_the_next_finds_another_history() {
    let database = database().await;
    let store = open(&database.url()).await;
    for _ in 0..3 {
        committed(one(&store, append("longer", ExpectedVersion::Any)).await);
    }
    let mut root = database.connect().await;
    let raising = "CREATE FUNCTION actum.raise() RETURNS trigger LANGUAGE plpgsql AS
                   $$ BEGIN UPDATE actum.log SET epoch = epoch + 1; RETURN NULL; END $$;
                   CREATE TRIGGER raising AFTER INSERT ON actum.events
                   FOR EACH STATEMENT EXECUTE FUNCTION actum.raise()";
    root.execute(raising).await.unwrap();
    let appends = vec![
        append("1", ExpectedVersion::Any),
        append("longer", ExpectedVersion::StreamExists),
        append("2", ExpectedVersion::Any),
    ];
    let [first, elsewhere, second] = all(&store, appends).await.try_into().unwrap();
    assert_eq!((committed(first).position.0, committed(second).position.0), (4, 5));
    let reason = unavailable(elsewhere);
    assert!(reason.contains("exchanged or restored"), "{reason}");
    assert_eq!(read_log(&mut root).await.len(), 5);
}
