//! Commands in one and in two processes on one database, each with its share of the callers.
//!
//! Nothing routes an account to one process: they meet at every account, and conflicts are decided
//! again. The processes are this program, started as `bench callers …`.

use std::ops::Range;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::accounts::{self, ACCOUNTS, ReadModels};
use crate::database::{Database, Store};
use crate::measure::Round;
use crate::options::Options;
use crate::raw::Limits;
use crate::{Outcome, table};

/// The first argument of a process that only calls.
pub const CALLERS: &str = "callers";

const PROCESSES: [u64; 2] = [1, 2];
const IN_FLIGHT: [u64; 2] = [256, 1000];
/// `Both` as soon as a read model can be started in more than one process.
const READ_MODELS: [ReadModels; 1] = [ReadModels::None];

pub async fn run(options: &Options, store: Store, limits: &Limits) -> Outcome {
    if store == Store::Sqlite {
        return Ok(()); // one process has the file
    }
    table::heading(store, "1000 accounts from processes on one database, no routing, the sum");
    for read_models in READ_MODELS {
        for in_flight in IN_FLIGHT {
            for processes in PROCESSES {
                let database = store.fresh(options).await?;
                let round = together(options, &database, processes, in_flight, read_models).await?;
                let name = format!("{processes} × {} in flight", in_flight / processes);
                let batch = database.mean_batch().await?;
                table::line(&name, &round, Some(batch), limits.ratio(round.rate(), batch), "");
            }
        }
    }
    Ok(())
}

async fn together(
    options: &Options,
    database: &Database,
    processes: u64,
    in_flight: u64,
    read_models: ReadModels,
) -> Outcome<Round> {
    let app = accounts::bank(database, ReadModels::None).await?;
    accounts::open_all(&app).await?;
    app.shutdown().await;
    drop(app);
    let share = in_flight / processes;
    let mut started = Vec::new();
    for process in 0..processes {
        let callers = process * share..(process + 1) * share;
        started.push(Callers::start(database, callers, options.round, read_models).await?);
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
    /// Starts it, up to where it waits for the word.
    async fn start(
        database: &Database,
        callers: Range<u64>,
        round: Duration,
        read_models: ReadModels,
    ) -> Outcome<Self> {
        let mut process = Command::new(std::env::current_exe()?)
            .args([CALLERS, &database.url])
            .args([callers.start, callers.end, read_models as u64].map(|number| number.to_string()))
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

/// What such a process does: opens the bank, says so, waits for the word, calls, tells the round.
pub async fn call(mut words: impl Iterator<Item = String>) -> Outcome {
    let mut word = || words.next().ok_or("bench callers URL FIRST END READ-MODELS SECONDS");
    let database = Database::at(&word()?);
    let callers = word()?.parse()?..word()?.parse()?;
    let read_models = match word()?.as_str() {
        "0" => ReadModels::None,
        _ => ReadModels::Both,
    };
    let round = Duration::try_from_secs_f64(word()?.parse()?)?;
    let app = accounts::bank(&database, read_models).await?;
    println!("ready");
    std::io::stdin().read_line(&mut String::new())?;
    let round = accounts::credit_many(&app, callers, ACCOUNTS, round).await?;
    println!("{}", serde_json::to_string(&round)?);
    app.shutdown().await;
    Ok(())
}
