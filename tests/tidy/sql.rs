//! Rules for the SQL of the stores: the start of a transaction, and text that becomes SQL.

use super::panics::has_reason;
use super::repository::Repository;
use super::source::Source;
use super::{assert_allowed, assert_caught, assert_kept};

const STORES: &str = "framework/src/store/";

/// Sqlx's `begin` is a deferred transaction on SQLite, which reads before it has the writer's lock,
/// and on PostgreSQL one that a client that is gone leaves open, with the lock of the log.
fn begins(repository: &Repository) -> Vec<String> {
    named(repository, ".begin(", |_, _| true)
}

fn reasonless_sql(repository: &Repository) -> Vec<String> {
    named(repository, "AssertSqlSafe(", |file, line| !has_reason(file, line))
}

/// Places in the stores that contain this text and must not.
fn named(
    repository: &Repository,
    what: &str,
    is_wrong: impl Fn(&Source, usize) -> bool,
) -> Vec<String> {
    let mut wrong = Vec::new();
    for file in repository.library().filter(|file| file.path.starts_with(STORES)) {
        let lines = file.lines().filter(|(line, code)| code.contains(what) && !file.is_test(*line));
        let lines = lines.filter(|(line, _)| is_wrong(file, *line));
        wrong.extend(lines.map(|(line, _)| format!("{}: `{what}`", file.at(line))));
    }
    wrong
}

#[test]
fn stores_begin_their_transactions_by_name() {
    assert_kept(begins);
    let path = "framework/src/store/a.rs";
    assert_caught(begins, &[(path, "\nlet a = b\n  .begin()\n  .await;")], "a.rs:3");
    assert_allowed(begins, &[(path, "// a.begin()\n\"BEGIN IMMEDIATE\"; a.begin_round();")]);
}

#[test]
fn text_becomes_sql_only_with_a_reason() {
    assert_kept(reasonless_sql);
    let path = "framework/src/store/a.rs";
    assert_caught(reasonless_sql, &[(path, "let a = AssertSqlSafe(b);")], "a.rs:1");
    let reason = "// The name is one of ours.\nlet a = sqlx::query(AssertSqlSafe(b));";
    assert_allowed(reasonless_sql, &[(path, reason), ("tests/a.rs", "AssertSqlSafe(a)")]);
}
