//! The story of a process manager's instance, and commands that operators fail, over HTTP.

use std::time::Duration;

use actix_web::test::TestRequest;
use actum::store::{MemoryStore, PostgresStore, SqliteStore, Store};
use actum::{Application, CommandOptions, StartPosition};
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::operators::{ask, get, is_problem, post, until};
use crate::process_managers::orders::{Order, OrderCommand, Orders};
use crate::support::counter::{Ask, Counter};
use crate::support::directory::Directory;
use crate::support::postgres::database;

async fn start(store: impl Store) -> Application {
    let builder = Application::builder(store).aggregate::<Counter>().aggregate::<Order>();
    let builder = builder.answers_later::<Counter>();
    let builder = builder.process_manager::<Orders>(StartPosition::Beginning);
    builder.start().await.unwrap()
}

async fn a_story_is_shown(store: impl Store) {
    let app = start(store).await;
    let hold = OrderCommand::Hold { hours: 1 };
    app.execute::<Order>("a", hold).await.unwrap();
    let missing = |path| ask(&app, TestRequest::get().uri(path));
    is_problem(missing("/subscriptions/orders/stories/b").await, 404, "unknown_instance");
    is_problem(missing("/subscriptions/nobody/stories/a").await, 404, "no_such_subscription");
    // It follows the log, and has no instances.
    let other = "/subscriptions/deferred_commands/stories/a";
    is_problem(missing(other).await, 404, "no_such_subscription");

    let path = "/subscriptions/orders/stories/a";
    let found = async || ask(&app, TestRequest::get().uri(path)).await.0 == 200;
    crate::support::waiting::until(found).await;
    assert!(get(&app, path).await["deadlines"]["expiry"].is_string());
    let place = OrderCommand::Place { counter: "a".to_owned(), number: -1 };
    app.execute::<Order>("a", place).await.unwrap();
    let story = until(&app, path, |story| story["is_complete"] == true).await;
    assert_eq!((&story["deadlines"], &story["state"]), (&json!({}), &json!({ "added": 0 })));
    let steps = story["steps"].as_array().unwrap();
    let shown = |step: &Value| json!([step["stream"], step["type"], step["effects"]]);
    assert_eq!(shown(&steps[1]), json!(["order-a", "Placed", ["Add to counter-a"]]));
    let refused = json!(["process-orders:a", "Refused", ["End to order-a"]]);
    assert_eq!(shown(&steps[2]), refused);
    assert_eq!(steps[2]["data"]["code"], "below_zero");
    assert_eq!(steps.len(), 4);
    assert!(steps.iter().all(|step| step["position"].is_u64() && step["recorded_at"].is_string()));
    app.shutdown().await;
}

async fn an_operator_fails_a_command(store: impl Store) {
    let app = start(store).await;
    let tomorrow = OffsetDateTime::now_utc() + Duration::from_secs(24 * 60 * 60);
    let options = CommandOptions::default();
    let id = app.schedule::<Counter>("a", &Ask::Add(1), tomorrow, options).await.unwrap();
    let path = format!("/commands/{id}/fail");
    is_problem(post(&app, &path, json!({ "reason": " " })).await, 422, "no_reason");
    is_problem(post(&app, &path, json!({})).await, 400, "malformed_body");
    let unknown = post(&app, "/commands/nobody/fail", json!({ "reason": "why not" })).await;
    is_problem(unknown, 404, "unknown_command");
    // The first reason stays.
    for reason in ["nobody has it", "another reason"] {
        let (status, state) = post(&app, &path, json!({ "reason": reason })).await;
        assert_eq!(status, 200, "{state}");
        assert_eq!(state, json!({ "status": "failed", "reason": "nobody has it" }));
    }
    app.shutdown().await;
}

#[actix_web::test]
async fn in_memory_a_story_is_shown_and_a_command_is_failed() {
    a_story_is_shown(MemoryStore::new()).await;
    an_operator_fails_a_command(MemoryStore::new()).await;
}

#[actix_web::test]
async fn on_sqlite_a_story_is_shown_and_a_command_is_failed() {
    let directory = Directory::new();
    let store = async |name| SqliteStore::open(&directory.file(name)).await.unwrap();
    a_story_is_shown(store("story.db").await).await;
    an_operator_fails_a_command(store("command.db").await).await;
}

#[actix_web::test]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn on_postgresql_a_story_is_shown_and_a_command_is_failed() {
    let (story, command) = (database().await, database().await);
    a_story_is_shown(PostgresStore::open(&story.url()).await.unwrap()).await;
    an_operator_fails_a_command(PostgresStore::open(&command.url()).await.unwrap()).await;
}
