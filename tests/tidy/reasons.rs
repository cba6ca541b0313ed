//! Comments beside the code of the runtime and of the stores: at least one in 40 lines of code.
//!
//! A rule can count comments, and cannot judge them: that a comment gives a reason, and does not
//! repeat the code, is left to the reader of a change.

use std::collections::BTreeMap;

use super::repository::Repository;
use super::source::Source;
use super::{assert_allowed, assert_caught, assert_kept};

/// Lines of code for which a folder has at least one comment.
const CODE_LINES: usize = 40;

/// Words of a comment, without which it cannot be a sentence.
const WORDS: usize = 4;

const SOURCES: &str = "framework/src/";

/// Folders of the runtime and of the stores. Not `store/contract`, which consists of documented
/// traits.
const FOLDERS: [&str; 14] = [
    "aggregate",
    "deferred",
    "live",
    "partition",
    "projection",
    "reaction",
    "read_model",
    "store/kit",
    "store/memory",
    "store/postgres",
    "store/sql",
    "store/sqlite",
    "subscription",
    "versions",
];

fn uncommented(repository: &Repository) -> Vec<String> {
    let mut counts: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for file in repository.library() {
        let Some(path) = file.path.strip_prefix(SOURCES) else { continue };
        let below =
            |folder: &&&str| path.strip_prefix(**folder).is_some_and(|p| p.starts_with('/'));
        let Some(folder) = FOLDERS.iter().find(below) else { continue };
        let (code, comments) = counts.entry(*folder).or_default();
        *code += lines_of_code(file);
        *comments += comments_of(file);
    }
    let sparse =
        counts.into_iter().filter(|(_, (code, found))| *code > (*found).max(1) * CODE_LINES);
    let told = |(folder, (code, comments))| {
        format!("{SOURCES}{folder}: {comments} comments beside {code} lines of code")
    };
    sparse.map(told).collect()
}

fn lines_of_code(file: &Source) -> usize {
    file.lines().filter(|(line, code)| !file.is_test(*line) && !code.trim().is_empty()).count()
}

/// Number of comments, where lines that follow each other are one.
fn comments_of(file: &Source) -> usize {
    let mut found = Vec::new();
    let mut is_open = false;
    for (line, text) in file.text.lines().enumerate() {
        let comment = comment(text, file.code.lines().nth(line)).filter(|_| !file.is_test(line));
        match comment {
            None => is_open = false,
            Some(words) => {
                let whole_line = text.trim_start().starts_with("//");
                match found.last_mut().filter(|_| is_open && whole_line) {
                    Some(last) => *last += words,
                    None => found.push(words),
                }
                is_open = true;
            }
        }
    }
    found.into_iter().filter(|words| *words >= WORDS).count()
}

/// Number of words of the comment on this line, if it has one that is no doc.
fn comment(text: &str, code: Option<&str>) -> Option<usize> {
    let at = text.find("//")?;
    let is_doc = text[at..].starts_with("///") || text[at..].starts_with("//!");
    let before = text[..at].chars().count();
    // The code is as long as the text in characters; a comment is blank in it up to the end.
    let is_comment = code?.chars().skip(before).all(char::is_whitespace);
    (!is_doc && is_comment).then(|| text[at + 2..].split_whitespace().count())
}

#[test]
fn the_runtime_and_the_stores_say_why() {
    assert_kept(uncommented);
    let (path, code) = ("framework/src/live/a.rs", "let a = 1;\n".repeat(41));
    assert_caught(uncommented, &[(path, &code)], "live: 0 comments beside 41 lines");
    let (docs, label) = (format!("/// One of four words\n{code}"), format!("// Label\n{code}"));
    assert_caught(uncommented, &[(path, &docs)], "0 comments");
    assert_caught(uncommented, &[(path, &label)], "0 comments");
    let long = format!("// A reason of two\n// lines counts once\n{code}{code}");
    assert_caught(uncommented, &[(path, &long)], "1 comments beside 82 lines");
    let tests = format!("let a = 1;\n#[cfg(test)]\nmod tests {{\n{code}}}\n");
    let right = format!("// Because it is so\n{}", "let a = 1; // and also so\n".repeat(40));
    let edge = ("framework/src/web/a.rs", &*code);
    assert_allowed(uncommented, &[(path, &tests), ("framework/src/store/sql/a.rs", &right), edge]);
}
