//! Cargo features only add items: each is explained in lib.rs, and `cfg` on a feature stands only
//! where a module or a name is declared.

use super::repository::Repository;
use super::source::{Source, is_word, line_of};
use super::{assert_allowed, assert_caught, assert_kept};

fn features_explained(repository: &Repository) -> Vec<String> {
    let manifest = repository.find("framework/Cargo.toml").map_or("", |file| file.text.as_str());
    let library = repository.find("framework/src/lib.rs").map_or("", |file| file.text.as_str());
    let docs: Vec<&str> = library.lines().filter(|line| line.starts_with("//!")).collect();
    let section = manifest.lines().skip_while(|line| line.trim() != "[features]").skip(1);
    let lines = section.take_while(|line| !line.starts_with('['));
    let names = lines.filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('='));
    let names =
        names.map(|(name, _)| name.trim().trim_matches('"')).filter(|name| *name != "default");
    let unexplained =
        names.filter(|name| !docs.iter().any(|line| line.contains(&format!("`{name}`"))));
    unexplained.map(|name| format!("lib.rs does not explain the feature `{name}`")).collect()
}

fn features_only_add(repository: &Repository) -> Vec<String> {
    repository.rust().flat_map(misplaced).collect()
}

/// The places in this file where `cfg` on a feature is on no `mod` and no `use`.
fn misplaced(file: &Source) -> Vec<String> {
    let code = &file.code;
    let mut wrong = Vec::new();
    for (at, _) in code.match_indices("feature") {
        let before = &code[..at];
        let Some(open) = before.rfind(['[', '!', ';', '{', '}']) else { continue };
        let condition = &before[open..];
        if !condition.contains("cfg") && !before[..open].ends_with("cfg") {
            continue;
        }
        let attribute = condition.starts_with("[cfg(") && before[..open].ends_with('#');
        if !attribute || !declares(&code[at..]) {
            wrong.push(format!("{}: cfg on a feature", file.at(line_of(code, at))));
        }
    }
    wrong
}

/// Checks that the item after this attribute (and those that follow it) is a `mod` or a `use`.
fn declares(rest: &str) -> bool {
    let after = |text: &str| text.find(']').map(|end| text[end + 1..].trim_start().to_owned());
    let mut item = after(rest);
    while item.as_ref().is_some_and(|item| item.starts_with("#[")) {
        item = item.as_deref().and_then(after);
    }
    let item = item.unwrap_or_default();
    let visible = item.strip_prefix("pub").unwrap_or(&item);
    let scoped = visible.strip_prefix('(').and_then(|scope| scope.split_once(')'));
    let word = scoped.map_or(visible, |(_, word)| word).trim_start();
    matches!(word.split(|c| !is_word(c)).next(), Some("mod" | "use"))
}

#[test]
fn each_cargo_feature_is_explained_in_lib_rs() {
    assert_kept(features_explained);
    let manifest =
        "[features]\ndefault = [\"a\"]\n# b\na = []\nb-c = []\n\n[dependencies]\nd = \"1\"";
    let files = [("framework/Cargo.toml", manifest), ("framework/src/lib.rs", "//! `a`\n// `b-c`")];
    assert_caught(features_explained, &files, "`b-c`");
}

#[test]
fn cargo_features_only_add_modules_and_names() {
    assert_kept(features_only_add);
    let caught = |text: &str| {
        assert_caught(features_only_add, &[("framework/src/lib.rs", text)], "lib.rs:1");
    };
    caught("#[cfg(feature = \"a\")] fn b() {}");
    caught("#[cfg(not(feature = \"a\"))] const B: u8 = 1;");
    caught("#[cfg_attr(feature = \"a\", derive(Clone))] pub mod b;");
    caught("fn a() { if cfg!(feature = \"a\") {} }");
    let declared = "#[cfg(feature = \"a\")]\n#[path = \"c.rs\"]\npub(crate) mod b;\n\
        #[cfg(not(any(feature = \"a\", test)))]\nuse d;\n#[cfg(feature = \"a\")]\npub use e::F;";
    assert_allowed(features_only_add, &[("framework/src/lib.rs", declared)]);
    assert_allowed(features_only_add, &[("tests/a.rs", "let feature = 1; fn a(feature: u8) {}")]);
}
