//! The operations API on its own listener, whose routes the public address does not have: list,
//! retry and skip parked keys, switch and drop versions.

use std::time::Duration;

use actix_web::App;
use actix_web::http::StatusCode;
use actix_web::test::{TestRequest, call_service, init_service, read_body};
use actum::operations::OperationError;
use actum::store::{MemoryStore, PostgresStore, SqliteStore, Store};
use actum::web::Access;
use actum::{Application, EventEnvelope, Fold, GlobalPosition, ReadModel, Settings, Sources};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::support::child::BankProcess;
use crate::support::counter::{Ask, Counted, Counter};
use crate::support::directory::Directory;
use crate::support::http::Client;
use crate::support::postgres::database;
use crate::support::waiting::{check, poll};

/// Sums above this number panic.
const TOO_MUCH: i64 = 666;

#[derive(Default, Clone, Serialize, Deserialize)]
struct Total(i64);

#[derive(Default, Clone, Serialize, Deserialize)]
struct NewTotal(i64);

impl ReadModel for Total {
    const NAME: &'static str = "sums";

    fn sources() -> Sources<Self> {
        Sources::of::<Counter>()
    }
}

impl Fold<Counter> for Total {
    fn apply(&mut self, event: &EventEnvelope<Counted>) {
        let Counted::Added(n) = event.event else { return };
        assert!(n < TOO_MUCH, "too much");
        self.0 += n;
    }
}

impl ReadModel for NewTotal {
    const NAME: &'static str = "sums";
    const VERSION: u32 = 2;

    fn sources() -> Sources<Self> {
        Sources::of::<Counter>()
    }
}

impl Fold<Counter> for NewTotal {
    fn apply(&mut self, event: &EventEnvelope<Counted>) {
        let Counted::Added(n) = event.event else { return };
        self.0 += 2 * n;
    }
}

impl From<Total> for NewTotal {
    fn from(Total(sum): Total) -> Self {
        Self(2 * sum)
    }
}

pub async fn ask(app: &Application, request: TestRequest) -> (StatusCode, Value) {
    let routes = actum::web::operations().serve(app.clone(), Access::dev());
    let service = init_service(App::new().configure(routes)).await;
    let response = call_service(&service, request.to_request()).await;
    let status = response.status();
    let body = read_body(response).await;
    (status, serde_json::from_slice(&body).unwrap_or_default())
}

pub async fn get(app: &Application, path: &str) -> Value {
    let (status, body) = ask(app, TestRequest::get().uri(path)).await;
    assert_eq!(status, 200, "{path}: {body}");
    body
}

/// The body at this path once this holds of it. A saved checkpoint follows the read that shows it.
pub async fn until(app: &Application, path: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    poll(Duration::from_secs(30), async || check(get(app, path).await, |shown| is_so(shown))).await
}

pub async fn post(app: &Application, path: &str, body: Value) -> (StatusCode, Value) {
    ask(app, TestRequest::post().uri(path).set_json(body)).await
}

#[track_caller]
pub fn is_problem((status, body): (StatusCode, Value), expected: u16, code: &str) {
    assert_eq!((status.as_u16(), &body["code"]), (expected, &json!(code)), "{body}");
}

async fn started(builder: actum::ApplicationBuilder, by_itself: bool) -> Application {
    let settings = Settings {
        read_within: Duration::from_secs(60),
        switch_by_itself: by_itself,
        ..Settings::default()
    };
    builder.aggregate::<Counter>().settings(settings).start().await.unwrap()
}

async fn parked_keys(store: impl Store) {
    let app = started(Application::builder(store).read_model::<Total>(), true).await;
    for n in [1, TOO_MUCH, 2] {
        app.execute::<Counter>("a", Ask::Add(n)).await.unwrap();
    }
    let last = app.execute::<Counter>("b", Ask::Add(5)).await.unwrap().position;
    assert_eq!(app.read::<Total>("b").after(last).await.unwrap().0, 5);

    let waits = |parked: &Value| parked[0]["queue"] == json!([3]);
    let parked = until(&app, "/subscriptions/sums/parked", waits).await;
    assert_eq!((&parked[0]["key"], &parked[0]["position"]), (&json!("a"), &json!(2)), "{parked}");
    assert!(parked[0]["reason"].as_str().unwrap().contains("too much"), "{parked}");
    assert_eq!(get(&app, "/subscriptions/sums@1/parked").await[0]["key"], "a");
    assert_eq!(get(&app, "/subscriptions/sums/skipped").await, json!([]));

    let retry = "/subscriptions/sums/parked/retry";
    let (status, body) = post(&app, retry, json!({})).await;
    assert_eq!((status.as_u16(), &body["asked"]), (202, &json!(1)));
    let (status, _) = post(&app, retry, json!({ "key": "a" })).await;
    assert_eq!(status, 202);
    is_problem(post(&app, retry, json!({ "key": "b" })).await, 404, "not_parked");
    is_problem(post(&app, retry, json!({ "kee": "a" })).await, 400, "malformed_body");
    let unknown = "/subscriptions/nobody/parked/retry";
    is_problem(post(&app, unknown, json!({})).await, 404, "no_such_subscription");

    let skip = "/subscriptions/sums/parked/skip";
    let wish =
        |position: u64, reason: &str| json!({ "key": "a", "position": position, "reason": reason });
    is_problem(post(&app, skip, wish(2, " ")).await, 422, "no_reason");
    is_problem(post(&app, skip, wish(2, "a\0")).await, 400, "nul_character");
    let nul = json!({ "key": "a\0", "position": 2, "reason": "a reason" });
    is_problem(post(&app, skip, nul).await, 400, "nul_character");
    is_problem(post(&app, retry, json!({ "key": "a\0" })).await, 400, "nul_character");
    is_problem(post(&app, skip, wish(3, "wrong event")).await, 404, "not_parked");
    is_problem(post(&app, skip, json!({ "key": "a", "position": 2 })).await, 400, "malformed_body");
    assert_eq!(post(&app, skip, wish(2, "a typing error, says Ada")).await.0, 202);
    while app.read::<Total>("a").await.is_err() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(app.read::<Total>("a").after(GlobalPosition(3)).await.unwrap().0, 3);
    let is_one = |skipped: &Value| skipped[0].is_object();
    let skipped = until(&app, "/subscriptions/sums/skipped", is_one).await;
    assert_eq!((&skipped[0]["key"], &skipped[0]["position"]), (&json!("a"), &json!(2)));
    assert_eq!(skipped[0]["reason"], "a typing error, says Ada");
    until(&app, "/subscriptions/sums/parked", |parked| *parked == json!([])).await;
    app.shutdown().await;
}

async fn pauses(store: impl Store) {
    let app = started(Application::builder(store).read_model::<Total>(), true).await;
    let (pause, resume) = ("/subscriptions/sums/pause", "/subscriptions/sums/resume");
    is_problem(post(&app, pause, json!({ "reason": " " })).await, 422, "no_reason");
    is_problem(post(&app, pause, json!({ "why": "so" })).await, 400, "malformed_body");
    let unknown = "/subscriptions/nobody/pause";
    let body = json!({ "reason": "the disk is replaced" });
    is_problem(post(&app, unknown, body.clone()).await, 404, "no_such_subscription");
    let (status, paused) = post(&app, pause, body).await;
    assert_eq!(
        (status.as_u16(), &paused["paused"]["reason"]),
        (202, &json!("the disk is replaced"))
    );
    let stands = |status: &Value| status["subscriptions"][0]["partitions"][0]["state"] == "paused";
    let status = until(&app, "/status", stands).await;
    assert_eq!(status["subscriptions"][0]["paused"], paused["paused"], "{status}");
    let (resumed, _) = ask(&app, TestRequest::post().uri(resume)).await;
    assert_eq!(resumed, 202);
    let runs = |status: &Value| status["subscriptions"][0]["partitions"][0]["state"] == "live";
    let status = until(&app, "/status", runs).await;
    assert_eq!(status["subscriptions"][0]["paused"], json!(null));
    app.shutdown().await;
}

async fn versions(store: impl Store + Clone) {
    let builder = Application::builder(store.clone()).read_model_replacing::<NewTotal, Total>();
    let app = started(builder, false).await;
    let position = app.execute::<Counter>("a", Ask::Add(3)).await.unwrap().position;
    assert_eq!(app.read::<NewTotal>("a").after(position).await.unwrap().0, 6);
    let serving = |versions: &Value| -> Vec<(u64, bool)> {
        let versions = versions.as_array().unwrap().iter();
        let of = |v: &Value| (v["number"].as_u64().unwrap(), v["is_serving"].as_bool().unwrap());
        versions.map(of).collect()
    };
    let path = "/subscriptions/sums/versions";
    assert_eq!(serving(&get(&app, path).await), [(1, true), (2, false)]);
    let comparison = "/subscriptions/sums/comparison";
    let compared = until(&app, comparison, |compared| compared["equal"] == 1).await;
    assert_eq!(compared["different"], 0, "{compared}");

    let delete = |number: &str| TestRequest::delete().uri(&format!("{path}/{number}"));
    is_problem(ask(&app, delete("1")).await, 409, "serves");
    for unknown in ["99", "0", "3"] {
        is_problem(ask(&app, delete(unknown)).await, 404, "no_such_subscription");
    }
    let nobody = TestRequest::delete().uri("/subscriptions/a%00b/versions/1");
    is_problem(ask(&app, nobody).await, 404, "no_such_subscription");
    is_problem(
        post(&app, &format!("{path}/7/serve"), json!({})).await,
        404,
        "no_such_subscription",
    );
    is_problem(post(&app, &format!("{path}/two/serve"), json!({})).await, 400, "invalid_path");
    let (status, body) = post(&app, &format!("{path}/2/serve"), json!({})).await;
    assert_eq!((status.as_u16(), serving(&body)), (200, vec![(1, false), (2, true)]), "{body}");
    assert_eq!(ask(&app, delete("1")).await.0, 204);
    assert_eq!(serving(&get(&app, path).await), [(2, true)]);
    app.shutdown().await;
    removed(started(Application::builder(store), false).await).await;
}

/// No program has the read model any more: it is listed, and it can be dropped although it is
/// active.
async fn removed(app: Application) {
    let of_sums = |status: &Value| -> Vec<Value> {
        let all = status["subscriptions"].as_array().unwrap().iter();
        all.filter(|known| known["name"] == "sums").cloned().collect()
    };
    let shown = of_sums(&get(&app, "/status").await);
    let [sums] = &shown[..] else { panic!("{shown:?}") };
    assert_eq!((&sums["version"], &sums["serves"]), (&json!(2), &json!(true)));
    assert_eq!(sums["is_in_this_program"], false);
    let dropping = || TestRequest::delete().uri("/subscriptions/sums/versions/2");
    assert_eq!(ask(&app, dropping()).await.0, 204);
    assert_eq!(of_sums(&get(&app, "/status").await), [json!(null); 0]);
    is_problem(ask(&app, dropping()).await, 404, "no_such_subscription");
    app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_another_process_runs_is_not_dropped() {
    let store = MemoryStore::new();
    let runs = started(Application::builder(store.clone()).read_model::<Total>(), false).await;
    let position = runs.execute::<Counter>("a", Ask::Add(3)).await.unwrap().position;
    runs.read::<Total>("a").after(position).await.unwrap();
    let other = Application::builder(store).start().await.unwrap();
    let refused = other.operations().drop_version("sums", 1).await;
    assert!(matches!(refused, Err(OperationError::Running { .. })), "{refused:?}");
    runs.shutdown().await;
    other.operations().drop_version("sums", 1).await.unwrap();
    other.shutdown().await;
}

#[actix_web::test]
async fn on_sqlite_operators_look_at_parked_keys_and_have_them_tried_or_left_out() {
    let directory = Directory::new();
    parked_keys(SqliteStore::open(&directory.file("log.db")).await.unwrap()).await;
}

#[actix_web::test]
async fn on_sqlite_operators_pause_a_read_model_and_resume_it() {
    let directory = Directory::new();
    pauses(SqliteStore::open(&directory.file("log.db")).await.unwrap()).await;
}

#[actix_web::test]
async fn on_sqlite_operators_switch_versions_and_drop_what_does_not_serve() {
    let directory = Directory::new();
    versions(SqliteStore::open(&directory.file("log.db")).await.unwrap()).await;
}

#[actix_web::test]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn on_postgresql_operators_look_at_parked_keys_and_have_them_tried_or_left_out() {
    let database = database().await;
    parked_keys(PostgresStore::open(&database.url()).await.unwrap()).await;
}

#[actix_web::test]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn on_postgresql_operators_switch_versions_and_drop_what_does_not_serve() {
    let database = database().await;
    versions(PostgresStore::open(&database.url()).await.unwrap()).await;
}

#[test]
fn the_public_address_knows_no_route_for_operators_and_theirs_none_of_the_bank() {
    let directory = Directory::new();
    let bank = BankProcess::start(&directory.file("bank.db"), &[]).unwrap();
    let code = |client: &mut Client, path: &str| {
        let answer = client.get(path).unwrap();
        (answer.status, answer.body["code"].as_str().unwrap_or_default().to_owned())
    };
    for path in ["/status", "/metrics", "/subscriptions/balance/parked"] {
        assert_eq!(code(&mut bank.client(), path), (404, "no_such_path".into()), "{path}");
        assert_eq!(code(&mut bank.operator(), path).0, 200, "{path}");
    }
    let account = code(&mut bank.operator(), "/accounts/1/balance");
    assert_eq!(account, (404, "no_such_path".into()));
    for client in [&mut bank.client(), &mut bank.operator()] {
        assert_eq!(code(client, "/health/live").0, 200);
    }
}

#[test]
fn operators_are_served_on_no_address_that_others_reach() {
    let directory = Directory::new();
    let store = directory.file("bank.db");
    let command = |operate: &str| {
        let mut command = BankProcess::command(&store);
        command.args(["--operate", operate]).output().unwrap()
    };
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
        let output = command(address);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("loopback") && said.contains(address), "{said}");
    }
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = command(&address);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains(&address));
    assert!(!std::fs::exists(&store).unwrap());
}
