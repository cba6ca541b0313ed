//! A million accounts touched once each: the cap on live aggregates keeps memory bounded.
//!
//! Run in a process of its own when other sections run too, whose memory would count otherwise.

use std::time::Instant;

use actum::Application;
use example_bank::account::Account;

use crate::Outcome;
use crate::accounts::{self, ReadModels};
use crate::database::Store;
use crate::measure::resident_mib;
use crate::options::{Options, Section};

const MILLION: u64 = 1_000_000;
const IN_FLIGHT: u64 = 256;

pub async fn run(options: &Options, store: Store) -> Outcome {
    if !options.is_only(Section::Million, store) {
        let folder = options.folder.as_os_str();
        let mut alone = tokio::process::Command::new(std::env::current_exe()?);
        alone
            .args(["--only", "million", "--store", store.word(), "--folder"])
            .arg(folder)
            .kill_on_drop(true);
        let status = alone.status().await?;
        return if status.success() { Ok(()) } else { Err("the million failed".into()) };
    }
    let store_name = store.name();
    println!(
        "\n{store_name}: a million accounts opened once each, default settings, {IN_FLIGHT} in flight"
    );
    let app = accounts::bank(&store.fresh(options).await?, ReadModels::Both).await?;
    let began = Instant::now();
    let callers: Vec<_> =
        (0..IN_FLIGHT).map(|caller| tokio::spawn(open_every(app.clone(), caller))).collect();
    for caller in callers {
        caller.await??;
    }
    let rate = MILLION as f64 / began.elapsed().as_secs_f64();
    let lag = accounts::lag(&app, ReadModels::Both).await?;
    println!(
        "{:<34} {rate:>9.0} /s, {} MiB resident, {} live, lag at the end {:.0} ms",
        "both read models",
        resident_mib()?,
        app.live_aggregates::<Account>(),
        lag * 1000.0
    );
    app.shutdown().await;
    Ok(())
}

async fn open_every(app: Application, first: u64) -> Outcome {
    for account in (first..MILLION).step_by(IN_FLIGHT as usize) {
        accounts::open(&app, &accounts::id(account)).await?;
    }
    Ok(())
}
