//! The README's `curl` lines, sent in their order to a new bank, and what it says they answer.

use std::time::Duration;

use actix_web::rt;
use actix_web::test::TestRequest;

use crate::contract::{is_replayed, send_as};
use crate::support::bank::new_bank;

const README: &str = include_str!("../../README.md");

/// The README's lines that send one request without a credential to the public address. Continued
/// lines are joined.
fn lines() -> Vec<String> {
    let joined = README.replace("\\\n", "");
    let lines = joined.lines().filter_map(|line| line.strip_prefix("$ curl "));
    let asking = lines.filter(|line| {
        line.contains("localhost:8080/") && !line.contains("-N ") && !line.contains("$(")
    });
    asking.map(str::to_owned).collect()
}

/// As a shell would cut it; what is quoted stays whole.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (n, part) in line.split('\'').enumerate() {
        match n % 2 {
            0 => words.extend(part.split_whitespace().map(str::to_owned)),
            _ => words.push(part.to_owned()),
        }
    }
    words
}

fn request(words: &[String]) -> TestRequest {
    // The rule of curl: a request with a body is a POST unless `-X` names another method.
    let given = words.iter().position(|word| word == "-X").map(|at| words[at + 1].as_str());
    let sends = words.iter().any(|word| word == "-d");
    let method = given.unwrap_or(if sends { "POST" } else { "GET" });
    let request = TestRequest::default().method(method.parse().unwrap());
    let (mut request, mut words) = (request, words.iter());
    while let Some(word) = words.next() {
        let mut value = || words.next().unwrap_or_else(|| panic!("{word} of what?"));
        request = match word.as_str() {
            "-s" | "-i" | "-si" => request,
            "-X" => {
                value();
                request
            }
            "-H" => request.insert_header(value().split_once(": ").unwrap()),
            "-d" => request.set_payload(value().clone()),
            url => request.uri(url.strip_prefix("localhost:8080").unwrap()),
        };
    }
    request
}

#[actix_web::test]
async fn the_requests_of_the_readme_are_answered_as_it_says() {
    let (bank, mut checked) = (new_bank().await, 0);
    for line in lines() {
        let (asked, said) = line.split_once(" # ").unwrap_or((&line, "20"));
        let mut answer = send_as(&bank, None, request(&words(asked))).await;
        // A read that names no position may come before its read model has got there.
        while answer.status == 404 {
            rt::time::sleep(Duration::from_millis(10)).await;
            answer = send_as(&bank, None, request(&words(asked))).await;
        }
        assert!(
            answer.status.as_str().starts_with(&said[..said.len().min(3)]),
            "{line}\n{answer:?}"
        );
        assert_eq!(is_replayed(&answer), said.ends_with("replayed"), "{line}\n{answer:?}");
        if let Some((_, code)) = said.split_once(' ').filter(|_| answer.status.is_client_error()) {
            assert_eq!(answer.json()["code"], code, "{line}");
        }
        checked += usize::from(said != "20");
    }
    assert!(checked >= 6, "only {checked} lines say what they answer");
}
