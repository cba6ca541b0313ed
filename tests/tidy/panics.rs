//! The library panics only where the line above says why it cannot happen.

use super::repository::Repository;
use super::source::Source;
use super::{assert_allowed, assert_caught, assert_kept};

const PANICS: [&str; 7] = [
    ".unwrap()",
    ".unwrap_err()",
    ".expect(",
    ".expect_err(",
    "panic!(",
    "unreachable!(",
    "todo!(",
];

fn reasonless_panics(repository: &Repository) -> Vec<String> {
    let mut wrong = Vec::new();
    for file in repository.library() {
        for (line, code) in file.lines().filter(|(line, _)| !file.is_test(*line)) {
            let panics = PANICS.iter().find(|panics| has(code, panics) && !is_constant(code));
            let reasonless = panics.filter(|_| !has_reason(file, line));
            wrong.extend(
                reasonless.map(|panics| format!("{}: `{panics}` without a reason", file.at(line))),
            );
        }
    }
    wrong
}

/// Ids by `now_v7`, which panics under a clock before 1970. The framework's own clock makes them.
fn ids_that_panic(repository: &Repository) -> Vec<String> {
    let mut wrong = Vec::new();
    for file in repository.library() {
        let ids = file.lines().filter(|(line, code)| !file.is_test(*line) && has(code, "now_v7("));
        let reason = "`now_v7` panics before 1970";
        wrong.extend(ids.map(|(line, _)| format!("{}: {reason}", file.at(line))));
    }
    wrong
}

/// Checks that the compiler computes this: a panic in it fails the build.
fn is_constant(code: &str) -> bool {
    let item = code.trim_start().trim_start_matches("pub(crate) ").trim_start_matches("pub ");
    item.strip_prefix("const ").is_some_and(|name| name.starts_with(|c: char| c.is_uppercase()))
}

fn has(code: &str, panics: &str) -> bool {
    let word = |before: &str| before.ends_with(super::source::is_word);
    code.match_indices(panics).any(|(at, _)| panics.starts_with('.') || !word(&code[..at]))
}

/// Checks that a comment stands over the statement this line belongs to.
pub fn has_reason(file: &Source, line: usize) -> bool {
    let text: Vec<&str> = file.text.lines().collect();
    let code: Vec<&str> = file.code.lines().collect();
    let mut first = line;
    while first > 0 {
        let above = text[first - 1].trim();
        if above.starts_with("//") {
            return !above.starts_with("///") && above.split_whitespace().count() > 2;
        }
        if above.is_empty() || code[first - 1].trim_end().ends_with([';', '{', '}', ',']) {
            return false;
        }
        first -= 1;
    }
    false
}

#[test]
fn the_library_panics_only_with_a_reason() {
    assert_kept(reasonless_panics);
    let caught = |path: &str, text: &str, what: &str| {
        assert_caught(reasonless_panics, &[(path, text)], what);
    };
    caught("framework/src/a.rs", "fn a() {\n  b().unwrap();\n}", "a.rs:2: `.unwrap()`");
    caught("example-bank/src/a.rs", "// Cannot happen, as said.\n\nb\n  .expect(\"c\");", "a.rs:4");
    caught("framework/src/a.rs", "/// It cannot happen.\npanic!(\"a\")", "`panic!(`");
    caught("framework/src/a.rs", "#[cfg(test)]\nmod tests {}\nunreachable!()", "a.rs:3");
}

#[test]
fn no_id_of_the_library_panics_under_a_clock_before_1970() {
    assert_kept(ids_that_panic);
    let planted = "fn a() {\n  // For a reason.\n  Uuid::now_v7();\n}";
    assert_caught(ids_that_panic, &[("framework/src/a.rs", planted)], "a.rs:3: `now_v7`");
    let allowed = "// Not `now_v7()`.\n#[cfg(test)]\nmod tests {\n Uuid::now_v7()\n}";
    assert_allowed(ids_that_panic, &[("framework/src/a.rs", allowed), ("tests/a.rs", planted)]);
}

#[test]
fn panics_in_tests_and_with_a_reason_are_allowed() {
    let reason = "// The lock is never poisoned: nothing panics under it.\nlet a = b\n  .lock()\n  .expect(\"lock\");";
    let files = [
        ("framework/src/a.rs", reason),
        (
            "framework/src/b.rs",
            "a.unwrap_or(1); \"x.unwrap()\"; // .unwrap()\n#[cfg(test)]\nmod tests {\n a.unwrap()\n}",
        ),
        ("framework/src/c.rs", "pub const A: NonZero<u8> = NonZero::new(1).unwrap();"),
        ("framework/src/b/tests.rs", "a.unwrap()"),
        ("framework/src/testing/scenario.rs", "panic!(\"refused\")"),
        ("tests/c.rs", "a.unwrap()"),
    ];
    assert_allowed(reasonless_panics, &files);
}
