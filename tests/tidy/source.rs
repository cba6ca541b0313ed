//! A source file as the house rules see it: its text, its code with comments and literals blanked
//! out, and which of its lines are test code.
//!
//! A plain scanner, not a parser: it knows strings, raw strings, characters, lifetimes and nested
//! comments, so that a brace or a name inside them does not count.

use std::ops::Range;

/// One file of the repository.
pub struct Source {
    /// From the root of the repository, with `/`.
    pub path: String,
    pub text: String,
    /// As long as `text` in characters and lines; comments and the insides of literals are spaces.
    pub code: String,
    /// The lines (from 0) of items under `#[cfg(test)]`.
    tests: Vec<Range<usize>>,
}

impl Source {
    pub fn new(path: &str, text: &str) -> Self {
        let rust = path.ends_with(".rs");
        let code = if rust { blank(text) } else { text.to_owned() };
        let tests = if rust { test_lines(&code) } else { Vec::new() };
        Self { path: path.to_owned(), text: text.to_owned(), code, tests }
    }

    pub fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Checks that this line (from 0) belongs to the file's own tests.
    pub fn is_test(&self, line: usize) -> bool {
        self.tests.iter().any(|range| range.contains(&line))
    }

    /// Each line of code with its number (from 0).
    pub fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code.lines().enumerate()
    }

    /// The place of a violation, in the form that editors understand.
    pub fn at(&self, line: usize) -> String {
        format!("{}:{}", self.path, line + 1)
    }
}

/// The text with comments and the insides of literals replaced by spaces; lines stay.
fn blank(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut code = chars.clone();
    let mut at = 0;
    while at < chars.len() {
        let (from, to) = literal(&chars, at);
        for index in from..to {
            if chars[index] != '\n' {
                code[index] = ' ';
            }
        }
        at = to.max(at + 1);
        // An identifier is passed whole: the `r` of `for"` opens no raw string.
        if to == from && is_word(chars[at - 1]) {
            while at < chars.len() && is_word(chars[at]) {
                at += 1;
            }
        }
    }
    code.into_iter().collect()
}

/// The characters of the comment or literal that begins here; empty if none does.
fn literal(chars: &[char], at: usize) -> (usize, usize) {
    let next = |ahead: usize| chars.get(at + ahead).copied().unwrap_or('\0');
    match (chars[at], next(1)) {
        ('/', '/') => (at, find(chars, at, |rest| rest[0] == '\n')),
        ('/', '*') => (at, block_comment(chars, at)),
        ('"', _) => (at, quoted(chars, at + 1, '"')),
        ('\'', '\\') => (at, quoted(chars, at + 1, '\'')),
        ('\'', _) if next(2) == '\'' => (at, at + 3),
        ('b' | 'c', '"') => (at, quoted(chars, at + 2, '"')),
        ('b', '\'') => (at, quoted(chars, at + 2, '\'')),
        ('r', '"' | '#') => raw(chars, at, at + 1),
        ('b' | 'c', 'r') if matches!(next(2), '"' | '#') => raw(chars, at, at + 2),
        _ => (at, at),
    }
}

/// The end of a string or character whose opening quote was just before `at`.
fn quoted(chars: &[char], mut at: usize, quote: char) -> usize {
    while at < chars.len() && chars[at] != quote {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(chars.len())
}

/// A raw string whose hashes begin at `hashes`; `r#type` is none.
fn raw(chars: &[char], at: usize, hashes: usize) -> (usize, usize) {
    let open = find(chars, hashes, |rest| rest[0] != '#');
    if chars.get(open) != Some(&'"') {
        return (at, at);
    }
    let count = open - hashes;
    let closes = |rest: &[char]| {
        rest[0] == '"' && rest.len() > count && rest[1..=count].iter().all(|c| *c == '#')
    };
    let close = find(chars, open + 1, closes);
    (at, (close + 1 + count).min(chars.len()))
}

fn block_comment(chars: &[char], at: usize) -> usize {
    let (mut depth, mut index) = (0, at);
    while index + 1 < chars.len() {
        match (chars[index], chars[index + 1]) {
            ('/', '*') => depth += 1,
            ('*', '/') => depth -= 1,
            _ => {
                index += 1;
                continue;
            }
        }
        index += 2;
        if depth == 0 {
            return index;
        }
    }
    chars.len()
}

fn find(chars: &[char], from: usize, wanted: impl Fn(&[char]) -> bool) -> usize {
    (from..chars.len()).find(|index| wanted(&chars[*index..])).unwrap_or(chars.len())
}

pub fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The lines of each item that stands under `#[cfg(test)]`, from its attribute on.
fn test_lines(code: &str) -> Vec<Range<usize>> {
    code.match_indices("#[cfg(test)]")
        .map(|(at, _)| line_of(code, at)..line_of(code, item_end(code, at)) + 1)
        .collect()
}

/// End of the item whose attribute, keyword or signature is at `from` (a byte of `code`): its
/// closing brace, or its semicolon if it has no body.
pub fn item_end(code: &str, from: usize) -> usize {
    let (mut nested, mut depth) = (0, 0);
    for (at, c) in code[from..].char_indices() {
        match c {
            '(' | '[' => nested += 1,
            ')' | ']' => nested -= 1,
            '{' => depth += 1,
            '}' => depth -= 1,
            ';' if nested == 0 && depth == 0 => return from + at,
            _ => continue,
        }
        if c == '}' && depth <= 0 {
            return from + at;
        }
    }
    code.len()
}

pub fn line_of(code: &str, at: usize) -> usize {
    code[..at].matches('\n').count()
}

#[test]
fn braces_in_strings_comments_and_characters_do_not_count() {
    let text =
        "fn a<'a>() { // }\n  \"}\\\"}\"; r#\"}\"}\"#; '}'; '\\''; b'}'; /* } /* } */ } */ x }";
    assert_eq!(blank(text).matches(['{', '}']).count(), 2);
    assert_eq!(blank(text).chars().count(), text.chars().count());
    assert!(blank(text).ends_with(" x }") && blank(text).contains("<'a>"));
}

#[test]
fn code_under_cfg_test_is_known_to_its_last_line() {
    let text = "fn a() {}\n#[cfg(test)]\nmod tests {\n  fn b() {}\n}\nfn c() {}\n";
    let source = Source::new("a.rs", text);
    let tests: Vec<_> = (0..6).filter(|line| source.is_test(*line)).collect();
    assert_eq!(tests, [1, 2, 3, 4]);
}
