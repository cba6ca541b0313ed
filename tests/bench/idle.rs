//! Cost of an application with a hundred partitions of read models to which nothing happens.
//!
//! Leases, memberships and the watch on the log need statements and timers even then. What is idle
//! should cost next to nothing, because many deployments are idle most of the time. There are ten
//! types of ten partitions, because a hundred types would take ten minutes to compile and have no
//! more leases.

use std::time::Duration;

use actum::{EventEnvelope, Fold, ReadModel, Sources};
use example_bank::account::{Account, AccountEvent};
use serde::{Deserialize, Serialize};
use sqlx::Row;

use crate::Outcome;
use crate::accounts;
use crate::database::{BenchDatabase, Store};
use crate::measure::cpu_time;
use crate::options::Options;

/// Time over which the cost is measured, after the start has settled.
const MEASURED: Duration = Duration::from_secs(20);
/// PostgreSQL counts the transactions of a session up to ten seconds after them.
const SETTLES: Duration = Duration::from_secs(15);

/// One of ten read models, all alike. Each of their partitions has a lease and an actor of its own.
#[derive(Default, Clone, Serialize, Deserialize)]
struct Count<const N: usize> {
    events: u64,
}

const NAMES: [&str; 10] = [
    "idle_0", "idle_1", "idle_2", "idle_3", "idle_4", "idle_5", "idle_6", "idle_7", "idle_8",
    "idle_9",
];

impl<const N: usize> ReadModel for Count<N> {
    const NAME: &'static str = NAMES[N];
    const PARTITIONS: u32 = 10;

    fn sources() -> Sources<Self> {
        Sources::of::<Account>()
    }
}

impl<const N: usize> Fold<Account> for Count<N> {
    fn apply(&mut self, _: &EventEnvelope<AccountEvent>) {
        self.events += 1;
    }
}

/// Counters of the server and of this process.
struct Counters {
    transactions: i64,
    syncs: i64,
    cpu: Duration,
    switches: u64,
}

pub async fn run(options: &Options, store: Store) -> Outcome {
    println!("\n{}: 10 idle read models of 10 partitions, for each second", store.name());
    println!("{:>12} {:>12} {:>10} {:>16}", "transactions", "synced", "CPU %", "thread switches");
    let database = store.fresh(options).await?;
    let builder = database.application().await?.aggregate::<Account>();
    let builder = builder.read_model::<Count<0>>().read_model::<Count<1>>();
    let builder = builder.read_model::<Count<2>>().read_model::<Count<3>>();
    let builder = builder.read_model::<Count<4>>().read_model::<Count<5>>();
    let builder = builder.read_model::<Count<6>>().read_model::<Count<7>>();
    let builder = builder.read_model::<Count<8>>().read_model::<Count<9>>();
    let app = builder.start().await?;
    accounts::open(&app, &accounts::id(0)).await?;
    tokio::time::sleep(SETTLES).await;
    let before = Counters::read(&database).await?;
    tokio::time::sleep(MEASURED).await;
    let after = Counters::read(&database).await?;
    let per_second = |count: f64| count / MEASURED.as_secs_f64();
    println!(
        "{:>12.1} {:>12.1} {:>10.2} {:>16.1}",
        per_second((after.transactions - before.transactions) as f64),
        per_second((after.syncs - before.syncs) as f64),
        100.0 * per_second((after.cpu - before.cpu).as_secs_f64()),
        per_second((after.switches - before.switches) as f64),
    );
    app.shutdown().await;
    Ok(())
}

impl Counters {
    async fn read(database: &BenchDatabase) -> Outcome<Self> {
        let (transactions, syncs) = match database.store {
            Store::Sqlite => (0, 0),
            Store::Postgres => statistics(database).await?,
        };
        Ok(Self { transactions, syncs, cpu: cpu_time("self")?, switches: switches()? })
    }
}

/// Committed transactions of the database, and syncs of the server's write-ahead log.
async fn statistics(database: &BenchDatabase) -> Outcome<(i64, i64)> {
    let mut connection = database.postgres().await?;
    let row = sqlx::query(
        "SELECT xact_commit, (SELECT wal_sync FROM pg_stat_wal) FROM pg_stat_database
         WHERE datname = current_database()",
    );
    let row = row.fetch_one(&mut connection).await?;
    Ok((row.try_get(0)?, row.try_get(1)?))
}

/// Times that a thread of this process gave up its core: about one for each timer or message.
fn switches() -> Outcome<u64> {
    let mut sum = 0;
    for task in std::fs::read_dir("/proc/self/task")? {
        let status = std::fs::read_to_string(task?.path().join("status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        sum += line.ok_or("no such line")?.trim().parse::<u64>()?;
    }
    Ok(sum)
}
