//! The README's two banks on one PostgreSQL, started by its own lines.

use std::process::Command;

use crate::support::child::BankProcess;
use crate::support::postgres::database;

const README: &str = include_str!("../../README.md");

/// The arguments of each line that starts a bank on PostgreSQL, with this database and a free port.
fn lines(url: &str) -> Vec<Vec<String>> {
    let starts =
        README.lines().filter_map(|line| line.strip_prefix("$ cargo run -p example-bank -- "));
    let starts = starts.filter(|arguments| arguments.contains("postgres://"));
    let argument = |word: &str| match word {
        word if word.starts_with("postgres://") => url.to_owned(),
        word if word.starts_with("127.0.0.1:") => "127.0.0.1:0".to_owned(),
        word => word.to_owned(),
    };
    let words = |line: &str| line.split(' ').filter(|word| *word != "&").map(argument).collect();
    starts.map(words).collect()
}

#[tokio::test]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn the_two_banks_of_the_readme_are_one() {
    let database = database().await;
    let [first, second] = &lines(&database.url())[..] else { panic!("not two lines") };
    let start = |arguments: &[String]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bank-process"));
        BankProcess::spawn(command.args(arguments), &[]).expect("a bank")
    };
    let banks = [start(first), start(second)];
    let [mut first, mut second] = banks.each_ref().map(BankProcess::client);
    let body = r#"{"id":"ada","owner":"Ada","currency":"EUR"}"#;
    assert_eq!(first.post("/accounts", body, None).unwrap().status, 201);
    assert_eq!(
        second.post("/accounts/ada/credit", r#"{"amount":1250}"#, None).unwrap().status,
        200
    );
    for client in [&mut first, &mut second] {
        let balance = client.get("/accounts/ada/balance?after=2").unwrap();
        assert_eq!((balance.status, &balance.body["balance"]), (200, &1250.into()));
    }
}
