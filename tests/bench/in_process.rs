//! Commands in this process: a thousand accounts with and without read models, and one hot one.

use std::sync::Arc;
use std::time::Duration;

use actum::Application;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};

use crate::accounts::{self, ACCOUNTS, ReadModels};
use crate::measure::drive;
use crate::options::Options;
use crate::raw::Limits;
use crate::{Outcome, table};

const IN_FLIGHT: [usize; 5] = [1, 16, 64, 256, 1000];
const HOT_IN_FLIGHT: [usize; 2] = [256, 1000];

pub async fn run(options: &Options, limits: &Limits) -> Outcome {
    table::heading("Actum in process: deposits into 1000 accounts, commands/s");
    for in_flight in IN_FLIGHT {
        round(options, limits, in_flight, ACCOUNTS, ReadModels::None).await?;
    }
    table::heading("The same, with the two read models behind it");
    for in_flight in IN_FLIGHT {
        round(options, limits, in_flight, ACCOUNTS, ReadModels::Both).await?;
    }
    table::heading("One hot account");
    for in_flight in HOT_IN_FLIGHT {
        round(options, limits, in_flight, 1, ReadModels::None).await?;
    }
    Ok(())
}

async fn round(
    options: &Options,
    limits: &Limits,
    in_flight: usize,
    spread: u64,
    read_models: ReadModels,
) -> Outcome {
    let path = options.database(&format!("actum-{in_flight}-{spread}-{}", read_models as u8));
    let app = accounts::bank(&path, read_models).await?;
    accounts::open_all(&app).await?;
    let ids: Arc<[String]> = (0..spread).map(accounts::id).collect();
    let commands = app.clone();
    let driven = drive(in_flight, options.round, move |random| {
        let (app, ids) = (commands.clone(), Arc::clone(&ids));
        async move { accounts::credit(&app, &ids[(random % spread) as usize]).await }
    });
    let sampler = tokio::spawn(largest_lag(app.clone(), read_models, options.round));
    let round = driven.await?;
    let lag = sampler.await??.max(accounts::lag(&app, read_models).await?);
    let note = match read_models {
        ReadModels::None => String::new(),
        ReadModels::Both => format!("lag at most {:.0} ms", lag * 1000.0),
    };
    app.shutdown().await;
    let name = format!("{in_flight} in flight");
    let batch = mean_batch(&path).await?;
    table::line(&name, &round, Some(batch), limits.ratio(round.rate(), batch), &note);
    Ok(())
}

/// Events in a commit, on average: those of one transaction share their time.
async fn mean_batch(path: &str) -> Outcome<f64> {
    let mut connection = SqliteConnectOptions::new().filename(path).connect().await?;
    let mean = "SELECT CAST(count(*) AS REAL) / count(DISTINCT recorded_at)
                FROM events WHERE version > 1";
    let mean: f64 = sqlx::query_scalar(mean).fetch_one(&mut connection).await?;
    connection.close().await?;
    Ok(mean)
}

/// Seconds that the read models were behind the head, the most of ten looks during the round.
async fn largest_lag(app: Application, read_models: ReadModels, round: Duration) -> Outcome<f64> {
    let mut largest: f64 = 0.0;
    for _ in 0..10 {
        tokio::time::sleep(round / 10).await;
        largest = largest.max(accounts::lag(&app, read_models).await?);
    }
    Ok(largest)
}
