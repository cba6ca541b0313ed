//! Metrics of the bank: `GET /metrics` of a running bank, read as a scraper reads it.

mod exposition;

use std::collections::BTreeSet;
use std::time::Duration;

use actum::metrics::{ALL, Kind};

use self::exposition::Exposition;
use crate::support::child::BankProcess;
use crate::support::directory::Directory;
use crate::support::http::Client;
use crate::support::postgres::database;
use crate::support::waiting::{block_until, check};

fn scrape(client: &mut Client) -> Exposition {
    let answer = client.get("/metrics").unwrap();
    assert_eq!(answer.status, 200);
    Exposition::parse(&answer.text)
}

/// Scrapes until this gauge is there: gauges are brought up to date once a second.
fn until(client: &mut Client, name: &str, labels: &[(&str, &str)], value: f64) -> Exposition {
    block_until(Duration::from_secs(30), || {
        check(scrape(client), |scraped| scraped.sum(name, labels) == value)
    })
}

/// Eight commands of every common outcome, and four reads.
fn use_it(client: &mut Client) {
    let mut post = |path: &str, body: &str, key: Option<&str>, status: u16| {
        let answer = client.post(path, body, key).unwrap();
        assert_eq!(answer.status, status, "{answer:?}");
    };
    post("/accounts", r#"{"id":"1","owner":"Ada","currency":"EUR"}"#, None, 201);
    post("/accounts/1/credit", r#"{"amount":7}"#, Some("a"), 200);
    post("/accounts/1/credit", r#"{"amount":7}"#, Some("a"), 200);
    post("/accounts/1/credit", r#"{"amount":8}"#, Some("a"), 422);
    post("/accounts/1/credit", r#"{"amount":1}"#, None, 200);
    post("/accounts/1/withdraw", r#"{"amount":100}"#, None, 422);
    post("/accounts/1/withdraw", r#"{"amount":200}"#, None, 422);
    post("/accounts/1/withdraw", r#"{"amount":8}"#, None, 200);
    for (path, status) in [
        ("/accounts/1/balance?after=4", 200),
        ("/accounts/1/balance", 200),
        ("/accounts/1/credit-limit?after=4", 200),
        ("/accounts/2/balance?after=4", 404),
    ] {
        assert_eq!(client.get(path).unwrap().status, status);
    }
}

fn counts_what_happened(bank: &BankProcess) {
    use_it(&mut bank.client());
    let client = &mut bank.operator();
    let scraped = until(client, "actum_log_head", &[], 4.0);
    for (outcome, count) in [
        ("committed", 4.0),
        ("replayed", 1.0),
        ("key_reused", 1.0),
        ("refused", 2.0),
        ("abandoned", 0.0),
        ("unknown", 0.0),
    ] {
        let labels = [("aggregate", "account"), ("outcome", outcome)];
        assert_eq!(scraped.sum("actum_commands_total", &labels), count, "{outcome}");
    }
    let count = ("of", "_count");
    assert_eq!(scraped.sum("actum_command_seconds", &[count, ("aggregate", "account")]), 8.0);
    assert_eq!(scraped.sum("actum_events_appended_total", &[]), 4.0);
    assert_eq!(scraped.sum("actum_commits_in_doubt_total", &[]), 0.0);
    assert!(scraped.sum("actum_commit_seconds", &[count]) >= 4.0);
    assert!(scraped.sum("actum_commit_appends", &[("of", "_sum")]) >= 4.0);
    for (model, outcome, reads) in
        [("balance", "found", 2.0), ("balance", "not_found", 1.0), ("credit_limit", "found", 1.0)]
    {
        let labels = [("read_model", model), ("outcome", outcome)];
        assert_eq!(scraped.sum("actum_reads_total", &labels), reads, "{labels:?}");
    }
    assert_eq!(scraped.sum("actum_read_seconds", &[count]), 4.0);
    until(client, "actum_live_aggregates", &[("aggregate", "account")], 1.0);
    let balance = ("subscription", "balance@2");
    until(client, "actum_subscription_position", &[balance], 4.0);
    let scraped = until(client, "actum_subscription_state", &[balance, ("state", "live")], 1.0);
    assert_eq!(scraped.sum("actum_subscription_state", &[balance]), 1.0);
    assert_eq!(scraped.sum("actum_subscription_lag_events", &[balance]), 0.0);
}

#[test]
fn commands_reads_and_read_models_are_counted_on_sqlite() {
    let directory = Directory::new();
    let bank = BankProcess::start(&directory.file("bank.db"), &[]).unwrap();
    counts_what_happened(&bank);
}

#[tokio::test]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn commands_reads_and_read_models_are_counted_on_postgresql() {
    let database = database().await;
    let bank = BankProcess::start(&database.url(), &[]).unwrap();
    counts_what_happened(&bank);
}

#[test]
fn every_metric_is_shown_as_it_is_described() {
    let directory = Directory::new();
    let bank = BankProcess::start(&directory.file("bank.db"), &[]).unwrap();
    use_it(&mut bank.client());
    let mut client = bank.operator();
    let scraped = until(&mut client, "actum_log_head", &[], 4.0);
    for metric in ALL {
        let family = scraped.family(metric.name);
        let kind = match metric.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram { .. } => "histogram",
        };
        assert_eq!((family.kind.as_str(), family.help.as_str()), (kind, metric.meaning));
        let labels: BTreeSet<&str> = metric.labels.iter().copied().collect();
        for (series, _) in &family.series {
            let found = series.keys().map(String::as_str).filter(|l| !["of", "le"].contains(l));
            assert_eq!(found.collect::<BTreeSet<_>>(), labels, "{}", metric.name);
        }
    }
}
