//! Four processes share twelve partitions of one read model while they are killed, stopped for longer
//! than their leases hold, and started again, and commands keep coming.

use std::collections::BTreeMap;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use sqlx::postgres::PgConnection;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::{sleep, timeout};

use super::{log, rounds, saves};
use crate::support::postgres::{Database, database};
use crate::support::random::Random;
use crate::support::waiting::{check, poll};

const PROCESSES: usize = 4;
const PARTITIONS: usize = 12;

/// Duration of the faults in each round. Ten rounds take three minutes.
const ROUND: Duration = Duration::from_secs(18);

/// From one fault to the next.
const EVERY: Duration = Duration::from_millis(1_500);

/// Longer than a lease lasts.
const STOPPED_FOR: Duration = Duration::from_millis(4_500);

/// Time limit for the shares to be equal again, and for the read model to reach the end of the log.
const SETTLED_WITHIN: Duration = Duration::from_secs(30);

struct PartitionProcess {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl PartitionProcess {
    async fn start(database: &Database, place: usize, life: usize) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_partition-process"));
        let url = format!("{}&application_name=process-{place}-{life}", database.url());
        command.args([url, (life * PROCESSES + place).to_string()]);
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut process = Self { child, lines };
        assert_eq!(process.line().await, "started");
        process
    }

    async fn line(&mut self) -> String {
        let line = timeout(SETTLED_WITHIN, self.lines.next_line()).await;
        line.expect("it says nothing").unwrap().expect("it has ended, and says why above")
    }

    fn signal(&self, name: &str) {
        crate::support::signal::send(self.child.id().unwrap(), name);
    }

    /// Stops its writes, and returns the number of its answered reads.
    async fn quiet(&mut self) -> u64 {
        self.child.stdin.as_mut().unwrap().write_all(b"\n").await.unwrap();
        let line = self.line().await;
        line.strip_prefix("quiet ").unwrap().parse().unwrap()
    }

    async fn end(mut self) -> ExitStatus {
        drop(self.child.stdin.take());
        timeout(SETTLED_WITHIN, self.child.wait()).await.expect("it does not end").unwrap()
    }
}

/// A process, or `None` while it is dead, and the time at which it is to run again.
struct Slot {
    process: Option<PartitionProcess>,
    back_at: Option<Instant>,
}

struct Killer {
    database: Database,
    places: Vec<Slot>,
    lives: usize,
    random: Random,
    kills: usize,
    stops: usize,
}

impl Killer {
    async fn new() -> Self {
        let database = database().await;
        let mut places = Vec::new();
        for place in 0..PROCESSES {
            let process = PartitionProcess::start(&database, place, 0).await;
            places.push(Slot { process: Some(process), back_at: None });
            if place == 0 {
                saves::note(&mut database.connect().await).await;
            }
        }
        Self { database, places, lives: 0, random: Random::new(7), kills: 0, stops: 0 }
    }

    /// Kills or stops one at random, unless two are out already.
    async fn strike(&mut self) {
        let (chance, wait) =
            (self.random.below(1 << 16), Duration::from_millis(self.random.below(2_500)));
        let mut running = self.places.iter_mut().filter(|place| place.back_at.is_none());
        let count = running.by_ref().count();
        if count <= PROCESSES - 2 {
            return;
        }
        let mut running = self.places.iter_mut().filter(|place| place.back_at.is_none());
        let place = running.nth(chance as usize % count).unwrap();
        let process = place.process.as_mut().unwrap();
        if self.kills <= self.stops {
            process.child.kill().await.unwrap();
            (place.process, place.back_at) = (None, Some(Instant::now() + wait));
            self.kills += 1;
        } else {
            process.signal("STOP");
            place.back_at = Some(Instant::now() + STOPPED_FOR + wait);
            self.stops += 1;
        }
    }

    /// Restarts or continues those whose time has come by then.
    async fn revive(&mut self, then: Instant) {
        for (number, place) in self.places.iter_mut().enumerate() {
            if place.back_at.is_none_or(|back_at| back_at > then) {
                continue;
            }
            place.back_at = None;
            match &place.process {
                Some(process) => process.signal("CONT"),
                None => {
                    self.lives += 1;
                    let process = PartitionProcess::start(&self.database, number, self.lives).await;
                    place.process = Some(process);
                }
            }
        }
    }
}

/// Number of partitions of each process, in ascending order.
async fn shares(connection: &mut PgConnection) -> Vec<i64> {
    let shares = sqlx::query_scalar(
        "SELECT count(*) AS share FROM actum.leases
         WHERE expires_at > clock_timestamp() GROUP BY owner ORDER BY share",
    );
    shares.fetch_all(connection).await.unwrap()
}

/// Numbers of partitions that are saved up to a position, and of those that are not.
async fn saved(connection: &mut PgConnection, position: i64) -> (i64, i64) {
    let saved = sqlx::query_as(
        "SELECT count(*) FILTER (WHERE position = $1), count(*) FILTER (WHERE position <> $1)
         FROM actum.checkpoints",
    );
    saved.bind(position).fetch_one(connection).await.unwrap()
}

/// Waits until `now` returns this value, and returns the time it took.
async fn until<T: PartialEq + std::fmt::Debug>(
    what: &T,
    mut now: impl AsyncFnMut() -> T,
) -> Duration {
    let began = Instant::now();
    poll(SETTLED_WITHIN, async || check(now().await, |found| found == what)).await;
    began.elapsed()
}

/// Checks that the documents equal a fold of the log, byte for byte, that uses no code of the
/// framework.
async fn check_documents(connection: &mut PgConnection) {
    let events: Vec<(String, i64)> = sqlx::query_as(
        "SELECT stream_id, (payload->>'n')::bigint FROM actum.events ORDER BY position",
    )
    .fetch_all(&mut *connection)
    .await
    .unwrap();
    let mut fold: BTreeMap<String, (u64, i64)> = BTreeMap::new();
    for (book, n) in events {
        let (events, sum) = fold.entry(book).or_default();
        *events += 1;
        *sum = (*sum * 31 + n + 1) % 1_000_000_007;
    }
    let fold = fold
        .into_iter()
        .map(|(book, (events, sum))| (book, format!(r#"{{"events":{events},"sum":{sum}}}"#)));
    let documents: Vec<(String, String)> =
        sqlx::query_as(r#"SELECT key, body::text FROM actum.documents ORDER BY key COLLATE "C""#)
            .fetch_all(connection)
            .await
            .unwrap();
    assert_eq!(documents, fold.collect::<Vec<_>>(), "the documents are not the fold of the log");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn twelve_partitions_are_each_folded_once_whoever_of_four_processes_is_killed_or_stopped() {
    let mut nemesis = Killer::new().await;
    let mut connection = nemesis.database.connect().await;
    let equal = vec![(PARTITIONS / PROCESSES) as i64; PROCESSES];
    until(&equal, async || shares(&mut connection).await).await;

    let (began, mut struck) = (Instant::now(), Instant::now());
    while began.elapsed() < ROUND * rounds() as u32 {
        if struck.elapsed() >= EVERY {
            let before = log::head(&mut connection).await;
            nemesis.strike().await;
            struck = Instant::now();
            until(&true, async || log::head(&mut connection).await > before + 10).await;
        }
        nemesis.revive(Instant::now()).await;
        sleep(Duration::from_millis(20)).await;
    }
    nemesis.revive(Instant::now() + STOPPED_FOR * 2).await;
    let balanced = until(&equal, async || shares(&mut connection).await).await;

    let mut answers = 0;
    for place in &mut nemesis.places {
        answers += place.process.as_mut().unwrap().quiet().await;
    }
    let end = log::head(&mut connection).await;
    until(&(PARTITIONS as i64, 0), async || saved(&mut connection, end).await).await;
    check_documents(&mut connection).await;
    for place in nemesis.places {
        assert!(place.process.unwrap().end().await.success());
    }
    check_documents(&mut connection).await;
    let noted = saves::check(&mut connection).await;
    let Killer { kills, stops, .. } = nemesis;
    assert_eq!(noted.saved.len(), PARTITIONS, "{noted:?}");
    let at_stake = [kills, stops, noted.moves / PARTITIONS, noted.refused, answers as usize];
    assert!(at_stake.iter().all(|count| *count > 0), "nothing was proved: {at_stake:?}");
    println!(
        "survived {kills} kills and {stops} stops of four processes with twelve partitions: {end} \
         events, each folded once; partitions changed hands {} times, {} late saves were refused; \
         shares were equal again after {balanced:?}",
        noted.moves, noted.refused
    );
}
