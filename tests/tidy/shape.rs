//! Rules for the length of files and functions, the opening of a file, and the names of tests and
//! of parallel files.

use std::collections::BTreeSet;

use super::repository::Repository;
use super::source::{Source, is_word, item_end, line_of};
use super::{assert_allowed, assert_caught, assert_kept};

const FILE_LINES: usize = 400;
const FUNCTION_LINES: usize = 70;

fn is_ours(file: &&Source) -> bool {
    let path = &file.path;
    file.is_rust() || path.ends_with(".sql") || path.starts_with("scripts/")
}

fn file_lengths(repository: &Repository) -> Vec<String> {
    let long = repository.files.iter().filter(is_ours).filter_map(|file| {
        let lines = file.text.lines().count();
        (lines > FILE_LINES).then(|| format!("{}: {lines} lines", file.path))
    });
    long.collect()
}

fn function_lengths(repository: &Repository) -> Vec<String> {
    repository.rust().flat_map(|file| functions(file).filter_map(too_long)).collect()
}

fn too_long((name, first, last, place): (&str, usize, usize, String)) -> Option<String> {
    let lines = last - first + 1;
    (lines > FUNCTION_LINES).then(|| format!("{place}: `{name}` has {lines} lines"))
}

/// Name, first and last line, and place of each function.
fn functions(file: &Source) -> impl Iterator<Item = (&str, usize, usize, String)> {
    let code = &file.code;
    code.match_indices("fn ").filter_map(move |(at, keyword)| {
        let name = code[at + keyword.len()..].split(|c| !is_word(c)).next()?;
        let whole = !code[..at].ends_with(is_word) && !name.is_empty();
        let first = line_of(code, at);
        whole.then(|| (name, first, line_of(code, item_end(code, at)), file.at(first)))
    })
}

fn openings(repository: &Repository) -> Vec<String> {
    let silent = repository.rust().filter(|file| !file.text.starts_with("//!"));
    silent.map(|file| format!("{}: does not open with //!", file.path)).collect()
}

fn test_names(repository: &Repository) -> Vec<String> {
    let mut wrong = Vec::new();
    for file in repository.rust() {
        for (name, first, _, place) in functions(file) {
            let words = name.split('_').filter(|word| !word.is_empty()).count();
            let prefixed = name.starts_with("test_") || name.starts_with("it_");
            if is_test(file, first) && (words < 3 || prefixed) {
                wrong.push(format!("{place}: `{name}` is no statement"));
            }
        }
    }
    wrong
}

/// Checks that an attribute such as `#[test]` or `#[tokio::test(…)]` stands over this line.
fn is_test(file: &Source, line: usize) -> bool {
    let lines: Vec<&str> = file.code.lines().collect();
    let above = lines[..line].iter().rev().map(|line| line.trim());
    let mut attributes = above.take_while(|line| line.is_empty() || line.starts_with("#["));
    attributes.any(|attribute| {
        let path = attribute.trim_start_matches("#[").split(['(', ']']).next();
        path.is_some_and(|path| path.rsplit("::").next() == Some("test"))
    })
}

fn migration_names(repository: &Repository) -> Vec<String> {
    let names = |database: &str| -> BTreeSet<&str> {
        let folder = format!("migrations/{database}/");
        repository.files.iter().filter_map(|file| file.path.strip_prefix(&folder)).collect()
    };
    let (sqlite, postgres) = (names("sqlite"), names("postgres"));
    if sqlite.is_empty() || postgres.is_empty() {
        return Vec::new();
    }
    let apart = sqlite.symmetric_difference(&postgres);
    apart.map(|name| format!("the migration {name} is in one database only")).collect()
}

#[test]
fn no_file_has_more_than_400_lines() {
    assert_kept(file_lengths);
    let (long, right) = ("//! x\n".repeat(401), "//! x\n".repeat(400));
    assert_caught(file_lengths, &[("tests/a.rs", &long)], "401 lines");
    assert_caught(file_lengths, &[("scripts/a", &long)], "401 lines");
    assert_allowed(file_lengths, &[("tests/a.rs", &right), ("Cargo.lock", &long)]);
}

#[test]
fn no_function_has_more_than_70_lines() {
    assert_kept(function_lengths);
    let long = format!(
        "struct A(fn (u8));\nfn short(a: [u8; 2]) {{ let x = \"{{\"; }}\nfn long() {{\n{}}}",
        "a();\n".repeat(69)
    );
    assert_caught(function_lengths, &[("tests/a.rs", &long)], "tests/a.rs:3: `long` has 71 lines");
    assert_allowed(function_lengths, &[("tests/a.rs", &long.replacen("a();\n", "", 1))]);
}

#[test]
fn every_file_opens_with_what_it_is() {
    assert_kept(openings);
    assert_caught(openings, &[("tests/a.rs", "// a\nuse b;")], "tests/a.rs");
}

#[test]
fn names_of_tests_are_statements() {
    assert_kept(test_names);
    let named =
        |name: &str| format!("#[tokio::test(flavor = \"x\")]\n#[ignore]\nasync fn {name}() {{}}");
    assert_caught(
        test_names,
        &[("tests/a.rs", &named("test_that_it_works"))],
        "test_that_it_works",
    );
    assert_caught(test_names, &[("tests/a.rs", &named("appending_works"))], "appending_works");
    let helper = "fn test_it() {}".to_owned();
    assert_allowed(
        test_names,
        &[("tests/a.rs", &named("a_conflict_is_refused")), ("tests/b.rs", &helper)],
    );
}

#[test]
fn migrations_have_equal_names_in_both_databases() {
    assert_kept(migration_names);
    let (sqlite, postgres) = ("migrations/sqlite/1_log.sql", "migrations/postgres/1_log.sql");
    let extra = ("migrations/postgres/2_more.sql", "");
    assert_caught(migration_names, &[(sqlite, ""), (postgres, ""), extra], "2_more.sql");
    assert_allowed(migration_names, &[(sqlite, ""), (postgres, "")]);
}
