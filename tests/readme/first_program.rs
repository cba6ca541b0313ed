//! The README's first program, built and run in a fresh crate exactly as it is shown.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use crate::support::directory::Directory;

const README: &str = include_str!("../../README.md");

/// The first block of this language.
fn block(language: &str) -> &'static str {
    let (_, rest) = README.split_once(&format!("```{language}\n")).unwrap();
    rest.split_once("```").unwrap().0
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// Runs cargo on the crate and returns what it prints. The versions are those of the repository and
/// come from the local registry, and its builds are used where they are the same.
fn cargo(folder: &Path, arguments: &[&str]) -> String {
    let target = env::var_os("CARGO_TARGET_DIR").map_or(repository().join("target"), PathBuf::from);
    let mut command = Command::new(env!("CARGO"));
    command.args(arguments).arg("--offline").current_dir(folder);
    command.env("CARGO_TARGET_DIR", target).env("CARGO_PROFILE_DEV_DEBUG", "line-tables-only");
    let output = command.output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{printed}{}", String::from_utf8_lossy(&output.stderr));
    printed
}

#[test]
#[ignore = "builds a crate: run scripts/test"]
fn the_first_program_of_the_readme_runs_as_it_is_shown() {
    let directory = Directory::new();
    let folder = PathBuf::from(directory.file("first"));
    fs::create_dir_all(folder.join("src")).unwrap();
    let framework = repository().join("framework");
    let manifest = block("toml").replace("../actum/framework", framework.to_str().unwrap());
    // The folder is below the repository's, whose workspace the crate does not belong to.
    fs::write(folder.join("Cargo.toml"), format!("{manifest}\n[workspace]\n")).unwrap();
    fs::write(folder.join("src/main.rs"), block("rust")).unwrap();
    fs::copy(repository().join("Cargo.lock"), folder.join("Cargo.lock")).unwrap();
    assert_eq!(cargo(&folder, &["run", "-q"]), "1000 cents\n");
    let tested = cargo(&folder, &["test", "-q"]);
    assert!(tested.contains("1 passed"), "{tested}");
    let target = env::var_os("CARGO_TARGET_DIR").map_or(repository().join("target"), PathBuf::from);
    let program = fs::read(target.join("debug/first")).unwrap();
    let is_name = |bytes: &[u8]| bytes == b"ACTUM_CRASH_AT";
    assert!(!program.windows(14).any(is_name), "it carries failpoints");
}

#[test]
fn the_first_program_reads_bodies_strictly_and_hides_nothing() {
    let example = fs::read_to_string(repository().join("framework/examples/account.rs")).unwrap();
    assert!(example.contains("body: JsonBody<Amount>") && !example.contains("Json<"));
    assert!(example.lines().count() <= 150);
    let hidden = block("rust").lines().find(|line| line.starts_with("# ") || *line == "#");
    assert_eq!(hidden, None, "a line that rustdoc hides is visible here");
}
