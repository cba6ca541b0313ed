//! Freshness: how long after a command a read model's document shows it, by `read(key).after(position)`.
//!
//! Probes send a command and read its effect at once. They run alone, and beside a load of half of
//! what the store carried at most in the same run; in the process that folds, and, where another may
//! have the log open, in a standby: this program, started as `bench probe …`.

use std::future::Future;
use std::process::Stdio;
use std::time::{Duration, Instant};

use actum::Application;
use example_bank::account::{Account, AccountCommand};
use example_bank::balance::Balance;
use tokio::process::Command;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::Outcome;
use crate::accounts::{self, ACCOUNTS, ReadModels, id};
use crate::database::{BenchDatabase, Store};
use crate::measure::Round;
use crate::options::Options;
use crate::random::Random;

/// The first argument of a process that only probes.
pub const PROBE: &str = "probe";

const SATURATED: u64 = 256;
const PROBES: u64 = 4;
/// Longest pause between two commands of a probe, so that they hit every phase of a periodic task.
const LONGEST_REST: u64 = 10_000; // microseconds

pub async fn run(options: &Options, store: Store) -> Outcome {
    println!("\n{}: freshness, from a command to a read that sees it", store.name());
    let database = store.fresh(options).await?;
    let app = accounts::bank(&database, ReadModels::Both).await?;
    accounts::open_all(&app).await?;
    let saturated = accounts::credit_many(&app, 0..SATURATED, 0..ACCOUNTS, options.round).await?;
    accounts::lag(&app, ReadModels::Both).await?;
    let half = saturated.rate() / 2.0;
    println!("{SATURATED} callers with two read models: {:.0} commands/s", saturated.rate());
    println!(
        "{:<34} {:>7} {:>8} {:>8} {:>9} {:>9} {:>9} {:>9}",
        "", "probes", "sent to", "readable", "answered", "to same", "load /s", "in flight"
    );
    println!(
        "{:<34} {:>7} {:>8} {:>8} {:>9} {:>9} {:>9} {:>9}",
        "milliseconds", "", "p50", "p99", "p50", "p99", "", "most"
    );
    let round = options.round;
    let here = || probes(app.clone(), round);
    line("one process, idle", here().await?, None);
    let (probed, load) = beside_load(&app, half, here()).await?;
    line("one process, half load", probed, Some(load));
    if store == Store::Postgres {
        line("another process, idle", probes_elsewhere(&database, round).await?, None);
        let (probed, load) = beside_load(&app, half, probes_elsewhere(&database, round)).await?;
        line("another process, half load", probed, Some(load));
    }
    app.shutdown().await;
    Ok(())
}

fn line(name: &str, probed: Probed, load: Option<CommandLoad>) {
    let ms = |time: Duration| time.as_secs_f64() * 1000.0;
    let Probed { since_sent, since_answered } = probed;
    let (rate, most) = match load {
        Some(load) => (format!("{:.0}", load.rate), load.most_in_flight.to_string()),
        None => ("-".to_owned(), "-".to_owned()),
    };
    println!(
        "{name:<34} {:>7} {:>8.2} {:>8.2} {:>9.2} {:>9.2} {rate:>9} {most:>9}",
        since_sent.commands,
        ms(since_sent.p50),
        ms(since_sent.p99),
        ms(since_answered.p50),
        ms(since_answered.p99)
    );
}

/// Time until the read was answered, since the command was sent and since it was answered.
#[derive(serde::Serialize, serde::Deserialize)]
struct Probed {
    since_sent: Round,
    since_answered: Round,
}

async fn probes(app: Application, round: Duration) -> Outcome<Probed> {
    let end = Instant::now() + round;
    let probes: Vec<_> =
        (0..PROBES).map(|number| tokio::spawn(probe_until(end, app.clone(), number))).collect();
    let (mut since_sent, mut since_answered) = (Vec::new(), Vec::new());
    for probe in probes {
        for (sent, answered) in probe.await?? {
            since_sent.push(sent);
            since_answered.push(answered);
        }
    }
    let of = |latencies| Round::of(latencies, round, Duration::ZERO);
    Ok(Probed { since_sent: of(since_sent), since_answered: of(since_answered) })
}

async fn probe_until(
    end: Instant,
    app: Application,
    number: u64,
) -> Outcome<Vec<(Duration, Duration)>> {
    let mut random = Random::new(number);
    let mut latencies = Vec::new();
    while Instant::now() < end {
        sleep(Duration::from_micros(random.below(LONGEST_REST))).await;
        let account = id(random.below(ACCOUNTS));
        let sent = Instant::now();
        let credit = AccountCommand::Credit { amount: 1 };
        let committed = app.execute::<Account>(&account, credit).await?;
        let answered = Instant::now();
        let read = app.read::<Balance>(&account).after(committed.position).await?;
        let readable = Instant::now();
        if read.position < committed.position {
            return Err("a read does not see what it was to wait for".into());
        }
        latencies.push((readable - sent, readable - answered));
    }
    Ok(latencies)
}

/// Probes of a process of their own.
async fn probes_elsewhere(database: &BenchDatabase, round: Duration) -> Outcome<Probed> {
    let output = Command::new(std::env::current_exe()?)
        .args([PROBE, &database.url, &round.as_secs_f64().to_string()])
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .output()
        .await?;
    match output.status.success() {
        true => Ok(serde_json::from_slice(&output.stdout)?),
        false => Err("a process of probes has failed".into()),
    }
}

/// Body of such a process: opens the bank, probes, and prints the result.
pub async fn probe(mut words: impl Iterator<Item = String>) -> Outcome {
    let mut word = || words.next().ok_or("bench probe URL SECONDS");
    let database = BenchDatabase::at(&word()?);
    let round = Duration::try_from_secs_f64(word()?.parse()?)?;
    let app = accounts::bank(&database, ReadModels::Both).await?;
    probes(app.clone(), round / 5).await?; // its connections are open then
    let probed = probes(app.clone(), round).await?;
    println!("{}", serde_json::to_string(&probed)?);
    app.shutdown().await;
    Ok(())
}

/// Commands that are sent beside the probes.
struct CommandLoad {
    rate: f64,
    most_in_flight: usize,
}

/// Sends commands at this rate, without waiting for answers, while `probes` run.
async fn beside_load<T>(
    app: &Application,
    rate: f64,
    probes: impl Future<Output = Outcome<T>>,
) -> Outcome<(T, CommandLoad)> {
    let mut commands = tokio::task::JoinSet::new();
    let mut random = Random::new(PROBES);
    let mut tick = interval(Duration::from_millis(1));
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let began = Instant::now();
    let (mut sent, mut most_in_flight) = (0_u64, 0);
    tokio::pin!(probes);
    let probed = loop {
        tokio::select! {
            probed = &mut probes => break probed?,
            Some(done) = commands.join_next() => done??,
            _ = tick.tick() => {
                let due = (began.elapsed().as_secs_f64() * rate) as u64;
                for _ in sent..due {
                    let (app, account) = (app.clone(), id(random.below(ACCOUNTS)));
                    commands.spawn(async move { accounts::credit(&app, &account).await });
                }
                sent = sent.max(due);
                most_in_flight = most_in_flight.max(commands.len());
            }
        }
    };
    let rate = sent as f64 / began.elapsed().as_secs_f64();
    while let Some(done) = commands.join_next().await {
        done??;
    }
    accounts::lag(app, ReadModels::Both).await?;
    Ok((probed, CommandLoad { rate, most_in_flight }))
}
