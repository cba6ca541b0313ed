//! One order for all: what several processes write, several others read as the same 1..N, while
//! appends conflict, are refused, are rolled back and commit slowly.

use std::cell::Cell;
use std::fs::File;
use std::process::Stdio;
use std::time::Duration;

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Executor};
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use super::{log, rounds};
use crate::support::directory::Directory;
use crate::support::postgres::Server;

const CALLS: usize = 150;

/// An insert without the writer lock, at the next position, and otherwise in order.
const ROGUE: &str = "INSERT INTO actum.events
    SELECT coalesce(max(position), 0) + 1, 'left', 'rogue', 1, gen_random_uuid(), 'Happened', 1,
           '{}', '{}', now() FROM actum.events";

/// A `log-process`; its output goes to a file.
struct LogProcess {
    child: Child,
    output: String,
}

impl LogProcess {
    fn start(directory: &Directory, name: &str, arguments: &[&str]) -> Self {
        let output = directory.file(name);
        let mut command = Command::new(env!("CARGO_BIN_EXE_log-process"));
        command.args(arguments).stdin(Stdio::piped()).stdout(File::create(&output).unwrap());
        Self { child: command.kill_on_drop(true).spawn().unwrap(), output }
    }

    /// Waits until the process has ended, and returns the lines it printed.
    async fn end(mut self) -> Vec<String> {
        let within = Duration::from_secs(120 * rounds() as u64);
        let ended = timeout(within, self.child.wait()).await;
        assert!(ended.expect("it does not end").unwrap().success(), "{} failed", self.output);
        let output = std::fs::read_to_string(&self.output).unwrap();
        output.lines().map(str::to_owned).collect()
    }
}

/// Disturbances of the writers.
#[derive(Default)]
struct Trouble {
    cancelled: Cell<i64>,
    /// Cancelled statements whose events were already stored and had their positions.
    late: Cell<i64>,
    rogues: Cell<i64>,
}

impl Trouble {
    /// Disturbs the writers until it is dropped.
    async fn make(&self, server: &Server) {
        let (mut one, mut other) = (server.connect().await, server.connect().await);
        while one.execute("SELECT FROM actum.events").await.is_err() {
            sleep(Duration::from_millis(5)).await; // one of them is migrating
        }
        let mut long = server.connect().await;
        long.execute("BEGIN; CREATE TABLE rogue (); SAVEPOINT before").await.unwrap();
        loop {
            let cancelled = cancel(&mut one, "true").await;
            one.execute("BEGIN; LOCK TABLE actum.commands IN SHARE ROW EXCLUSIVE MODE")
                .await
                .unwrap();
            let late = loop {
                match cancel(&mut other, "wait_event = 'relation'").await {
                    0 => sleep(Duration::from_millis(1)).await,
                    late => break late,
                }
            };
            one.execute("ROLLBACK").await.unwrap();
            for connection in [&mut other, &mut long] {
                let refused = connection.execute(ROGUE).await.unwrap_err().to_string();
                assert!(refused.contains("by actum.append alone"), "{refused}");
            }
            long.execute("ROLLBACK TO before").await.unwrap();
            self.cancelled.update(|sum| sum + cancelled + late);
            self.late.update(|sum| sum + late);
            self.rogues.update(|sum| sum + 2);
            // A writer that is cancelled again and again makes no progress.
            let troubled = log::head(&mut one).await;
            while log::head(&mut one).await < troubled + 40 {
                sleep(Duration::from_millis(10)).await;
            }
        }
    }
}

/// Cancels the running appends for which the condition holds, and returns their number.
async fn cancel(connection: &mut PgConnection, condition: &str) -> i64 {
    let cancel = format!(
        "SELECT count(*) FILTER (WHERE pg_cancel_backend(pid)) FROM pg_stat_activity
         WHERE application_name = 'actum' AND state = 'active' AND query LIKE '%actum.append(%'
         AND {condition}"
    );
    sqlx::query_scalar(AssertSqlSafe(cancel)).fetch_one(connection).await.unwrap()
}

/// Promises 3 and 4.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn four_processes_read_the_one_order_that_four_others_write() {
    let (server, directory) = (Server::private().await, Directory::new());
    // Each commit waits for others to share its sync, though there be none.
    server.set("commit_siblings", "0").await;
    server.set("commit_delay", "2000").await;
    let mut idle = server.connect().await;
    idle.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; CREATE TABLE other AS SELECT 1 AS n")
        .await
        .unwrap();
    let (url, calls) = (server.url(), (CALLS * rounds()).to_string());
    let start = |name: &str, arguments: &[&str]| LogProcess::start(&directory, name, arguments);
    let mut readers: Vec<LogProcess> = ["all", "filtered", "all", "filtered"]
        .iter()
        .enumerate()
        .map(|(n, what)| start(&format!("reader-{n}"), &["read", &url, what]))
        .collect();
    let writers: Vec<LogProcess> = (0..4)
        .map(|n| start(&format!("writer-{n}"), &["write", &url, &n.to_string(), &calls]))
        .collect();
    let trouble = Trouble::default();
    let writing = async {
        let (mut acknowledged, mut counts) = (Vec::new(), [0; 4]);
        for writer in writers {
            let mut lines = writer.end().await;
            let ended = lines.pop().unwrap();
            let ended = ended.strip_prefix("ended ").unwrap().split(' ');
            counts.iter_mut().zip(ended).for_each(|(sum, n)| *sum += n.parse::<u64>().unwrap());
            acknowledged.append(&mut lines);
        }
        (acknowledged, counts)
    };
    let (mut acknowledged, [stored, conflicts, invalid, not_taken]) = tokio::select! {
        written = writing => written,
        () = trouble.make(&server) => unreachable!("it goes on for ever"),
    };

    let rows = log::read(&mut server.connect().await).await;
    let log: Vec<String> =
        rows.iter().map(|row| format!("{} {}", row.position, row.event_id)).collect();
    for reader in &mut readers {
        let end = format!("{}\n", log.len());
        reader.child.stdin.take().unwrap().write_all(end.as_bytes()).await.unwrap();
    }
    for reader in readers {
        assert!(reader.end().await == log, "a reader saw another order than plain SQL");
    }
    // The acknowledged events are the log, and no refused event is in it.
    acknowledged.sort_by_key(|line| line.split(' ').next().unwrap().parse::<u64>().unwrap());
    assert!(acknowledged == log, "what was acknowledged is not what the log holds");
    // The snapshot was held all the time, and its transaction was never in the way.
    let seen: i64 =
        sqlx::query_scalar("SELECT count(*) FROM actum.events").fetch_one(&mut idle).await.unwrap();
    idle.execute("COMMIT").await.unwrap();
    assert_eq!(seen, 0);

    let Trouble { cancelled, late, rogues } = trouble;
    let (cancelled, late, rogues) = (cancelled.get(), late.get(), rogues.get());
    let all = [stored, conflicts, invalid, not_taken, late as u64, (cancelled - late) as u64];
    assert!(all.iter().all(|count| *count > 0), "nothing was proved: {all:?}");
    println!(
        "survived {cancelled} cancelled appends ({late} with their events written), {conflicts} \
         conflicts, {} refusals and {rogues} rogue writers: {} events in one order for 4 readers",
        invalid + not_taken,
        log.len()
    );
}
