//! Malformed and hostile input to the bank: each row gets its answer, no answer is a 5xx, and no
//! balance changes.

use actix_web::test::TestRequest;
use actum::Application;
use serde_json::{Value, json};

use crate::support::bank::{Answer, bank_with_account, get, new_bank, post, send};

async fn post_raw(bank: &Application, path: &str, body: impl Into<Vec<u8>>) -> Answer {
    let request = TestRequest::post()
        .uri(path)
        .insert_header(("content-type", "application/json"))
        .set_payload(body.into());
    send(bank, request).await
}

/// The history of account 42.
async fn events(bank: &Application) -> Vec<Value> {
    let page = get(bank, "/accounts/42/history?limit=500").await.json();
    page["events"].as_array().unwrap().clone()
}

#[actix_web::test]
async fn a_body_that_is_not_the_expected_json_is_malformed() {
    let bank = bank_with_account().await;
    let deep = format!("{}{}", "[".repeat(20_000), "]".repeat(20_000));
    let deep_amount = format!("{{\"amount\":{deep}}}");
    let bodies: &[&[u8]] = &[
        b"",
        b"{",
        b"null",
        b"[]",
        b"[1250]",
        b"1250",
        b"\"amount\"",
        b"{}",
        b"{'amount': 1}",
        b"{\"amount\": 1,}",
        b"{\"amount\": 1} x",
        b"{\"amount\": 1}{\"amount\": 1}",
        b"{\"amount\": 1, \"amount\": 2}",
        b"{\"amount\": 1, \"balance\": 1000000000}",
        b"{\"amount\": 1, \"version\": 1}",
        b"{\"Amount\": 1}",
        b"{\"amount\": null}",
        b"\xef\xbb\xbf{\"amount\": 1}",
        b"\xff\xfe{\x00}\x00",
        b"{\"amount\": 1 /* one */}",
        b"{\"amount\xc0\xaf\": 1}",
        deep.as_bytes(),
        deep_amount.as_bytes(),
    ];
    for body in bodies {
        let answer = post_raw(&bank, "/accounts/42/credit", *body).await;
        answer.is_problem(400, "malformed_body");
        assert!(answer.text.len() < 4096, "the problem repeats what was sent");
        assert!(!answer.text.contains("panic"));
    }
    assert_eq!(events(&bank).await.len(), 1);
}

#[actix_web::test]
async fn a_body_where_none_is_taken_is_refused() {
    let bank = bank_with_account().await;
    for path in ["freeze", "unfreeze", "close"] {
        let path = format!("/accounts/42/{path}");
        for body in ["{\"force\": true}", "[]", "null", "now", "{} {}", "\u{feff}{}"] {
            post_raw(&bank, &path, body).await.is_problem(400, "malformed_body");
        }
        let long = " ".repeat(65 * 1024);
        post_raw(&bank, &path, long).await.is_problem(413, "body_too_large");
    }
    assert_eq!(events(&bank).await.len(), 1);
    assert_eq!(post_raw(&bank, "/accounts/42/freeze", "{}").await.status, 200);
}

#[actix_web::test]
async fn a_body_that_does_not_say_it_is_json_is_unsupported() {
    let bank = bank_with_account().await;
    for content_type in ["text/plain", "application/x-www-form-urlencoded", "application/xml", "x"]
    {
        let request = TestRequest::post()
            .uri("/accounts/42/credit")
            .insert_header(("content-type", content_type))
            .set_payload("{\"amount\": 1}");
        send(&bank, request).await.is_problem(415, "unsupported_media_type");
    }
    let request = TestRequest::post().uri("/accounts/42/credit").set_payload("{\"amount\": 1}");
    send(&bank, request).await.is_problem(415, "unsupported_media_type");
    let request = TestRequest::post()
        .uri("/accounts/42/credit")
        .insert_header(("content-type", "application/json; charset=utf-8"))
        .set_payload("{\"amount\": 1}");
    assert_eq!(send(&bank, request).await.status, 200);
    for content_type in [
        "application/json; charset=utf-16",
        "application/json; charset=iso-8859-1",
        "application/json; charset=\"utf-32\"",
        "application/json; charset=",
    ] {
        let request = TestRequest::post()
            .uri("/accounts/42/credit")
            .insert_header(("content-type", content_type))
            .set_payload("{\"amount\": 1}");
        send(&bank, request).await.is_problem(415, "unsupported_media_type");
    }
    let twice = TestRequest::post()
        .uri("/accounts/42/credit")
        .append_header(("content-type", "application/json"))
        .append_header(("content-type", "text/plain"))
        .set_payload("{\"amount\": 1}");
    send(&bank, twice).await.is_problem(415, "unsupported_media_type");
    assert_eq!(events(&bank).await.len(), 2);
}

#[actix_web::test]
async fn a_request_that_changes_something_takes_no_query() {
    let bank = bank_with_account().await;
    let (post, put) = (TestRequest::post, TestRequest::put);
    for (request, path) in [
        (post().set_json(json!({ "amount": 1 })), "/accounts/42/credit?amount=5"),
        (post().set_json(json!({ "amount": 1 })), "/accounts/42/withdraw?dry_run=true"),
        (post(), "/accounts/42/freeze?until=2027-01-01"),
        (put().set_json(json!({ "limit": 1 })), "/accounts/42/credit-limit?after=1"),
        (post().set_json(json!({ "owner": "Eve", "currency": "EUR" })), "/accounts?id=7"),
        (TestRequest::delete(), "/callback?all"),
    ] {
        send(&bank, request.uri(path)).await.is_problem(400, "invalid_query");
    }
    assert_eq!(events(&bank).await.len(), 1);
}

#[actix_web::test]
async fn a_read_whose_if_match_does_not_hold_is_not_answered() {
    let bank = bank_with_account().await;
    let read = async |path: &str, tags: &[&str]| {
        let request = TestRequest::get().uri(path);
        let add = |request: TestRequest, tag: &&str| request.append_header(("if-match", *tag));
        send(&bank, tags.iter().fold(request, add)).await
    };
    let balance = "/accounts/42/balance?after=1";
    for tags in [&["\"1\""][..], &["*"], &["\"7\", \"1\""], &["\"7\"", "\"1\""]] {
        assert_eq!(read(balance, tags).await.status, 200, "{tags:?}");
    }
    for tags in [&["\"2\""][..], &["W/\"1\""], &["1"], &[""], &["\"2\"", "\"3\""]] {
        let refused = read(balance, tags).await;
        refused.is_problem(412, "precondition_failed");
        assert_eq!(refused.header("etag"), Some("\"1\""), "{tags:?}");
    }
    // Routes without a version have none of these headers either.
    for path in ["/accounts/42/history", "/health/live", "/openapi.json", "/accounts/42/events"] {
        read(path, &["\"1\""]).await.is_problem(412, "precondition_failed");
    }
    assert_eq!(read("/accounts/42/history", &["*"]).await.status, 200);
    read("/accounts/43/balance", &["\"1\""]).await.is_problem(404, "unknown_account");
}

#[actix_web::test]
async fn a_body_over_64_kib_is_too_large() {
    let bank = new_bank().await;
    let body = format!("{{\"owner\": \"{}\", \"currency\": \"EUR\"}}", "x".repeat(65 * 1024));
    post_raw(&bank, "/accounts", body.clone()).await.is_problem(413, "body_too_large");
    let declared = TestRequest::post()
        .uri("/accounts")
        .insert_header(("content-type", "application/json"))
        .insert_header(("content-length", body.len().to_string()))
        .set_payload(body);
    send(&bank, declared).await.is_problem(413, "body_too_large");
}

#[actix_web::test]
async fn no_amount_makes_or_loses_money() {
    let bank = bank_with_account().await;
    // Written as on the wire: most of these are no numbers for a JSON library.
    let rows = [
        ("-1", 422),
        ("0", 422),
        ("-9223372036854775808", 422),
        ("1.5", 400),
        ("1.0", 400),
        ("1e2", 400),
        ("1e400", 400),
        ("-1e400", 400),
        ("NaN", 400),
        ("Infinity", 400),
        ("\"100\"", 400),
        ("true", 400),
        ("[1]", 400),
        ("0x10", 400),
        ("01", 400),
        ("+1", 400),
        ("9223372036854775808", 400),
        ("18446744073709551616", 400),
        ("9007199254740993", 200),
        ("9214364837600034814", 200), // with the one before: i64::MAX
        ("1", 422),
        ("9223372036854775807", 422),
    ];
    for (amount, status) in rows {
        let body = format!("{{\"amount\": {amount}}}");
        let answer = post_raw(&bank, "/accounts/42/credit", body).await;
        assert_eq!(answer.status.as_u16(), status, "{amount}: {answer:?}");
    }
    let after = events(&bank).await.last().unwrap()["position"].clone();
    let balance = get(&bank, &format!("/accounts/42/balance?after={after}")).await.json();
    assert_eq!(balance["balance"], i64::MAX);

    for (amount, status) in [("9223372036854775808", 400), ("9223372036854775807", 200), ("1", 422)]
    {
        let body = format!("{{\"amount\": {amount}}}");
        let answer = post_raw(&bank, "/accounts/42/withdraw", body).await;
        assert_eq!(answer.status.as_u16(), status, "{amount}: {answer:?}");
    }
    let balance = get(&bank, "/accounts/42/balance?after=4").await.json();
    assert_eq!(balance["balance"], 0);
}

#[actix_web::test]
async fn a_credit_limit_of_any_size_is_counted_exactly() {
    let bank = bank_with_account().await;
    let rows = [("-1", 422), ("1.5", 400), ("\"1\"", 400), ("9223372036854775807", 200)];
    for (limit, status) in rows {
        let request = TestRequest::put()
            .uri("/accounts/42/credit-limit")
            .insert_header(("content-type", "application/json"))
            .set_payload(format!("{{\"limit\": {limit}}}"));
        assert_eq!(send(&bank, request).await.status.as_u16(), status, "{limit}");
    }
    let all = json!({ "amount": i64::MAX });
    assert_eq!(post(&bank, "/accounts/42/withdraw", all).await.status, 200);
    let limit = get(&bank, "/accounts/42/credit-limit?after=3").await.json();
    assert_eq!(limit["used"], i64::MAX);
    assert_eq!(limit["available"], 0);
}

#[actix_web::test]
async fn an_id_is_plain_ascii_wherever_it_comes_from() {
    let bank = bank_with_account().await;
    let hostile = [
        "' OR '1'='1",
        "42'; DROP TABLE events; --",
        "42\" UNION SELECT 1",
        "..",
        "../../etc/passwd",
        "..\\..\\windows",
        "a b",
        "\u{0}",
        "42\u{0}",
        "42\n",
        "é",
        "４２",
        "\u{202e}24",
        "\u{200b}42",
        "<script>",
        "%",
        "",
        &"x".repeat(256),
    ];
    for id in hostile {
        let opening = json!({ "id": id, "owner": "Ada", "currency": "EUR" });
        let answer = post(&bank, "/accounts", opening).await;
        if id == ".." {
            continue; // Dots are allowed in ids; as a path segment see below.
        }
        answer.is_problem(400, "invalid_id");
    }
    let escaped = [
        "%27%20OR%20%271%27=%271",
        "42%27;%20DROP%20TABLE%20events;--",
        "..%2f..%2fetc%2fpasswd",
        "..%252f",
        "%00",
        "42%00",
        "%c0%ae%c0%ae",
        "%c0%af",
        "%ff",
        "%e2%80%ae24",
        "%zz",
        "%0d%0aSet-Cookie:x",
    ];
    for id in escaped {
        // An invalid id is refused at once, also on routes that would wait for a position.
        for path in ["balance?after=99", "credit-limit?after=99", "history", "statement?after=99"] {
            let answer = get(&bank, &format!("/accounts/{id}/{path}")).await;
            assert!(matches!(answer.status.as_u16(), 400 | 404), "{id}: {answer:?}");
            assert_eq!(answer.header("content-type"), Some("application/problem+json"));
        }
        let path = format!("/accounts/{id}/credit");
        let answer = post(&bank, &path, json!({ "amount": 1 })).await;
        assert!(matches!(answer.status.as_u16(), 400 | 404), "{id}: {answer:?}");
    }
    assert_eq!(events(&bank).await.len(), 1);
}

#[actix_web::test]
async fn a_query_that_is_not_understood_is_refused() {
    let bank = bank_with_account().await;
    let queries = [
        "after=-1",
        "after=x",
        "after=1.5",
        "after=18446744073709551616",
        "after=1%20OR%201=1",
        "after=1&after=2",
        "after=",
        "before=1",
        "sort=balance;DROP%20TABLE%20events",
    ];
    for query in queries {
        for path in ["balance", "credit-limit", "history"] {
            let path = format!("/accounts/42/{path}?{query}");
            get(&bank, &path).await.is_problem(400, "invalid_query");
        }
    }
    let far = get(&bank, &format!("/accounts/42/history?after={}", u64::MAX)).await;
    far.is(200, json!({ "events": [], "next": null }));
}

#[actix_web::test]
async fn an_owner_is_stored_as_it_was_written() {
    let bank = new_bank().await;
    let owners = ["Ada", "Ada 👩‍💻", "Zoë", "Zoe\u{308}", "עדה", "O'Brien\"; --", "<b>"];
    for (n, owner) in owners.iter().enumerate() {
        let opening = json!({ "id": n.to_string(), "owner": owner, "currency": "EUR" });
        assert_eq!(post(&bank, "/accounts", opening).await.status, 201, "{owner}");
        let page = get(&bank, &format!("/accounts/{n}/history")).await.json();
        assert_eq!(page["events"][0]["data"]["owner"], *owner);
    }
    let hidden = ["\u{202e}adA", "Ada\u{2067}", "\u{200b}", "\u{3164}", "A\u{e0041}da", "\u{200d}"];
    for owner in ["\u{0}", "A\r\nb", "\u{1b}[2J", "\u{7f}", "\u{85}"].into_iter().chain(hidden) {
        let opening = json!({ "owner": owner, "currency": "EUR" });
        post(&bank, "/accounts", opening).await.is_problem(422, "invalid_owner");
    }
}

#[actix_web::test]
async fn paths_and_methods_that_lead_nowhere_are_problems() {
    let bank = bank_with_account().await;
    for path in
        ["/", "/account", "/accounts/42/nothing", "/accounts/42/balance/x", "/../etc/passwd"]
    {
        get(&bank, path).await.is_problem(404, "no_such_path");
    }
    let wrong = [
        (TestRequest::get().uri("/accounts/42/credit"), "POST"),
        (TestRequest::delete().uri("/accounts/42"), "GET, HEAD"),
        (TestRequest::post().uri("/accounts/42/credit-limit"), "PUT, GET, HEAD"),
        (TestRequest::put().uri("/accounts"), "POST"),
    ];
    for (request, allowed) in wrong {
        let answer = send(&bank, request).await;
        answer.is_problem(405, "method_not_allowed");
        assert_eq!(answer.header("allow"), Some(allowed));
    }
}
