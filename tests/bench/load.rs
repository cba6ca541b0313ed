//! Time of the first command to an aggregate with a long history, including the load.

use std::time::{Duration, Instant};

use crate::Outcome;
use crate::accounts::{self, ReadModels};
use crate::database::{BenchDatabase, Store};
use crate::options::Options;

const EVENTS: usize = 10_000;
const TIMES: usize = 7;

pub async fn run(options: &Options, store: Store) -> Outcome {
    let store_name = store.name();
    println!("\n{store_name}: the first command to an account of {EVENTS} events, milliseconds");
    let database = store.fresh(options).await?;
    let account = accounts::id(0);
    let app = accounts::bank(&database, ReadModels::None).await?;
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
        // The first load leaves a snapshot, where one is wanted.
        first_command(&database, account, snapshot).await?;
        let mut times = Vec::new();
        for _ in 0..TIMES {
            times.push(first_command(&database, account, snapshot).await?);
        }
        times.sort_unstable();
        let ms = |time: Duration| time.as_secs_f64() * 1000.0;
        let (median, worst) = (ms(times[TIMES / 2]), ms(times[TIMES - 1]));
        println!("{name:<34} {median:>9.2} (median of {TIMES}, worst {worst:.2})");
    }
    Ok(())
}

async fn first_command(
    database: &BenchDatabase,
    account: &str,
    snapshot: bool,
) -> Outcome<Duration> {
    if !snapshot {
        database.delete_snapshots().await?;
    }
    let app = accounts::bank(database, ReadModels::None).await?;
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
