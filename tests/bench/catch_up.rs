//! Read models that begin at nothing: how fast a log that is there already is folded and kept,
//! beside the two limits of it: reading and decoding the log, and writing the same rows with sqlx.
//!
//! Each run is a process of its own on a copy of the same log, so that its memory is its own too.

mod follower;
mod log;
mod reading;
mod writing;

use std::time::{Duration, Instant};

use crate::Outcome;
use crate::database::Store;
use crate::measure::cpu_time;
use crate::options::Options;
use follower::Follower;
use writing::Rows;

pub use follower::{FOLLOWER, follow};

/// Number of accounts that the events are spread over in turn. With few accounts, a save writes one
/// document for many events. With more than memory holds, every event changes another document.
const SPREADS: [u64; 2] = [1_000, 200_000];

pub async fn run(options: &Options, store: Store) -> Outcome {
    for accounts in SPREADS {
        run_spread(options, store, accounts).await?;
    }
    Ok(())
}

async fn run_spread(options: &Options, store: Store, accounts: u64) -> Outcome {
    let Options { events, times, .. } = *options;
    println!("\n{}: {events} events of {accounts} accounts from zero, {times} times", store.name());
    println!(
        "{:<34} {:>9} {:>17} {:>8} {:>8} {:>8} {:>8} {:>8}",
        "", "/s", "least to most", "CPU µs", "of read", "of write", "MiB most", "at rest"
    );
    let database = store.fresh(options).await?;
    log::write(&database, accounts, events).await?;
    let mut table = Table { events, times, reading: None };
    let with_sqlx = async || reading::with_sqlx(&database, events).await;
    let with_sqlx = table.line("limit: read and decode, sqlx alone", None, with_sqlx).await?;
    let through_the_store = async || reading::through_the_store(&database, events).await;
    let through_the_store =
        table.line("limit: the same through the store", None, through_the_store).await?;
    let mut limits = Vec::new();
    for rows in Rows::ALL {
        let written = table.line(rows.name(), None, async || {
            let scratch = database.scratch().await?;
            let run = writing::run(&scratch, rows, accounts, events).await?;
            scratch.remove()?;
            Ok(run)
        });
        limits.push((rows, written.await?));
    }
    table.reading = Some(with_sqlx.max(through_the_store));
    for follower in Follower::ALL {
        let writing = limits.iter().find(|(rows, _)| Some(*rows) == follower.rows());
        // With few accounts, a document is written once for many events.
        let writing = writing.filter(|(rows, _)| accounts > 100_000 || *rows == Rows::Bookings);
        table
            .line(follower.name(), writing.map(|(_, rate)| *rate), async || {
                let copy = database.copy().await?;
                let run = follower.run(&copy, events).await?;
                copy.remove()?;
                Ok(run)
            })
            .await?;
    }
    database.remove()
}

/// Result of one run.
#[derive(serde::Serialize, serde::Deserialize)]
struct Run {
    seconds: f64,
    /// Processor time of the process in seconds, without the time it waits.
    cpu: f64,
    /// Peak of resident memory, and resident memory a second after the end, in MiB.
    memory: Option<(u64, u64)>,
}

/// Measures a run of this process.
struct Stopwatch {
    began: Instant,
    cpu: Duration,
}

impl Stopwatch {
    fn start() -> Outcome<Self> {
        Ok(Self { began: Instant::now(), cpu: cpu_time("self")? })
    }

    fn stop(self) -> Outcome<Run> {
        let cpu = cpu_time("self")?.saturating_sub(self.cpu).as_secs_f64();
        Ok(Run { seconds: self.began.elapsed().as_secs_f64(), cpu, memory: None })
    }
}

struct Table {
    events: u64,
    times: usize,
    /// The limit, in events/s.
    reading: Option<f64>,
}

impl Table {
    /// Runs it several times, prints the median run and returns its rate.
    async fn line(
        &self,
        name: &str,
        writing: Option<f64>,
        mut run: impl AsyncFnMut() -> Outcome<Run>,
    ) -> Outcome<f64> {
        let mut runs = Vec::new();
        for _ in 0..self.times {
            runs.push(run().await?);
        }
        runs.sort_by(|one, other| other.seconds.total_cmp(&one.seconds));
        let rate = |run: &Run| self.events as f64 / run.seconds;
        let (least, most) = (rate(&runs[0]), rate(&runs[runs.len() - 1]));
        let median = &runs[runs.len() / 2];
        let part = |limit: Option<f64>| match limit {
            Some(limit) => format!("{:.2}", rate(median) / limit),
            None => "-".to_owned(),
        };
        let (of_read, of_write) = (part(self.reading), part(writing));
        let [mib, at_rest] = match median.memory {
            Some((most, at_rest)) => [most, at_rest].map(|mib| mib.to_string()),
            None => ["-", "-"].map(str::to_owned),
        };
        let cpu = median.cpu * 1e6 / self.events as f64;
        let (rate, spread) = (rate(median), format!("{least:.0}–{most:.0}"));
        println!(
            "{name:<34} {rate:>9.0} {spread:>17} {cpu:>8.2} {of_read:>8} {of_write:>8} {mib:>8} \
             {at_rest:>8}"
        );
        Ok(rate)
    }
}
