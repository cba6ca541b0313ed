//! Payloads of attackers: SQL, unknown members, compressed bodies, misleading letters. On both
//! databases the bank stores them as text or refuses them, and no account changes.

use actix_web::http::header::HeaderName;
use actix_web::test::TestRequest;
use actum::Application;
use actum::store::{PostgresStore, Store};
use serde_json::{Value, json};

use crate::support::bank::{Bank, fresh_store, get, post, send};
use crate::support::directory::Directory;
use crate::support::postgres::database;

/// From the corpora that tools for injection try first; each has to be escaped in some dialect.
const SQL: &[&str] = &[
    "' OR '1'='1",
    "' OR 1=1 --",
    "'; DROP TABLE events; --",
    "1; DELETE FROM events",
    "') UNION SELECT sql FROM sqlite_master --",
    "1 UNION ALL SELECT NULL, version() --",
    "'||(SELECT pg_sleep(10))||'",
    "$$; SELECT pg_sleep(10); $$",
    "\\'; SELECT 1; --",
    "%' AND 1=(SELECT 1) AND '%'='",
    "\" OR \"\"=\"",
    "/**/OR/**/1=1",
    "1) OR (1=1",
    "?1 $1 :1 @1",
    "{{7*7}} ${7*7} #{7*7}",
];

async fn bank_with_account(store: impl Store, directory: Directory) -> Bank {
    let bank = Bank::start(example_bank::application(store), directory).await;
    let opening = json!({ "id": "42", "owner": "Ada", "currency": "EUR" });
    assert_eq!(post(&bank, "/accounts", opening).await.status, 201);
    assert_eq!(post(&bank, "/accounts/42/credit", json!({ "amount": 1250 })).await.status, 200);
    bank
}

async fn on_sqlite() -> Bank {
    let (directory, store) = fresh_store().await;
    bank_with_account(store, directory).await
}

/// Account 42 is as it was.
async fn is_untouched(bank: &Application) {
    let balance = get(bank, "/accounts/42/balance?after=2").await.json();
    assert_eq!((&balance["balance"], &balance["status"]), (&json!(1250), &json!("open")));
    let history = get(bank, "/accounts/42/history?limit=500").await.json();
    assert_eq!(history["events"].as_array().unwrap().len(), 2);
}

async fn sql_is_but_text(bank: Bank) {
    for (n, sql) in SQL.iter().enumerate() {
        let escaped: String = sql.bytes().map(|byte| format!("%{byte:02x}")).collect();
        for path in ["", "/balance", "/credit-limit", "/history", "/statement", "/events"] {
            let answer = get(&bank, &format!("/accounts/{escaped}{path}")).await;
            assert!(matches!(answer.status.as_u16(), 400 | 404), "{sql} {path}: {answer:?}");
        }
        for (path, parameter) in [
            ("balance", "after"),
            ("balance", "within"),
            ("history", "after"),
            ("history", "limit"),
            ("statement", "from"),
            ("statement", "to"),
            ("statement", "limit"),
            ("statement", "after_booking"),
            ("events", "after"),
        ] {
            let answer = get(&bank, &format!("/accounts/42/{path}?{parameter}={escaped}")).await;
            answer.is_problem(400, "invalid_query");
            let answer = get(&bank, &format!("/accounts/42/{path}?{escaped}=1")).await;
            answer.is_problem(400, "invalid_query");
        }
        let opening = json!({ "id": sql, "owner": "Eve", "currency": "EUR" });
        post(&bank, "/accounts", opening).await.is_problem(400, "invalid_id");
        let opening = json!({ "owner": "Eve", "currency": sql });
        post(&bank, "/accounts", opening).await.is_problem(422, "invalid_currency");

        // Fields with free text keep it byte for byte.
        let id = format!("eve-{n}");
        let request = TestRequest::post()
            .uri("/accounts")
            .insert_header((HeaderName::from_static("idempotency-key"), structured(sql)))
            .insert_header((HeaderName::from_static("x-correlation-id"), *sql))
            .set_json(json!({ "id": id, "owner": sql, "currency": "EUR" }));
        assert_eq!(send(&bank, request).await.status, 201, "{sql}");
        let history = get(&bank, &format!("/accounts/{id}/history")).await.json();
        assert_eq!(history["events"][0]["data"]["owner"], *sql);
    }
    is_untouched(&bank).await;
}

/// The text as a structured-field string, which may hold quotes.
fn structured(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

async fn letters_that_deceive_are_kept_to_the_byte_or_refused(bank: Bank) {
    let owners = [
        ("Zoë", "Zoe\u{308}"),  // composed and not
        ("Ada", "Аda"),         // a Cyrillic A
        ("Ada", "A\u{200d}da"), // a joiner
        ("fi", "ﬁ"),            // a ligature
        ("A", "𝐀"),             // beyond the first plane
        ("I", "ı"),             // a case that has no equal
    ];
    let mut number = 0;
    for (plain, deceiving) in owners {
        assert_ne!(plain, deceiving);
        for owner in [plain, deceiving] {
            number += 1;
            let id = format!("owner-{number}");
            let opening = json!({ "id": id, "owner": owner, "currency": "EUR" });
            assert_eq!(post(&bank, "/accounts", opening).await.status, 201, "{owner:?}");
            let history = get(&bank, &format!("/accounts/{id}/history")).await.json();
            assert_eq!(history["events"][0]["data"]["owner"], *owner);
        }
    }
    for hidden in [
        "Ada\u{200b}",               // a space without width
        "\u{feff}Ada",               // a byte order mark
        "\u{202e}noryB adA\u{202c}", // the other way round
        "\u{2066}Ada\u{2069}",       // isolated
    ] {
        let opening = json!({ "id": "hidden", "owner": hidden, "currency": "EUR" });
        assert_eq!(post(&bank, "/accounts", opening).await.status, 422, "{hidden:?}");
    }
    is_untouched(&bank).await;
}

macro_rules! on_both_databases {
    ($($test:ident)*) => {
        mod sqlite {
            $(#[actix_web::test]
            async fn $test() {
                super::$test(super::on_sqlite().await).await;
            })*
        }
        mod postgresql {
            $(#[actix_web::test]
            #[ignore = "needs PostgreSQL: run scripts/test"]
            async fn $test() {
                let database = super::database().await;
                let store = super::PostgresStore::open(&database.url()).await.unwrap();
                super::$test(super::bank_with_account(store, super::Directory::new()).await).await;
            })*
        }
    };
}

on_both_databases! { sql_is_but_text letters_that_deceive_are_kept_to_the_byte_or_refused }

#[actix_web::test]
async fn members_that_are_not_the_clients_are_refused() {
    let bank = on_sqlite().await;
    let foreign = [
        "balance",
        "status",
        "version",
        "position",
        "credit_limit",
        "command_id",
        "actor",
        "type",
        "recorded_at",
        "events",
        "Owner",
        "owner ",
        "__proto__",
        "constructor",
        "",
    ];
    for member in foreign {
        for (path, mut body) in [
            ("/accounts", json!({ "id": "new", "owner": "Eve", "currency": "EUR" })),
            ("/accounts/42/credit", json!({ "amount": 1 })),
            ("/accounts/42/withdraw", json!({ "amount": 1 })),
            ("/accounts/42/freeze", json!({})),
            ("/accounts/42/close", json!({})),
        ] {
            body[member] = json!(1_000_000_000);
            post(&bank, path, body).await.is_problem(400, "malformed_body");
        }
        let limit: Value = json!({ "limit": 1, member: 1 });
        let request = TestRequest::put().uri("/accounts/42/credit-limit").set_json(limit);
        send(&bank, request).await.is_problem(400, "malformed_body");
    }
    get(&bank, "/accounts/new/history").await.is_problem(404, "unknown_account");
    is_untouched(&bank).await;
}

#[actix_web::test]
async fn a_packed_body_is_refused_and_not_unpacked() {
    let bank = on_sqlite().await;
    for coding in ["gzip", "x-gzip", "deflate", "br", "zstd", "identity, gzip", "unheard-of", ""] {
        for path in ["credit", "freeze"] {
            let request = TestRequest::post()
                .uri(&format!("/accounts/42/{path}"))
                .insert_header(("content-type", "application/json"))
                .insert_header(("content-encoding", coding))
                .set_payload("{}");
            let answer = send(&bank, request).await;
            answer.is_problem(415, "unsupported_media_type");
            assert_eq!(answer.header("accept-encoding"), Some("identity"));
        }
    }
    is_untouched(&bank).await;
    let request = TestRequest::post()
        .uri("/accounts/42/freeze")
        .insert_header(("content-encoding", "Identity"))
        .set_payload("{}");
    assert_eq!(send(&bank, request).await.status, 200);
}
