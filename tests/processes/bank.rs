//! The bank as a process: what it says when it cannot start, and what it survives.

use std::io::Write;
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::child::{BankProcess, read_log};
use crate::support::directory::Directory;
use crate::support::http::Client;

/// Runs the bank where it cannot start: its exit code and what it said.
fn fails(store: &str) -> (Option<i32>, String) {
    let output = BankProcess::command(store).env("RUST_LOG", "off").output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn a_second_process_on_the_same_file_is_refused_with_its_path() {
    let directory = Directory::new();
    let store = directory.file("bank.db");
    let bank = BankProcess::start(&store, &[]).unwrap();
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

/// The command was sent completely, so the end of its connection does not undo it.
#[tokio::test]
async fn a_client_that_hangs_up_has_its_command_carried_out() {
    let directory = Directory::new();
    let store = directory.file("bank.db");
    let bank = BankProcess::start(&store, &[]).unwrap();
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

/// Without a free descriptor, new connections wait or fail. The process lives and serves again
/// later.
#[test]
fn running_out_of_descriptors_is_survived() {
    let directory = Directory::new();
    let store = directory.file("bank.db");
    let bank = BankProcess::command(&store);
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -n 256; exec \"$0\" \"$@\""]).arg(bank.get_program());
    let bank = BankProcess::spawn(limited.args(bank.get_args()), &[]).unwrap();
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

/// A bank could only keep clients waiting until its store is open, so it refuses them, and a load
/// balancer tries another bank.
#[test]
fn no_client_can_connect_before_the_store_is_open() {
    let directory = Directory::new();
    let store = directory.file("bank.db");
    let _first = BankProcess::start(&store, &[]).unwrap();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_bank-process"));
    command.args(["--store", &store, "--listen", &free.to_string()]);
    // The process waits for the lock of the first one until its timeout.
    let mut second = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let mut tries = 0;
    let ended = loop {
        if let Some(ended) = second.try_wait().unwrap() {
            break ended;
        }
        assert!(TcpStream::connect(free).is_err(), "it listens before its store is open");
        tries += 1;
        std::thread::sleep(Duration::from_millis(10));
    };
    assert_eq!(ended.code(), Some(1));
    assert!(tries > 20, "it ended too soon: nothing was proved");
}

#[test]
fn too_few_open_files_end_the_start_with_a_message_and_no_panic() {
    let directory = Directory::new();
    let bank = BankProcess::command(&directory.file("bank.db"));
    let arguments: Vec<_> = bank.get_args().map(|a| a.to_str().unwrap()).collect();
    let program = bank.get_program().to_str().unwrap();
    let mut refused = 0;
    for limit in [8, 10, 12, 14, 16, 18, 20, 24, 28, 32, 40] {
        let run =
            format!("ulimit -n {limit}; exec timeout -s KILL 4 {program} {}", arguments.join(" "));
        let output = Command::new("sh").args(["-c", &run]).output().unwrap();
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(!message.contains("panicked"), "{limit}: {message}");
        refused += u32::from(output.status.code() == Some(1));
    }
    assert!(refused > 0, "no limit was too low: nothing was proved");
}
