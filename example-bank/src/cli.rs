//! The bank's command line: arguments, logging and exit codes. `serve.rs` runs the server.
//!
//! Standard output has the addresses and a first request to try; everything else goes to standard
//! error. Exit codes: 0 stopped normally, 1 could not start, 2 wrong arguments, 3 stopped, but the
//! database file is incomplete without the files beside it.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use actum::BoxError;
use actum::web::{HiddenText, main};
use clap::{Args, Parser, Subcommand, ValueEnum};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;

use crate::KEYS;
use crate::backup::{backup, restore};
use crate::calling::CallingOptions;
use crate::credentials::Credentials;
use crate::limits::LimitOptions;
use crate::serve::serve;

/// A bank over HTTP, with its accounts in one SQLite file or in PostgreSQL.
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
    /// Manages API keys of machines.
    #[command(subcommand)]
    Key(KeyCommand),
    /// Writes a copy of an SQLite log to a new file, even while a bank has it open. For PostgreSQL
    /// use pg_dump.
    Backup {
        /// Path of the new file.
        file: PathBuf,
        #[command(flatten)]
        of: Store,
    },
    /// Replaces an SQLite log by a backup and raises its epoch. No bank may have the log open. On
    /// PostgreSQL run pg_restore first, then this command without a file, which raises the epoch.
    Restore {
        /// Path of the backup; only for SQLite.
        file: Option<PathBuf>,
        #[command(flatten)]
        into: Store,
    },
}

#[derive(Args)]
pub(crate) struct Store {
    /// The database: sqlite:FILE, created if it does not exist, or postgres://USER@HOST/DATABASE,
    /// which any number of banks may share.
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
    /// Creates a key: prints the key, which is never shown again, and then its line for the file of
    /// --api-keys.
    New {
        /// Name of the owner; to rotate a key, create a second one with the same name.
        #[arg(long)]
        name: String,
        /// Scopes of the key: accounts:read, accounts:write, bank:operate.
        #[arg(long, value_delimiter = ',', required = true)]
        scopes: Vec<String>,
        /// Time at which the key expires, such as 2027-01-31T12:00:00Z. Default: never.
        #[arg(long, value_parser = moment)]
        expires: Option<OffsetDateTime>,
    },
}

#[derive(Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    pub(crate) store: Store,
    /// Address to listen on; port 0 uses a free port.
    #[arg(long, env = "BANK_LISTEN", default_value = "127.0.0.1:8080")]
    pub(crate) listen: SocketAddr,
    /// Address of the operations API (/status, /metrics, parked keys, versions); must be a loopback
    /// address. Default: 127.0.0.1 with the port of --listen plus 1000, or a free port if that one
    /// is in use.
    #[arg(long, env = "BANK_OPERATE")]
    pub(crate) operate: Option<SocketAddr>,
    /// Number of HTTP worker threads. Default: one per core.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) workers: Option<u16>,
    /// Enables TLS on the public address, with the certificate chain in this file (PEM).
    #[arg(long, env = "BANK_TLS_CERT", value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// Private key of the certificate (PEM).
    #[arg(long, env = "BANK_TLS_KEY", value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
    /// Format of the log on standard error; RUST_LOG selects what is logged.
    #[arg(long, env = "BANK_LOG", default_value = "text")]
    log: Log,
    /// Welcomes the owners of new accounts: appends a mail for each to this file, as a line of JSON.
    /// Default: no mails.
    #[arg(long, env = "BANK_MAIL_FILE", value_name = "FILE")]
    pub(crate) mail_file: Option<PathBuf>,
    /// Sends these mails to an SMTP server instead: smtp://HOST, or with TLS
    /// smtp://USER:PASSWORD@HOST?tls=required or smtps://USER:PASSWORD@HOST. The bank must be built
    /// with --features smtp.
    #[arg(
        long,
        env = "BANK_SMTP_URL",
        hide_env_values = true,
        value_name = "URL",
        requires = "mail_domain",
        conflicts_with = "mail_file"
    )]
    pub(crate) smtp_url: Option<HiddenText>,
    /// Domain of mail addresses: a mail to the owner `ada` goes to ada@DOMAIN, from bank@DOMAIN.
    #[arg(long, env = "BANK_MAIL_DOMAIN", value_name = "DOMAIN", requires = "smtp_url")]
    pub(crate) mail_domain: Option<String>,
    #[command(flatten)]
    pub(crate) limits: LimitOptions,
    #[command(flatten, next_help_heading = "Who may enter")]
    pub(crate) credentials: Credentials,
    #[command(flatten, next_help_heading = "Calling clients back")]
    pub(crate) calling: CallingOptions,
}

#[derive(Clone, Copy, ValueEnum)]
enum Log {
    /// Text for people.
    Text,
    /// One JSON object per line.
    Json,
}

/// Name of the program before its errors.
const PROGRAM: &str = "example-bank";

/// Runs the bank until the process gets a stop signal.
pub fn run() -> ExitCode {
    let Options { command, serve: options } = Options::parse();
    if let Some(command) = command {
        return main(PROGRAM, async { command.run().await.map(|()| ExitCode::SUCCESS) });
    }
    // Logs a line for each closed span with its times, if RUST_LOG enables spans.
    let log = tracing_subscriber::fmt().with_span_events(FmtSpan::CLOSE);
    let log = log.with_env_filter(filter()).with_writer(std::io::stderr);
    match options.log {
        Log::Text => log.init(),
        Log::Json => log.json().flatten_event(true).init(),
    }
    main(PROGRAM, serve(options))
}

/// Returns the log filter of RUST_LOG. actix logs an ERROR line for each malformed request and for
/// each broken connection, so any client could fill the log. These lines are disabled unless
/// RUST_LOG names them.
fn filter() -> EnvFilter {
    let set = std::env::var(EnvFilter::DEFAULT_ENV).ok().filter(|set| !set.is_empty());
    EnvFilter::new(format!("actix_http=off,{}", set.as_deref().unwrap_or("info")))
}

impl Command {
    async fn run(self) -> Result<(), BoxError> {
        match self {
            Self::Key(KeyCommand::New { name, scopes, expires }) => {
                let new = KEYS.generate(name, scopes, expires)?;
                Ok(writeln!(std::io::stdout(), "{}\n{}", new.key.expose(), new.line)?)
            }
            Self::Backup { file, of } => backup(&of.url(), &file).await,
            Self::Restore { file, into } => restore(file.as_deref(), &into.url()).await,
        }
    }
}

fn moment(text: &str) -> Result<OffsetDateTime, time::error::Parse> {
    OffsetDateTime::parse(text, &Rfc3339)
}
