//! Commands in one and in two processes on one database, each with its share of the callers.
//!
//! Once each account is asked of one process alone, as a load balancer would route them by id, and
//! once nothing is routed: the processes meet at every account, and conflicts are decided again.
//! The processes are this program, started as `bench callers …`.

use std::ops::Range;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::accounts::{self, ACCOUNTS, ReadModels};
use crate::database::{BenchDatabase, Store};
use crate::measure::Round;
use crate::options::Options;
use crate::raw::Limits;
use crate::{Outcome, table};

/// The first argument of a process that only calls.
pub const CALLERS: &str = "callers";

const IN_FLIGHT: [u64; 2] = [256, 1000];

/// Distribution of the callers over processes.
struct Spread {
    processes: u64,
    is_routed: bool,
    name: &'static str,
}

const SPREADS: [Spread; 3] = [
    Spread { processes: 1, is_routed: true, name: "" },
    Spread { processes: 2, is_routed: true, name: ", routed" },
    Spread { processes: 2, is_routed: false, name: ", no routing" },
];

pub async fn run(options: &Options, store: Store, limits: &Limits) -> Outcome {
    if store == Store::Sqlite {
        return Ok(()); // one process has the file
    }
    for (read_models, title) in [
        (ReadModels::None, "1000 accounts from processes on one database, the sum"),
        (ReadModels::Both, "The same, with the two read models behind it"),
    ] {
        table::heading(store, title);
        for in_flight in IN_FLIGHT {
            for spread in &SPREADS {
                let database = store.fresh(options).await?;
                let round = together(options, &database, spread, in_flight, read_models).await?;
                let Spread { processes, name, .. } = spread;
                let name = format!("{processes} × {} in flight{name}", in_flight / processes);
                let batch = database.mean_batch().await?;
                table::line(&name, &round, Some(batch), limits.ratio(round.rate(), batch), "");
            }
        }
    }
    Ok(())
}

async fn together(
    options: &Options,
    database: &BenchDatabase,
    spread: &Spread,
    in_flight: u64,
    read_models: ReadModels,
) -> Outcome<Round> {
    let app = accounts::bank(database, ReadModels::None).await?;
    accounts::open_all(&app).await?;
    app.shutdown().await;
    drop(app);
    let part = |of: u64, process: u64| {
        let share = of / spread.processes;
        process * share..(process + 1) * share
    };
    let mut started = Vec::new();
    for process in 0..spread.processes {
        let accounts = if spread.is_routed { part(ACCOUNTS, process) } else { 0..ACCOUNTS };
        let callers = part(in_flight, process);
        let start = Callers::start(database, callers, accounts, options.round, read_models);
        started.push(start.await?);
    }
    for callers in &mut started {
        callers.go().await?;
    }
    let mut sum = Round::default();
    for callers in started {
        sum = sum.beside(callers.finish().await?);
    }
    Ok(sum)
}

/// A process of callers.
struct Callers {
    process: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Callers {
    /// Starts it. It waits for the start of the round.
    async fn start(
        database: &BenchDatabase,
        callers: Range<u64>,
        accounts: Range<u64>,
        round: Duration,
        read_models: ReadModels,
    ) -> Outcome<Self> {
        let mut process = Command::new(std::env::current_exe()?)
            .args([CALLERS, &database.url])
            .args([callers.start, callers.end, accounts.start, accounts.end].map(|n| n.to_string()))
            .arg((read_models as u64).to_string())
            .arg(round.as_secs_f64().to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let input = process.stdin.take().ok_or("no input")?;
        let output = BufReader::new(process.stdout.take().ok_or("no output")?).lines();
        let mut callers = Self { process, input, output };
        callers.line().await?;
        Ok(callers)
    }

    async fn line(&mut self) -> Outcome<String> {
        Ok(self.output.next_line().await?.ok_or("a process of callers has failed")?)
    }

    async fn go(&mut self) -> Outcome {
        Ok(self.input.write_all(b"go\n").await?)
    }

    async fn finish(mut self) -> Outcome<Round> {
        let round = serde_json::from_str(&self.line().await?)?;
        self.process.wait().await?;
        Ok(round)
    }
}

/// Body of such a process: opens the bank, reports that, waits for the start, calls, and prints the
/// round.
pub async fn call(mut words: impl Iterator<Item = String>) -> Outcome {
    let mut word =
        || words.next().ok_or("bench callers URL FIRST END ACCOUNT END READ-MODELS SECONDS");
    let database = BenchDatabase::at(&word()?);
    let callers = word()?.parse()?..word()?.parse()?;
    let accounts = word()?.parse()?..word()?.parse()?;
    let read_models = match word()?.as_str() {
        "0" => ReadModels::None,
        _ => ReadModels::Both,
    };
    let round = Duration::try_from_secs_f64(word()?.parse()?)?;
    let app = accounts::bank(&database, read_models).await?;
    println!("ready");
    std::io::stdin().read_line(&mut String::new())?;
    let round = accounts::credit_many(&app, callers, accounts, round).await?;
    println!("{}", serde_json::to_string(&round)?);
    app.shutdown().await;
    Ok(())
}
