//! Version 2 of a read model is built beside version 1 in a process that also writes and reads, is
//! killed when it is half done, goes on, and serves: no read fails, and none goes back in time.
//!
//! The log has 200,000 events, or as many as `ACTUM_REBUILD_EVENTS` says: `scripts/chaos` takes a
//! million. What was survived is printed, on a line that begins with `survived`.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use crate::support::child::rows;
use crate::support::directory::Directory;
use crate::support::postgres::database;

/// Longest time without output of a process that has work to do.
const SILENT: Duration = Duration::from_secs(60);

/// Number of documents.
const BOOKS: usize = 10_000;

/// Number of switches back and forth by hand. A switch that goes back in time would not be visible
/// each time.
const SWITCHES: usize = 15;

/// Progress that the process has reported.
#[derive(Debug, Default, Clone, Copy)]
struct At {
    old: u64,
    new: u64,
    answers: u64,
    least: u64,
    greatest: u64,
}

struct RebuildProcess {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    at: At,
}

impl RebuildProcess {
    fn replacing(store: &str) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rebuild-process"));
        command.args(["replace", store]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.kill_on_drop(true).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines, at: At::default() }
    }

    /// The next line, or `None` at the end.
    async fn line(&mut self) -> Option<String> {
        let line = timeout(SILENT, self.lines.next_line()).await.expect("it says nothing");
        let line = line.unwrap()?;
        if let Some(numbers) = line.strip_prefix("at ") {
            let numbers: Vec<u64> = numbers.split(' ').map(|n| n.parse().unwrap()).collect();
            let [old, new, answers, least, greatest] = numbers[..] else { panic!("{line}") };
            assert!(new >= self.at.new, "the new version goes back from {:?} to {line}", self.at);
            self.at = At { old, new, answers, least, greatest };
        } else {
            println!("{line}");
        }
        Some(line)
    }

    /// Waits for the first line that contains this.
    async fn says(&mut self, what: &str) -> String {
        loop {
            let line = self.line().await.expect("it has ended, and says why above");
            if line.contains(what) {
                return line;
            }
        }
    }

    /// Waits until the progress satisfies this.
    async fn comes(&mut self, is_there: impl Fn(At) -> bool) -> At {
        loop {
            self.says("at ").await;
            if is_there(self.at) {
                return self.at;
            }
        }
    }

    /// Waits for some more answered reads.
    async fn answers(&mut self) {
        let before = self.at.answers;
        self.comes(|at| at.answers > before + 100).await;
    }

    async fn does(&mut self, what: &str) {
        let line = format!("{what}\n");
        self.child.stdin.as_mut().unwrap().write_all(line.as_bytes()).await.unwrap();
        self.says(&format!("done: {what}")).await;
    }

    /// Ends it with SIGKILL, and returns the last progress it reported.
    async fn kill(mut self) -> At {
        self.child.kill().await.unwrap();
        while self.line().await.is_some() {}
        self.at
    }

    /// Ends it in order, and returns its last report.
    async fn end(mut self) -> String {
        drop(self.child.stdin.take());
        let said = self.says("the slowest took").await;
        let status = timeout(SILENT, self.child.wait()).await.expect("it does not end");
        assert!(status.unwrap().success());
        said
    }
}

fn size() -> u64 {
    let named = std::env::var("ACTUM_REBUILD_EVENTS").ok();
    let size = named.map_or(200_000, |size| size.parse().expect("a number of events"));
    assert!(size >= 200_000, "too few to be killed half way, when some of it is saved");
    size
}

async fn fill(store: &str, events: u64) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rebuild-process"));
    let status = command.args(["fill", store, &events.to_string()]).kill_on_drop(true).status();
    assert!(status.await.unwrap().success());
}

/// The registered versions by number, and if each is active.
async fn versions(store: &str) -> Vec<(i64, bool)> {
    rows(
        store,
        "SELECT version, is_serving FROM versions ORDER BY version",
        "SELECT version, is_serving FROM actum.versions ORDER BY version",
    )
    .await
}

/// The saved checkpoint of each partition.
async fn saved(store: &str) -> Vec<(String, i64, i64)> {
    rows(
        store,
        "SELECT model, partition, position FROM checkpoints ORDER BY model, partition",
        "SELECT model, partition::bigint, position FROM actum.checkpoints ORDER BY model, partition",
    )
    .await
}

/// Checks that the documents of version 2 equal a fold of the log, byte for byte, that uses no code
/// of the framework, and that there are no others. Returns the number of events.
async fn check_documents(store: &str) -> usize {
    let events: Vec<(String, i64)> = rows(
        store,
        "SELECT stream_id, json_extract(payload, '$.n') FROM events ORDER BY position",
        "SELECT stream_id, (payload->>'n')::bigint FROM actum.events ORDER BY position",
    )
    .await;
    let (count, mut fold) = (events.len(), BTreeMap::<String, (u64, i64)>::new());
    for (book, n) in events {
        let (entries, sum) = fold.entry(book).or_default();
        *entries += 1;
        *sum = (*sum * 31 + n + 1) % 1_000_000_007;
    }
    assert_eq!(fold.len(), BOOKS);
    let documents: Vec<(String, String, String)> = rows(
        store,
        "SELECT model, key, body FROM documents ORDER BY key",
        r#"SELECT model, key, body::text FROM actum.documents ORDER BY key COLLATE "C""#,
    )
    .await;
    assert_eq!(documents.len(), BOOKS);
    for ((model, key, body), (book, (entries, sum))) in documents.into_iter().zip(fold) {
        let expected = format!(r#"{{"checksum":"{sum}","entries":{entries}}}"#);
        assert_eq!((&*model, key, body), ("digest@2", book, expected));
    }
    count
}

/// Number of rows of version 1 that are left in the tables of versions.
async fn left(store: &str) -> i64 {
    let left: Vec<(i64,)> = rows(
        store,
        "SELECT count(*) FROM (
            SELECT model FROM documents UNION ALL SELECT model FROM checkpoints
            UNION ALL SELECT model FROM parked UNION ALL SELECT model FROM parked_events
            UNION ALL SELECT model FROM skipped UNION ALL SELECT name || '@' || version FROM versions
         ) WHERE model = 'digest@1'",
        "SELECT count(*) FROM (
            SELECT model FROM actum.documents UNION ALL SELECT model FROM actum.checkpoints
            UNION ALL SELECT model FROM actum.parked UNION ALL SELECT model FROM actum.parked_events
            UNION ALL SELECT model FROM actum.skipped
            UNION ALL SELECT name || '@' || version FROM actum.versions
         ) AS rows WHERE model = 'digest@1'",
    )
    .await;
    left[0].0
}

/// Kills a rebuild that is half done, and returns its checkpoints.
async fn kill_half_way(store: &str, events: u64) -> At {
    let mut process = RebuildProcess::replacing(store);
    process.comes(|at| at.new >= events / 2 && at.answers > 0).await;
    let at = process.kill().await;
    assert_eq!(versions(store).await, [(1, true), (2, false)], "it was too late: {at:?}");
    at
}

/// Makes both versions active in turn while reads keep coming, and then drops the first one.
async fn switch_and_drop(process: &mut RebuildProcess, store: &str) {
    for _ in 0..SWITCHES {
        process.does("serve 1").await;
        assert_eq!(versions(store).await, [(1, true), (2, false)]);
        process.answers().await;
        process.does("serve 2").await;
        assert_eq!(versions(store).await, [(1, false), (2, true)]);
        process.answers().await;
    }
    assert!(left(store).await > BOOKS as i64);
    process.does("drop 1").await;
    assert_eq!(versions(store).await, [(2, true)]);
    assert_eq!(left(store).await, 0, "of what was dropped");
    process.answers().await;
}

async fn rebuild(kind: &str, store: &str) {
    let (began, events) = (Instant::now(), size());
    fill(store, events).await;
    let filled = began.elapsed();

    let killed = kill_half_way(store, events).await;
    let saved_then = saved(store).await;
    let new = saved_then.iter().filter(|(model, ..)| model == "digest@2");
    let least = new.map(|(.., position)| *position as u64).min().unwrap();
    assert!(least > 0 && least < events, "{saved_then:?}");

    let mut process = RebuildProcess::replacing(store);
    let resumed = process.comes(|_| true).await;
    assert!(resumed.new >= least, "it begins at {resumed:?}, and had saved {saved_then:?}");
    let first = process.comes(|at| at.answers > 0).await;
    assert!(first.least >= killed.greatest, "{first:?} is older than {killed:?}");
    let compared = process.says("version 2 compared").await;
    let (_, compared) = compared.split_once("compared: ").unwrap();
    let equal = format!("old: {BOOKS}, new: {BOOKS}, {BOOKS} equal, 0 different");
    assert_eq!(compared, equal);
    process.says("version 2 is active now instead of 1").await;
    assert_eq!(versions(store).await, [(1, false), (2, true)]);
    let (switched, rebuilt) = (process.at, began.elapsed() - filled);

    switch_and_drop(&mut process, store).await;
    process.does("quiet").await;
    let said = process.end().await;
    let end = check_documents(store).await;
    let expected = [0, 1].map(|partition| ("digest@2".to_owned(), partition, end as i64));
    assert_eq!(saved(store).await, expected);
    println!(
        "survived a kill of a rebuild on {kind} at {} of {events} events: it went on from {} and \
         switched at {}; {compared}; {said}; filled in {filled:?}, rebuilt in {rebuilt:?}, all in {:?}",
        killed.new,
        resumed.new,
        switched.old,
        began.elapsed()
    );
}

#[tokio::test]
async fn in_sqlite_a_rebuild_is_killed_resumes_and_serves_while_reads_never_go_back() {
    let directory = Directory::new();
    rebuild("SQLite", &directory.file("log.db")).await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn in_postgres_a_rebuild_is_killed_resumes_and_serves_while_reads_never_go_back() {
    let database = database().await;
    rebuild("PostgreSQL", &database.url()).await;
}
