//! Peak memory: what large events and large documents add to a process that is idle.
//!
//! Each case runs in a fresh child process on a database that another process has filled, so the
//! peak that the kernel reports (VmHWM) belongs to that case alone.

mod large;

use tokio::process::Command;

use crate::Outcome;
use crate::database::{BenchDatabase, Store};
use crate::measure::{most_resident_mib, resident_mib};
use crate::options::Options;

/// The first argument of a process that runs one case.
pub const CASE: &str = "memory-case";

/// A case, by what it does.
#[derive(Clone, Copy)]
struct MemoryCase {
    name: &'static str,
    title: &'static str,
    /// Limit of the peak above idle, in MiB.
    at_most: u64,
}

const CASES: [MemoryCase; 3] = [
    MemoryCase { name: "stream", title: "one command after 300 events of 1 MiB", at_most: 64 },
    MemoryCase {
        name: "catch-up",
        title: "a read model over 12,000 events of 100 KiB",
        at_most: 128,
    },
    MemoryCase { name: "documents", title: "52,000 documents of 24 KiB saved", at_most: 256 },
];

/// Resident memory of a child in MiB.
#[derive(serde::Serialize, serde::Deserialize)]
struct Memory {
    /// With the store open and nothing to do.
    idle: u64,
    peak: u64,
    seconds: f64,
}

pub async fn run(options: &Options, store: Store) -> Outcome {
    let name = store.name();
    println!("\n{name}: peak of resident memory, MiB");
    println!("{:<44} {:>6} {:>6} {:>6} {:>8} {:>8}", "", "idle", "peak", "above", "at most", "s");
    for case in CASES {
        let database = store.fresh(options).await?;
        child(case.name, "fill", &database).await?;
        database.settle().await?;
        let Memory { idle, peak, seconds } =
            child(case.name, "run", &database).await?.ok_or("the child printed nothing")?;
        let MemoryCase { title, at_most, .. } = case;
        let above = peak.saturating_sub(idle);
        let verdict = if above <= at_most { "" } else { "  TOO MUCH" };
        println!("{title:<44} {idle:>6} {peak:>6} {above:>6} {at_most:>8} {seconds:>8.1}{verdict}");
        database.remove()?;
    }
    Ok(())
}

async fn child(case: &str, step: &str, database: &BenchDatabase) -> Outcome<Option<Memory>> {
    let output = Command::new(std::env::current_exe()?)
        .args([CASE, case, step, &database.url])
        .stderr(std::process::Stdio::inherit())
        .kill_on_drop(true)
        .output()
        .await?;
    match (output.status.success(), output.stdout.is_empty()) {
        (false, _) => Err(format!("{case}: {step} failed").into()),
        (true, true) => Ok(None),
        (true, false) => Ok(Some(serde_json::from_slice(&output.stdout)?)),
    }
}

/// Body of such a process: fills the database, or runs the case on it.
pub async fn case(mut words: impl Iterator<Item = String>) -> Outcome {
    let mut word = || words.next().ok_or("bench memory-case NAME fill|run URL");
    let (name, step, database) = (word()?, word()?, BenchDatabase::at(&word()?));
    match (&*name, &*step) {
        ("stream", "fill") => large::fill(&database, 300, 1, 1 << 20).await,
        ("catch-up", "fill") => large::fill(&database, 12_000, 1_000, 100 << 10).await,
        ("documents", "fill") => large::fill(&database, 52_000, 52_000, 16).await,
        ("stream", _) => measured(&database, large::command).await,
        ("catch-up", _) => measured(&database, large::catch_up).await,
        ("documents", _) => measured(&database, large::documents).await,
        _ => Err("no such case".into()),
    }
}

/// Measures a case from the moment when the store is open.
async fn measured(
    database: &BenchDatabase,
    run: impl AsyncFnOnce(actum::ApplicationBuilder) -> Outcome,
) -> Outcome {
    let builder = database.application().await?;
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    let (idle, began) = (resident_mib()?, std::time::Instant::now());
    run(builder).await?;
    let seconds = began.elapsed().as_secs_f64();
    let memory = Memory { idle, peak: most_resident_mib()?, seconds };
    println!("{}", serde_json::to_string(&memory)?);
    Ok(())
}
