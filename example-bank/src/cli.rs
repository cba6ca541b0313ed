//! The bank's command line: its arguments, its log, its exit code. `server.rs` does the rest.
//!
//! Standard output carries the addresses and a first request to try; everything else goes to
//! standard error. Exit codes: 0 stopped as asked, 1 could not start, 2 wrong arguments, 3 stopped,
//! but the log is not in its file alone.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use actix_web::rt;
use actum::BoxError;
use clap::{Args, Parser, Subcommand, ValueEnum};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::format::FmtSpan;

use crate::access::{ApiKey, Credentials, Secret};
use crate::backup::{backup, restore};
use crate::calling::CallingOptions;
use crate::limits::Limits;
use crate::server::serve;
use crate::{tls, vital};

/// A bank over HTTP, its accounts in one file or in PostgreSQL.
#[derive(Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Options {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: Serve,
}

#[derive(Subcommand)]
enum Command {
    /// The API keys of machines.
    #[command(subcommand)]
    Key(KeyCommand),
    /// Write a copy of an SQLite log into a new file, whether a bank has it open or not. For
    /// PostgreSQL use pg_dump.
    Backup {
        /// The new file.
        file: PathBuf,
        #[command(flatten)]
        of: Store,
    },
    /// Replace an SQLite log by a backup and raise its epoch; no bank may have it open. On
    /// PostgreSQL run pg_restore first, then this command without a file, which raises the epoch.
    Restore {
        /// The backup; only for SQLite.
        file: Option<PathBuf>,
        #[command(flatten)]
        into: Store,
    },
}

#[derive(Args)]
pub(crate) struct Store {
    /// The database, as the bank is given it.
    #[arg(long, env = "BANK_STORE", hide_env_values = true, default_value = "sqlite:bank.db")]
    pub(crate) store: Secret,
}

#[derive(Subcommand)]
enum KeyCommand {
    /// Makes a key: prints it, this once, and then its line for the file of --api-keys.
    New {
        /// Whose it is; to change a key, make a second one of the same name.
        #[arg(long)]
        name: String,
        /// What it may: accounts:read, accounts:write, bank:operate.
        #[arg(long, value_delimiter = ',', required = true)]
        scopes: Vec<String>,
        /// When it ends, such as 2027-01-31T12:00:00Z; never unless told.
        #[arg(long, value_parser = moment)]
        expires: Option<OffsetDateTime>,
    },
}

#[derive(Args)]
pub(crate) struct Serve {
    /// The database: sqlite:FILE, made if it is not there, or postgres://USER@HOST/DATABASE, where
    /// any number of banks may share it.
    #[arg(long, env = "BANK_STORE", hide_env_values = true, default_value = "sqlite:bank.db")]
    pub(crate) store: Secret,
    /// Where to listen; port 0 takes a free one.
    #[arg(long, env = "BANK_LISTEN", default_value = "127.0.0.1:8080")]
    pub(crate) listen: SocketAddr,
    /// Where operators ask for /status, /metrics, parked keys and versions; a loopback address.
    /// 127.0.0.1 with a port a thousand above that of --listen, or a free one, unless told otherwise.
    #[arg(long, env = "BANK_OPERATE")]
    pub(crate) operate: Option<SocketAddr>,
    /// Threads that speak HTTP; one for each core unless told otherwise.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) workers: Option<u16>,
    /// Speak TLS on the public address: the certificate in this file (PEM), with those that vouch
    /// for it after it.
    #[arg(long, env = "BANK_TLS_CERT", value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The key of the certificate (PEM).
    #[arg(long, env = "BANK_TLS_KEY", value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// How the log is written to standard error; RUST_LOG says what is.
    #[arg(long, env = "BANK_LOG", default_value = "text")]
    log: Log,
    #[command(flatten)]
    pub(crate) limits: Limits,
    #[command(flatten, next_help_heading = "Who may enter")]
    pub(crate) credentials: Credentials,
    #[command(flatten, next_help_heading = "Calling clients back")]
    pub(crate) calling: CallingOptions,
}

/// Open files that a bank needs before it serves anybody; each connection needs one more.
const FILES: usize = 128;

#[derive(Clone, Copy, ValueEnum)]
enum Log {
    /// For people.
    Text,
    /// An object in each line.
    Json,
}

impl Serve {
    /// What TLS needs, if it is asked for.
    pub(crate) fn tls(&self) -> Result<Option<tls::Config>, BoxError> {
        let files = self.tls_cert.as_ref().zip(self.tls_key.as_ref());
        files.map(|(certificate, key)| tls::config(certificate, key)).transpose()
    }
}

/// Runs the bank until it is told to stop.
pub fn run() -> ExitCode {
    let options = Options::parse();
    if let Some(command) = options.command {
        return ended(command.run().map(|()| ExitCode::SUCCESS));
    }
    if let Err(error) = enough_files() {
        return ended(Err(error));
    }
    // A line for each span that closes, with its times; none unless RUST_LOG asks for spans.
    let log = tracing_subscriber::fmt().with_span_events(FmtSpan::CLOSE);
    let log = log.with_env_filter(filter()).with_writer(std::io::stderr);
    match options.serve.log {
        Log::Text => log.init(),
        Log::Json => log.json().flatten_event(true).init(),
    }
    vital::end_without_vital_threads();
    ended(rt::System::new().block_on(serve(options.serve)))
}

/// The levels of the log, as RUST_LOG sets them. actix writes an ERROR line for each malformed request
/// and for each connection that breaks, so anybody could fill the log: those lines are left out unless
/// RUST_LOG names them.
fn filter() -> EnvFilter {
    let set = std::env::var(EnvFilter::DEFAULT_ENV).unwrap_or_default();
    let filter = EnvFilter::builder().with_default_directive(LevelFilter::INFO.into());
    let filter = filter.parse_lossy(&set);
    match "actix_http=off".parse() {
        Ok(quiet) if !set.contains("actix_http") => filter.add_directive(quiet),
        _ => filter,
    }
}

impl Command {
    fn run(self) -> Result<(), BoxError> {
        match self {
            Self::Key(KeyCommand::New { name, scopes, expires }) => new_key(name, scopes, expires),
            Self::Backup { file, of } => rt::System::new().block_on(backup(&of, &file)),
            Self::Restore { file, into } => {
                rt::System::new().block_on(restore(file.as_deref(), &into))
            }
        }
    }
}

fn ended(result: Result<ExitCode, BoxError>) -> ExitCode {
    match result {
        Ok(code) => code,
        Err(error) => {
            // Nobody is left to tell when standard error is closed as well.
            let _ = writeln!(std::io::stderr(), "example-bank: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Refuses a limit of open files that does not suffice to start: the runtimes below would panic.
fn enough_files() -> Result<(), BoxError> {
    let open = |_| std::fs::File::open("/dev/null");
    let opened: Result<Vec<_>, _> = (0..FILES).map(open).collect();
    opened.map(drop).map_err(|error| {
        format!("a bank needs {FILES} open files to start ({error}): raise the limit, ulimit -n")
            .into()
    })
}

/// Prints a new key and its line, each on a line of its own.
fn new_key(
    name: String,
    scopes: Vec<String>,
    expires: Option<OffsetDateTime>,
) -> Result<(), BoxError> {
    let new = ApiKey::generate(name, scopes, expires)?;
    let line = serde_json::to_string(&new.line)?;
    Ok(writeln!(std::io::stdout(), "{}\n{line}", new.key.expose())?)
}

fn moment(text: &str) -> Result<OffsetDateTime, time::error::Parse> {
    OffsetDateTime::parse(text, &Rfc3339)
}

/// Completes when the process is told to stop. From this call on, not from the first poll: a
/// signal that comes while the bank starts is not lost.
#[cfg(unix)]
pub(crate) fn told_to_stop() -> std::io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

#[cfg(not(unix))]
pub(crate) fn told_to_stop() -> std::io::Result<impl Future<Output = ()>> {
    Ok(async {
        let _ = tokio::signal::ctrl_c().await;
    })
}
