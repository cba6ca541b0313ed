//! Words that say something is unfinished, or that only a person at a terminal would read.

use super::repository::Repository;
use super::source::is_word;
use super::{assert_allowed, assert_caught, assert_kept};

// In halves, or this file would break its own rule.
const UNFINISHED: [&str; 2] = [concat!("TO", "DO"), concat!("FIX", "ME")];
const MACROS: [&str; 3] = ["dbg", "todo", "unimplemented"];
const PRINTS: [&str; 4] = ["print", "println", "eprint", "eprintln"];

fn unfinished(repository: &Repository) -> Vec<String> {
    let mut wrong = Vec::new();
    for file in &repository.files {
        let script = file.path.starts_with("scripts/") || file.path.starts_with(".ci/");
        if !file.is_rust() && !script && !file.path.ends_with(".sql") {
            continue;
        }
        for (line, (text, code)) in file.text.lines().zip(file.code.lines()).enumerate() {
            let word = UNFINISHED.iter().find(|word| has_word(text, word, ""));
            let called = MACROS.iter().find(|word| has_word(code, word, "!"));
            let found = word.or(called);
            wrong.extend(found.map(|word| format!("{}: {word}", file.at(line))));
        }
    }
    wrong
}

fn prints(repository: &Repository) -> Vec<String> {
    let mut wrong = Vec::new();
    for file in repository.library().filter(|file| file.path.starts_with("framework/src/")) {
        for (line, code) in file.lines().filter(|(line, _)| !file.is_test(*line)) {
            let print = PRINTS.iter().find(|word| has_word(code, word, "!"));
            wrong.extend(print.map(|print| format!("{}: {print}! in the library", file.at(line))));
        }
    }
    wrong
}

/// Checks that the whole word stands there, followed by `after`.
fn has_word(line: &str, word: &str, after: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let rest = &line[at + word.len()..];
        !line[..at].ends_with(is_word) && !rest.starts_with(is_word) && rest.starts_with(after)
    })
}

#[test]
fn nothing_is_left_unfinished() {
    assert_kept(unfinished);
    let comment = format!("//! x\n// {}: later", UNFINISHED[0]);
    assert_caught(unfinished, &[("tests/a.rs", &comment)], "a.rs:2");
    assert_caught(unfinished, &[("scripts/a", &format!("# {} it", UNFINISHED[1]))], "scripts/a:1");
    assert_caught(unfinished, &[("migrations/a.sql", &format!("-- {}", UNFINISHED[0]))], "a.sql:1");
    for word in MACROS {
        assert_caught(unfinished, &[("tests/a.rs", &format!("{word}!(1)"))], word);
    }
    assert_allowed(unfinished, &[("tests/a.rs", "// dbg!(a)\nlet todo = \"dbg!\"; my_dbg!(a)")]);
}

#[test]
fn the_library_prints_nothing() {
    assert_kept(prints);
    assert_caught(prints, &[("framework/src/a.rs", "fn a() { println!(\"a\") }")], "a.rs:1");
    assert_allowed(
        prints,
        &[("example-bank/src/main.rs", "println!()"), ("tests/a.rs", "print!()")],
    );
}
