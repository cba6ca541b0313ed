//! A database that is renamed in the middle of a commit: what was committed there is not
//! acknowledged, because a restart would not find it.

use std::path::Path;
use std::time::{Duration, Instant};

use super::open_account;
use crate::support::child::{BankProcess, read_commands};
use crate::support::directory::Directory;
use crate::support::http::{Client, Response};

/// Renames the file `MOVED` while the write-ahead log of that file is synced, once, when the file
/// that `MOVE_ONCE` names exists.
const MOVE_ONCE: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
static void before_sync(int fd) {
    char link[64], path[4096], wal[4096], away[4096];
    const char *armed = getenv("MOVE_ONCE"), *moved = getenv("MOVED");
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n <= 0 || !armed || !moved) return;
    path[n] = 0;
    snprintf(wal, sizeof wal, "%s-wal", moved);
    snprintf(away, sizeof away, "%s.away", moved);
    if (strcmp(path, wal) == 0 && unlink(armed) == 0) rename(moved, away);
}
int fdatasync(int fd) {
    int (*real)(int) = dlsym(RTLD_NEXT, "fdatasync");
    before_sync(fd);
    return real(fd);
}
int fsync(int fd) {
    int (*real)(int) = dlsym(RTLD_NEXT, "fsync");
    before_sync(fd);
    return real(fd);
}
"#;

/// A bank with an account and one credit that every read model has saved.
struct Moving {
    directory: Directory,
    bank: BankProcess,
    client: Client,
    moved: String,
}

impl Moving {
    /// `suffix` names the file that will be renamed: the log's own, or a projection's.
    fn start(suffix: &str) -> Self {
        let directory = Directory::new();
        let shim = crate::support::shim::compile(&directory, MOVE_ONCE);
        let (store, armed) = (directory.file("bank.db"), directory.file("armed"));
        let moved = format!("{store}{suffix}");
        let environment = [("LD_PRELOAD", &*shim), ("MOVE_ONCE", &*armed), ("MOVED", &*moved)];
        let bank = BankProcess::start(&store, &environment).unwrap();
        let mut client = bank.client().patience(Duration::from_secs(60)).unwrap();
        open_account(&mut client);
        assert_eq!(credit(&mut client, "first").status, 200);
        assert_eq!(client.get("/accounts/1/statement?after=2").unwrap().status, 200);
        // The read side has saved what it has, so the next write is the next command's.
        std::thread::sleep(Duration::from_millis(1500));
        std::fs::write(armed, "").unwrap();
        Self { directory, bank, client, moved }
    }

    fn assert_moved(&self) {
        assert!(!Path::new(&self.moved).exists(), "the file was never renamed: nothing was proved");
    }

    fn move_back(&self) {
        std::fs::rename(format!("{}.away", self.moved), &self.moved).unwrap();
    }
}

fn credit(client: &mut Client, key: &str) -> Response {
    client.post("/accounts/1/credit", r#"{"amount":1}"#, Some(key)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a C compiler: run scripts/test"]
async fn a_command_whose_database_was_renamed_in_its_commit_is_not_acknowledged() {
    let mut moving = Moving::start("");
    let unknown = credit(&mut moving.client, "second");
    moving.assert_moved();
    assert_eq!((unknown.status, &unknown.body["code"]), (503, &"outcome_unknown".into()));
    moving.move_back();
    let began = Instant::now();
    while credit(&mut moving.client, "second").status != 200 {
        assert!(began.elapsed() < Duration::from_secs(60), "it never settled");
    }
    let Moving { directory, bank, .. } = moving;
    assert!(bank.terminate().success());
    assert_eq!(read_commands(&directory.file("bank.db")).await["second"], 3);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a C compiler: run scripts/test"]
async fn rows_whose_file_was_renamed_in_their_commit_are_not_answered() {
    let mut moving = Moving::start(".statement@1");
    assert_eq!(credit(&mut moving.client, "second").status, 200);
    let late = moving.client.get("/accounts/1/statement?after=3").unwrap();
    moving.assert_moved();
    assert_eq!(late.status, 504, "{late:?}");
    moving.move_back();
    let began = Instant::now();
    let statement = loop {
        let answer = moving.client.get("/accounts/1/statement?after=3").unwrap();
        match answer.status {
            200 => break answer.body,
            _ => assert!(began.elapsed() < Duration::from_secs(60), "{answer:?}"),
        }
    };
    assert_eq!(statement["bookings"].as_array().unwrap().len(), 2, "{statement}");
    assert!(moving.bank.terminate().success());
}
