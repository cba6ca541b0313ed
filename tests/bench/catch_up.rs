//! Read models and a projection that begin at nothing: how fast a log that is there already is folded.

use std::time::Instant;

use actum::{Application, GlobalPosition, ReadError};
use example_bank::account::Account;
use example_bank::statement::Statement;

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
    drop(app);
    let began = Instant::now();
    let builder = database.application().await?.aggregate::<Account>().projection::<Statement>();
    let app = builder.start().await?;
    while let Err(ReadError::NotYet { .. }) = bookings(&app, head).await {}
    let (seconds, bookings) = (began.elapsed().as_secs_f64(), bookings(&app, head).await?);
    let rate = head.0 as f64 / seconds;
    println!("{bookings} bookings into the statement in {seconds:.2} s: {rate:.0} events/s");
    app.shutdown().await;
    Ok(())
}

/// How many bookings the statement has once it reflects a position.
async fn bookings(app: &Application, position: GlobalPosition) -> Result<i64, ReadError> {
    let counted = app.query::<Statement, _>(position, async |db, _| {
        let rows = db.rows("SELECT count(*) FROM bookings", &[]).await?;
        Ok(rows[0].get(0)?)
    });
    counted.await
}
