//! The bank's OpenAPI document: it names every route and no other, and the committed copy is it.
//!
//! What it says of the routes is held against the running bank by scripts/fuzz.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::{env, fs};

use actum::Claim;
use example_bank::account::ACCOUNT_NUMBER;
use example_bank::user::USER_NAME;
use serde_json::Value;

use crate::bank::{get, new_bank};

fn document() -> Value {
    serde_json::to_value(example_bank::document()).unwrap()
}

/// `METHOD path` of what the document describes.
fn described() -> BTreeSet<String> {
    let document = document();
    let paths = document["paths"].as_object().unwrap();
    let operations = paths.iter().flat_map(|(path, item)| {
        item.as_object()
            .unwrap()
            .keys()
            .map(move |method| format!("{} {path}", method.to_uppercase()))
    });
    operations.collect()
}

#[test]
fn every_route_is_described_and_nothing_else() {
    let routes = example_bank::table();
    // A HEAD goes with its GET; the pages for people are no part of the API.
    let served = routes
        .list()
        .filter(|(method, path, _)| method.as_str() != "HEAD" && !path.starts_with("/docs"));
    let served: BTreeSet<String> =
        served.map(|(method, path, _)| format!("{method} {path}")).collect();
    assert_eq!(served, described());
}

/// The codes of problems that are made in these files, as they stand there: `new(400, "code"`.
fn codes_in(folder: &str) -> BTreeSet<String> {
    let mut codes = BTreeSet::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            codes.extend(codes_in(path.to_str().unwrap()));
            continue;
        }
        let source = fs::read_to_string(&path).unwrap();
        let calls = source.split("new(").chain(source.split("for_now(")).skip(1);
        codes.extend(calls.filter_map(|call| {
            let status = call.trim_start().trim_start_matches(|c: char| c.is_ascii_digit());
            let code = status.trim_start_matches(',').trim_start().strip_prefix('"')?;
            let code = code.split('"').next()?;
            let is_code = code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
            (is_code && call.trim_start() != status
                || source.contains(&format!("for_now(\"{code}")))
            .then(|| code.to_owned())
        }));
    }
    codes
}

#[test]
fn every_code_of_a_problem_is_told() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let of = |folder: &str| codes_in(root.join(folder).to_str().unwrap());
    let made = of("framework/src/web").into_iter().chain(of("example-bank/src/http"));
    let mut made: BTreeSet<String> = made.chain(of("example-bank/src/limits")).collect();
    made.extend([USER_NAME, ACCOUNT_NUMBER].map(|kind| Claim::take(kind, "it").taken_code()));
    assert!(made.len() > 20, "{made:?}");
    let told = document()["components"]["responses"].to_string();
    // Of no route: what leads nowhere.
    let elsewhere = ["method_not_allowed", "no_such_path", "not_found"];
    let untold: Vec<&String> = made
        .iter()
        .filter(|code| !elsewhere.contains(&code.as_str()))
        .filter(|code| !told.contains(&format!("\"{code}\"")))
        .collect();
    assert!(untold.is_empty(), "no route tells of {untold:?}");
}

#[test]
fn the_committed_copy_is_the_document() {
    let copy = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../example-bank/openapi.json");
    let document = serde_json::to_string_pretty(&document()).unwrap() + "\n";
    if env::var_os("ACTUM_RENEW").is_some() {
        fs::write(&copy, &document).unwrap();
    }
    let committed = fs::read_to_string(&copy).unwrap_or_default();
    let differs = committed.lines().zip(document.lines()).find(|(then, now)| then != now);
    assert!(
        committed == document,
        "example-bank/openapi.json is not what the bank serves, first at {differs:?}; \
         ACTUM_RENEW=1 cargo test -p actum-tests the_committed_copy_is_the_document renews it"
    );
}

#[actix_web::test]
async fn the_bank_serves_its_document() {
    let bank = new_bank().await;
    get(&bank, "/openapi.json").await.is(200, document());
}

#[actix_web::test]
async fn the_docs_come_from_the_bank_alone() {
    let bank = new_bank().await;
    let moved = get(&bank, "/docs").await;
    assert_eq!((moved.status.as_u16(), moved.header("location")), (308, Some("/docs/")));
    let page = get(&bank, "/docs/").await;
    assert_eq!((page.status.as_u16(), page.header("content-type")), (200, Some("text/html")));
    assert!(page.header("content-security-policy").unwrap().starts_with("default-src 'none'; "));
    let links = ["src=\"", "href=\""].into_iter().flat_map(|attribute| {
        page.text.split(attribute).skip(1).filter_map(|rest| rest.split('"').next())
    });
    // The icons are no text.
    let links: Vec<&str> = links.filter(|link| !link.ends_with(".png")).collect();
    assert!(links.len() > 3, "{links:?}");
    for link in links {
        let file = link.strip_prefix("./").unwrap_or(link);
        assert_eq!(get(&bank, &format!("/docs/{file}")).await.status, 200, "{link}");
    }
    let settings = get(&bank, "/docs/swagger-initializer.js").await;
    assert!(settings.text.contains("\"/openapi.json\""), "{}", settings.text);
    for nowhere in ["/docs/nothing.js", "/docs/..%2f..%2fCargo.toml", "/docs/%00"] {
        get(&bank, nowhere).await.is_problem(404, "no_such_path");
    }
}
