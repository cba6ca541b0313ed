//! The files the rules are about: every source, migration and script that is ours.

use std::fs;
use std::path::{Path, PathBuf};

use super::source::{Source, is_word, item_end};

const FOLDERS: [&str; 4] = ["framework", "example-bank", "tests", "scripts"];

/// The files that the rules judge.
pub struct Repository {
    pub files: Vec<Source>,
    /// Files that are modules under `#[cfg(test)]`, as prefixes of their paths without `.rs`.
    test_modules: Vec<String>,
}

impl Repository {
    /// The repository this test was built in.
    pub fn read() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a workspace");
        let mut paths = vec![root.join("Cargo.toml"), root.join(".ci/run")];
        FOLDERS.iter().for_each(|folder| walk(&root.join(folder), &mut paths));
        let files = paths.iter().filter_map(|path| {
            let name = path.strip_prefix(root).ok()?.to_str()?.replace('\\', "/");
            Some(Source::new(&name, &fs::read_to_string(path).ok()?))
        });
        Self::of(files.collect())
    }

    /// A repository of these files only.
    pub fn planted(files: &[(&str, &str)]) -> Self {
        Self::of(files.iter().map(|(path, text)| Source::new(path, text)).collect())
    }

    fn of(mut files: Vec<Source>) -> Self {
        files.sort_by(|a, b| a.path.cmp(&b.path));
        let test_modules = files.iter().filter(|file| file.is_rust()).flat_map(test_modules);
        Self { test_modules: test_modules.collect(), files }
    }

    pub fn rust(&self) -> impl Iterator<Item = &Source> {
        self.files.iter().filter(|file| file.is_rust())
    }

    /// Code that runs in a user's process: no tests, and nothing of the `testing` feature.
    pub fn library(&self) -> impl Iterator<Item = &Source> {
        self.rust().filter(|file| {
            let path = &file.path;
            let ours = path.starts_with("framework/src/") || path.starts_with("example-bank/src/");
            ours && !path.starts_with("framework/src/testing") && !self.is_test_file(path)
        })
    }

    pub fn is_test_file(&self, path: &str) -> bool {
        let stem = path.trim_end_matches(".rs");
        let below = |module: &String| {
            stem.strip_prefix(module.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        path.ends_with("/tests.rs") || self.test_modules.iter().any(below)
    }

    pub fn find(&self, path: &str) -> Option<&Source> {
        self.files.iter().find(|file| file.path == path)
    }
}

fn walk(folder: &Path, paths: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            walk(&path, paths);
        } else {
            paths.push(path);
        }
    }
}

/// The files declared by `#[cfg(test)] mod name;` in this one.
fn test_modules(file: &Source) -> Vec<String> {
    let folder = module_folder(&file.path);
    let attributes = file.code.match_indices("#[cfg(test)]");
    let declared = attributes.filter_map(|(at, attribute)| {
        let item = &file.code[at + attribute.len()..item_end(&file.code, at)];
        let name = item.rsplit(|c| !is_word(c)).next()?;
        (item.contains("mod ") && !item.contains('{')).then(|| format!("{folder}/{name}"))
    });
    declared.collect()
}

/// The folder in which this file's child modules are.
fn module_folder(path: &str) -> &str {
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let own = ["/mod.rs", "/lib.rs", "/main.rs"].iter().any(|root| path.ends_with(root));
    if own { folder } else { path.trim_end_matches(".rs") }
}

#[test]
fn modules_declared_for_tests_are_test_files() {
    let declares = "#[cfg(test)]\nmod fake;\n#[cfg(test)]\npub(crate) mod other;\nmod real;";
    let repository = Repository::planted(&[("framework/src/store/mod.rs", declares)]);
    let is_test = |name: &str| repository.is_test_file(&format!("framework/src/store/{name}"));
    assert!(is_test("fake.rs") && is_test("other/inner.rs") && is_test("real/tests.rs"));
    assert!(!is_test("real.rs") && !is_test("fakes.rs"));
}
