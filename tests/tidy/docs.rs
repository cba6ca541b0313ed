//! The first word of a doc: a noun or a verb, never a pronoun or a question word.
//!
//! rustdoc shows the first sentence of an item in lists, without the item beside it.

use super::repository::Repository;
use super::source::is_word;
use super::{assert_allowed, assert_caught, assert_kept};

const RIDDLES: [&str; 15] = [
    "What", "Whether", "Whose", "Who", "How", "Where", "It", "Its", "Of", "By", "So", "Such",
    "Nobody", "Somebody", "Whoever",
];

fn riddles(repository: &Repository) -> Vec<String> {
    let mut wrong = Vec::new();
    for file in repository.rust() {
        let mut above = "";
        for (line, text) in file.text.lines().enumerate() {
            let text = text.trim_start();
            let first = doc(text)
                .filter(|_| doc(above).is_none())
                .and_then(|doc| doc.split(|c| !is_word(c)).find(|word| !word.is_empty()));
            above = text;
            let riddle = first.filter(|word| RIDDLES.contains(word));
            wrong.extend(riddle.map(|word| format!("{}: begins with {word}", file.at(line))));
        }
    }
    wrong
}

/// The text of a line of a doc.
fn doc(line: &str) -> Option<&str> {
    line.strip_prefix("///").or_else(|| line.strip_prefix("//!"))
}

#[test]
fn docs_open_with_a_noun_or_a_verb() {
    assert_kept(riddles);
    for word in RIDDLES {
        assert_caught(riddles, &[("tests/a.rs", &format!("//! A\n\n/// {word} a"))], "a.rs:3");
    }
    assert_caught(riddles, &[("tests/a.rs", "//! **What** a")], "a.rs:1");
    let allowed = "//! A\n//! What\n// What\n\n    /// Number of a\n    /// What\n/// Whatever";
    assert_allowed(riddles, &[("tests/a.rs", allowed)]);
}
