//! One key, one outcome: a command that is deferred with a key and sent again with it, deferred or
//! not.

use actum::store::{AppendOutcome, MemoryStore};
use actum::web::Problem;
use actum::{
    Aggregate, Application, CommandError, CommandKey, CommandOptions, CommandState, Committed,
    NoRefusal,
};
use std::time::Duration;

use actix_web::ResponseError;
use actix_web::test::TestRequest;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Value, json};

use super::deciders::{accept, append, decided_before, double};
use super::{concluded, counted, keyed, later, start};
use crate::support::bank::{Answer, Bank, get, new_bank, post, send};
use crate::support::counter::{Ask, Counted, Counter};
use crate::support::place::{Place, on_every_place};
use crate::support::waiting::{check, poll};

async fn a_pending_deferred_command_is_not_refused_when_it_is_sent_again(place: Place) {
    let app = start(&place).await;
    let first = later(&app, "a", Ask::Add(1), "first").await;
    concluded(&app, first).await;
    // A command of another release blocks the work queue of this counter.
    let blocks = accept(&app, first, 1, "{}", double).await;
    let waits = later(&app, "b", Ask::Add(-1), "k").await;
    let again = async |ask: Ask| {
        let options = keyed("k", &ask);
        app.execute_with::<Counter>("b", ask, options).await
    };
    let early = again(Ask::Add(-1)).await;
    assert!(matches!(early, Err(CommandError::StillRunning)), "{early:?}");
    let problem = Problem::from(early.unwrap_err());
    assert_eq!((problem.status_code().as_u16(), problem.code()), (409, "still_running"));
    let other = again(Ask::Add(-2)).await;
    assert!(matches!(other, Err(CommandError::Refused(_))), "another request: {other:?}");
    app.execute::<Counter>("b", Ask::Add(5)).await.unwrap();
    app.operations().fail_command(&blocks.to_string(), "no release knows it").await.unwrap();
    let CommandState::Committed { version, position } = concluded(&app, waits).await else {
        panic!("not committed")
    };
    let told = again(Ask::Add(-1)).await.unwrap();
    assert_eq!(told, Committed::new(version, position, true));
    assert_eq!(counted(&app, "b").await, [Counted::Added(5), Counted::Added(-1)]);
    app.shutdown().await;
}

async fn a_failure_is_the_same_failure_when_it_is_sent_again(place: Place) {
    let app = start(&place).await;
    let id = later(&app, "a", Ask::Panic, "k").await;
    let told = concluded(&app, id).await;
    assert!(matches!(told, CommandState::Failed { .. }), "{told:?}");
    let again = app.execute_with::<Counter>("a", Ask::Panic, keyed("k", &Ask::Panic)).await;
    let problem = Problem::from(again.unwrap_err());
    assert_eq!((problem.status_code().as_u16(), problem.code()), (500, "failed"));
    app.shutdown().await;
}

async fn failing_a_command_that_was_executed_before_returns_its_outcome(place: Place) {
    let app = start(&place).await;
    let first = later(&app, "a", Ask::Add(1), "first").await;
    concluded(&app, first).await;
    let of_ledger = |payload: &mut Value| payload["aggregate_type"] = json!("ledger");
    let id = accept(&app, first, 1, "{}", of_ledger).await;
    // Another release executed it, and crashed before it stored the outcome.
    let request = format!("{:?}", Ask::Add(1));
    let key = CommandKey::new("accepted 1", request.as_bytes()).unwrap();
    let stored = append(&app, decided_before("c", &Counted::Added(1), &key)).await;
    let AppendOutcome::Committed(Committed { version, position, .. }) = stored else {
        panic!("{stored:?}")
    };
    for _ in 0..2 {
        let told = app.operations().fail_command(&id.to_string(), "no such ledger").await.unwrap();
        assert_eq!(told, CommandState::Committed { version, position });
    }
    app.shutdown().await;
}

on_every_place!(
    a_pending_deferred_command_is_not_refused_when_it_is_sent_again,
    a_failure_is_the_same_failure_when_it_is_sent_again,
    failing_a_command_that_was_executed_before_returns_its_outcome,
);

/// The status of a command, once it is concluded.
async fn ended(bank: &Bank, accepted: &Answer) -> Value {
    let location = accepted.header("location").unwrap();
    poll(Duration::from_secs(60), async || {
        check(get(bank, location).await.json(), |status| status["status"] != "accepted")
    })
    .await
}

#[actix_web::test]
async fn a_refusal_has_one_status_whichever_way_the_command_was_sent() {
    let bank = new_bank().await;
    let account = |id| {
        let number = "DE89370400440532013000";
        json!({"id": id, "owner": "Ada", "currency": "EUR", "number": number})
    };
    assert_eq!(post(&bank, "/accounts", account("42")).await.status, 201);
    let amount = json!({ "amount": 999 });
    let cases = [
        ("/accounts/nobody/withdraw", "*", amount.clone(), 404, "unknown_account"),
        ("/accounts/42/withdraw", "*", amount.clone(), 422, "insufficient_funds"),
        ("/accounts/42/credit", "\"7\"", amount, 412, "precondition_failed"),
        ("/accounts", "", account("43"), 409, "account_number_taken"),
    ];
    for (path, expected, body, status, code) in cases {
        let request = || {
            let request = TestRequest::post().uri(path).insert_header(("idempotency-key", code));
            let request = match expected {
                "" | "*" => request,
                expected => request.insert_header(("if-match", expected)),
            };
            request.set_json(&body)
        };
        send(&bank, request().insert_header(("idempotency-key", "another")))
            .await
            .is_problem(status, code);
        let accepted = send(&bank, request().insert_header(("prefer", "respond-async"))).await;
        assert_eq!(accepted.status, 202, "{accepted:?}");
        assert_eq!(ended(&bank, &accepted).await["code"], code);
        send(&bank, request()).await.is_problem(status, code);
    }
}

/// Keeps a rate.
#[derive(Debug, Default, Clone)]
struct Rates;

#[derive(Debug, Clone, Serialize, Deserialize)]
enum SetRate {
    Rate(f64),
    Maybe(Option<f64>),
    Nested(Option<Option<u8>>),
    Silent {
        #[serde(skip_serializing)]
        _rate: u8,
    },
    Broken(Panics),
}

/// Panics when it is read.
#[derive(Debug, Clone)]
struct Panics;

impl Serialize for Panics {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_unit()
    }
}

impl<'de> Deserialize<'de> for Panics {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        panic!("told to panic")
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum RateSet {
    Set,
}

impl Aggregate for Rates {
    const TYPE: &'static str = "rates";
    type Command = SetRate;
    type Event = RateSet;
    type Error = NoRefusal;

    fn handle(&self, _: SetRate) -> Result<Vec<RateSet>, NoRefusal> {
        Ok(vec![RateSet::Set])
    }

    fn apply(&mut self, _: &RateSet) {}
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_does_not_come_back_the_same_is_not_accepted() {
    let builder = Application::builder(MemoryStore::new()).aggregate::<Rates>();
    let app = builder.answers_later::<Rates>().start().await.unwrap();
    for lost in [
        SetRate::Rate(f64::NAN),
        SetRate::Rate(f64::INFINITY),
        SetRate::Maybe(Some(f64::NAN)),
        SetRate::Nested(Some(None)),
        SetRate::Silent { _rate: 1 },
        SetRate::Broken(Panics),
    ] {
        let options = CommandOptions::default();
        let refused = app.execute_later::<Rates>("a", &lost, options, None).await;
        assert!(matches!(refused, Err(CommandError::Unstorable { .. })), "{lost:?}: {refused:?}");
    }
    for kept in [
        SetRate::Rate(0.1 + 0.2),
        SetRate::Maybe(None),
        SetRate::Maybe(Some(1.0)),
        SetRate::Nested(None),
        SetRate::Nested(Some(Some(1))),
    ] {
        let options = CommandOptions::default();
        let id = app.execute_later::<Rates>("a", &kept, options, None).await.unwrap();
        let told = concluded(&app, id).await;
        assert!(matches!(told, CommandState::Committed { .. }), "{kept:?}: {told:?}");
    }
    app.shutdown().await;
}
