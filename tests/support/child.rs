//! The real bank as a child process: started, called, killed, checked.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use sqlx::postgres::{PgConnectOptions, PgRow};
use sqlx::sqlite::{SqliteConnectOptions, SqliteRow};
use sqlx::{ConnectOptions, FromRow};

use crate::support::http::Client;

/// Longest life of a bank, so that a test that waits for one in vain ends. The longest test of
/// `scripts/chaos` keeps a bank for about a minute.
const LONGEST_LIFE: Duration = Duration::from_secs(600);

/// A running bank. It is killed when this value is dropped, and after ten minutes.
pub struct BankProcess {
    child: Child,
    /// Closed when this value is dropped, which ends the watchdog.
    _watchdog: mpsc::Sender<()>,
    address: String,
    operators: String,
}

impl BankProcess {
    /// Starts the bank on an SQLite file, or the database at a URL, and waits until it listens; `None` if it ended before.
    pub fn start(store: &str, environment: &[(&str, &str)]) -> Option<Self> {
        Self::spawn(&mut Self::command(store), environment)
    }

    /// The command that runs the bank on a free port.
    pub fn command(store: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bank-process"));
        command.args(["--store", store, "--listen", "127.0.0.1:0"]);
        command
    }

    /// Runs a command that becomes the bank.
    pub fn spawn(command: &mut Command, environment: &[(&str, &str)]) -> Option<Self> {
        let command = command.envs(environment.iter().copied()).env("RUST_LOG", "error");
        Self::launch(command.stderr(Stdio::null()))
    }

    /// The same, with the log left to the caller.
    pub fn launch(command: &mut Command) -> Option<Self> {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut told = |beginning: &str| {
            lines.find_map(|line| line.ok()?.strip_prefix(beginning).map(str::to_owned))
        };
        let addresses = told("listening on http://").zip(told("operations API on http://"));
        match addresses {
            Some((address, operators)) => {
                let _watchdog = watchdog(child.id());
                Some(Self { child, _watchdog, address, operators })
            }
            None => {
                child.wait().unwrap();
                None
            }
        }
    }

    /// `127.0.0.1:PORT`
    pub fn address(&self) -> &str {
        &self.address
    }

    /// A connection to it.
    pub fn client(&self) -> Client {
        Client::connect(&self.address).unwrap()
    }

    /// The address of its operators.
    pub fn operators(&self) -> &str {
        &self.operators
    }

    /// A connection to that.
    pub fn operator(&self) -> Client {
        Client::connect(&self.operators).unwrap()
    }

    /// Process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Ends it with SIGTERM, and waits.
    pub fn terminate(mut self) -> ExitStatus {
        self.signal("TERM");
        self.wait(Duration::from_secs(40)).expect("the bank did not end when asked to")
    }

    /// Sends a signal by name.
    pub fn signal(&self, name: &str) {
        crate::support::signal::send(self.id(), name);
    }

    /// Kills the bank when the returned guard is dropped by a panic.
    ///
    /// A thread scope waits for its threads also when its closure panics. Threads that run until
    /// their bank ends would then keep the test from failing.
    pub fn killed_on_panic(&self) -> KilledOnPanic {
        KilledOnPanic { process: self.id() }
    }

    /// Waits for the end of the process. Returns `None` if it does not end in time.
    pub fn wait(&mut self, within: Duration) -> Option<ExitStatus> {
        let began = Instant::now();
        while began.elapsed() < within {
            if let Some(status) = self.child.try_wait().unwrap() {
                return Some(status);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        None
    }
}

/// Kills the process after the longest life of a bank, unless the returned sender is dropped before.
fn watchdog(process: u32) -> mpsc::Sender<()> {
    let (alive, ended) = mpsc::channel();
    std::thread::spawn(move || {
        if ended.recv_timeout(LONGEST_LIFE) == Err(mpsc::RecvTimeoutError::Timeout) {
            crate::support::signal::send(process, "KILL");
        }
    });
    alive
}

/// Raises a flag when dropped, also by a panic, so that threads that run until then end.
pub struct StopOnDrop<'a>(pub &'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Kills a bank if it is dropped while its thread panics.
pub struct KilledOnPanic {
    process: u32,
}

impl Drop for KilledOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            crate::support::signal::send(self.process, "KILL");
        }
    }
}

impl Drop for BankProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The log as it stands in the database, read without any code of the framework, and asserted:
/// positions 1..N, versions 1..n, no event id twice, no command id twice.
pub async fn read_log(store: &str) -> Vec<(String, String, String)> {
    let rows: Vec<(i64, String, i64, Vec<u8>, String, String)> = rows(
        store,
        "SELECT position, stream_type || '-' || stream_id, version, event_id, event_type, payload
         FROM events ORDER BY position",
        "SELECT position, stream_type || '-' || stream_id, version, uuid_send(event_id),
         event_type, payload::text FROM actum.events ORDER BY position",
    )
    .await;
    let mut versions: HashMap<String, i64> = HashMap::new();
    let mut ids = std::collections::HashSet::new();
    for (index, (position, stream, version, event_id, ..)) in rows.iter().enumerate() {
        assert_eq!(*position, index as i64 + 1, "positions have a gap");
        let last = versions.entry(stream.clone()).or_default();
        assert_eq!(*version, *last + 1, "versions of {stream} have a gap");
        *last = *version;
        assert!(ids.insert(event_id.clone()), "an event id stands twice");
    }
    rows.into_iter().map(|(_, stream, _, _, name, payload)| (stream, name, payload)).collect()
}

/// The position at which each command of the log took effect, by its client's key. Stored is
/// `LENGTH:PRINCIPAL,KEY`; no principal of a test holds a comma.
pub async fn read_commands(store: &str) -> HashMap<String, i64> {
    let rows: Vec<(String, i64)> = rows(
        store,
        "SELECT command_id, position FROM commands",
        "SELECT command_id, position FROM actum.commands",
    )
    .await;
    let key = |id: String| id.split_once(',').map(|(_, key)| key.to_owned());
    rows.into_iter().filter_map(|(id, position)| Some((key(id)?, position))).collect()
}

/// The rows of a question to a file, or to the database at a URL.
pub async fn rows<T>(store: &str, sqlite: &'static str, postgres: &'static str) -> Vec<T>
where
    T: Send + Unpin + for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow>,
{
    if store.starts_with("postgres://") {
        let options: PgConnectOptions = store.parse().unwrap();
        let mut connection = options.connect().await.unwrap();
        return sqlx::query_as(postgres).fetch_all(&mut connection).await.unwrap();
    }
    let options = SqliteConnectOptions::new().filename(store);
    let mut connection = options.connect().await.unwrap();
    sqlx::query_as(sqlite).fetch_all(&mut connection).await.unwrap()
}
