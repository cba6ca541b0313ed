//! The bank as a process: what it says when it cannot start, and what it survives.

use std::io::Write;
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use crate::child::{Bank, read_log};
use crate::directory::Directory;
use crate::http::Client;

/// Runs the bank where it cannot start: its exit code and what it said.
fn fails(store: &str) -> (Option<i32>, String) {
    let output = Bank::command(store).env("RUST_LOG", "off").output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn a_second_process_on_the_same_file_is_refused_with_its_path() {
    let directory = Directory::new();
    let store = directory.file("bank.db");
    let bank = Bank::start(&store, &[]).unwrap();
    let (code, message) = fails(&store);
    assert_eq!(code, Some(1));
    assert!(message.contains(&store) && message.contains("another process"), "{message}");
    let answer = bank.client().get("/health/live").unwrap();
    assert_eq!(answer.status, 200);
}

#[test]
fn a_file_that_is_no_database_ends_with_code_one_and_stays_as_it_is() {
    let directory = Directory::new();
    let store = directory.file("letter.txt");
    std::fs::write(&store, "Dear Sir or Madam, this is a letter.").unwrap();
    let (code, message) = fails(&store);
    assert_eq!(code, Some(1));
    assert!(message.contains(&store) && message.contains("no SQLite database"), "{message}");
    assert_eq!(std::fs::read(&store).unwrap(), b"Dear Sir or Madam, this is a letter.");
}

#[test]
fn a_port_in_use_ends_with_code_one_and_leaves_no_database() {
    let directory = Directory::new();
    let store = directory.file("bank.db");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut command = Command::new(env!("CARGO_BIN_EXE_bank-process"));
    let output = command.args(["--store", &store, "--listen", &address]).output().unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(message.contains(&address), "{message}");
    assert!(!std::fs::exists(&store).unwrap());
}

/// H10: the command was sent whole; that its sender hung up does not undo it.
#[tokio::test]
async fn a_client_that_hangs_up_has_its_command_carried_out() {
    let directory = Directory::new();
    let store = directory.file("bank.db");
    let bank = Bank::start(&store, &[]).unwrap();
    let body = r#"{"id":"1","owner":"Ada","currency":"EUR"}"#;
    assert_eq!(bank.client().post("/accounts", body, None).unwrap().status, 201);
    for _ in 0..20 {
        let mut stream = TcpStream::connect(bank.address()).unwrap();
        let body = r#"{"amount":1}"#;
        write!(stream, "POST /accounts/1/credit HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len()).unwrap();
    }
    let mut client = bank.client();
    while client.get("/accounts/1/balance").unwrap().body["balance"] != 20 {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(read_log(&store).await.len(), 21);
}

/// H8: with no descriptor left new connections wait or fail; the process lives and serves again.
#[test]
fn running_out_of_descriptors_is_survived() {
    let directory = Directory::new();
    let store = directory.file("bank.db");
    let bank = Bank::command(&store);
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -n 256; exec \"$0\" \"$@\""]).arg(bank.get_program());
    let bank = Bank::spawn(limited.args(bank.get_args()), &[]).unwrap();
    let mut first = bank.client();
    let crowd: Vec<_> = (0..250).map(|_| TcpStream::connect(bank.address())).collect();
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(first.get("/health/live").unwrap().status, 200);
    drop(crowd);
    std::thread::sleep(Duration::from_millis(700));
    let mut later = Client::connect(bank.address()).unwrap();
    let body = r#"{"id":"1","owner":"Ada","currency":"EUR"}"#;
    assert_eq!(later.post("/accounts", body, None).unwrap().status, 201);
    assert!(bank.terminate().success());
}
