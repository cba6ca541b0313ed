//! What catches up, in a process of its own: this program, started as `bench follow …`.

use std::time::{Duration, Instant};

use actum::{GlobalPosition, ReadError, ReadModel};
use example_bank::balance::Balance;
use example_bank::credit_limit::CreditLimit;
use tokio::process::Command;

use super::Run;
use super::writing::Rows;
use crate::Outcome;
use crate::accounts::id;
use crate::database::Database;
use crate::measure::{most_resident_mib, resident_mib};

/// The first argument of a process that only follows.
pub const FOLLOWER: &str = "follow";

/// What follows the log.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Follower {
    OneReadModel,
    BothReadModels,
}

impl Follower {
    pub(super) const ALL: [Self; 2] = [Self::OneReadModel, Self::BothReadModels];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::OneReadModel => "a read model",
            Self::BothReadModels => "two read models, each",
        }
    }

    /// What it writes.
    pub(super) fn rows(self) -> Rows {
        match self {
            Self::OneReadModel | Self::BothReadModels => Rows::Documents,
        }
    }

    /// Runs it to the end of the log.
    pub(super) async fn run(self, database: &Database, events: u64) -> Outcome<Run> {
        let output = Command::new(std::env::current_exe()?)
            .args([FOLLOWER, &database.url, self.name(), &events.to_string()])
            .stderr(std::process::Stdio::inherit())
            .kill_on_drop(true)
            .output()
            .await?;
        match output.status.success() {
            true => Ok(serde_json::from_slice(&output.stdout)?),
            false => Err(format!("{} did not catch up", self.name()).into()),
        }
    }
}

/// What such a process does: follows to the end of the log, and tells how long it took.
pub async fn follow(mut words: impl Iterator<Item = String>) -> Outcome {
    let mut word = || words.next().ok_or("bench follow URL WHAT EVENTS");
    let (database, name) = (Database::at(&word()?), word()?);
    let head = GlobalPosition(word()?.parse()?);
    let follower = Follower::ALL.into_iter().find(|follower| follower.name() == name);
    let builder = database.application().await?;
    let began = Instant::now();
    let app = match follower.ok_or("no such follower")? {
        Follower::OneReadModel => builder.read_model::<Balance>(),
        Follower::BothReadModels => builder.read_model::<Balance>().read_model::<CreditLimit>(),
    };
    let app = app.start().await?;
    reach::<Balance>(&app, head).await?;
    if follower == Some(Follower::BothReadModels) {
        reach::<CreditLimit>(&app, head).await?;
    }
    let seconds = began.elapsed().as_secs_f64();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let memory = Some((most_resident_mib()?, resident_mib()?));
    println!("{}", serde_json::to_string(&Run { seconds, memory })?);
    app.shutdown().await;
    Ok(())
}

/// Waits until the read model has seen this position.
async fn reach<M: ReadModel>(app: &actum::Application, head: GlobalPosition) -> Outcome {
    loop {
        match app.read_after::<M>(&id(0), head).await {
            Ok(document) if document.position >= head => return Ok(()),
            Ok(_) => return Err("it answered before it had seen the position".into()),
            Err(ReadError::NotYet { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
