//! The bank over HTTP: its own process, wrk on the same machine, keep-alive connections.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::accounts::{self, ACCOUNTS, ReadModels};
use crate::database::Store;
use crate::measure::{Round, cpu_time};
use crate::options::Options;
use crate::raw::Limits;
use crate::{Outcome, table};

pub const CONNECTIONS: usize = 64;

pub async fn run(options: &Options, store: Store, limits: &Limits) -> Outcome {
    table::heading(store, "the bank over HTTP (read models on), wrk beside it on the same cores");
    let database = store.fresh(options).await?;
    let app = accounts::bank(&database, ReadModels::None).await?;
    accounts::open_all(&app).await?;
    app.shutdown().await;
    drop(app);
    let round = credit(options, &database.url, &[], "").await?;
    let ratio = limits.ratio(round.rate(), CONNECTIONS as f64);
    let name = format!("{CONNECTIONS} connections, POST …/credit");
    table::line(&name, &round, None, ratio, "CPU: the bank's only");
    Ok(())
}

/// One round of credits to a bank of its own, started with these arguments; `headers` are lines of
/// the script that run for each request.
pub async fn credit(
    options: &Options,
    url: &str,
    arguments: &[&str],
    headers: &str,
) -> Outcome<Round> {
    let (mut bank, address) = start(url, arguments).await?;
    let process = bank.id().ok_or("the bank has ended")?.to_string();
    let script = options.folder.join("credit.lua");
    std::fs::write(&script, lua(headers))?;
    let wrk = Wrk { script: script.display().to_string(), address };
    wrk.run(options.round.max(Duration::from_secs(1)) / 2).await?;
    let before = cpu_time(&process)?;
    let mut round = wrk.run(options.round).await?;
    round.cpu = cpu_time(&process)?.saturating_sub(before);
    bank.kill().await?;
    Ok(round)
}

/// The bank beside this program.
pub fn program() -> Outcome<PathBuf> {
    Ok(std::env::current_exe()?.with_file_name("example-bank"))
}

/// Starts a bank with these arguments, and returns the address it prints.
pub async fn start(url: &str, arguments: &[&str]) -> Outcome<(Child, String)> {
    let program = program()?;
    let mut bank = Command::new(&program)
        .args(["--listen", "127.0.0.1:0", "--store", url])
        .args(arguments)
        .env("RUST_LOG", "warn")
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("{}: {error}; use scripts/bench", program.display()))?;
    let output = bank.stdout.take().ok_or("no output")?;
    let mut lines = BufReader::new(output).lines();
    let line = lines.next_line().await?.ok_or("the bank did not start")?;
    let address = line.split_whitespace().last().ok_or("the bank told no address")?;
    let address = address.to_owned();
    // The output is read to its end, because a closed pipe would end the bank at its next line.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    Ok((bank, address))
}

fn lua(headers: &str) -> String {
    format!(
        "math.randomseed(os.time())\n\
         local sent = 0\n\
         local start = os.time() .. '-' .. math.random(0, 1000000000)\n\
         wrk.method = \"POST\"\n\
         wrk.body = '{{\"amount\": 1}}'\n\
         wrk.headers[\"Content-Type\"] = \"application/json\"\n\
         request = function()\n\
           sent = sent + 1\n\
           {headers}\n\
           return wrk.format(nil, \"/accounts/account-\" .. math.random(0, {}) .. \"/credit\")\n\
         end\n",
        ACCOUNTS - 1
    )
}

struct Wrk {
    script: String,
    address: String,
}

impl Wrk {
    async fn run(&self, time: Duration) -> Outcome<Round> {
        let output = Command::new("wrk")
            .args(["--latency", "-t1", "-s", &self.script])
            .args([format!("-c{CONNECTIONS}"), format!("-d{}s", time.as_secs().max(1))])
            .arg(&self.address)
            .output()
            .await
            .map_err(|error| format!("wrk: {error}; scripts/bench installs it"))?;
        let report = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = ["Non-2xx", "Socket errors"].iter().any(|word| report.contains(word));
        match parse(&report) {
            Some(round) if !errors => Ok(round),
            _ => Err(format!("wrk says:\n{report}").into()),
        }
    }
}

/// From wrk's report: `50%    2.91ms` and `93014 requests in 3.00s, 14.2MB read`.
fn parse(report: &str) -> Option<Round> {
    let line = |what: &str| report.lines().map(str::trim).find(|line| line.contains(what));
    let latency = |percent: &str| {
        let line = report.lines().map(str::trim).find(|line| line.starts_with(percent))?;
        duration(line.split_whitespace().nth(1)?)
    };
    let mut total = line(" requests in ")?.split_whitespace();
    let commands = total.next()?.parse().ok()?;
    let elapsed = duration(total.nth(2)?.trim_end_matches(','))?;
    let (p50, p99) = (latency("50%")?, latency("99%")?);
    Some(Round { commands, elapsed, p50, p99, cpu: Duration::ZERO })
}

fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at(text.find(|c: char| c.is_alphabetic())?);
    let unit = match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        _ => return None,
    };
    Some(Duration::from_secs_f64(number.parse::<f64>().ok()? * unit))
}
