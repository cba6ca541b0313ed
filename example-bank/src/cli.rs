//! The bank's command line: its arguments, its log, its exit code. `server.rs` does the rest.
//!
//! Standard output carries the addresses and a first request to try; everything else goes to
//! standard error. Exit codes: 0 stopped as asked, 1 could not start, 2 wrong arguments, 3 stopped,
//! but the log is not in its file alone.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use actum::BoxError;
use actum::web::{HiddenText, TlsConfig, main};
use clap::{Args, Parser, Subcommand, ValueEnum};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::format::FmtSpan;

use crate::KEYS;
use crate::backup::{backup, restore};
use crate::calling::CallingOptions;
use crate::credentials::Credentials;
use crate::limits::LimitOptions;
use crate::serve::serve;

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
    /// The database: sqlite:FILE, made if it is not there, or postgres://USER@HOST/DATABASE, where
    /// any number of banks may share it.
    #[arg(long, env = "BANK_STORE", hide_env_values = true, default_value = "sqlite:bank.db")]
    store: HiddenText,
}

impl Store {
    /// The URL of the database. A text that is none is the path of an SQLite file.
    pub(crate) fn url(&self) -> String {
        let text = self.store.expose();
        match text.split_once(':') {
            Some(("sqlite" | "memory", _)) => text.to_owned(),
            Some((_, rest)) if rest.starts_with("//") => text.to_owned(),
            _ => format!("sqlite:{text}"),
        }
    }
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
    #[command(flatten)]
    pub(crate) store: Store,
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
    pub(crate) limits: LimitOptions,
    #[command(flatten, next_help_heading = "Who may enter")]
    pub(crate) credentials: Credentials,
    #[command(flatten, next_help_heading = "Calling clients back")]
    pub(crate) calling: CallingOptions,
}

#[derive(Clone, Copy, ValueEnum)]
enum Log {
    /// For people.
    Text,
    /// An object in each line.
    Json,
}

impl Serve {
    /// The certificate and its key, if the bank shall speak TLS.
    pub(crate) fn tls(&self) -> Result<Option<TlsConfig>, BoxError> {
        let files = self.tls_cert.as_ref().zip(self.tls_key.as_ref());
        files.map(|(certificate, key)| TlsConfig::files(certificate, key)).transpose()
    }
}

/// Name of the program before its errors.
const PROGRAM: &str = "example-bank";

/// Runs the bank until it is told to stop.
pub fn run() -> ExitCode {
    let Options { command, serve: options } = Options::parse();
    if let Some(command) = command {
        return main(PROGRAM, async { command.run().await.map(|()| ExitCode::SUCCESS) });
    }
    // A line for each span that closes, with its times; none unless RUST_LOG asks for spans.
    let log = tracing_subscriber::fmt().with_span_events(FmtSpan::CLOSE);
    let log = log.with_env_filter(filter()).with_writer(std::io::stderr);
    match options.log {
        Log::Text => log.init(),
        Log::Json => log.json().flatten_event(true).init(),
    }
    main(PROGRAM, serve(options))
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
    async fn run(self) -> Result<(), BoxError> {
        match self {
            Self::Key(KeyCommand::New { name, scopes, expires }) => new_key(name, scopes, expires),
            Self::Backup { file, of } => backup(&of.url(), &file).await,
            Self::Restore { file, into } => restore(file.as_deref(), &into.url()).await,
        }
    }
}

/// Prints a new key and its line, each on a line of its own.
fn new_key(
    name: String,
    scopes: Vec<String>,
    expires: Option<OffsetDateTime>,
) -> Result<(), BoxError> {
    let new = KEYS.generate(name, scopes, expires)?;
    Ok(writeln!(std::io::stdout(), "{}\n{}", new.key.expose(), new.line)?)
}

fn moment(text: &str) -> Result<OffsetDateTime, time::error::Parse> {
    OffsetDateTime::parse(text, &Rfc3339)
}
