//! The bank on a disk that is watched and a disk that fails, by tracing its system calls.

mod moved;

use std::collections::HashSet;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::child::{BankProcess, read_commands, read_log};
use crate::support::directory::Directory;
use crate::support::http::Client;

/// The bank under `strace`, its trace in a file. Neither outlives this value.
struct Traced {
    strace: BankProcess,
}

impl Traced {
    /// As [`Traced::start`], on a database that exists: making one syncs often, and a fault is
    /// counted by syncs.
    fn start_again(store: &str, trace: &str, options: &[&str]) -> Self {
        assert!(BankProcess::start(store, &[]).unwrap().terminate().success());
        Self::start(store, trace, options)
    }

    fn start(store: &str, trace: &str, options: &[&str]) -> Self {
        let bank = BankProcess::command(store);
        let mut command = Command::new("strace");
        command.args(["-f", "-y", "-o", trace]).args(options).arg(bank.get_program());
        let strace = BankProcess::spawn(command.args(bank.get_args()), &[]);
        Self { strace: strace.expect("strace did not start the bank") }
    }

    fn client(&self) -> Client {
        self.strace.client()
    }

    /// Sends a signal to the bank itself, for strace hands none on, and waits until it has ended.
    fn end(&mut self, signal: &str) -> bool {
        let id = self.strace.id();
        let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children"));
        for child in children.unwrap_or_default().split_whitespace() {
            crate::support::signal::send(child.parse().unwrap(), signal);
        }
        self.strace.wait(Duration::from_secs(40)).is_some()
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        self.end("KILL");
    }
}

fn open_account(client: &mut Client) {
    let body = r#"{"id":"1","owner":"Ada","currency":"EUR"}"#;
    while client.post("/accounts", body, Some("open")).unwrap().status != 201 {}
}

/// Everything written to the write-ahead log has been synced before the answer to a command leaves
/// the process, as its system calls show.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs strace: run scripts/test"]
async fn no_answer_leaves_before_its_events_are_synced() {
    let directory = Directory::new();
    let (store, trace) = (directory.file("bank.db"), directory.file("trace"));
    let calls =
        "trace=read,recvfrom,recvmsg,pwrite64,pwritev,write,writev,sendto,sendmsg,fdatasync,fsync";
    let mut bank = Traced::start(&store, &trace, &["-s", "32", "-e", calls]);
    let mut client = bank.client();
    open_account(&mut client);
    for n in 0..200 {
        let answer = client.post("/accounts/1/credit", r#"{"amount":1}"#, Some(&n.to_string()));
        assert_eq!(answer.unwrap().status, 200);
    }
    assert!(bank.end("TERM"));
    let trace = std::fs::read_to_string(&trace).unwrap();
    // There is but one client: between its request and the answer, the log is written and then
    // synced. What a read model writes while the answer is on its way is no concern of it.
    let (mut written, mut durable, mut answers, mut syncs) = (false, false, 0, 0);
    for line in trace.lines() {
        // A call that other threads interrupt is split in two lines: a write counts from its
        // first, a sync only from its last.
        let finished = !line.contains("<unfinished");
        if line.contains("\"POST /") {
            (written, durable) = (false, false);
        } else if line.contains("-wal>") && line.contains("pwrite") {
            written = true;
        } else if line.contains("sync(") && line.contains("-wal>") && finished
            || line.contains("sync resumed")
        {
            durable |= written;
            syncs += 1;
        } else if line.contains("HTTP/1.1 20") {
            answers += 1;
            assert!(durable, "an answer left before its events were synced:\n{line}");
        }
    }
    assert!(answers > 200 && syncs > 200, "{answers} answers, {syncs} syncs: nothing was proved");
}

/// One sync fails, early or late. No answer is false, and the bank recovers by itself.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs strace: run scripts/test"]
async fn a_failed_sync_is_neither_answered_as_success_nor_as_failure() {
    // Counted for each thread.
    for call in [12, 16, 23] {
        let directory = Directory::new();
        let (store, trace) = (directory.file("bank.db"), directory.file("trace"));
        let inject = format!("inject=fdatasync,fsync:error=EIO:when={call}..{}", call + 2);
        let options = ["-e", "trace=fdatasync,fsync", "-e", &inject];
        let bank = Traced::start_again(&store, &trace, &options);
        let mut client = bank.client();
        open_account(&mut client);
        let mut positions = HashSet::new();
        for n in 0..30 {
            let answer = loop {
                let body = r#"{"amount":1}"#;
                let answer = client.post("/accounts/1/credit", body, Some(&n.to_string())).unwrap();
                match answer.status {
                    503 => continue,
                    200 => break answer,
                    other => panic!("{other}: {answer:?}"),
                }
            };
            assert!(positions.insert(answer.body["position"].as_i64().unwrap()));
        }
        let injected = std::fs::read_to_string(&trace).unwrap().matches("INJECTED").count();
        assert!(injected > 0, "no sync failed: nothing was proved");
        // The file must hold it all for a process that knows nothing of this one.
        drop(bank);
        let bank = BankProcess::start(&store, &[]).unwrap();
        let balance = bank.client().get("/accounts/1/balance").unwrap();
        assert_eq!(balance.body["balance"], 30);
        assert_eq!((read_log(&store).await.len(), read_commands(&store).await.len()), (31, 31));
    }
}

/// The disk has no room for the statement's own file for a while. Commands are executed and
/// balances read meanwhile, and the statement catches up by itself.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs strace: run scripts/test"]
async fn a_disk_that_is_full_for_a_projection_holds_up_no_command() {
    let directory = Directory::new();
    let (store, trace) = (directory.file("bank.db"), directory.file("trace"));
    let wal = format!("{store}.statement@1-wal");
    let inject = "inject=pwrite64:error=ENOSPC:when=40..80";
    let bank = Traced::start(&store, &trace, &["-P", &wal, "-e", "trace=pwrite64", "-e", inject]);
    let mut client = bank.client();
    open_account(&mut client);
    for n in 0..100 {
        let body = r#"{"amount":1}"#;
        let answer = client.post("/accounts/1/credit", body, Some(&n.to_string())).unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        let path = format!("/accounts/1/balance?after={}", answer.body["position"]);
        assert_eq!(client.get(&path).unwrap().body["balance"], n + 1);
    }
    let statement = loop {
        let answer = client.get("/accounts/1/statement?after=101&limit=500").unwrap();
        match answer.status {
            503 | 504 => continue,
            200 => break answer.body,
            other => panic!("{other}: {answer:?}"),
        }
    };
    let bookings = statement["bookings"].as_array().unwrap();
    assert_eq!((bookings.len(), &bookings[99]["balance"]), (100, &serde_json::json!(100)));
    let injected = std::fs::read_to_string(&trace).unwrap().matches("INJECTED").count();
    assert!(injected > 0, "nothing failed: nothing was proved");
}

/// After a sync that failed, the page cache may hold the only copy and write it no more. Before the
/// command is answered, the log is written once more and synced; a foreign reader does not delay that.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs strace: run scripts/test"]
async fn a_batch_in_doubt_is_written_again_before_its_answer_also_while_another_program_reads() {
    for is_read in [false, true] {
        let directory = Directory::new();
        let (store, trace) = (directory.file("bank.db"), directory.file("trace"));
        let calls = "trace=pwrite64,write,writev,sendto,sendmsg,fdatasync,fsync";
        let inject = "inject=fdatasync,fsync:error=EIO:when=12";
        let wal = format!("{store}-wal");
        let options = ["-s", "32", "-e", calls, "-e", inject];
        let bank = Traced::start_again(&store, &trace, &options);
        let mut client = bank.client();
        open_account(&mut client);
        let mut reader = None;
        if is_read {
            let mut connection = crate::store::sqlite::raw(&store).await;
            for statement in ["BEGIN", "SELECT count(*) FROM events"] {
                sqlx::query(statement).execute(&mut connection).await.unwrap();
            }
            reader = Some(connection);
        }
        for n in 0..30 {
            let began = Instant::now();
            loop {
                let body = r#"{"amount":1}"#;
                let answer = client.post("/accounts/1/credit", body, Some(&n.to_string())).unwrap();
                match answer.status {
                    200 => break,
                    503 => assert!(began.elapsed() < Duration::from_secs(60), "it never settled"),
                    other => panic!("{other}: {answer:?}"),
                }
            }
        }
        drop((reader, bank));
        let trace = std::fs::read_to_string(&trace).unwrap();
        let (mut in_doubt, mut written, mut doubts) = (false, false, 0);
        let is_log = |line: &str| line.contains(&format!("{wal}>"));
        for line in trace.lines() {
            if line.contains("INJECTED") && is_log(line) {
                (in_doubt, written, doubts) = (true, false, doubts + 1);
            } else if line.contains("pwrite64") && is_log(line) {
                written = true;
            } else if line.contains("sync(") && is_log(line) && written {
                in_doubt = false;
            } else if line.contains("HTTP/1.1 200") {
                assert!(!in_doubt, "an answer left before the log was written again:\n{line}");
            }
        }
        assert!(doubts > 0, "no sync of the log failed: nothing was proved");
    }
}

/// Promise 1 after a kill: what a start recovers may be in the page cache only. If another program
/// reads it, no checkpoint moves it into the database; so it is written once more and synced.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs strace: run scripts/test"]
async fn recovered_pages_are_written_again_also_while_another_program_reads() {
    let directory = Directory::new();
    let (store, trace) = (directory.file("bank.db"), directory.file("trace"));
    let bank = BankProcess::start(&store, &[]).unwrap();
    open_account(&mut bank.client());
    drop(bank); // killed
    let mut reader = crate::store::sqlite::raw(&store).await;
    for statement in ["BEGIN", "SELECT count(*) FROM events"] {
        sqlx::query(statement).execute(&mut reader).await.unwrap();
    }
    let bank = Traced::start(&store, &trace, &["-e", "trace=pwrite64,fdatasync,fsync"]);
    drop(bank);
    let trace = std::fs::read_to_string(&trace).unwrap();
    let log = format!("{store}-wal>");
    // SQLite writes the log's beginning itself if it begins a log: a header of 32 bytes.
    let is_whole = |line: &&str| {
        let begins = [", 0) = ", ", 0 <unfinished"].iter().any(|end| line.contains(end));
        line.contains("pwrite64") && begins && !line.contains(", 32, 0")
    };
    let mut lines = trace.lines().filter(|line| line.contains(&log));
    assert!(lines.any(|line| is_whole(&line)), "the log was not written again:\n{trace}");
    assert!(lines.any(|line| line.contains("sync(")), "it was not synced:\n{trace}");
}

/// Reports a full disk after it has written the last frame of a transaction, once, when the file
/// that `FULL_ONCE` names exists.
const FULL_ONCE: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
static __thread int commit_follows;
static int is_log(int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    return n > 7 && memcmp(path + n - 7, ".db-wal", 7) == 0;
}
static ssize_t checked(ssize_t done, int fd, const void *data, size_t size) {
    const unsigned char *bytes = data;
    const char *armed = getenv("FULL_ONCE");
    if (done != (ssize_t)size || !armed || !is_log(fd)) return done;
    if (size == 24) { commit_follows = bytes[4] | bytes[5] | bytes[6] | bytes[7]; return done; }
    if (commit_follows && unlink(armed) == 0) { errno = ENOSPC; return -1; }
    return done;
}
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
    ssize_t (*real)(int, const void *, size_t, off64_t) = dlsym(RTLD_NEXT, "pwrite64");
    return checked(real(fd, data, size, at), fd, data, size);
}
ssize_t pwrite(int fd, const void *data, size_t size, off_t at) {
    ssize_t (*real)(int, const void *, size_t, off_t) = dlsym(RTLD_NEXT, "pwrite");
    return checked(real(fd, data, size, at), fd, data, size);
}
"#;

/// The disk is full at COMMIT, after the frames are in the log, whole. The command is answered as
/// not stored, so it must not come back at the next start.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a C compiler: run scripts/test"]
async fn a_command_that_a_full_disk_refused_does_not_come_back_after_a_kill() {
    let directory = Directory::new();
    let shim = crate::support::shim::compile(&directory, FULL_ONCE);
    let (store, armed) = (directory.file("bank.db"), directory.file("armed"));
    let bank = BankProcess::start(&store, &[("LD_PRELOAD", &shim), ("FULL_ONCE", &armed)]).unwrap();
    let mut client = bank.client();
    open_account(&mut client);
    let credit = |client: &mut Client, key: &str| {
        client.post("/accounts/1/credit", r#"{"amount":1}"#, Some(key)).unwrap()
    };
    let stored = credit(&mut client, "stored");
    // The read side has saved what it has, so the next write is the next command's.
    let path = format!("/accounts/1/statement?after={}", stored.body["position"]);
    assert_eq!(client.get(&path).unwrap().status, 200);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    std::fs::write(&armed, "").unwrap();
    let refused = credit(&mut client, "refused");
    assert_eq!(refused.status, 503, "{refused:?}");
    assert_ne!(refused.body["code"], "outcome_unknown", "{refused:?}");
    drop(bank); // killed
    assert!(!std::path::Path::new(&armed).exists(), "the disk was never full: nothing was proved");
    let bank = BankProcess::start(&store, &[]).unwrap();
    assert_eq!(bank.client().get("/accounts/1/balance").unwrap().body["balance"], 1);
    assert!(!read_commands(&store).await.contains_key("refused"));
}
