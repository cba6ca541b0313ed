//! Import circles of the framework: none through a folder, and few between files of one folder.
//!
//! A circle is a group of files, or of files and folders, that import each other, directly or in
//! turn. An import of a name that a `mod.rs` re-exports counts as one of the file that has it. The
//! `mod.rs` of a folder is no member: it has the type that the files beside it implement.

use std::collections::{BTreeMap, BTreeSet};

use super::repository::Repository;
use super::source::{Source, is_word};
use super::{assert_allowed, assert_caught, assert_kept};

/// Largest number of circles between files.
const MOST: usize = 5;

const ROOT: &str = "framework/src/";

/// A path, such as `crate::store::Store`, by its names behind the crate.
type Names = Vec<String>;

/// Members of a circle within one folder, in order.
struct Circle {
    folder: String,
    members: Vec<String>,
    has_folder: bool,
}

impl Circle {
    fn shown(&self) -> String {
        format!("{}: {} import each other", self.folder, self.members.join(", "))
    }
}

/// The imports of each file, by the module of the file.
#[derive(Default)]
struct Imports {
    modules: BTreeMap<Names, String>,
    exports: BTreeMap<Names, BTreeMap<String, Names>>,
    used: Vec<(String, Names)>,
}

impl Imports {
    fn of(repository: &Repository) -> Self {
        let mut imports = Self::default();
        for file in repository.rust().filter(|file| !repository.is_test_file(&file.path)) {
            let Some(path) = file.path.strip_prefix(ROOT).filter(|path| *path != "lib.rs") else {
                continue;
            };
            let module = module_of(path);
            imports.read(path, &module, &without_tests(file));
            imports.modules.insert(module, path.to_owned());
        }
        imports
    }

    fn read(&mut self, path: &str, module: &[String], code: &str) {
        let mut rest = code;
        while let Some((before, statement, after)) = next_use(rest) {
            self.read_paths(path, module, before);
            let (is_exported, tree) = statement;
            let mut leaves = Vec::new();
            split(tree, "", &mut leaves);
            for leaf in leaves {
                let (target, name) = leaf.split_once(" as ").unwrap_or((&leaf, ""));
                let Some(target) = absolute(module, target) else { continue };
                let named = Some(name.to_owned()).filter(|name| !name.is_empty());
                match named.or_else(|| target.last().cloned()) {
                    Some(name) if is_exported => {
                        let exports = self.exports.entry(module.to_vec()).or_default();
                        exports.insert(name, target);
                    }
                    _ => self.used.push((path.to_owned(), target)),
                }
            }
            rest = after;
        }
        self.read_paths(path, module, rest);
    }

    /// Paths in code that is no import.
    fn read_paths(&mut self, path: &str, module: &[String], code: &str) {
        let is_path = |c: char| is_word(c) || c == ':';
        let words = code.split(|c| !is_path(c));
        let targets = words.filter(|word| word.contains("::"));
        let targets = targets.filter_map(|word| absolute(module, word));
        self.used.extend(targets.map(|target| (path.to_owned(), target)));
    }

    /// The file that has what this path names, through any re-exports.
    fn resolve(&self, names: &[String], depth: usize) -> Option<&str> {
        let known = (0..=names.len()).rev().find(|n| self.modules.contains_key(&names[..*n]))?;
        let (module, rest) = names.split_at(known);
        let exported = rest.first().and_then(|name| self.exports.get(module)?.get(name));
        match exported {
            Some(target) if depth < 8 => {
                let full: Names = target.iter().chain(&rest[1..]).cloned().collect();
                self.resolve(&full, depth + 1)
            }
            _ => self.modules.get(module).map(String::as_str),
        }
    }

    fn circles(&self) -> Vec<Circle> {
        let edges = self.used.iter().filter_map(|(from, to)| {
            Some((from.as_str(), self.resolve(to, 0)?)).filter(|(from, to)| from != to)
        });
        // Between the members of each folder that both files are in.
        let mut of_folder: BTreeMap<&str, BTreeMap<&str, BTreeSet<&str>>> = BTreeMap::new();
        for (from, to) in edges {
            let folders = from.match_indices('/').map(|(at, _)| &from[..=at]);
            for folder in [""].into_iter().chain(folders) {
                let Some(to) = to.strip_prefix(folder) else { break };
                let (from, to) = (member(&from[folder.len()..]), member(to));
                if from != to && from != "mod" && to != "mod" {
                    of_folder.entry(folder).or_default().entry(from).or_default().insert(to);
                }
            }
        }
        let found = of_folder.iter().flat_map(|(folder, edges)| self.circles_of(folder, edges));
        found.collect()
    }

    fn circles_of(&self, folder: &str, edges: &BTreeMap<&str, BTreeSet<&str>>) -> Vec<Circle> {
        let mut circles: Vec<Circle> = Vec::new();
        for member in edges.keys() {
            let others = reachable(edges, member).into_iter();
            let members = others.filter(|other| reachable(edges, other).contains(member));
            let members: Vec<_> = members.map(str::to_owned).collect();
            if members.is_empty() || circles.iter().any(|circle| circle.members == members) {
                continue;
            }
            let is_folder = |member: &String| {
                let inside = format!("{folder}{member}/");
                self.modules.values().any(|path| path.starts_with(&inside))
            };
            let has_folder = members.iter().any(is_folder);
            circles.push(Circle { folder: folder.to_owned(), members, has_folder });
        }
        circles
    }
}

fn reachable<'a>(edges: &BTreeMap<&'a str, BTreeSet<&'a str>>, from: &str) -> BTreeSet<&'a str> {
    let (mut found, mut next) = (BTreeSet::new(), vec![from.to_owned()]);
    while let Some(member) = next.pop() {
        for to in edges.get(member.as_str()).into_iter().flatten() {
            if found.insert(*to) {
                next.push((*to).to_owned());
            }
        }
    }
    found
}

/// The file or folder at the beginning of a path.
fn member(path: &str) -> &str {
    path.split('/').next().unwrap_or(path).trim_end_matches(".rs")
}

fn module_of(path: &str) -> Names {
    let stem = path.trim_end_matches(".rs");
    let stem = stem.strip_suffix("/mod").unwrap_or(stem);
    stem.split('/').map(str::to_owned).collect()
}

fn without_tests(file: &Source) -> String {
    let lines = file.lines().filter(|(line, _)| !file.is_test(*line));
    lines.map(|(_, code)| format!("{code}\n")).collect()
}

/// The next `use`: the code before it, whether it is a re-export and its tree, the code after it.
fn next_use(code: &str) -> Option<(&str, (bool, &str), &str)> {
    let mut at = 0;
    for line in code.split_inclusive('\n') {
        let item = line.trim_start();
        let public = item.starts_with("pub");
        let item = match (public, item.find("use ")) {
            (true, Some(found)) if !item[..found].contains(['{', ';', '=']) => &item[found..],
            _ => item,
        };
        if let Some(tree) = item.strip_prefix("use ") {
            let begin = at + (line.len() - tree.len());
            let end = begin + code[begin..].find(';')?;
            return Some((&code[..at], (public, &code[begin..end]), &code[end + 1..]));
        }
        at += line.len();
    }
    None
}

/// Splits a tree of imports into its paths.
fn split(tree: &str, before: &str, leaves: &mut Vec<String>) {
    let tree = tree.trim();
    let Some((head, group)) = tree.split_once('{') else {
        if !tree.is_empty() {
            leaves.push(format!("{before}{tree}"));
        }
        return;
    };
    let before = format!("{before}{}", head.trim());
    let group = group.trim_end().strip_suffix('}').unwrap_or(group);
    let (mut depth, mut begin) = (0, 0);
    for (at, c) in group.char_indices().chain([(group.len(), ',')]) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                split(&group[begin..at], &before, leaves);
                begin = at + 1;
            }
            _ => {}
        }
    }
}

/// A path from the crate's root, or `None` if it leads out of the crate.
fn absolute(module: &[String], path: &str) -> Option<Names> {
    let mut names = path.split("::").map(str::trim).filter(|name| !name.is_empty()).peekable();
    let mut base = match names.next()? {
        "crate" => Vec::new(),
        "self" => module.to_vec(),
        "super" => module.split_last()?.1.to_vec(),
        _ => return None,
    };
    while names.next_if_eq(&"super").is_some() {
        base.pop()?;
    }
    base.extend(names.filter(|name| *name != "self").map(str::to_owned));
    Some(base)
}

fn through_folders(repository: &Repository) -> Vec<String> {
    let circles = Imports::of(repository).circles();
    circles.iter().filter(|circle| circle.has_folder).map(Circle::shown).collect()
}

fn too_many(repository: &Repository) -> Vec<String> {
    let circles: Vec<_> = Imports::of(repository).circles().iter().map(Circle::shown).collect();
    println!("{}", circles.join("\n"));
    if circles.len() > MOST { circles } else { Vec::new() }
}

#[test]
fn no_folders_import_each_other_and_few_files_do() {
    assert_kept(through_folders);
    assert_kept(too_many);
}

#[test]
fn circles_are_found_through_facades_and_not_through_the_type_of_a_folder() {
    let facade = ("framework/src/store/mod.rs", "pub(crate) use self::sql::{Rows, x::Y as Z};");
    let sql = ("framework/src/store/sql/mod.rs", "pub struct Rows;\nmod x;");
    let uses = ("framework/src/store/sql/x.rs", "use super::super::open::{self, Opening};");
    let back = ("framework/src/store/open.rs", "fn f(_: super::Rows) {}");
    assert_caught(through_folders, &[facade, sql, uses, back], "store/: open, sql import");
    let test =
        ("framework/src/store/open.rs", "#[cfg(test)]\nmod tests { use super::super::Rows; }");
    assert_allowed(through_folders, &[facade, sql, uses, test]);
    let down = ("framework/src/store/open.rs", "pub use std::io;\nuse crate::event::Rows;");
    assert_allowed(through_folders, &[facade, sql, uses, down]);
    let child = ("framework/src/store/open.rs", "use super::Store;");
    let of_child = ("framework/src/store/mod.rs", "use self::open::Opening;");
    assert_allowed(through_folders, &[child, of_child]);

    let names = ["a", "b", "c", "d", "e", "f"];
    let pairs = names.map(|folder| {
        let file = |name: &str| format!("framework/src/{folder}/{name}.rs");
        [(file("one"), "use super::two::X;"), (file("two"), "use super::one::Y;")]
    });
    let files: Vec<_> = pairs.iter().flatten().map(|(path, text)| (&**path, *text)).collect();
    assert_eq!(too_many(&Repository::planted(&files)).len(), MOST + 1);
    assert_allowed(too_many, &files[2..]);
    assert_allowed(through_folders, &files);
}
