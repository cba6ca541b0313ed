//! Clocks: latencies, processor time and memory as the kernel counts them.

use std::future::Future;
use std::ops::Range;
use std::time::{Duration, Instant};

use crate::Outcome;
use crate::random::Random;

/// Result of one round.
#[derive(Clone, Copy, Default, serde::Serialize, serde::Deserialize)]
pub struct Round {
    pub commands: u64,
    pub elapsed: Duration,
    pub p50: Duration,
    pub p99: Duration,
    /// Processor time of the process, its load generator included.
    pub cpu: Duration,
}

impl Round {
    pub fn rate(&self) -> f64 {
        self.commands as f64 / self.elapsed.as_secs_f64()
    }

    /// Joins two rounds that ran at the same time. The latencies are the worse ones.
    pub fn beside(self, other: Self) -> Self {
        Self {
            commands: self.commands + other.commands,
            elapsed: self.elapsed.max(other.elapsed),
            p50: self.p50.max(other.p50),
            p99: self.p99.max(other.p99),
            cpu: self.cpu + other.cpu,
        }
    }

    /// Summary of the latencies of all commands.
    pub fn of(mut latencies: Vec<Duration>, elapsed: Duration, cpu: Duration) -> Self {
        latencies.sort_unstable();
        let at = |part: f64| {
            let index = (latencies.len() as f64 * part) as usize;
            latencies.get(index.min(latencies.len().saturating_sub(1))).copied().unwrap_or_default()
        };
        let (p50, p99) = (at(0.5), at(0.99));
        Self { commands: latencies.len() as u64, elapsed, p50, p99, cpu }
    }
}

/// Keeps these callers busy, each sending its next command when the last is answered. Counts what
/// is answered within `round`, after a warm-up of a fifth of it.
pub async fn drive<F, A>(callers: Range<u64>, round: Duration, command: F) -> Outcome<Round>
where
    F: Fn(u64) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Outcome> + Send,
{
    let begin = Instant::now() + round / 5;
    let end = begin + round;
    let callers: Vec<_> = callers
        .map(|caller| {
            let command = command.clone();
            tokio::spawn(async move {
                let mut random = Random::new(caller);
                let mut latencies = Vec::with_capacity(4096);
                loop {
                    let sent = Instant::now();
                    command(random.below(u64::MAX)).await?;
                    let answered = Instant::now();
                    if answered >= end {
                        return Outcome::Ok(latencies);
                    }
                    if answered >= begin {
                        latencies.push(answered - sent);
                    }
                }
            })
        })
        .collect();
    tokio::time::sleep_until(begin.into()).await;
    let before = cpu_time("self")?;
    tokio::time::sleep_until(end.into()).await;
    let cpu = cpu_time("self")?.saturating_sub(before);
    let mut latencies = Vec::new();
    for caller in callers {
        latencies.extend(caller.await??);
    }
    Ok(Round::of(latencies, round, cpu))
}

/// Processor time a process has used so far: fields 14 and 15 of `/proc/…/stat`, in ticks of 10 ms.
pub fn cpu_time(process: &str) -> Outcome<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The second field is the program's name in parentheses, and may hold spaces.
    let (_, fields) = stat.rsplit_once(')').ok_or("no stat")?;
    let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<u64>);
    Ok(Duration::from_millis(10 * ticks.sum::<Result<u64, _>>()?))
}

/// Resident memory of this process in MiB.
pub fn resident_mib() -> Outcome<u64> {
    memory("self", "VmRSS:")
}

/// Resident memory of another process in MiB.
pub fn resident_mib_of(process: &str) -> Outcome<u64> {
    memory(process, "VmRSS:")
}

/// Peak of resident memory in MiB.
pub fn most_resident_mib() -> Outcome<u64> {
    memory("self", "VmHWM:")
}

fn memory(process: &str, name: &str) -> Outcome<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)).ok_or("no such line")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? / 1024)
}
