//! A server: two listeners on one application, from start to stop.
//!
//! The public listener serves the application's routes. The operations API has its own listener on
//! a loopback address, which responds even while the public one is full.

mod listeners;
mod main_thread;
#[cfg(feature = "prometheus")]
mod metrics;
#[cfg(target_os = "linux")]
mod socket;
#[cfg(not(target_os = "linux"))]
#[path = "socket_off.rs"]
mod socket;
mod vital;

use std::net::{SocketAddr, TcpListener};
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::{Server as HttpServing, ServerHandle};
use actix_web::middleware::from_fn;
use actix_web::rt::task::JoinHandle;
use actix_web::web::{Data, ServiceConfig};
use actix_web::{App, rt};

pub use self::listeners::Listeners;
use self::listeners::listen;
pub use self::main_thread::main;
use super::access::{Access, Authenticator};
use super::deadlines::deadlines;
use super::http1::{self, Capacity, responds};
use super::limits::{Limits, connections};
use super::operations::operations;
use super::pieces::in_pieces;
use super::request_log::request_log;
use super::routes::Routes;
use super::security_headers::security_headers;
use super::tls_config::TlsConfig;
use crate::application::{Application, Stopped};
use crate::box_error::BoxError;

/// Time for finished responses to reach their clients when the server stops.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// Maximum number of connections to the operations API.
const OPERATIONS_CONNECTIONS: usize = 1024;

type Configure = Arc<dyn Fn(&mut ServiceConfig) + Send + Sync>;

/// An application over HTTP, with its operations API.
///
/// Run it in the runtime of actix: `#[actix_web::main]` on `main`. Values for handlers besides the
/// application, which is there as `Data<Application>`, come from [`Server::data`]. To test routes
/// without a server, use [`Routes::serve`](super::Routes::serve); the [module](super) has an example.
/// The server prints nothing: its log lines are events of `tracing`, for a subscriber that the
/// program installs.
///
/// ```no_run
/// # use actum::web::{ApiKeys, Routes, Server};
/// # async fn f(app: actum::Application, routes: Routes) -> Result<(), actum::BoxError> {
/// Server::new(app)
///     .routes(routes)
///     .auth(ApiKeys::file("keys.jsonl")?)
///     .serve("127.0.0.1:8080")
///     .operations("127.0.0.1:9080")
///     .run()
///     .await?;
/// # Ok(()) }
/// ```
pub struct Server {
    app: Application,
    routes: Routes,
    access: Access,
    limits: Limits,
    workers: Option<usize>,
    tls: Option<TlsConfig>,
    data: Vec<Configure>,
    listen: Listen,
}

/// Addresses to listen on.
enum Listen {
    At(String, Option<String>),
    On(Box<Listeners>),
}

impl Server {
    /// Creates a server of this application on 127.0.0.1:8080, without routes, in development mode.
    pub fn new(app: Application) -> Self {
        Self {
            app,
            routes: Routes::new(),
            access: Access::dev(),
            limits: Limits::default(),
            workers: None,
            tls: None,
            data: Vec::new(),
            listen: Listen::At("127.0.0.1:8080".to_owned(), None),
        }
    }

    /// Adds routes.
    #[must_use]
    pub fn routes(self, routes: Routes) -> Self {
        Self { routes: self.routes.merge(routes), ..self }
    }

    /// Adds an authenticator: [`ApiKeys`](super::ApiKeys), `Jwt`, or one of your own. Without any,
    /// the server is in development mode and listens on loopback addresses only.
    #[must_use]
    pub fn auth(self, authenticator: impl Authenticator) -> Self {
        Self { access: self.access.and(authenticator), ..self }
    }

    /// Sets the authentication of clients.
    #[must_use]
    pub fn access(self, access: Access) -> Self {
        Self { access, ..self }
    }

    /// Sets the limits of the public listener.
    #[must_use]
    pub fn limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// Sets the number of threads of the public listener. Default, and `None`: one per core.
    #[must_use]
    pub fn workers(self, workers: impl Into<Option<usize>>) -> Self {
        Self { workers: workers.into().map(|workers| workers.max(1)), ..self }
    }

    /// Enables TLS on the public address. Default, and `None`: plain HTTP.
    #[must_use]
    pub fn tls(self, config: impl Into<Option<TlsConfig>>) -> Self {
        Self { tls: config.into(), ..self }
    }

    /// Provides this value to the handlers of both listeners, as `Data<T>`.
    #[must_use]
    pub fn data<T: Send + Sync + 'static>(mut self, value: T) -> Self {
        let value = Data::new(value);
        self.data.push(Arc::new(move |config| {
            config.app_data(value.clone());
        }));
        self
    }

    /// Sets the public address, such as `127.0.0.1:8080`. Port 0 uses a free port.
    #[must_use]
    pub fn serve(mut self, address: impl Into<String>) -> Self {
        let operations = match self.listen {
            Listen::At(_, operations) => operations,
            Listen::On(_) => None,
        };
        self.listen = Listen::At(address.into(), operations);
        self
    }

    /// Sets the loopback address of the operations API. Default: see [`Listeners::bind`].
    #[must_use]
    pub fn operations(mut self, address: impl Into<String>) -> Self {
        if let Listen::At(_, operations) = &mut self.listen {
            *operations = Some(address.into());
        }
        self
    }

    /// Listens on addresses that were reserved before.
    #[must_use]
    pub fn on(self, listeners: Listeners) -> Self {
        Self { listen: Listen::On(Box::new(listeners)), ..self }
    }

    /// Starts the server and runs it until the process gets a stop signal (SIGINT, SIGTERM). Then
    /// the server accepts no more connections, finishes running requests, and shuts the application
    /// down.
    ///
    /// # Errors
    /// Those of [`Server::start`]; or a listener has failed.
    pub async fn run(self) -> Result<Stopped, BoxError> {
        self.start().await?.until_stopped().await
    }

    /// Starts the server.
    ///
    /// # Errors
    /// An address is in use, or no authenticator is configured on an address that other machines
    /// can reach.
    pub async fn start(self) -> Result<RunningServer, BoxError> {
        let listeners = match self.listen {
            Listen::On(listeners) => *listeners,
            Listen::At(public, operations) => {
                let parsed = operations.as_deref().map(address).transpose()?;
                Listeners::bind(address(&public)?, parsed)?
            }
        };
        let Listeners { public, operations: operated, told_to_stop } = listeners;
        let (address, operations_address) = (public.local_addr()?, operated.local_addr()?);
        if self.access.is_dev() && !address.ip().is_loopback() {
            return Err(format!(
                "{address} can be reached from elsewhere and nobody would be asked who they are: \
                 authenticate clients, or listen on 127.0.0.1"
            )
            .into());
        }
        // After this check, because a server that is open to everyone must not even listen.
        let (public, operated) = (listen(public)?, listen(operated)?);
        for listener in [&public, &operated] {
            socket::bound_sending(listener, self.limits.send_deadline)?;
        }
        let shared = Shared { access: self.access, limits: self.limits, data: self.data };
        let operated = shared.operated(operated, &self.app)?;
        let routes = self.routes.serve(self.app.clone(), shared.access.clone());
        let public = shared.public(public, routes, self.workers, self.tls)?;
        let handles = [public.handle(), operated.handle()];
        // The threads of the operations API start first, because many clients could use up the file
        // descriptors that they need.
        let operated = rt::spawn(operated);
        tokio::task::yield_now().await;
        let public = rt::spawn(public);
        Ok(RunningServer {
            app: self.app,
            address,
            operations_address,
            told_to_stop,
            handles,
            serving: [public, operated],
        })
    }
}

fn address(text: &str) -> Result<SocketAddr, BoxError> {
    text.parse().map_err(|error| format!("{text:?} is no address to listen on: {error}").into())
}

/// A running server.
pub struct RunningServer {
    app: Application,
    address: SocketAddr,
    operations_address: SocketAddr,
    told_to_stop: Pin<Box<dyn Future<Output = ()>>>,
    handles: [ServerHandle; 2],
    serving: [JoinHandle<std::io::Result<()>>; 2],
}

impl RunningServer {
    /// Returns the public address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the address of the operations API.
    pub fn operations_address(&self) -> SocketAddr {
        self.operations_address
    }

    /// Runs the server until the process gets a stop signal, like [`Server::run`].
    ///
    /// # Errors
    /// A listener has failed.
    pub async fn until_stopped(self) -> Result<Stopped, BoxError> {
        let [mut public, mut operated] = self.serving;
        tokio::select! {
            () = self.told_to_stop => {}
            ended = &mut public => return Err(failed(ended)),
            ended = &mut operated => return Err(failed(ended)),
        }
        vital::end_after_stop();
        tracing::info!("stopping: no more connections, finishing what was asked");
        let [closed, also] = self.handles.map(|handle| handle.stop(true));
        let stopped = self.app.shutdown().await;
        // With a timeout, because a client that keeps its connection open must not prevent the
        // stop.
        let _ = tokio::time::timeout(LAST_ANSWERS, async { tokio::join!(closed, also) }).await;
        public.abort();
        operated.abort();
        tracing::info!("stopped");
        Ok(stopped)
    }
}

/// Converts the result of a listener that has ended unexpectedly.
fn failed(ended: Result<std::io::Result<()>, rt::task::JoinError>) -> BoxError {
    match ended {
        Ok(Ok(())) => "a listener has ended".into(),
        Ok(Err(error)) => error.into(),
        Err(error) => error.into(),
    }
}

/// State that both listeners share.
struct Shared {
    access: Access,
    limits: Limits,
    data: Vec<Configure>,
}

impl Shared {
    /// Creates the public listener.
    fn public(
        &self,
        listener: TcpListener,
        routes: impl FnOnce(&mut ServiceConfig) + Clone + Send + 'static,
        workers: Option<usize>,
        tls: Option<TlsConfig>,
    ) -> std::io::Result<HttpServing> {
        let (shared, open) = (self.limits.shared(), self.limits.open_connections());
        let data = self.data.clone();
        let make = move || {
            // The last middleware is the first one that sees a request.
            let app = App::new()
                .wrap(from_fn(deadlines))
                .wrap(from_fn(connections))
                .wrap(from_fn(in_pieces))
                .wrap(from_fn(security_headers))
                .wrap(from_fn(request_log))
                .wrap(from_fn(responds));
            let app = app.configure(&shared).configure(|config| configure(&data, config));
            app.configure(routes.clone())
        };
        let workers = workers.unwrap_or_else(cores);
        let capacity = Capacity { workers, connections: self.limits.connections };
        http1::listen(listener, capacity, tls, move |connection| open.opened(connection), make)
    }

    /// Creates the listener of the operations API. The public limits do not apply, so that it
    /// responds even when they are reached.
    fn operated(&self, listener: TcpListener, app: &Application) -> std::io::Result<HttpServing> {
        let routes = operations().serve(app.clone(), self.access.clone());
        let (within, data) = (self.limits.deadlines, self.data.clone());
        let make = move || {
            let app = App::new()
                .wrap(from_fn(deadlines))
                .wrap(from_fn(in_pieces))
                .wrap(from_fn(security_headers))
                .wrap(from_fn(request_log))
                .wrap(from_fn(responds));
            let app = app.app_data(within).configure(|config| configure(&data, config));
            app.configure(routes.clone())
        };
        let capacity = Capacity { workers: 1, connections: OPERATIONS_CONNECTIONS };
        http1::listen(listener, capacity, None, |_| {}, make)
    }
}

fn configure(data: &[Configure], config: &mut ServiceConfig) {
    data.iter().for_each(|configure| configure(config));
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(2, NonZeroUsize::get)
}
