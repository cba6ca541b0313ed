//! The bank's documents as plain SQL reads them, compared with a fold of the log that uses no code
//! of the framework.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use sqlx::postgres::PgConnection;
use tokio::time::sleep;

use super::log;

const MODELS: [&str; 3] = ["balance@2", "credit_limit@2", "statement@1"];

/// Time limit for the read models to reach the end of a log without writers.
const CAUGHT_UP_WITHIN: Duration = Duration::from_secs(30);

/// Once the read models and the statement have reached the end of the log, the documents are its fold, byte for
/// byte, and their checkpoints name its last event. Of the events it knows those of these tests.
pub async fn check(connection: &mut PgConnection) {
    let log = log::read(connection).await;
    let last = log.last().unwrap();
    let began = Instant::now();
    loop {
        let checkpoints: Vec<(String, i64, String)> = sqlx::query_as(
            "SELECT model, position, event_id::text FROM actum.checkpoints
             WHERE model = ANY ($1) ORDER BY model",
        )
        .bind(MODELS)
        .fetch_all(&mut *connection)
        .await
        .unwrap();
        let expected = MODELS.map(|model| (model.into(), last.position, last.event_id.clone()));
        if checkpoints == expected {
            break;
        }
        let late = began.elapsed() > CAUGHT_UP_WITHIN;
        assert!(!late, "not caught up: {checkpoints:?} of {expected:?}");
        sleep(Duration::from_millis(10)).await;
    }

    let mut balances: BTreeMap<&str, (i64, i64)> = BTreeMap::new();
    for row in &log {
        let account = row.stream.strip_prefix("account-").unwrap();
        let (balance, version) = balances.entry(account).or_default();
        *version = row.version;
        match &*row.name {
            "Opened" => {}
            "Credited" => *balance += row.amount.unwrap(),
            "Withdrawn" => *balance -= row.amount.unwrap(),
            other => panic!("{other} is not folded here"),
        }
    }
    let of = |model: &str, account: &str, body| (model.to_owned(), account.to_owned(), body);
    let fold = balances.iter().flat_map(|(account, (balance, version))| {
        [
            of(
                MODELS[0],
                account,
                format!(
                    r#"{{"balance":{balance},"currency":"EUR","status":"open","version":{version}}}"#
                ),
            ),
            of(
                MODELS[1],
                account,
                format!(r#"{{"granted":0,"balance":{balance},"version":{version}}}"#),
            ),
        ]
    });
    let mut fold: Vec<(String, String, String)> = fold.collect();
    fold.sort();
    let documents: Vec<(String, String, String)> =
        sqlx::query_as("SELECT model, key, body::text FROM actum.documents ORDER BY model, key")
            .fetch_all(connection)
            .await
            .unwrap();
    assert_eq!(documents, fold, "the documents are not the fold of the log");
}
