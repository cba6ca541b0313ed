//! Values at the edge: odd JSON, long names, large batches, clocks that are wrong, ids used twice.

use std::time::Duration;

use actum::store::{
    Append, AppendOutcome, EventStore, Filter, LeaseStore, MAX_COMMAND_ID_BYTES, NotCommitted,
    PageLimit, PostgresOptions, PostgresStore, SqliteStore,
};
use actum::testing::ManualClock;
use actum::{CommandKey, ExpectedVersion, GlobalPosition, StreamId, StreamVersion};
use serde_json::json;
use uuid::Uuid;

use super::ledger::{
    all, append, committed, event, keyed, one, open, quick, read_log, refused, within,
};
use crate::bank::statement::{NOT_IN_UTC, refuses_values_that_cannot_be_stored};
use crate::support::bank::{get, post};
use crate::support::directory::Directory;
use crate::support::postgres::database;
use crate::support::random::Random;

const ANY: ExpectedVersion = ExpectedVersion::Any;

/// Choices and JSON by chance, the same in each run.
struct Dice(Random);

impl Dice {
    fn roll<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.0.below(of.len() as u64) as usize]
    }

    /// A JSON text of odd pieces.
    fn json(&mut self, depth: usize) -> String {
        let numbers = ["0", "-0", "1e400", "0.10", "1E+2", "18446744073709551616", "-1.5e-400"];
        let pieces = [
            "\\u0000",
            "\\ud800",
            "\\udc00\\ud800",
            "\\ud83d\\ude00",
            "😀",
            "\\/",
            "/",
            "\\\"",
            "\\\\",
            "\\n",
            "é",
            "e\u{301}",
            "\u{202e}",
            "\u{feff}",
            "\u{7f}",
            "\u{2028}",
            "'",
            "%s",
            "x",
        ];
        let blank = *self.roll(&["", "", " ", "\n\t", "\r\n"]);
        match *self.roll(&["number", "text", "text", "array", "object", "object", "word"]) {
            "array" if depth > 0 => {
                format!("[{blank}{},{blank}{}]", self.json(depth - 1), self.json(depth - 1))
            }
            "object" if depth > 0 => {
                let (first, second) = (self.json(depth - 1), self.json(depth - 1));
                // One key twice, and keys in no order.
                format!("{{\"z\":{first}{blank},{blank}\"a\":{second},\"z\":1}}")
            }
            "number" => (*self.roll(&numbers)).to_owned(),
            "word" => (*self.roll(&["true", "false", "null"])).to_owned(),
            _ => {
                let text: String = (0..6).map(|_| *self.roll(&pieces)).collect();
                format!("\"{text}\"")
            }
        }
    }

    /// The same with a piece broken off or put in.
    fn broken(&mut self) -> String {
        let mut text: Vec<char> = self.json(3).chars().collect();
        let places: Vec<usize> = (0..text.len()).collect();
        let at = *self.roll(&places);
        match *self.roll(&[0, 1, 2]) {
            0 => text.truncate(at),
            1 => drop(text.remove(at)),
            _ => text.insert(
                at,
                *self.roll(&['"', '\\', '\0', '\n', ',', '0', '}', 'u', '\u{b}', '\u{a0}']),
            ),
        }
        text.into_iter().collect()
    }
}

/// SQLite and PostgreSQL accept the same texts and return them unchanged.
#[tokio::test]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn odd_json_is_kept_byte_for_byte_or_refused_alike() {
    let (database, directory, mut dice) =
        (database().await, Directory::new(), Dice(Random::new(7)));
    let postgres = open(&database.url()).await;
    let sqlite = SqliteStore::open(&directory.file("log.db")).await.unwrap();
    let mut texts: Vec<String> = (0..500).map(|_| dice.json(4)).collect();
    texts.extend((0..500).map(|_| dice.broken()));
    texts.push(format!("{}{}", "[".repeat(127), "]".repeat(127)));
    let mut appends = Vec::new();
    for text in &texts {
        let mut both = append("1", ANY);
        both.events = vec![event(text)];
        both.events[0].metadata = text.as_str().into();
        appends.push(both);
    }
    let outcomes = all(&postgres, appends.clone()).await;
    let same = sqlite.append(appends).await;
    let mut kept = Vec::new();
    for ((text, found), other) in texts.iter().zip(&outcomes).zip(&same) {
        assert_eq!(format!("{found:?}"), format!("{other:?}"), "{text}");
        match found {
            AppendOutcome::Committed(_) => kept.push(text),
            AppendOutcome::NotCommitted(NotCommitted::Invalid(_)) => {}
            other => panic!("{text}: {other:?}"),
        }
    }
    assert!(kept.len() > 500 && texts.len() - kept.len() > 200, "{}", kept.len());
    for store in [&postgres as &dyn EventStore, &sqlite] {
        let page = store
            .read_all(GlobalPosition::ZERO, &Filter::all(), PageLimit::events(9_999))
            .await
            .unwrap();
        assert_eq!(page.events.len(), kept.len());
        for (event, text) in page.events.iter().zip(&kept) {
            assert_eq!((&event.payload, &event.metadata), (*text, *text));
        }
    }
}

#[tokio::test]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn names_of_full_length_are_kept() {
    let database = database().await;
    let store = open(&database.url()).await;
    let longest = "x".repeat(255);
    let longest_command = "x".repeat(MAX_COMMAND_ID_BYTES);
    let mut full = keyed("1", ANY, &longest_command);
    full.stream = StreamId::new(&longest, &longest).unwrap();
    full.events[0].event_type = longest.clone().into();
    assert_eq!(committed(one(&store, full.clone()).await).position, GlobalPosition(1));
    assert!(committed(one(&store, full.clone()).await).replayed);
    let events =
        store.read_stream(&full.stream, StreamVersion::ZERO, PageLimit::events(9)).await.unwrap();
    assert_eq!((events.len(), &events[0].event_type), (1, &longest));
    assert!(CommandKey::new(format!("{longest_command}x"), b"").is_err());
    assert!(StreamId::new("a", &format!("{longest}x")).is_err());
}

/// No number of events or streams comes near a limit of the protocol.
#[tokio::test]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn large_batches_are_stored_whole() {
    let database = database().await;
    let store = PostgresOptions::new(&database.url()).open().await.unwrap();
    let mut thousand = append("1", ExpectedVersion::NoStream);
    thousand.events = (0..1_000).map(|n| event(&n.to_string())).collect();
    let many = (0..70_000).map(|n| append(&format!("s{n}"), ExpectedVersion::NoStream));
    let payload = format!("\"{}\"", "x".repeat((4 << 20) - 2));
    let mut heavy = append("heavy", ExpectedVersion::NoStream);
    heavy.events = (0..7).map(|_| event(&payload)).collect();
    let appends: Vec<Append> = [thousand, heavy].into_iter().chain(many).collect();
    for outcome in all(&store, appends).await {
        committed(outcome);
    }
    assert_eq!(read_log(&mut database.connect().await).await.len(), 71_007);
}

/// One of many appends wins, also between processes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn of_twenty_parallel_appends_at_one_version_one_is_stored() {
    let database = database().await;
    let stores = [open(&database.url()).await, open(&database.url()).await];
    for version in 0..5 {
        let expected = ExpectedVersion::Exact(StreamVersion(version));
        let racing = (0..20).map(|n: usize| {
            let store = stores[n % 2].clone();
            tokio::spawn(async move { one(&store, append("1", expected)).await })
        });
        let mut won = 0;
        for racer in racing.collect::<Vec<_>>() {
            match within(racer).await.unwrap() {
                AppendOutcome::Committed(_) => won += 1,
                other => {
                    let reason = refused(other);
                    assert!(matches!(reason, NotCommitted::Conflict { .. }), "{reason:?}");
                }
            }
        }
        assert_eq!(won, 1);
    }
    assert_eq!(read_log(&mut database.connect().await).await.len(), 5);
}

/// One command id from two processes at once, in one call, one after another, and for another
/// request.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn a_command_id_acts_once_however_it_is_repeated() {
    let database = database().await;
    let stores = [open(&database.url()).await, open(&database.url()).await];
    for round in 0..10 {
        let key = format!("k{round}");
        let racing = (0..20).map(|n: usize| {
            let (store, key) = (stores[n % 2].clone(), key.clone());
            tokio::spawn(async move {
                let twice = [keyed(&(n % 3).to_string(), ANY, &key), keyed("9", ANY, &key)];
                all(&store, twice.to_vec()).await
            })
        });
        let (mut positions, mut fresh) = (Vec::new(), 0);
        for racer in racing.collect::<Vec<_>>() {
            for outcome in within(racer).await.unwrap() {
                let found = committed(outcome);
                positions.push(found.position.0);
                fresh += usize::from(!found.replayed);
            }
        }
        assert_eq!((fresh, positions.len()), (1, 40));
        assert!(positions.iter().all(|position| *position == round + 1), "{positions:?}");
        let mut other = keyed("1", ANY, &key);
        other.command = Some(CommandKey::new(key, b"something else").unwrap());
        let reason = refused(one(&stores[0], other).await);
        assert!(matches!(reason, NotCommitted::KeyReused), "{reason:?}");
    }
    assert_eq!(read_log(&mut database.connect().await).await.len(), 10);
}

/// Clocks that are wrong by decades change no order and take no lease.
#[tokio::test]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn a_wrong_clock_orders_nothing_and_takes_no_lease() {
    let database = database().await;
    let (past, future) = (ManualClock::new(), ManualClock::new());
    future.advance(Duration::from_secs(7_900 * 365 * 86_400));
    let past = quick(&database.url()).clock(past).open().await.unwrap();
    let future = quick(&database.url()).clock(future).open().await.unwrap();
    let now = open(&database.url()).await;
    let mut sent = Vec::new();
    for store in [&future, &now, &past, &now, &future, &past] {
        let next = append("1", ANY);
        sent.push(next.events[0].event_id);
        assert_eq!(committed(one(store, next).await).position.0, sent.len() as u64);
    }
    assert_eq!(read_log(&mut database.connect().await).await, sent);
    let page =
        now.read_all(GlobalPosition::ZERO, &Filter::all(), PageLimit::events(9)).await.unwrap();
    let years: Vec<i32> = page.events.iter().map(|event| event.recorded_at.year()).collect();
    assert_eq!((years[2], years[5]), (1970, 1970));
    assert!(years[0] > 9_000 && years[0] == years[4] && years[1] == years[3], "{years:?}");
    let minute = Duration::from_secs(60);
    let held = past.acquire_lease("sums@1", Uuid::now_v7(), minute).await.unwrap().unwrap();
    let other = Uuid::now_v7();
    assert_eq!(future.acquire_lease("sums@1", other, minute).await.unwrap(), None);
    assert!(past.renew_lease(&held, Duration::ZERO).await.unwrap());
    assert!(future.acquire_lease("sums@1", other, minute).await.unwrap().is_some());
}

/// A row that no code of the framework wrote: its outcome is reported as unknown, and the other
/// streams go on.
#[tokio::test]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn an_answer_that_cannot_be_read_is_no_refusal() {
    let database = database().await;
    let store = open(&database.url()).await;
    committed(one(&store, keyed("1", ANY, "k")).await);
    let spoil = "UPDATE actum.commands SET fingerprint = 'short'";
    sqlx::query(spoil).execute(&mut database.connect().await).await.unwrap();
    let beside = append("2", ANY);
    let id = beside.events[0].event_id;
    let outcomes = all(&store, vec![beside, keyed("1", ANY, "k")]).await;
    let stored = read_log(&mut database.connect().await).await.contains(&id);
    for outcome in outcomes {
        let AppendOutcome::Unknown(reason) = outcome else { panic!("{outcome:?}, {stored}") };
        assert!(reason.contains("cannot be read"), "{reason}");
    }
    committed(one(&store, append("1", ANY)).await);
}

#[actix_web::test]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn a_time_or_value_that_cannot_be_stored_is_refused_as_on_sqlite() {
    let database = database().await;
    let store = PostgresStore::open(&database.url()).await.unwrap();
    let bank = example_bank::application(store).start().await.unwrap();
    let opening = json!({ "id": "42", "owner": "Ada", "currency": "EUR" });
    assert_eq!(post(&bank, "/accounts", opening).await.status, 201);
    assert_eq!(post(&bank, "/accounts/42/credit", json!({ "amount": 5 })).await.status, 200);
    let ever = "/accounts/42/statement?after=2&from=0000-01-01T00:00:00%2B23:59&to=9999-12-31";
    let statement = get(&bank, ever).await;
    assert_eq!(
        (statement.status.as_u16(), &statement.json()["bookings"][0]["amount"]),
        (200, &json!(5))
    );
    for moment in NOT_IN_UTC {
        let path = format!("/accounts/42/statement?from={moment}");
        get(&bank, &path).await.is_problem(400, "invalid_query");
    }
    refuses_values_that_cannot_be_stored(&bank).await;
    bank.shutdown().await;
}
