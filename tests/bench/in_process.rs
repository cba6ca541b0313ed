//! Commands in this process: a thousand accounts with and without read models, and one hot one.

use std::time::Duration;

use actum::Application;

use crate::accounts::{self, ACCOUNTS, ReadModels};
use crate::database::{Store, delay_commits};
use crate::options::Options;
use crate::raw::Limits;
use crate::{Outcome, table};

const IN_FLIGHT: [u64; 5] = [1, 16, 64, 256, 1000];
const HOT_IN_FLIGHT: [u64; 2] = [256, 1000];

/// Time that a commit takes longer on a disk that syncs more slowly than this machine's.
const COMMIT_DELAY: Duration = Duration::from_millis(1);
const DELAYED_IN_FLIGHT: u64 = 256;

pub async fn run(options: &Options, store: Store, limits: &Limits) -> Outcome {
    let rounds = Rounds { options, store, limits };
    table::heading(store, "Actum in process, deposits into 1000 accounts, commands/s");
    for in_flight in IN_FLIGHT {
        rounds.run(in_flight, ACCOUNTS, ReadModels::None).await?;
    }
    table::heading(store, "the same, with the two read models behind it");
    for in_flight in IN_FLIGHT {
        rounds.run(in_flight, ACCOUNTS, ReadModels::Both).await?;
    }
    table::heading(store, "one hot account");
    for in_flight in HOT_IN_FLIGHT {
        rounds.run(in_flight, 1, ReadModels::None).await?;
    }
    if store == Store::Postgres {
        table::heading(store, &format!("1000 accounts, each commit {COMMIT_DELAY:?} longer"));
        delay_commits(Some(COMMIT_DELAY)).await?;
        rounds.run(DELAYED_IN_FLIGHT, ACCOUNTS, ReadModels::None).await?;
        delay_commits(None).await?;
    }
    Ok(())
}

struct Rounds<'a> {
    options: &'a Options,
    store: Store,
    limits: &'a Limits,
}

impl Rounds<'_> {
    async fn run(&self, in_flight: u64, spread: u64, read_models: ReadModels) -> Outcome {
        let wanted = &self.options.in_flight;
        if !wanted.is_empty() && !wanted.contains(&in_flight) {
            return Ok(());
        }
        let database = self.store.fresh(self.options).await?;
        let time = self.options.round;
        let app = accounts::bank(&database, read_models).await?;
        accounts::open_all(&app).await?;
        let sampler = tokio::spawn(largest_lag(app.clone(), read_models, time));
        let round = accounts::credit_many(&app, 0..in_flight, 0..spread, time).await?;
        let lag = sampler.await??.max(accounts::lag(&app, read_models).await?);
        let note = match read_models {
            ReadModels::None => String::new(),
            ReadModels::Both => format!("lag at most {:.0} ms", lag * 1000.0),
        };
        app.shutdown().await;
        let name = format!("{in_flight} in flight");
        let batch = database.mean_batch().await?;
        let ratio = self.limits.ratio(round.rate(), batch);
        table::line(&name, &round, Some(batch), ratio, &note);
        Ok(())
    }
}

/// Seconds that the read models were behind the head, the maximum of ten looks during the round.
async fn largest_lag(app: Application, read_models: ReadModels, round: Duration) -> Outcome<f64> {
    let mut largest: f64 = 0.0;
    for _ in 0..10 {
        tokio::time::sleep(round / 10).await;
        largest = largest.max(accounts::lag(&app, read_models).await?);
    }
    Ok(largest)
}
