//! Licences, bans and sources of all dependencies, by the rules of `deny.toml`.
//!
//! `cargo deny` checks the same, but it cannot be installed from a package registry without minutes
//! of building.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// The only source of crates.
const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// The rules of `deny.toml` that are checked here.
struct Rules {
    licences: Vec<String>,
    banned: Vec<String>,
}

impl Rules {
    fn of(text: &str) -> Self {
        // The quoted words of the lines of a section that begin so.
        let words = |heading: &str, begins: &str| -> Vec<String> {
            let lines = text.lines().skip_while(|line| *line != heading).skip(1);
            let lines = lines.take_while(|line| !line.starts_with('['));
            let lines = lines.filter(|line| line.trim_start().starts_with(begins));
            lines.filter_map(|line| line.split('"').nth(1)).map(str::to_owned).collect()
        };
        Self { licences: words("[licenses]", "\""), banned: words("[bans]", "{ name =") }
    }

    /// The reason why this package may not be used.
    fn violation(&self, package: &Value) -> Option<String> {
        let name = package["name"].as_str()?;
        if package["source"].is_null() {
            return None; // it is ours
        }
        let licence = package["license"].as_str().unwrap_or("");
        if self.banned.iter().any(|banned| banned == name) {
            return Some(format!("{name} is banned"));
        }
        if package["source"] != CRATES_IO {
            return Some(format!("{name} is not from crates.io"));
        }
        let is_allowed = self.allows(licence);
        (!is_allowed).then(|| format!("{name} has the licence {licence:?}"))
    }

    /// Evaluates an SPDX expression, or the older form with a slash for OR. OR binds less than AND,
    /// and parentheses stand around an OR only.
    fn allows(&self, expression: &str) -> bool {
        let is_listed = |licence: &str| {
            let licence = licence.trim().trim_matches(['(', ')']);
            self.licences.iter().any(|allowed| allowed == licence)
        };
        let any = |licences: &str| licences.replace('/', " OR ").split(" OR ").any(is_listed);
        match expression.contains('(') {
            true => expression.split(" AND ").all(any),
            false => {
                let all = |licences: &str| licences.split(" AND ").all(is_listed);
                expression.replace('/', " OR ").split(" OR ").any(all)
            }
        }
    }
}

#[test]
fn dependencies_keep_the_rules_of_deny_toml() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let rules = Rules::of(&std::fs::read_to_string(root.join("deny.toml")).unwrap());
    assert!(rules.licences.len() > 5 && rules.banned.len() > 2, "the rules were not found");
    // Other platforms have crates that this machine has not downloaded.
    let host = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let metadata = Command::new(env!("CARGO"))
        .args(["metadata", "--locked", "--format-version", "1", "--filter-platform", &host])
        .current_dir(root)
        .output()
        .unwrap();
    assert!(metadata.status.success(), "{}", String::from_utf8_lossy(&metadata.stderr));
    let metadata: Value = serde_json::from_slice(&metadata.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    assert!(packages.len() > 100, "the packages were not found");
    let violations: Vec<String> = packages.iter().filter_map(|p| rules.violation(p)).collect();
    assert!(violations.is_empty(), "\n  {}\n", violations.join("\n  "));
}

#[test]
fn a_licence_a_ban_or_a_source_against_the_rules_is_caught() {
    let rules = Rules::of(
        "[licenses]\nallow = [\n    \"MIT\",\n    \"ISC\",\n]\n[bans]\ndeny = [\n    { name = \"rsa\" },\n]\n",
    );
    let package = |name: &str, license: &str, source: &str| serde_json::json!({ "name": name, "license": license, "source": source });
    for licence in
        ["MIT", "GPL-3.0 OR MIT", "GPL-3.0/MIT", "(GPL-3.0 OR MIT) AND ISC", "MIT AND ISC"]
    {
        assert_eq!(rules.violation(&package("a", licence, CRATES_IO)), None, "{licence}");
    }
    for licence in ["", "GPL-3.0", "MIT AND GPL-3.0", "(GPL-3.0 OR MIT) AND GPL-2.0"] {
        assert!(rules.violation(&package("a", licence, CRATES_IO)).is_some(), "{licence}");
    }
    assert!(rules.violation(&package("rsa", "MIT", CRATES_IO)).is_some());
    assert!(rules.violation(&package("a", "MIT", "git+https://example.org/a")).is_some());
}
