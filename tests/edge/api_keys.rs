//! API keys: the accepted form, refused forms, and changes while the bank runs.

use std::time::Duration;

use actix_web::App;
use actix_web::http::header::{AUTHORIZATION, HeaderValue};
use actix_web::rt::time::sleep;
use actix_web::test::{TestRequest, call_and_read_body_json, init_service};
use actum::web::{Access, Principal};
use serde_json::{Value, json};

use super::{Doorkeeper, enter, headers, lines, new_key, open};
use crate::support::waiting;

/// Waits until a credential is good, or is no longer.
async fn until(access: &Access, bearer: &str, good: bool) {
    waiting::until(async || enter(access, bearer).is_some() == good).await;
}

#[actix_web::test]
async fn a_key_is_its_name_with_its_scopes() {
    let doorkeeper = Doorkeeper::new();
    let (shop, till) = (new_key("shop", &["accounts:read"]), new_key("till-2", &[]));
    let file = format!("# the shop's\n\n{}", lines(&[&shop, &till]));
    doorkeeper.write_keys(&file);
    let access = doorkeeper.open();
    let found = enter(&access, shop.key.expose());
    assert_eq!(found, Some(Principal::new("key:shop", ["accounts:read"])));
    let found = enter(&access, till.key.expose());
    assert_eq!(found, Some(Principal::new("key:till-2", [""; 0])));
    assert!(!file.contains(shop.key.expose()));
    let secret = shop.key.expose().rsplit('_').next().unwrap();
    assert_eq!((secret.len(), file.contains(secret)), (64, false));
}

#[actix_web::test]
async fn a_text_that_is_almost_a_key_is_refused() {
    let doorkeeper = Doorkeeper::new();
    let (shop, other) = (new_key("shop", &["accounts:read"]), new_key("other", &[]));
    doorkeeper.write_keys(&lines(&[&shop, &other]));
    let access = doorkeeper.open();
    let key = shop.key.expose();
    let (prefix, secret) = key.rsplit_once('_').unwrap();
    let (foreign, _) = other.key.expose().rsplit_once('_').unwrap();
    let hash = serde_json::to_value(&shop.line).unwrap()["sha256"].clone();
    let rows = [
        "".to_owned(),
        "bank_".into(),
        "bank__".into(),
        prefix.into(),
        format!("{prefix}_"),
        format!("{prefix}_{}", &secret[..63]),
        format!("{key}0"),
        format!("{key}_"),
        format!("{foreign}_{secret}"),
        format!("{prefix}_{}", hash.as_str().unwrap()),
        key.to_uppercase(),
        key.replace("bank_", "BANK_"),
        key.replace("bank_", ""),
        format!("{prefix}_{}", secret.to_uppercase()),
        format!("{key} {key}"),
        format!("\"{key}\""),
    ];
    for row in rows {
        assert_eq!(enter(&access, &row), None, "{row}");
    }
    for scheme in ["Basic", "Token", "", "Bearer:", "Bear"] {
        assert_eq!(access.principal(&headers(&format!("{scheme} {key}"))), None, "{scheme}");
    }
    assert_eq!(access.principal(&headers(key)), None);
    assert!(access.principal(&headers(&format!("bearer  {key}"))).is_some());
    let mut twice = headers(&format!("Bearer {key}"));
    twice.append(AUTHORIZATION, HeaderValue::from_str(&format!("Bearer {key}")).unwrap());
    assert_eq!(access.principal(&twice), None);
    let mut bytes = headers("Bearer");
    bytes.insert(AUTHORIZATION, HeaderValue::from_bytes(b"Bearer bank_\xff_\xfe").unwrap());
    assert_eq!(access.principal(&bytes), None);
}

#[actix_web::test]
async fn a_key_that_has_expired_is_nobody() {
    let doorkeeper = Doorkeeper::new();
    let shop = new_key("shop", &["accounts:read"]);
    let mut line = serde_json::to_value(&shop.line).unwrap();
    for (expires, good) in [("2001-01-01T00:00:00Z", false), ("9999-01-01T00:00:00Z", true)] {
        line["expires"] = json!(expires);
        doorkeeper.write_keys(&line.to_string());
        assert_eq!(enter(&doorkeeper.open(), shop.key.expose()).is_some(), good, "{expires}");
    }
}

#[actix_web::test]
async fn keys_are_changed_while_the_bank_runs() {
    let doorkeeper = Doorkeeper::new();
    let (old, new) = (new_key("shop", &["accounts:read"]), new_key("shop", &["accounts:read"]));
    doorkeeper.write_keys(&lines(&[&old]));
    let access = doorkeeper.open();
    doorkeeper.write_keys(&lines(&[&old, &new]));
    until(&access, new.key.expose(), true).await;
    let (by_old, by_new) = (enter(&access, old.key.expose()), enter(&access, new.key.expose()));
    assert_eq!(by_old, by_new, "two keys of one name are one principal");
    doorkeeper.write_keys(&lines(&[&new]));
    until(&access, old.key.expose(), false).await;
    assert!(enter(&access, new.key.expose()).is_some());
}

#[actix_web::test]
async fn a_revoked_key_is_nobody_whatever_else_is_in_the_file() {
    let doorkeeper = Doorkeeper::new();
    let (old, new) = (new_key("shop", &[]), new_key("shop", &[]));
    let broken = [
        "oops\n".to_owned(),
        "{\n".into(),
        "\0\n".into(),
        format!("{},\n", lines(&[&old]).trim_end()),
        lines(&[&old]).replace("\"name\":\"shop\"", "\"name\":\"a b\""),
        // Two lines of one key: the bank cannot know which of them was revoked.
        lines(&[&old, &old]),
    ];
    for broken in broken {
        doorkeeper.write_keys(&lines(&[&old]));
        let access = doorkeeper.open();
        for file in [format!("{}{broken}", lines(&[&new])), format!("{broken}{}", lines(&[&new]))] {
            doorkeeper.write_keys(&file);
            until(&access, new.key.expose(), true).await;
            assert_eq!(enter(&access, old.key.expose()), None, "{file}");
            doorkeeper.write_keys(&lines(&[&old]));
            until(&access, old.key.expose(), true).await;
        }
    }
}

#[actix_web::test]
async fn keys_are_refused_while_their_file_is_gone_and_accepted_when_it_is_back() {
    let doorkeeper = Doorkeeper::new();
    let key = new_key("shop", &[]);
    doorkeeper.write_keys(&lines(&[&key]));
    let access = doorkeeper.open();
    std::fs::remove_file(doorkeeper.keys_file()).unwrap();
    until(&access, key.key.expose(), false).await;
    doorkeeper.write_keys(&lines(&[&key]));
    until(&access, key.key.expose(), true).await;
    std::fs::write(doorkeeper.keys_file(), [0xff, 0xfe]).unwrap();
    until(&access, key.key.expose(), false).await;
}

#[actix_web::test]
async fn a_file_that_is_rewritten_in_place_locks_nobody_out() {
    let doorkeeper = Doorkeeper::new();
    let (kept, gone) = (new_key("shop", &[]), new_key("till", &[]));
    doorkeeper.write_keys(&lines(&[&gone, &kept]));
    let access = doorkeeper.open();
    // No two readings in a row find the same half of the file.
    for n in 0..30 {
        let half = "#".repeat(n + 1);
        std::fs::write(doorkeeper.keys_file(), half).unwrap();
        sleep(Duration::from_millis(60)).await;
        assert!(enter(&access, kept.key.expose()).is_some(), "after {n} writes");
    }
    std::fs::write(doorkeeper.keys_file(), lines(&[&kept])).unwrap();
    until(&access, gone.key.expose(), false).await;
    assert!(enter(&access, kept.key.expose()).is_some());
}

#[actix_web::test]
async fn the_status_names_what_is_wrong_with_the_file_of_keys() {
    let (doorkeeper, bank) = (Doorkeeper::new(), crate::support::bank::new_bank().await);
    let operator = new_key("ops", &["bank:operate"]);
    doorkeeper.write_keys(&lines(&[&operator]));
    let access = doorkeeper.open();
    let status = async || {
        let app =
            App::new().configure(actum::web::operations().serve((*bank).clone(), access.clone()));
        let request = TestRequest::get().uri("/status");
        let bearer = format!("Bearer {}", operator.key.expose());
        let request = request.insert_header(("authorization", bearer)).to_request();
        let status: Value = call_and_read_body_json(&init_service(app).await, request).await;
        status["api_keys"].clone()
    };
    assert_eq!(status().await, json!({ "keys": 1, "trouble": [] }));
    let secret = new_key("x", &[]);
    doorkeeper.write_keys(&format!("{}{}\n", lines(&[&operator]), secret.key.expose()));
    let broken = loop {
        let status = status().await;
        if status["trouble"] != json!([]) {
            break status;
        }
        sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(broken["keys"], 1);
    let trouble = broken["trouble"].to_string();
    assert!(trouble.contains("line 2") && trouble.contains("keys"), "{trouble}");
    assert!(!trouble.contains(secret.key.expose()), "{trouble}");
}

#[actix_web::test]
async fn a_bank_does_not_start_with_a_file_of_keys_that_is_not_good() {
    let doorkeeper = Doorkeeper::new();
    let good = new_key("shop", &["accounts:read"]);
    let line = serde_json::to_value(&good.line).unwrap();
    let with = |name: &str, value: Value| {
        let mut line = line.clone();
        line[name] = value;
        line.to_string()
    };
    let rows = [
        (format!("{}x", lines(&[&good])), "line 2: not the JSON of a key, column 1"),
        (lines(&[&good, &good]), "line 2: the prefix"),
        (with("name", json!("")), "line 1: a name is"),
        (with("name", json!("ada\n")), "line 1: a name is"),
        (with("name", json!("a:b")), "line 1: a name is"),
        (with("name", json!("x".repeat(65))), "line 1: a name is"),
        (with("prefix", json!("a_b")), "line 1: a prefix is"),
        (with("sha256", json!(good.key.expose())), "line 1: a sha256 is"),
        (with("scopes", json!(["accounts:reed"])), "line 1: a scope is one of"),
        (with("secret", json!("x")), "line 1: not the JSON of a key"),
        (with("expires", json!("tomorrow")), "line 1: not the JSON of a key"),
        (good.key.expose().to_owned(), "line 1: not the JSON of a key"),
    ];
    for (file, why) in rows {
        doorkeeper.write_keys(&file);
        let error = open(&doorkeeper.credentials()).err().unwrap_or_default();
        assert!(error.contains(why) && error.contains("keys"), "{file}\n{error}");
        assert!(!error.contains(good.key.expose()), "{error}");
    }
    std::fs::remove_file(doorkeeper.keys_file()).unwrap();
    assert!(open(&doorkeeper.credentials()).err().is_some_and(|error| error.contains("keys")));
}
