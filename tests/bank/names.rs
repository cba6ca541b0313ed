//! Names that are unique among all users: for every client, in every process, under concurrency,
//! and across crashes.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use actum::store::SqliteStore;
use actum::{Application, CommandError};
use example_bank::user::{USER_NAME, User, UserCommand};
use serde_json::json;

use crate::support::bank::{new_bank, post};
use crate::support::child::{BankProcess, StopOnDrop, read_log, rows};
use crate::support::directory::Directory;
use crate::support::http::{Client, Response};
use crate::support::postgres::database;

const CROWD: usize = 1000;

fn register(n: usize) -> UserCommand {
    UserCommand::Register { owner: format!("Person {n}"), name: "ada".into() }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_thousand_who_register_one_name_at_once_one_has_it_on_sqlite() {
    let directory = Directory::new();
    let store = SqliteStore::open(&directory.file("bank.db")).await.unwrap();
    let app = Application::builder(store).aggregate::<User>().start().await.unwrap();
    let asks = (0..CROWD).map(|n| {
        let app = app.clone();
        tokio::spawn(async move { app.execute::<User>(&n.to_string(), register(n)).await })
    });
    let (mut winners, mut holders) = (Vec::new(), HashSet::new());
    for (n, ask) in asks.collect::<Vec<_>>().into_iter().enumerate() {
        match ask.await.unwrap() {
            Ok(_) => winners.push(n.to_string()),
            Err(CommandError::Claimed { claim, holder }) => {
                assert_eq!(claim.value(), "ada");
                holders.insert(holder.id().to_owned());
            }
            other => panic!("{n}: {other:?}"),
        }
    }
    assert_eq!(winners.len(), 1, "{winners:?}");
    assert_eq!(holders, winners.iter().cloned().collect());
    let holder = app.claim_holder(USER_NAME, "ada").await.unwrap().unwrap();
    assert_eq!((holder.id(), app.store().head().await.unwrap().0), (&*winners[0], 1));
    // The refused user does not exist yet, and may take another name.
    let other = UserCommand::Register { owner: "Bob".into(), name: "bob".into() };
    let loser = (0..CROWD).map(|n| n.to_string()).find(|n| *n != winners[0]).unwrap();
    assert_eq!(app.execute::<User>(&loser, other).await.unwrap().version.0, 1);
}

/// A thousand connections to two processes register the same name at once.
fn of_a_thousand_one_has_the_name(banks: &[BankProcess; 2]) -> String {
    let start = std::sync::Barrier::new(CROWD);
    let answers: Vec<(usize, Response)> = std::thread::scope(|scope| {
        let asks = (0..CROWD).map(|n| {
            let start = &start;
            let ask = move || {
                let mut client = banks[n % 2].client();
                let body = json!({"id": n.to_string(), "owner": "Ada", "name": "ada"}).to_string();
                start.wait();
                loop {
                    let answer = client.post("/users", &body, Some(&format!("key-{n}"))).unwrap();
                    // The bank was full for the moment and stored nothing.
                    if !matches!(answer.status, 429 | 503) {
                        return (n, answer);
                    }
                    std::thread::sleep(Duration::from_millis(20));
                }
            };
            std::thread::Builder::new().stack_size(256 << 10).spawn_scoped(scope, ask).unwrap()
        });
        asks.collect::<Vec<_>>().into_iter().map(|ask| ask.join().unwrap()).collect()
    });
    let won = answers.iter().filter(|(_, answer)| answer.status == 200);
    let won: Vec<_> = won.map(|(n, _)| n.to_string()).collect();
    assert_eq!(won.len(), 1, "{won:?}");
    for (n, answer) in &answers {
        let told = &answer.body;
        let taken = (answer.status, &told["code"], &told["value"], &told["holder"])
            == (409, &json!("user_name_taken"), &json!("ada"), &json!(won[0]));
        assert!(taken || n.to_string() == won[0], "{n}: {answer:?}");
    }
    won[0].clone()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn of_a_thousand_who_register_one_name_with_two_processes_one_has_it() {
    let database = database().await;
    let url = database.url();
    let place = url.clone();
    let won = tokio::task::spawn_blocking(move || {
        let banks = [(); 2].map(|()| BankProcess::start(&place, &[]).unwrap());
        of_a_thousand_one_has_the_name(&banks)
    });
    let won = won.await.unwrap();
    assert_eq!(read_log(&url).await.len(), 1);
    assert_eq!(held(&url).await, HashMap::from([("ada".to_owned(), format!("user-{won}"))]));
}

/// Names and the streams that hold them, read from the database.
async fn held(store: &str) -> HashMap<String, String> {
    let held: Vec<(String, String)> = rows(
        store,
        "SELECT value, stream_type || '-' || stream_id FROM claims WHERE kind = 'user_name'",
        "SELECT value, stream_type || '-' || stream_id FROM actum.claims WHERE kind = 'user_name'",
    )
    .await;
    held.into_iter().collect()
}

const USERS: usize = 6;
const NAMES: usize = 7;
const DEATHS: usize = 4;

/// Requests another name at one of the banks. Returns `None` if the answer is not definite.
fn rename(banks: &[String], user: usize, name: usize, key: &str) -> Option<u16> {
    let body = json!({"name": format!("name-{name}")}).to_string();
    let mut client = Client::connect(&banks[user % banks.len()]).ok()?;
    let key = format!("idempotency-key: {key}\r\n");
    let answer = client.send("PUT", &format!("/users/{user}/name"), &key, &body).ok()?;
    match (answer.status, answer.body["code"].as_str()) {
        (200, _) | (409, Some("user_name_taken")) => Some(answer.status),
        (429 | 503, _) | (409, Some("still_running" | "conflict")) => None,
        _ => panic!("user {user}, name {name}: {answer:?}"),
    }
}

/// Users who take one another's names as soon as they are free, while a process crashes and
/// restarts. Returns the number of renames.
fn names_cross(store: &str, processes: usize) -> usize {
    let mut banks: Vec<_> =
        (0..processes).map(|_| BankProcess::start(store, &[]).unwrap()).collect();
    for user in 0..USERS {
        let name = format!("name-{user}");
        let body = json!({"id": user.to_string(), "owner": "Ada", "name": name}).to_string();
        assert_eq!(banks[0].client().post("/users", &body, None).unwrap().status, 200);
    }
    let addresses = std::sync::Mutex::new(addresses(&banks));
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let renamers = (0..USERS).map(|user| {
            let (stop, addresses) = (&stop, &addresses);
            scope.spawn(move || {
                let mut renamed = 0;
                for n in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let (name, key) = ((user + n * 5 + 1) % NAMES, format!("{user}-{n}"));
                    // After any crash the same request is sent again until its outcome is known.
                    let status = loop {
                        if stop.load(Ordering::Relaxed) {
                            return renamed;
                        }
                        let banks = addresses.lock().unwrap().clone();
                        match rename(&banks, user, name, &key) {
                            Some(status) => break status,
                            None => std::thread::sleep(Duration::from_millis(5)),
                        }
                    };
                    renamed += usize::from(status == 200);
                }
                renamed
            })
        });
        let renamers: Vec<_> = renamers.collect();
        let stopped = StopOnDrop(&stop);
        for death in 0..DEATHS {
            std::thread::sleep(Duration::from_millis(150));
            let dying = death % processes;
            banks[dying].signal("KILL");
            banks[dying].wait(Duration::from_secs(20)).unwrap();
            banks[dying] = BankProcess::start(store, &[]).unwrap();
            *addresses.lock().unwrap() = self::addresses(&banks);
        }
        drop(stopped);
        renamers.into_iter().map(|renamer| renamer.join().unwrap()).sum()
    })
}

fn addresses(banks: &[BankProcess]) -> Vec<String> {
    banks.iter().map(|bank| bank.address().to_owned()).collect()
}

/// Checks that no name ever had two holders at a time, and that the claims equal the fold of the
/// log.
async fn check(store: &str, renamed: usize) {
    let log = read_log(store).await;
    let mut holders: HashMap<String, String> = HashMap::new();
    let mut carried_out = 0;
    for (stream, event, payload) in log {
        let payload: serde_json::Value = serde_json::from_str(&payload).unwrap();
        let text = |member: &str| payload[member].as_str().unwrap().to_owned();
        let name = match event.as_str() {
            "Registered" => text("name"),
            "Renamed" => {
                assert_eq!(holders.remove(&text("from")).as_ref(), Some(&stream));
                carried_out += 1;
                text("to")
            }
            other => panic!("{other}"),
        };
        let before = holders.insert(name.clone(), stream.clone());
        assert_eq!(before, None, "{stream} took {name}");
    }
    assert_eq!(holders.len(), USERS);
    assert_eq!(held(store).await, holders);
    // A user who requests the name they already have gets a success, and no event is stored.
    assert!(carried_out <= renamed, "{carried_out} events of {renamed} acknowledged");
    assert!(carried_out > USERS, "only {carried_out} renames: nothing crossed");
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_cross_while_the_bank_is_killed_are_held_by_one_each_on_sqlite() {
    let directory = Directory::new();
    let store = directory.file("bank.db");
    let place = store.clone();
    let renamed = tokio::task::spawn_blocking(move || names_cross(&place, 1)).await.unwrap();
    check(&store, renamed).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn names_that_cross_while_a_process_is_killed_are_held_by_one_each_on_postgres() {
    let database = database().await;
    let url = database.url();
    let place = url.clone();
    let renamed = tokio::task::spawn_blocking(move || names_cross(&place, 2)).await.unwrap();
    check(&url, renamed).await;
}

#[actix_web::test]
async fn a_number_is_one_accounts_however_it_is_written() {
    let bank = new_bank().await;
    let open = |id: &str, number: &str| json!({"id": id, "owner": "Ada", "currency": "EUR", "number": number});
    let mistyped = post(&bank, "/accounts", open("1", "DE88370400440532013000")).await;
    mistyped.is_problem(422, "invalid_number");
    assert_eq!(post(&bank, "/accounts", open("1", "DE89370400440532013000")).await.status, 201);
    let again = post(&bank, "/accounts", open("2", "de89 3704 0044 0532 0130 00")).await;
    again.is_problem(409, "account_number_taken");
    assert_eq!(again.json()["value"], "DE89370400440532013000");
    assert_eq!(again.json()["holder"], "1");
    assert_eq!(post(&bank, "/accounts/1/close", json!({})).await.status, 200);
    post(&bank, "/accounts", open("2", "DE89370400440532013000"))
        .await
        .is_problem(409, "account_number_taken");
    assert_eq!(post(&bank, "/accounts", open("2", "NO9386011117947")).await.status, 201);
}
