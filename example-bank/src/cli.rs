//! The bank's command line: from its arguments to a server, and from a signal to its end.
//!
//! Standard output carries the address and a first request to try; everything else goes to
//! standard error. Exit codes: 0 stopped as asked, 1 could not start, 2 wrong arguments.

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::process::ExitCode;
use std::time::Duration;

use actix_web::web::Data;
use actix_web::{App, HttpServer, rt};
use actum::{ApplicationBuilder, BoxError, PostgresStore, SqliteStore, StartError};
use clap::{Args, Parser, Subcommand};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::access::{Access, ApiKey, Credentials, Secret};
use crate::http::metrics;
use crate::{application, routes};

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
}

#[derive(Subcommand)]
enum KeyCommand {
    /// Makes a key: prints it, this once, and then the line for the file of --api-keys.
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
struct Serve {
    /// The database: sqlite:FILE, made if it is not there, or postgres://USER@HOST/DATABASE, where
    /// any number of banks may share it.
    #[arg(long, env = "BANK_STORE", hide_env_values = true, default_value = "sqlite:bank.db")]
    store: Secret,
    /// Where to listen; port 0 takes a free one.
    #[arg(long, env = "BANK_LISTEN", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Threads that speak HTTP; one for each core unless told otherwise.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1024))]
    workers: Option<u16>,
    #[command(flatten, next_help_heading = "Who may enter")]
    credentials: Credentials,
}

/// How long answers that are ready may take to reach their clients when the bank stops.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// Runs the bank until it is told to stop.
pub fn run() -> ExitCode {
    let options = Options::parse();
    if let Some(Command::Key(KeyCommand::New { name, scopes, expires })) = options.command {
        return ended(new_key(name, scopes, expires));
    }
    let filter =
        EnvFilter::builder().with_default_directive(LevelFilter::INFO.into()).from_env_lossy();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    ended(rt::System::new().block_on(serve(options.serve)))
}

fn ended(result: Result<(), BoxError>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to tell when standard error is closed as well.
            let _ = writeln!(std::io::stderr(), "example-bank: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(options: Serve) -> Result<(), BoxError> {
    // Before all else: a bank that would be open to the world does not even listen.
    let access = options.credentials.open(options.listen)?;
    // The address first: a port in use must not leave a new database behind.
    let listener = TcpListener::bind(options.listen)
        .map_err(|error| format!("cannot listen on {}: {error}", options.listen))?;
    let address = listener.local_addr()?;
    let told_to_stop = told_to_stop()?;
    let recorded = metrics::record()?;
    let app = open(options.store.expose()).await?.start().await?;

    let served = app.clone();
    let (recorded, entered) = (Data::new(recorded), access.clone());
    let make = move || {
        let app = App::new().app_data(recorded.clone());
        app.configure(routes(served.clone(), entered.clone()))
    };
    let mut server = HttpServer::new(make).disable_signals().listen(listener)?;
    if let Some(workers) = options.workers {
        server = server.workers(workers.into());
    }
    let server = server.run();
    let handle = server.handle();
    let mut serving = rt::spawn(server);
    greet(address, &access);

    tokio::select! {
        () = told_to_stop => {}
        ended = &mut serving => return Ok(ended??),
    }
    tracing::info!("stopping: no more connections, finishing what was asked");
    let closed = handle.stop(true);
    app.shutdown().await;
    // A client that keeps its connection open must not keep the bank from ending.
    let _ = tokio::time::timeout(LAST_ANSWERS, closed).await;
    serving.abort();
    tracing::info!("stopped");
    Ok(())
}

/// The bank on the store that the URL names.
async fn open(store: &str) -> Result<ApplicationBuilder, StartError> {
    if store.starts_with("postgres://") || store.starts_with("postgresql://") {
        return Ok(application(PostgresStore::open(store).await?));
    }
    Ok(application(SqliteStore::open(store).await?))
}

fn greet(address: SocketAddr, access: &Access) {
    let (mode, credential) = match access.is_dev() {
        true => ("dev mode: nobody is asked who they are; see --help for credentials\n", ""),
        false => ("", "-H \"Authorization: Bearer $KEY\" "),
    };
    // A closed standard output is no reason to stop.
    let _ = writeln!(
        std::io::stdout(),
        "listening on http://{address}\n{mode}\
         try: curl -i http://{address}/accounts {credential}-H 'Content-Type: application/json' \
         -d '{{\"id\": \"42\", \"owner\": \"Ada\", \"currency\": \"EUR\"}}'"
    );
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
fn told_to_stop() -> std::io::Result<impl Future<Output = ()>> {
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
fn told_to_stop() -> std::io::Result<impl Future<Output = ()>> {
    Ok(async {
        let _ = tokio::signal::ctrl_c().await;
    })
}
