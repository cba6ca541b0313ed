//! The start of a bank: open to all only on loopback, and with keys that it created.

use std::process::{Command, Output};

use super::{Doorkeeper, claims, signed};
use crate::support::child::BankProcess;
use crate::support::directory::Directory;

fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_bank-process"))
}

/// Has the bank start where it must not: it ends before it makes a database.
#[track_caller]
fn refuses(arguments: &[&str], why: &str) {
    let directory = Directory::new();
    let store = directory.file("bank.db");
    let output = program().args(["--store", &store]).args(arguments).output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {told}");
    assert!(told.contains(why), "{arguments:?}: {told}");
    assert!(!std::fs::exists(&store).unwrap());
}

#[test]
fn a_bank_that_asks_nobody_who_they_are_listens_to_this_machine_only() {
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0", "[::ffff:192.0.2.1]:0"] {
        for dev in [&["--dev"][..], &[]] {
            refuses(&[&["--listen", address], dev].concat(), "nobody would be asked who they are");
        }
    }
    let doorkeeper = Doorkeeper::new();
    let keys = doorkeeper.keys_file();
    let keys = keys.to_str().unwrap();
    for address in ["127.0.0.1:0", "0.0.0.0:0"] {
        refuses(&["--dev", "--api-keys", keys, "--listen", address], "--dev asks nobody");
    }
    refuses(&["--jwt-issuer", "https://id.example", "--listen", "127.0.0.1:0"], "go together");
}

#[test]
fn a_bank_without_credentials_says_that_it_is_in_dev_mode() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        for dev in [&["--dev"][..], &[]] {
            let directory = Directory::new();
            let mut bank = program();
            bank.args(["--store", &directory.file("bank.db"), "--listen", address]).args(dev);
            let told = greeting(&mut bank);
            assert!(told.contains("dev mode"), "{told}");
        }
    }
}

/// Starts the bank, returns the lines it prints, and ends it.
fn greeting(bank: &mut Command) -> String {
    use std::io::{BufRead, BufReader};
    let mut child = bank.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut told = String::new();
    for line in lines {
        let line = line.unwrap();
        told += &line;
        if line.starts_with("try: ") {
            break;
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    told
}

fn new_key(arguments: &[&str]) -> Output {
    program().args(["key", "new"]).args(arguments).output().unwrap()
}

#[test]
fn a_key_that_the_bank_made_opens_it() {
    let doorkeeper = Doorkeeper::new();
    let scopes = "accounts:read,accounts:write";
    let made = new_key(&["--name", "shop", "--scopes", scopes]);
    assert!(made.status.success());
    let made = String::from_utf8(made.stdout).unwrap();
    let (key, line) = made.split_once('\n').unwrap();
    doorkeeper.write_keys(line);
    assert!(key.starts_with("bank_") && !line.contains(key), "{made}");

    let mut command = BankProcess::command(&doorkeeper.directory.file("bank.db"));
    command.arg("--api-keys").arg(doorkeeper.keys_file());
    command.arg("--jwt-secret").arg(doorkeeper.directory.file("jwt.secret"));
    command.args(["--jwt-issuer", super::ISSUER, "--jwt-audience", super::AUDIENCE]);
    let bank = BankProcess::spawn(&mut command, &[]).unwrap();
    let body = r#"{"id":"1","owner":"ada","currency":"EUR"}"#;
    assert_eq!(bank.client().post("/accounts", body, None).unwrap().status, 401);
    assert_eq!(bank.client().by(key).post("/accounts", body, None).unwrap().status, 201);
    assert_eq!(bank.operator().get("/status").unwrap().status, 401);
    assert_eq!(bank.operator().by(key).get("/status").unwrap().status, 403);
    let mut ada = bank.client().by(&signed(&claims("accounts:read")));
    assert_eq!(ada.get("/accounts/1/history").unwrap().status, 200);
    assert_eq!(ada.post("/accounts/1/freeze", "", None).unwrap().status, 403);
}

#[test]
fn a_key_that_could_not_be_used_is_not_made() {
    for arguments in [
        &["--name", "a b", "--scopes", "accounts:read"][..],
        &["--name", "shop", "--scopes", "everything"],
        &["--name", "shop"],
        &["--name", "shop", "--scopes", "accounts:read", "--expires", "tomorrow"],
    ] {
        let made = new_key(arguments);
        assert!(!made.status.success() && made.stdout.is_empty(), "{arguments:?}");
    }
}
