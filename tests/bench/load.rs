//! How long the first command to an aggregate with a long history takes, in which it is loaded.

use std::time::{Duration, Instant};

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};

use crate::Outcome;
use crate::accounts::{self, ReadModels};
use crate::options::Options;

const EVENTS: usize = 10_000;
const TIMES: usize = 7;

pub async fn run(options: &Options) -> Outcome {
    println!("\nThe first command to an account of {EVENTS} events, milliseconds");
    let path = options.database("load");
    let account = accounts::id(0);
    let app = accounts::bank(&path, ReadModels::None).await?;
    accounts::open(&app, &account).await?;
    accounts::open(&app, &accounts::id(1)).await?;
    for _ in 0..EVENTS / 1000 {
        accounts::append(app.store(), vec![accounts::deposits(&account, 1000)?]).await?;
    }
    app.shutdown().await;
    drop(app);
    let fresh = accounts::id(1);
    let cases = [
        ("all 10,000 events", &account, false),
        ("a snapshot and what follows", &account, true),
        ("beside it: an account of few events", &fresh, false),
    ];
    for (name, account, snapshot) in cases {
        // The first leaves a snapshot behind, where one is wanted.
        first_command(&path, account, snapshot).await?;
        let mut times = Vec::new();
        for _ in 0..TIMES {
            times.push(first_command(&path, account, snapshot).await?);
        }
        times.sort_unstable();
        let ms = |time: Duration| time.as_secs_f64() * 1000.0;
        let (median, worst) = (ms(times[TIMES / 2]), ms(times[TIMES - 1]));
        println!("{name:<34} {median:>9.2} (median of {TIMES}, worst {worst:.2})");
    }
    Ok(())
}

async fn first_command(path: &str, account: &str, snapshot: bool) -> Outcome<Duration> {
    if !snapshot {
        delete_snapshots(path).await?;
    }
    let app = accounts::bank(path, ReadModels::None).await?;
    let began = Instant::now();
    accounts::credit(&app, account).await?;
    let elapsed = began.elapsed();
    if snapshot {
        // Enough commands that a snapshot is kept for the next time.
        for _ in 0..100 {
            accounts::credit(&app, account).await?;
        }
    }
    app.shutdown().await;
    Ok(elapsed)
}

async fn delete_snapshots(path: &str) -> Outcome {
    let mut connection = SqliteConnectOptions::new().filename(path).connect().await?;
    sqlx::query("DELETE FROM snapshots").execute(&mut connection).await?;
    connection.close().await?;
    Ok(())
}
