//! No secret is in any answer, log line or stored row of the bank, whatever fails.

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command};
use std::thread::sleep;
use std::time::Duration;

use actum::web::HiddenText;

use super::{AUDIENCE, Doorkeeper, ISSUER, SECRET, claims, lines, new_key, signed};

/// A text that is part of every wrong credential, so that the tests can search for it.
const CANARY: &str = "c4n4ry";

/// Ends it also when the test fails.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn told(doorkeeper: &Doorkeeper, file: &str) -> String {
    String::from_utf8_lossy(&std::fs::read(doorkeeper.directory.file(file)).unwrap()).into_owned()
}

/// Waits until a line with this beginning is there, and returns its rest.
fn line(doorkeeper: &Doorkeeper, file: &str, beginning: &str) -> String {
    for _ in 0..2000 {
        let text = told(doorkeeper, file);
        let found = text.lines().find_map(|line| line.split_once(beginning));
        if let Some((_, rest)) = found {
            return rest.to_owned();
        }
        sleep(Duration::from_millis(10));
    }
    panic!("{beginning:?} never came: {}", told(doorkeeper, file));
}

/// Everything that comes back: head and body.
fn ask(address: &str, request: &str, bearer: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let length = body.len();
    write!(
        stream,
        "{request} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {bearer}\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn no_secret_is_told_whatever_goes_wrong() {
    let doorkeeper = Doorkeeper::new();
    let key = new_key("shop", &["accounts:read", "accounts:write", "bank:operate"]);
    let (key, line_of_key) = (key.key.expose().to_owned(), lines(&[&key]));
    doorkeeper.write_keys(&line_of_key);
    let output = |name| File::create(doorkeeper.directory.file(name)).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_bank-process"));
    command.args(["--store", &doorkeeper.directory.file("bank.db"), "--listen", "127.0.0.1:0"]);
    command.arg("--api-keys").arg(doorkeeper.keys_file());
    command.arg("--jwt-secret").arg(doorkeeper.directory.file("jwt.secret"));
    command.args(["--jwt-issuer", ISSUER, "--jwt-audience", AUDIENCE]);
    command.env("RUST_LOG", "trace").stdout(output("out")).stderr(output("err"));
    let bank = Running(command.spawn().unwrap());
    let public = line(&doorkeeper, "out", "listening on http://");
    let operators = line(&doorkeeper, "out", "operations API on http://");

    let token = signed(&claims("accounts:read accounts:write"));
    let secret = key.rsplit('_').next().unwrap();
    let signature = token.rsplit('.').next().unwrap();
    let foreign = format!("{}.{CANARY}{signature}", token.rsplit_once('.').unwrap().0);
    let mut heard = String::new();
    let wrong = [format!("bank_{CANARY}_{CANARY}"), format!("{CANARY}.{CANARY}.{CANARY}")];
    for bearer in [&key, &token, &foreign, &wrong[0], &wrong[1]] {
        let opening = r#"{"id":"1","owner":"ada","currency":"EUR"}"#;
        for (request, body) in [
            ("POST /accounts", opening),
            ("POST /accounts", "{"),
            ("POST /accounts/1/withdraw", r#"{"amount":1}"#),
            ("GET /accounts/1", ""),
            ("GET /accounts/1/history", ""),
            ("GET /accounts/2/statement", ""),
            ("GET /openapi.json", ""),
            ("GET /nowhere", ""),
            ("PATCH /accounts/1", ""),
        ] {
            heard += &ask(&public, request, bearer, body);
        }
        heard += &ask(&public, &format!("GET /accounts/1?access_token={bearer}"), &key, "");
        for request in ["GET /status", "GET /metrics", "GET /subscriptions/nothing/parked"] {
            heard += &ask(&operators, request, bearer, "");
        }
    }
    // The secret was pasted into the place of its line.
    doorkeeper.write_keys(&format!("{key}\n{line_of_key}"));
    line(&doorkeeper, "err", "these API keys are invalid until the file is corrected");
    drop(bank);

    assert!(heard.contains("unauthenticated") && heard.contains("insufficient_funds"));
    let canaries = [&key, secret, &token, signature, SECRET, CANARY];
    let mut places = vec![("answers".to_owned(), heard)];
    for file in ["out", "err", "bank.db", "bank.db-wal", "bank.db.statement@1"] {
        places.push((file.to_owned(), told(&doorkeeper, file)));
    }
    for (place, text) in places {
        assert!(!text.is_empty(), "{place}");
        for canary in canaries {
            let found = text.find(canary).map(|at| {
                let before = text[..at].rfind('\n').unwrap_or_default();
                text[before..].lines().nth(1).unwrap_or_default().to_owned()
            });
            assert_eq!(found, None, "{canary} is in {place}");
        }
    }
}

#[test]
fn a_store_that_cannot_be_reached_is_told_without_its_password() {
    let doorkeeper = Doorkeeper::new();
    let mut command = Command::new(env!("CARGO_BIN_EXE_bank-process"));
    command.args(["--listen", "127.0.0.1:0"]).env("RUST_LOG", "trace");
    for store in [
        format!("postgres://actum:{CANARY}@127.0.0.1:1/postgres"),
        format!("postgres://actum:{CANARY}@127.0.0.1:1/postgres?nonsense=1"),
        format!("postgres://actum:{CANARY}@127.0.0.1:none/postgres"),
        format!("postgresql://127.0.0.1:1/postgres?password={CANARY}"),
    ] {
        let output = command.env("BANK_STORE", &store).current_dir(doorkeeper.directory.path());
        let output = output.output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && told.contains("example-bank:"), "{told}");
        assert!(!told.contains(CANARY), "{store}: {told}");
    }
}

#[test]
fn a_secret_is_shown_to_nobody() {
    let secret = HiddenText::from(CANARY.to_owned());
    assert_eq!(
        format!("{secret} {secret:?} {secret:#?} {:?}", Some(&secret)),
        "*** *** *** Some(***)"
    );
    assert_eq!(secret.expose(), CANARY);
}
