//! The bank's command line: from its arguments to a server, and from a signal to its end.
//!
//! Standard output carries the address and a first request to try; everything else goes to
//! standard error. Exit codes: 0 stopped as asked, 1 could not start, 2 wrong arguments.

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::process::ExitCode;
use std::time::Duration;

use actix_web::{App, HttpServer, rt};
use actum::{ApplicationBuilder, BoxError, PostgresStore, SqliteStore, StartError};
use clap::Parser;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::http::metrics;
use crate::{application, routes};

/// A bank over HTTP, its accounts in one file or in PostgreSQL.
#[derive(Parser)]
#[command(version)]
struct Options {
    /// The database: sqlite:FILE, made if it is not there, or postgres://USER@HOST/DATABASE, where
    /// any number of banks may share it.
    #[arg(long, env = "BANK_STORE", hide_env_values = true, default_value = "sqlite:bank.db")]
    store: String,
    /// Where to listen; port 0 takes a free one.
    #[arg(long, env = "BANK_LISTEN", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Threads that speak HTTP; one for each core unless told otherwise.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1024))]
    workers: Option<u16>,
}

/// How long answers that are ready may take to reach their clients when the bank stops.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// Runs the bank until it is told to stop.
pub fn run() -> ExitCode {
    let options = Options::parse();
    let filter =
        EnvFilter::builder().with_default_directive(LevelFilter::INFO.into()).from_env_lossy();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    match rt::System::new().block_on(serve(options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to tell when standard error is closed as well.
            let _ = writeln!(std::io::stderr(), "example-bank: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(options: Options) -> Result<(), BoxError> {
    // The address first: a port in use must not leave a new database behind.
    let listener = TcpListener::bind(options.listen)
        .map_err(|error| format!("cannot listen on {}: {error}", options.listen))?;
    let address = listener.local_addr()?;
    let told_to_stop = told_to_stop()?;
    let recorded = metrics::record()?;
    let app = open(&options.store).await?.start().await?;

    let served = app.clone();
    let make = move || {
        let app = App::new().configure(routes(served.clone()));
        app.configure(metrics::routes(recorded.clone()))
    };
    let mut server = HttpServer::new(make).disable_signals().listen(listener)?;
    if let Some(workers) = options.workers {
        server = server.workers(workers.into());
    }
    let server = server.run();
    let handle = server.handle();
    let mut serving = rt::spawn(server);
    greet(address);

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

fn greet(address: SocketAddr) {
    // A closed standard output is no reason to stop.
    let _ = writeln!(
        std::io::stdout(),
        "listening on http://{address}\n\
         try: curl -i http://{address}/accounts -H 'Content-Type: application/json' \
         -d '{{\"id\": \"42\", \"owner\": \"Ada\", \"currency\": \"EUR\"}}'"
    );
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
