//! A log of deposits, written past the actors.

use crate::Outcome;
use crate::accounts::{self, ReadModels};
use crate::database::BenchDatabase;

const BATCH: u64 = 2_000;

/// Deposits into these accounts, which take turns.
pub(super) async fn write(database: &BenchDatabase, accounts: u64, events: u64) -> Outcome {
    let app = accounts::bank(database, ReadModels::None).await?;
    for first in (0..events).step_by(BATCH as usize) {
        let batch = first..events.min(first + BATCH);
        let appends = batch.map(|event| accounts::deposits(&accounts::id(event % accounts), 1));
        accounts::append(app.store(), appends.collect::<Outcome<Vec<_>>>()?).await?;
    }
    app.shutdown().await;
    drop(app);
    database.settle().await
}
