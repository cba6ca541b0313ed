//! Routes of an application's own: the rows of a projection, as fresh as the client requests, and
//! the location of what a command has created.

use actix_web::http::header::LOCATION;
use actix_web::test::{TestRequest, call_service, init_service, read_body_json};
use actix_web::web::{Data, Path};
use actix_web::{App, Responder};
use actum::Application;
use actum::web::{
    Access, CommandAnswer, DocumentAnswer, Freshness, POSITION_HEADER, Problem, Routes,
};
use example_bank::account::{Account, AccountCommand};
use example_bank::statement::Statement;
use serde::Serialize;
use serde_json::{Value, json};

use crate::support::bank::{bank_with_account, post};

#[derive(Serialize)]
struct Bookings {
    bookings: i64,
}

/// The number of an account's bookings; an account without one is not found.
async fn bookings(
    app: Data<Application>,
    id: Path<String>,
    freshness: Freshness,
) -> Result<DocumentAnswer<Bookings>, Problem> {
    let found = freshness.find::<Statement, _>(&app, &id, async |db, _| {
        let count = "SELECT count(*) FROM bookings WHERE account = $1";
        let bookings: i64 = db.rows(count, &[id.as_str().into()]).await?[0].get(0)?;
        Ok((bookings > 0).then_some(Bookings { bookings }))
    });
    Ok(found.await?)
}

#[actix_web::test]
async fn rows_are_as_fresh_as_the_client_requests() {
    let bank = bank_with_account().await;
    let credited = post(&bank, "/accounts/42/credit", json!({ "amount": 5 })).await.json();
    let at = credited["position"].as_u64().unwrap();
    let routes = Routes::new().get("/bookings/{id}", bookings);
    let routes = routes.serve(Application::clone(&bank), Access::dev());
    let service = init_service(App::new().configure(routes)).await;
    let read = async |path: String| {
        let response = call_service(&service, TestRequest::get().uri(&path).to_request()).await;
        let position =
            response.headers().get(POSITION_HEADER).map(|at| at.to_str().unwrap().parse());
        let status = response.status().as_u16();
        (status, position, read_body_json::<Value, _>(response).await)
    };
    let (status, position, body) = read(format!("/bookings/42?after={at}")).await;
    assert_eq!((status, &body["id"], &body["bookings"]), (200, &json!("42"), &json!(1)), "{body}");
    assert_eq!((position.unwrap().unwrap(), &body["position"]), (at, &json!(at)));
    let (status, _, body) = read("/bookings/7".to_owned()).await;
    assert_eq!((status, &body["code"]), (404, &json!("not_found")), "{body}");
    let (status, _, body) = read(format!("/bookings/42?after={}&within=50", at + 1)).await;
    assert_eq!((status, &body["code"]), (504, &json!("not_yet")), "{body}");
    assert_eq!(read("/bookings/42?within=0".to_owned()).await.0, 400);
}

#[actix_web::test]
async fn a_location_has_one_slash_before_the_id() {
    let bank = bank_with_account().await;
    let credit = AccountCommand::Credit { amount: 5 };
    let committed = bank.execute::<Account>("42", credit).await.unwrap();
    for path in ["/accounts", "/accounts/"] {
        let answer = CommandAnswer::done("42", committed).created_at(path);
        let response = answer.respond_to(&TestRequest::default().to_http_request());
        assert_eq!(response.status(), 201);
        assert_eq!(response.headers().get(LOCATION).unwrap(), "/accounts/42");
    }
}
