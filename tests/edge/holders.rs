//! The holder of a name or an account number is shown to operators only.

use actix_web::App;
use actix_web::test::{TestRequest, call_and_read_body_json, init_service};
use actum::Application;
use serde_json::{Value, json};

use super::{Doorkeeper, claims, lines, new_key, send_by, signed};
use crate::support::bank::{new_bank, post};

#[actix_web::test]
async fn the_holder_of_a_name_or_number_is_shown_to_operators_only() {
    let (doorkeeper, bank) = (Doorkeeper::new(), new_bank().await);
    let writer = new_key("writer", &["accounts:write"]);
    let both = new_key("both", &["accounts:write", "bank:operate"]);
    doorkeeper.write_keys(&lines(&[&writer, &both]));
    let number = "DE89370400440532013000";
    let account = json!({ "owner": "ada", "currency": "EUR", "number": number });
    let user = json!({ "owner": "ada", "name": "lovelace" });
    let mut holders = Vec::new();
    for (path, body) in [("/accounts", &account), ("/users", &user)] {
        let made = post(&bank, path, body.clone()).await;
        assert!(made.status.is_success(), "{made:?}");
        holders.push(made.json()["id"].clone());
    }
    let (app, access) = (Application::clone(&bank), doorkeeper.open());
    let service =
        init_service(App::new().configure(example_bank::routes().serve(app, access))).await;
    let asked =
        [("/accounts", account, "account_number_taken"), ("/users", user, "user_name_taken")];
    for ((path, body, code), holder) in asked.iter().zip(&holders) {
        for (key, told) in [(&writer, &Value::Null), (&both, holder)] {
            let bearer = format!("Bearer {}", key.key.expose());
            let request = TestRequest::post().uri(path).set_json(body);
            let request = request.insert_header(("authorization", bearer)).to_request();
            let problem: Value = call_and_read_body_json(&service, request).await;
            assert_eq!((&problem["status"], &problem["code"]), (&json!(409), &json!(code)));
            assert_eq!(problem["holder"], *told, "{problem}");
            assert!(told == holder || !problem.to_string().contains(holder.as_str().unwrap()));
        }
    }
}

#[actix_web::test]
async fn the_version_of_an_aggregate_is_told_to_nobody_whose_it_is_not() {
    let (doorkeeper, bank) = (Doorkeeper::new(), new_bank().await);
    let account = json!({ "id": "1", "owner": "bob", "currency": "EUR" });
    assert_eq!(post(&bank, "/accounts", account).await.status, 201);
    let user = json!({ "id": "1", "owner": "bob", "name": "bobby" });
    assert_eq!(post(&bank, "/users", user).await.status, 200);
    let by_ada = async |path: &str, body: Value, precondition: (&str, &str)| {
        let bearer = format!("Bearer {}", signed(&claims("accounts:read accounts:write")));
        let request = TestRequest::post().uri(path).set_json(body).insert_header(precondition);
        send_by(&bank, &doorkeeper.open(), request.insert_header(("authorization", bearer))).await
    };
    let opening = json!({ "id": "1", "owner": "ada", "currency": "EUR" });
    let registering = json!({ "id": "1", "owner": "ada", "name": "lovelace" });
    let both =
        [("/accounts", opening, "already_open"), ("/users", registering, "already_registered")];
    for (path, body, code) in both {
        for precondition in [("if-match", "\"7\""), ("if-match", "*"), ("if-none-match", "*")] {
            let answer = by_ada(path, body.clone(), precondition).await;
            answer.is_problem(422, code);
            assert_eq!((answer.header("etag"), answer.json().get("version")), (None, None));
        }
    }
    let foreign = by_ada("/accounts/1/credit", json!({ "amount": 1 }), ("if-match", "\"7\"")).await;
    foreign.is_problem(404, "unknown_account");
}
