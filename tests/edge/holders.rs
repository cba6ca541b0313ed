//! Whose a name or a number is, is told to operators and to nobody else.

use actix_web::App;
use actix_web::test::{TestRequest, call_and_read_body_json, init_service};
use actum::Application;
use serde_json::{Value, json};

use super::{Doorkeeper, lines, new_key};
use crate::bank::{new_bank, post};

#[actix_web::test]
async fn whose_a_name_or_number_is_is_told_to_operators_alone() {
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
    let service = init_service(App::new().configure(example_bank::routes(app, access))).await;
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
