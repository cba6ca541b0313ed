//! The spans of a command, as the bank writes them if RUST_LOG selects them: from the request to
//! the commit, and into the reaction that executes a deferred command.

use std::fs::File;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::support::child::BankProcess;
use crate::support::directory::Directory;

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// All lines of the bank's log about a span that ended, for an account that is opened at once and
/// credited later, at this level of detail.
fn ended_spans(level: &str) -> Vec<String> {
    let directory = Directory::new();
    let file = directory.file("log");
    let mut command = BankProcess::command(&directory.file("bank.db"));
    command.args(["--log", "text"]).env("RUST_LOG", level);
    let bank =
        BankProcess::launch(command.stderr(Stdio::from(File::create(&file).unwrap()))).unwrap();
    let mut client = bank.client();
    let ids = |id: &str| format!("x-correlation-id: {id}\r\ntraceparent: {PARENT}\r\n");
    let account = r#"{"id":"42","owner":"Ada","currency":"EUR"}"#;
    assert_eq!(client.send("POST", "/accounts", &ids("at-once"), account).unwrap().status, 201);
    let later = format!("{}prefer: respond-async\r\nidempotency-key: credit\r\n", ids("later"));
    let accepted = client.send("POST", "/accounts/42/credit", &later, r#"{"amount":5}"#).unwrap();
    assert_eq!(accepted.status, 202, "{accepted:?}");
    let began = Instant::now();
    while client.get(&accepted.location.clone().unwrap()).unwrap().body["status"] != "committed" {
        assert!(began.elapsed() < Duration::from_secs(30), "it is not carried out");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(bank.terminate().success());
    let log = std::fs::read_to_string(file).unwrap();
    let ended = log.lines().filter(|line| line.contains(" actum::spans: close "));
    ended.map(str::to_owned).collect()
}

/// The names of a span that ended and of those around it, the outermost first.
fn names(line: &str) -> Vec<&str> {
    let before_fields = line.split('{').map(|text| text.rsplit([' ', ':']).next().unwrap_or(text));
    before_fields.filter(|name| name.chars().all(|c| c.is_ascii_lowercase())).collect()
}

#[test]
fn spans_follow_a_command_to_its_commit_and_into_the_reaction() {
    let ended = ended_spans("info,actum::spans=debug");
    let found = |story: &str, spans: &[&str]| {
        let ids = format!("correlation_id=\"{story}\" trace_context=\"{PARENT}\"");
        ended.iter().filter(|line| names(line) == spans && line.contains(&ids)).count()
    };
    // The account, and the acceptance of the deferred credit.
    assert_eq!(found("at-once", &["request", "command", "append"]), 1, "{ended:#?}");
    assert_eq!(found("later", &["request", "command", "append"]), 1, "{ended:#?}");
    // The credit itself, and the outcome of the deferred command.
    assert_eq!(found("later", &["reaction", "command", "append"]), 2, "{ended:#?}");
    for name in ["fold", "project"] {
        assert!(ended.iter().any(|line| names(line) == [name]), "no {name}: {ended:#?}");
    }
}

#[test]
fn without_being_asked_for_there_are_no_spans() {
    assert_eq!(ended_spans("info"), Vec::<String>::new());
}
