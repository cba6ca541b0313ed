//! The bank over TLS: shown, verified by another program, and refused by name when it cannot be.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use crate::support::certificate::certify;
use crate::support::child::BankProcess;
use crate::support::directory::Directory;

struct Secure {
    child: Child,
    address: String,
}

impl Drop for Secure {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(store: &str, certificate: &Path, key: &Path) -> Command {
    let mut command = BankProcess::command(store);
    command.arg("--tls-cert").arg(certificate).arg("--tls-key").arg(key);
    command
}

fn start(command: &mut Command) -> Secure {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("listening on https://").unwrap().to_owned();
    Secure { child, address }
}

fn curl(arguments: &[&str]) -> Output {
    Command::new("curl").args(["-sS", "-i", "--max-time", "30"]).args(arguments).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).to_ascii_lowercase()
}

#[test]
#[ignore = "needs openssl and curl: run scripts/test"]
fn the_bank_is_reached_over_tls_and_by_nothing_older_than_1_2() {
    let directory = Directory::new();
    let (certificate, key) = certify(directory.path(), "ours", "IP:127.0.0.1");
    let bank = start(&mut command(&directory.file("bank.db"), &certificate, &key));
    let url = format!("https://{}/health/live", bank.address);
    let ours = certificate.to_str().unwrap();
    for version in [["--tlsv1.2", "--tls-max", "1.2"], ["--tlsv1.3", "--tls-max", "1.3"]] {
        for http in ["--http1.1", "--http2"] {
            let output = curl(&[&version[..], &[http, "--cacert", ours, &url]].concat());
            let answer = said(&output);
            assert!(output.status.success(), "{version:?} {output:?}");
            assert!(answer.contains(" 200") && answer.contains("\"live\""), "{answer}");
            assert!(answer.contains("strict-transport-security: max-age="), "{answer}");
            assert!(answer.contains("x-content-type-options: nosniff"), "{answer}");
        }
    }
    let old = curl(&["--tlsv1.0", "--tls-max", "1.1", "--cacert", ours, &url]);
    assert_eq!(said(&old), "", "{old:?}");
    let unverified = curl(&[&url]);
    assert_eq!(unverified.status.code(), Some(60), "nobody vouches for it: {unverified:?}");
    let plain = curl(&[&url.replace("https", "http")]);
    assert!(!said(&plain).contains("live"), "{plain:?}");
}

#[test]
#[ignore = "needs openssl and curl: run scripts/test"]
fn a_file_that_is_no_certificate_or_not_its_key_is_named() {
    let directory = Directory::new();
    let (certificate, key) = certify(directory.path(), "ours", "IP:127.0.0.1");
    let (_, others) = certify(directory.path(), "others", "IP:127.0.0.1");
    let letter = directory.path().join("letter.pem");
    std::fs::write(&letter, "Dear Sir or Madam,").unwrap();
    let missing = directory.path().join("missing.pem");
    let store = directory.file("bank.db");
    for (certificate, key, named) in [
        (&letter, &key, &letter),
        (&missing, &key, &missing),
        (&certificate, &letter, &letter),
        (&certificate, &missing, &missing),
        (&certificate, &others, &others),
        (&key, &key, &key),
    ] {
        let output = command(&store, certificate, key).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("for TLS") && said.contains(named.to_str().unwrap()), "{said}");
    }
    assert!(!std::fs::exists(&store).unwrap(), "nothing was begun");
    let half = BankProcess::command(&store).arg("--tls-cert").arg(&certificate).output().unwrap();
    assert_eq!(half.status.code(), Some(2));
}
