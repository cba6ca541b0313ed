//! The house rules, as tests: order of imports, length of files and functions, forbidden words.
//!
//! Each rule is a function from the repository to its violations, and each has a test that it
//! catches a planted one. A rule that is wrong is sharpened here; it is never worked around.

mod cfg;
mod circles;
mod dependencies;
mod docs;
mod layers;
mod panics;
mod reasons;
mod repository;
mod routes;
mod shape;
mod source;
mod sql;
mod words;

use repository::Repository;

type Rule = fn(&Repository) -> Vec<String>;

/// Fails with every violation of the rule in the real repository.
fn assert_kept(rule: Rule) {
    let repository = Repository::read();
    assert!(repository.files.len() > 20, "the sources were not found");
    let violations = rule(&repository);
    assert!(violations.is_empty(), "\n  {}\n", violations.join("\n  "));
}

/// Fails unless the rule finds exactly one violation in these files, and it names `what`.
#[track_caller]
fn assert_caught(rule: Rule, files: &[(&str, &str)], what: &str) {
    let violations = rule(&Repository::planted(files));
    assert!(violations.len() == 1 && violations[0].contains(what), "{violations:?}");
}

/// Fails if the rule finds anything in these files.
#[track_caller]
fn assert_allowed(rule: Rule, files: &[(&str, &str)]) {
    let violations = rule(&Repository::planted(files));
    assert!(violations.is_empty(), "{violations:?}");
}
