//! A second request with a key while the first is under way, and clients that do not wait.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use actum::{Application, Settings};
use example_bank::account::Account;
use example_bank::balance::Balance;
use serde_json::json;

use super::{are_one, balance, is_replayed, open_account};
use crate::support::bank::Answer;
use crate::support::bank::post_keyed;
use crate::support::watched::{WatchedStore, watched_store};

const CREDIT: &str = "/accounts/42/credit";
const WITHDRAW: &str = "/accounts/42/withdraw";

/// A bank with the open account 42 on a store that can be held, without the parts that need a
/// database.
async fn bank(answer_within: Duration) -> (WatchedStore, Application) {
    let store = watched_store();
    let bank = Application::builder(store.clone()).aggregate::<Account>().read_model::<Balance>();
    let settings = Settings { answer_within, ..Settings::default() };
    let bank = bank.settings(settings).start().await.unwrap();
    open_account(&bank, "42").await;
    (store, bank)
}

const PATIENT: Duration = Duration::from_secs(60);
const IMPATIENT: Duration = Duration::from_millis(100);

type Asked<'a> = Pin<Box<dyn Future<Output = Answer> + 'a>>;

fn ask<'a>(bank: &'a Application, path: &'a str, key: &'a str, amount: u32) -> Asked<'a> {
    Box::pin(post_keyed(bank, path, key, json!({ "amount": amount })))
}

/// Sends all of them, in order, and checks that none is answered yet.
async fn arrive(asked: &mut [Asked<'_>]) {
    poll_fn(|context| {
        assert!(asked.iter_mut().all(|asked| asked.as_mut().poll(context).is_pending()));
        Poll::Ready(())
    })
    .await;
}

#[actix_web::test]
async fn a_retry_while_the_first_is_under_way_gets_its_outcome() {
    let (store, bank) = bank(PATIENT).await;
    store.appends();
    let held = store.hold().await;
    let mut asked: Vec<_> = (0..50).map(|_| ask(&bank, CREDIT, "k", 7)).collect();
    arrive(&mut asked).await;
    drop(held);
    let mut answers = Vec::new();
    for asked in asked {
        answers.push(asked.await);
    }
    answers.iter().for_each(|answer| are_one(&answers[0], answer));
    let replayed: Vec<_> = answers.iter().map(is_replayed).collect();
    assert_eq!((answers[0].status.as_u16(), replayed[0]), (200, false));
    assert!(replayed[1..].iter().all(|replayed| *replayed));
    assert_eq!(balance(&bank, "42").await, 7);
    // Forty-nine were answered without a call of the store.
    assert_eq!((store.appends(), store.confirmations()), (1, 0));
}

#[actix_web::test]
async fn a_client_that_times_out_learns_the_outcome_later() {
    let (store, bank) = bank(IMPATIENT).await;
    let held = store.hold().await;
    let mut asked = [ask(&bank, CREDIT, "k", 7), ask(&bank, CREDIT, "k", 7)];
    arrive(&mut asked).await;
    let [first, second] = asked;
    let (first, second) = (first.await, second.await);
    first.is_problem(503, "outcome_unknown");
    second.is_problem(409, "still_running");
    // The first client has gone and its command has not, so neither this nor another request comes
    // in between.
    ask(&bank, CREDIT, "k", 7).await.is_problem(409, "still_running");
    ask(&bank, WITHDRAW, "k", 7).await.is_problem(409, "still_running");
    drop(held);
    let told = ask(&bank, CREDIT, "k", 7).await;
    assert_eq!((told.status.as_u16(), is_replayed(&told)), (200, true), "{told:?}");
    are_one(&told, &ask(&bank, CREDIT, "k", 7).await);
    assert_eq!(balance(&bank, "42").await, 7);
}

#[actix_web::test]
async fn another_request_with_the_key_of_one_under_way_is_refused_when_that_is_done() {
    let (store, bank) = bank(PATIENT).await;
    let held = store.hold().await;
    let mut asked = [ask(&bank, CREDIT, "k", 7), ask(&bank, CREDIT, "k", 8)];
    arrive(&mut asked).await;
    drop(held);
    let [first, other] = asked;
    assert_eq!(first.await.status, 200);
    other.await.is_problem(422, "idempotency_key_reused");
    assert_eq!(balance(&bank, "42").await, 7);
}

#[actix_web::test]
async fn a_retry_behind_a_refusal_is_decided_again() {
    let (store, bank) = bank(PATIENT).await;
    // The account leaves memory, so that it is loaded anew, which the held store prevents.
    let held = store.hold().await;
    let mut asked = [
        ask(&bank, CREDIT, "other", 10),
        ask(&bank, WITHDRAW, "k", 100),
        ask(&bank, WITHDRAW, "k", 100),
        ask(&bank, WITHDRAW, "k", 10),
    ];
    arrive(&mut asked).await;
    drop(held);
    let [credited, first, second, other] = asked;
    assert_eq!(credited.await.status, 200);
    first.await.is_problem(422, "insufficient_funds");
    second.await.is_problem(422, "insufficient_funds");
    // A refusal does not bind the key.
    assert_eq!(other.await.status, 200);
    assert_eq!(balance(&bank, "42").await, 0);
}

/// The client leaves once as the first with its key, and once as the second.
#[actix_web::test]
async fn a_client_that_leaves_undoes_nothing_and_holds_up_nobody() {
    let (store, bank) = bank(PATIENT).await;
    let held = store.hold().await;
    let mut asked: Vec<_> = (0..3).map(|_| ask(&bank, CREDIT, "k", 7)).collect();
    arrive(&mut asked).await;
    let last = asked.pop().unwrap();
    drop(asked);
    drop(held);
    let told = last.await;
    assert_eq!((told.status.as_u16(), is_replayed(&told)), (200, true), "{told:?}");
    assert_eq!(balance(&bank, "42").await, 7);
    let again = ask(&bank, CREDIT, "k", 7).await;
    are_one(&told, &again);
}

/// Each caller gets the outcome of its own command.
#[actix_web::test]
async fn of_many_keys_in_one_batch_each_is_told_its_own_outcome() {
    let (store, bank) = bank(PATIENT).await;
    let keys: Vec<_> = (0..300).map(|n| format!("k{n}")).collect();
    let held = store.hold().await;
    let mut asked = Vec::new();
    for (n, key) in keys.iter().enumerate() {
        // Every third is refused, in between those that are not.
        let (path, amount) = if n % 3 == 2 { (WITHDRAW, u32::MAX) } else { (CREDIT, 1 + n as u32) };
        asked.push(ask(&bank, path, key, amount));
    }
    arrive(&mut asked).await;
    drop(held);
    let mut version = 1;
    let history = |version: u64| {
        let bank = bank.clone();
        async move {
            let after = actum::StreamVersion(version - 1);
            let found = bank.history::<Account>("42", after, 1).await.unwrap();
            serde_json::from_str::<serde_json::Value>(&found[0].payload).unwrap()
        }
    };
    for (n, asked) in asked.into_iter().enumerate() {
        let answer = asked.await;
        if n % 3 == 2 {
            answer.is_problem(422, "insufficient_funds");
            continue;
        }
        version += 1;
        assert_eq!(answer.json()["version"], version, "{n}: {answer:?}");
        assert_eq!(history(version).await["amount"], 1 + n);
    }
}
