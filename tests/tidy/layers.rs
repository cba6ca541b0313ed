//! The order in which folders of the framework may import each other, and the crates behind a
//! fence.
//!
//! The rooms have one order, and imports go up the list only. What runs on a store knows its contract
//! and no store. Test code may import what it tests with.

use super::repository::Repository;
use super::source::{Source, is_word};
use super::{assert_allowed, assert_caught, assert_kept};

/// The rooms of the framework, in the order in which they may import: each only those before it.
const ORDER: [&str; 31] = [
    "backoff",
    "box_error",
    "byte_budget",
    "catch_panic",
    "failpoints",
    "event",
    "command",
    "error",
    "clock",
    "metrics",
    "spans",
    "threads",
    "store",
    "settings",
    "aggregate",
    "subscription",
    "partition",
    "versions",
    "read_model",
    "projection",
    "live",
    "webhook",
    "reaction",
    "deferred",
    "process",
    "status",
    "application",
    "web",
    "testing",
    "guides",
    "lib",
];

/// The part of `store` that code above the stores may name. The rest belongs to one store.
const CONTRACT: &str = "contract";

/// Rooms that may name a particular store.
const STORES_ARE_NAMED_IN: [&str; 3] = ["store", "testing", "lib"];

/// Each crate and the beginnings of the paths that may name it.
const FENCES: [(&str, &[&str]); 4] = [
    ("reqwest", &["framework/src/webhook/", "tests/"]),
    ("sqlx", &["framework/src/store/", "tests/"]),
    ("actix", &["framework/src/aggregate/", "framework/src/read_model/", "tests/"]),
    ("actix_web", &["framework/src/web", "framework/examples/", "example-bank/", "tests/"]),
];

fn place(module: &str) -> Option<usize> {
    ORDER.iter().position(|room| *room == module)
}

fn imports_point_down(repository: &Repository) -> Vec<String> {
    let mut wrong = Vec::new();
    for file in repository.rust().filter(|file| !repository.is_test_file(&file.path)) {
        let Some(path) = file.path.strip_prefix("framework/src/") else { continue };
        let importer = path.split(['/', '.']).next().unwrap_or_default();
        let Some(from) = place(importer) else {
            wrong.push(format!("{}: `{importer}` has no place yet", file.path));
            continue;
        };
        for (line, module) in imports(file, path).filter(|(line, _)| !file.is_test(*line)) {
            // A name that is not a module is exported by lib.rs.
            let to = place(&module).unwrap_or(ORDER.len() - 1);
            if to > from {
                wrong.push(format!("{}: `{importer}` imports `{module}`", file.at(line)));
            }
        }
        let stores =
            file.lines().filter(|(line, code)| !file.is_test(*line) && names_a_store(code));
        if !STORES_ARE_NAMED_IN.contains(&importer) {
            wrong.extend(stores.map(|(line, _)| format!("{}: names one store", file.at(line))));
        }
    }
    wrong
}

/// Checks for a path into `store` outside its contract.
fn names_a_store(line: &str) -> bool {
    line.match_indices("crate::store::")
        .any(|(at, path)| !line[at + path.len()..].starts_with(CONTRACT))
}

/// Line and first name of each path from the crate's root.
fn imports<'a>(file: &'a Source, path: &str) -> impl Iterator<Item = (usize, String)> + 'a {
    let root = roots(path);
    let code: &'a str = &file.code;
    let starts = code.match_indices("::").filter_map(move |(at, separator)| {
        let is_root = root.iter().any(|root| {
            code[..at].strip_suffix(root.as_str()).is_some_and(|before| {
                !before.ends_with(|c| is_word(c) || c == ':') && !before.ends_with('$')
            })
        });
        is_root.then_some(at + separator.len())
    });
    starts.flat_map(move |at| {
        let line = super::source::line_of(code, at);
        heads(&code[at..]).into_iter().map(move |head| (line, head))
    })
}

/// The two ways in which a file in `framework/src` can write the crate's root: `crate`, and one
/// `super` for each level of its depth.
fn roots(path: &str) -> [String; 2] {
    let deep = path.trim_end_matches(".rs").trim_end_matches("/mod").split('/').count();
    let above = if path == "lib.rs" { "self".to_owned() } else { vec!["super"; deep].join("::") };
    ["crate".to_owned(), above]
}

/// The first names after a `crate::`: one, or those of a group.
fn heads(rest: &str) -> Vec<String> {
    let name = |text: &str| text.trim().chars().take_while(|c| is_word(*c)).collect::<String>();
    let Some(group) = rest.strip_prefix('{') else { return vec![name(rest)] };
    let (mut depth, mut heads, mut begin) = (0, Vec::new(), 0);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                heads.push(name(&group[begin..at]));
                begin = at + 1;
                if c == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    heads.retain(|head| !head.is_empty() && head != "self");
    heads
}

fn fences(repository: &Repository) -> Vec<String> {
    let mut wrong = Vec::new();
    for (name, inside) in FENCES {
        for file in repository.rust() {
            if inside.iter().any(|prefix| file.path.starts_with(prefix)) {
                continue;
            }
            let named = file.lines().find(|(_, line)| names_crate(line, name));
            wrong.extend(named.map(|(line, _)| format!("{}: names {name}", file.at(line))));
        }
    }
    wrong
}

/// Checks that the line has a path that begins with this crate, or imports the whole crate.
fn names_crate(line: &str, name: &str) -> bool {
    line.match_indices(name).any(|(at, _)| {
        let (before, after) = (&line[..at], &line[at + name.len()..]);
        let path = after.starts_with("::") || before.trim_end().ends_with("use");
        path && !before.ends_with(|c| is_word(c) || c == ':' || c == '.')
            && !after.starts_with(is_word)
    })
}

#[test]
fn imports_follow_the_order_and_nothing_that_runs_on_a_store_names_one() {
    assert_kept(imports_point_down);
    let caught = |path: &str, text: &str, what: &str| {
        assert_caught(imports_point_down, &[(&format!("framework/src/{path}"), text)], what);
    };
    caught("event/stream.rs", "use crate::aggregate::A;", "`event` imports `aggregate`");
    caught(
        "store/a.rs",
        "use crate::{\n  event::{A, B},\n  aggregate::{C},\n};",
        "imports `aggregate`",
    );
    caught("store/sql/mod.rs", "fn a() { crate::partition::b() }", "`store` imports `partition`");
    caught("store/memory.rs", "use super::super::subscription::Tail;", "imports `subscription`");
    caught("event/codec.rs", "use super::super::application::A;", "imports `application`");
    caught("event/mod.rs", "use crate::Application;", "imports `Application`");
    caught("helpers.rs", "", "`helpers` has no place");
    caught("read_model/a.rs", "use crate::store::sqlite::SqliteStore;", "names one store");
    let down = "use crate::{event::E, command};\nuse super::contract::P;\n// crate::aggregate::X";
    let test = "#[cfg(test)]\nmod tests {\n  use crate::testing::T;\n}";
    let above = "use crate::store::contract::Store;";
    let files = [
        ("framework/src/store/a.rs", down),
        ("framework/src/event/mod.rs", test),
        ("framework/src/live/a.rs", above),
    ];
    assert_allowed(imports_point_down, &files);
}

#[test]
fn sqlx_actix_and_actix_web_stay_behind_their_fences() {
    assert_kept(fences);
    let caught = |path: &str, text: &str, what: &str| assert_caught(fences, &[(path, text)], what);
    caught("framework/src/error.rs", "fn a(e: sqlx::Error) {}", "error.rs:1: names sqlx");
    caught("framework/src/application.rs", "\nuse actix::Addr;", "application.rs:2: names actix");
    caught("framework/src/aggregate/mod.rs", "use actix_web as web;", "names actix_web");
    caught("example-bank/src/lib.rs", "use sqlx;", "names sqlx");
    let web = "use actix_web::web;\nuse crate::actix::x; // sqlx::query";
    assert_allowed(fences, &[("framework/src/web.rs", web)]);
}
