//! The bank as a server: two listeners on one application, from its start to its end.
//!
//! The public one serves the bank. Operators have their own, on a loopback address, which answers
//! also while the public one is full.

use std::io::{ErrorKind, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::time::Duration;

use actix_web::dev::Server;
use actix_web::middleware::from_fn;
use actix_web::web::{Data, ServiceConfig};
use actix_web::{App, HttpServer, rt};
use actum::web::{Deadlines, deadlines, in_pieces, request_log, security_headers};
use actum::{ApplicationBuilder, BoxError, StartError};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpSocket;

use crate::access::Access;
use crate::calling::Calling;
use crate::cli::{Serve, told_to_stop};
use crate::http::operations::metrics;
use crate::limits::{Limits, connections};
use crate::{application, operations, routes, socket, tls, vital};

/// How long answers that are ready may take to reach their clients when the bank stops.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// An answer waits in a buffer of this size until its client reads.
const WRITE_BUFFER_BYTES: usize = 8 * 1024;

/// So far above the bank's own port operators ask unless told otherwise: not the next one, for
/// there the next bank listens.
const OPERATORS_ABOVE: u16 = 1000;

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 1024;

/// Exit code of a bank whose log is not in its file alone.
const LEFT_OPEN: u8 = 3;

/// Serves until the process is told to stop.
pub(crate) async fn serve(options: Serve) -> Result<ExitCode, BoxError> {
    // Before all else: a bank that would be open to the world does not even listen.
    let access = options.credentials.open(options.listen)?;
    // The addresses first: a port in use must not leave a new database behind. Nobody can connect
    // until the store is open.
    let listener = bind(options.listen)?;
    let operators = operators(&options)?;
    let tls = options.tls()?;
    let addresses = (listener.local_addr()?, operators.local_addr()?);
    let told_to_stop = told_to_stop()?;
    let recorded = metrics::record()?;
    let calling = Calling::open(options.calling, access.is_dev())?;
    let builder = open(options.store.expose()).await?.settings(options.limits.settings());
    let builder = match calling.clone() {
        Some(calling) => calling.by(builder),
        None => builder,
    };
    let app = builder.start().await?;
    let (listener, operators) = (listen(listener)?, listen(operators)?);
    for listener in [&listener, &operators] {
        socket::bound_sending(listener, options.limits.send_deadline())?;
    }

    let within = options.limits.deadlines();
    let operations = operations(app.clone(), access.clone());
    let operated = operated(operators, within, operations, recorded)?;
    let (bank, calling) = (routes(app.clone(), access.clone()), calling.map(Data::new));
    let bank = move |config: &mut ServiceConfig| {
        config.configure(bank);
        if let Some(calling) = calling {
            config.app_data(calling);
        }
    };
    let greeting = greeting(tls.is_some(), addresses, &access);
    let public = public(listener, &options.limits, options.workers, bank, tls)?;
    let handles = [public.handle(), operated.handle()];
    // Its threads first: a crowd of clients could take the descriptors that they need.
    let mut operated = rt::spawn(operated);
    tokio::task::yield_now().await;
    let mut public = rt::spawn(public);
    // A closed standard output is no reason to stop.
    let _ = writeln!(std::io::stdout(), "{greeting}");

    tokio::select! {
        () = told_to_stop => {}
        ended = &mut public => return ended?.map(|()| ExitCode::SUCCESS).map_err(Into::into),
        ended = &mut operated => return ended?.map(|()| ExitCode::SUCCESS).map_err(Into::into),
    }
    vital::end_after_stop();
    tracing::info!("stopping: no more connections, finishing what was asked");
    let [closed, also] = handles.map(|handle| handle.stop(true));
    let stopped = app.shutdown().await;
    // A client that keeps its connection open must not keep the bank from ending.
    let _ = tokio::time::timeout(LAST_ANSWERS, async { tokio::join!(closed, also) }).await;
    public.abort();
    operated.abort();
    tracing::info!("stopped");
    Ok(if stopped.left_open.is_some() { ExitCode::from(LEFT_OPEN) } else { ExitCode::SUCCESS })
}

/// The bank, for all who may enter.
fn public(
    listener: TcpListener,
    limits: &Limits,
    workers: Option<u16>,
    bank: impl FnOnce(&mut ServiceConfig) + Clone + Send + 'static,
    tls: Option<tls::Config>,
) -> std::io::Result<Server> {
    let (shared, open) = (limits.shared(), limits.connections());
    let make = move || {
        // The last one is the first that sees a request.
        let app = App::new()
            .wrap(from_fn(deadlines))
            .wrap(from_fn(connections))
            .wrap(from_fn(in_pieces))
            .wrap(from_fn(security_headers))
            .wrap(from_fn(request_log));
        app.configure(shared.clone()).configure(bank.clone())
    };
    let workers = workers.map_or_else(cores, usize::from);
    let server = HttpServer::new(make).disable_signals().workers(workers);
    let server = server.max_connections(limits.connections.div_ceil(workers).max(1));
    let server = server.h1_write_buffer_size(WRITE_BUFFER_BYTES);
    let server = server.on_connect(move |_, connection| open.opened(connection));
    let server = match tls {
        None => server.listen(listener),
        Some(config) => tls::listen!(server, listener, config),
    };
    Ok(server?.run())
}

/// What operators ask; without the limits of the bank, so that they are answered also then.
fn operated(
    listener: TcpListener,
    within: Deadlines,
    operations: impl FnOnce(&mut ServiceConfig) + Clone + Send + 'static,
    recorded: PrometheusHandle,
) -> std::io::Result<Server> {
    let make = move || {
        let app = App::new()
            .wrap(from_fn(deadlines))
            .wrap(from_fn(in_pieces))
            .wrap(from_fn(security_headers))
            .wrap(from_fn(request_log));
        let app = app.app_data(within).app_data(Data::new(recorded.clone()));
        app.configure(operations.clone())
    };
    let server = HttpServer::new(make).h1_write_buffer_size(WRITE_BUFFER_BYTES);
    Ok(server.disable_signals().workers(1).listen(listener)?.run())
}

/// Reserves an address; nobody can connect to it yet.
fn bind(address: SocketAddr) -> Result<TcpSocket, BoxError> {
    let bound = reserve(address);
    Ok(bound.map_err(|error| format!("cannot listen on {address}: {error}"))?)
}

fn reserve(address: SocketAddr) -> std::io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?; // a bank that starts again at once finds its address free
    socket.bind(address)?;
    Ok(socket)
}

/// Lets clients connect.
fn listen(socket: TcpSocket) -> Result<TcpListener, BoxError> {
    let address = socket.local_addr()?;
    let listening = socket.listen(BACKLOG).and_then(tokio::net::TcpListener::into_std);
    Ok(listening.map_err(|error| format!("cannot listen on {address}: {error}"))?)
}

/// Reserves the address of the operations API, which no other machine reaches.
fn operators(options: &Serve) -> Result<TcpSocket, BoxError> {
    if let Some(address) = options.operate {
        if !address.ip().is_loopback() {
            let what = "operators ask on a loopback address only";
            return Err(format!("cannot serve operators on {address}: {what}").into());
        }
        return bind(address);
    }
    let port = match options.listen.port() {
        0 => 0,
        port => port.checked_add(OPERATORS_ABOVE).unwrap_or(0),
    };
    let local = |port| reserve((Ipv4Addr::LOCALHOST, port).into());
    // Nobody has asked for this port, so another one will do; the greeting tells which.
    match local(port) {
        Err(error) if error.kind() == ErrorKind::AddrInUse => Ok(local(0)?),
        bound => Ok(bound?),
    }
}

/// Name that the log keeps, whatever the executable is called.
const NAME: &str = "bank";

/// The bank on the store that the URL names.
async fn open(store: &str) -> Result<ApplicationBuilder, StartError> {
    // A path is an SQLite file.
    let has_scheme = is_postgres(store) || store.starts_with("sqlite:");
    let url = if has_scheme { store.to_owned() } else { format!("sqlite:{store}") };
    Ok(application(actum::open(&url).await?).name(NAME))
}

/// Tells the two databases apart by the text that names one.
pub(crate) fn is_postgres(store: &str) -> bool {
    store.starts_with("postgres://") || store.starts_with("postgresql://")
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(2, NonZeroUsize::get)
}

fn greeting(
    is_secure: bool,
    (public, operators): (SocketAddr, SocketAddr),
    access: &Access,
) -> String {
    let scheme = if is_secure { "https" } else { "http" };
    let (mode, credential) = match access.is_dev() {
        true => ("dev mode: nobody is asked who they are; --help tells of credentials\n", ""),
        false => ("", "-H \"Authorization: Bearer $KEY\" "),
    };
    format!(
        "listening on {scheme}://{public}\n\
         operators on http://{operators}\n{mode}\
         try: curl -i {scheme}://{public}/accounts {credential}-H 'Content-Type: application/json' \
         -d '{{\"id\": \"42\", \"owner\": \"Ada\", \"currency\": \"EUR\"}}'"
    )
}
