//! Read models that begin at nothing: how fast a log that is there already is folded.

use std::time::Instant;

use crate::Outcome;
use crate::accounts::{self, ACCOUNTS, ReadModels};
use crate::database::Store;
use crate::options::Options;

/// Deposits into each account, which take turns: no run of one account's events is folded as one.
const DEPOSITS: u64 = 299;

pub async fn run(options: &Options, store: Store) -> Outcome {
    println!("\n{}: read models catching up from zero", store.name());
    let database = store.fresh(options).await?;
    let app = accounts::bank(&database, ReadModels::None).await?;
    accounts::open_all(&app).await?;
    for _ in 0..DEPOSITS {
        let all = (0..ACCOUNTS).map(|account| accounts::deposits(&accounts::id(account), 1));
        accounts::append(app.store(), all.collect::<Outcome<Vec<_>>>()?).await?;
    }
    let head = app.store().head().await?;
    app.shutdown().await;
    drop(app);
    let began = Instant::now();
    let app = accounts::bank(&database, ReadModels::Both).await?;
    accounts::wait_for(&app, head).await?;
    let seconds = began.elapsed().as_secs_f64();
    let rate = head.0 as f64 / seconds;
    println!("{} events into both read models in {seconds:.2} s: {rate:.0} events/s", head.0);
    app.shutdown().await;
    Ok(())
}
