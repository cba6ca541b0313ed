//! The follower of a log, in its own process: this program, started as `bench follow …`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use actum::{
    Application, Attempt, BoxError, EventEnvelope, EventHandler, EventSources, Fold,
    GlobalPosition, ReadError, ReadModel, Sources, StartPosition,
};
use async_trait::async_trait;
use example_bank::account::{Account, AccountEvent};
use example_bank::balance::Balance;
use example_bank::credit_limit::CreditLimit;
use example_bank::statement::Statement;
use tokio::process::Command;

use super::writing::Rows;
use super::{Run, Stopwatch};
use crate::Outcome;
use crate::accounts::id;
use crate::database::BenchDatabase;
use crate::measure::{most_resident_mib, resident_mib};

/// The first argument of a process that only follows.
pub const FOLLOWER: &str = "follow";

/// `Balance` in four partitions.
#[derive(Default, Clone, serde::Serialize, serde::Deserialize)]
struct Parted(Balance);

impl ReadModel for Parted {
    const NAME: &'static str = "parted";
    const PARTITIONS: u32 = 4;

    fn sources() -> Sources<Self> {
        Sources::of::<Account>()
    }
}

impl Fold<Account> for Parted {
    fn apply(&mut self, event: &EventEnvelope<AccountEvent>) {
        self.0.apply(event);
    }
}

/// An event handler that does nothing but count.
struct Idle(Arc<AtomicU64>);

#[async_trait]
impl EventHandler for Idle {
    const NAME: &'static str = "idle";
    type Event = EventEnvelope<AccountEvent>;

    fn sources() -> EventSources<Self::Event> {
        EventSources::of::<Account>()
    }

    async fn handle(&self, _: &Self::Event, _: &Attempt) -> Result<(), BoxError> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// The kind of follower.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Follower {
    OneReadModel,
    FourPartitions,
    BothReadModels,
    Projection,
    Handler,
}

impl Follower {
    pub(super) const ALL: [Self; 5] = [
        Self::OneReadModel,
        Self::FourPartitions,
        Self::BothReadModels,
        Self::Projection,
        Self::Handler,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::OneReadModel => "a read model",
            Self::FourPartitions => "a read model in four partitions",
            Self::BothReadModels => "two read models, each",
            Self::Projection => "a projection: the statement",
            Self::Handler => "an event handler that does nothing",
        }
    }

    /// Rows that this follower writes, if it writes any.
    pub(super) fn rows(self) -> Option<Rows> {
        match self {
            Self::OneReadModel | Self::FourPartitions | Self::BothReadModels => {
                Some(Rows::Documents)
            }
            Self::Projection => Some(Rows::Bookings),
            Self::Handler => None,
        }
    }

    /// Runs it to the end of the log.
    pub(super) async fn run(self, database: &BenchDatabase, events: u64) -> Outcome<Run> {
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

/// Body of such a process: follows the log to its end, and prints the time it took.
pub async fn follow(mut words: impl Iterator<Item = String>) -> Outcome {
    let mut word = || words.next().ok_or("bench follow URL WHAT EVENTS");
    let (database, name) = (BenchDatabase::at(&word()?), word()?);
    let head = GlobalPosition(word()?.parse()?);
    let follower = Follower::ALL.into_iter().find(|follower| follower.name() == name);
    let builder = database.application().await?;
    let stopwatch = Stopwatch::start()?;
    let app = match follower.ok_or("no such follower")? {
        Follower::OneReadModel => {
            let app = builder.read_model::<Balance>().start().await?;
            reach::<Balance>(&app, head).await?;
            app
        }
        Follower::FourPartitions => {
            let app = builder.read_model::<Parted>().start().await?;
            reach::<Parted>(&app, head).await?;
            app
        }
        Follower::BothReadModels => {
            let both = builder.read_model::<Balance>().read_model::<CreditLimit>();
            let app = both.start().await?;
            reach::<Balance>(&app, head).await?;
            reach::<CreditLimit>(&app, head).await?;
            app
        }
        Follower::Projection => {
            let builder = builder.aggregate::<Account>().projection::<Statement>();
            let app = builder.start().await?;
            reach_rows(&app, head).await?;
            app
        }
        Follower::Handler => {
            let handled = Arc::new(AtomicU64::new(0));
            let handler = Idle(Arc::clone(&handled));
            let app = builder.event_handler(handler, StartPosition::Beginning).start().await?;
            // Every position of this log is an event of an account.
            while handled.load(Ordering::Relaxed) < head.0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            app
        }
    };
    let run = stopwatch.stop()?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let memory = Some((most_resident_mib()?, resident_mib()?));
    println!("{}", serde_json::to_string(&Run { memory, ..run })?);
    app.shutdown().await;
    Ok(())
}

/// Number of keys in each of four partitions.
const KEYS: u64 = 64;

/// Waits until the read model has seen this position.
async fn reach<M: ReadModel>(app: &Application, head: GlobalPosition) -> Outcome {
    for key in (0..KEYS).map(id) {
        loop {
            match app.read::<M>(&key).after(head).await {
                Ok(document) if document.position >= head => break,
                Ok(_) => return Err("it answered before it had seen the position".into()),
                Err(ReadError::NotYet { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(())
}

/// Waits until the statement has seen this position.
async fn reach_rows(app: &Application, head: GlobalPosition) -> Outcome {
    loop {
        let counted = app.query::<Statement>().after(head).run(async |db, _| {
            let rows = db.rows("SELECT count(*) FROM bookings", &[]).await?;
            Ok(rows[0].get(0)?)
        });
        match counted.await {
            Ok(1..) => return Ok(()),
            Ok(_) => return Err("it has no bookings".into()),
            Err(ReadError::NotYet { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
