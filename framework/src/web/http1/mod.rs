//! HTTP/1 connections on which one request is processed at a time.
//!
//! actix decodes every request that has arrived, before the first one is answered, and its limit of
//! sixteen is checked only between reads. 150 KB of pipelined requests then occupy 18 MB. Here the
//! bytes behind a request stay unread until its response has been sent, which also bounds what a
//! client that never reads can cost. [`listen`] is `HttpServer::listen` with that rule.

mod framing;
mod one_request;
#[cfg(test)]
mod tests;
#[cfg(feature = "web-tls")]
mod tls;
#[cfg(not(feature = "web-tls"))]
#[path = "tls_off.rs"]
mod tls;

use std::fmt::Debug;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use actix_http::body::MessageBody;
use actix_http::error::DispatchError;
use actix_http::{Extensions, HttpService, Request, Response};
use actix_server::{GracefulShutdownSignal, Server};
use actix_service::{
    IntoServiceFactory, Service, ServiceFactory, ServiceFactoryExt, fn_service, map_config,
};
use actix_web::dev::AppConfig;
use actix_web::rt::net::TcpStream;
use tokio::io::{AsyncRead, AsyncWrite};

use self::one_request::OneRequest;
pub(crate) use self::one_request::responds;
use super::tls_config::TlsConfig;

/// Size of the write buffer of a connection, and with it of the memory that a client costs that does
/// not read.
const WRITE_BUFFER_BYTES: usize = 8 * 1024;

/// Time that a client has to close its side after a response that ends the connection, as in
/// `HttpServer`.
const CLOSES_WITHIN: Duration = Duration::from_secs(1);

/// Limits of a listener.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Capacity {
    pub(crate) workers: usize,
    /// Maximum number of connections; more wait to be accepted.
    pub(crate) connections: usize,
}

/// Serves the application that `make` returns, once for each worker. `on_connect` sees each new
/// connection. The application's outermost middleware is [`responds`].
///
/// # Errors
/// The listener cannot be used.
pub(crate) fn listen<F, I, S, B, C>(
    listener: TcpListener,
    Capacity { workers, connections }: Capacity,
    tls: Option<TlsConfig>,
    on_connect: C,
    make: F,
) -> io::Result<Server>
where
    F: Fn() -> I + Clone + Send + 'static,
    I: IntoServiceFactory<S, Request>,
    S: ServiceFactory<Request, Config = AppConfig> + 'static,
    S::Error: Into<actix_web::Error> + 'static,
    S::InitError: Debug,
    S::Response: Into<Response<B>>,
    <S::Service as Service<Request>>::Future: 'static,
    B: MessageBody + 'static,
    C: Fn(&mut Extensions) + Clone + Send + 'static,
{
    let builder = Server::build().workers(workers).disable_signals();
    let builder = builder.max_concurrent_connections(connections.div_ceil(workers).max(1));
    let stopping = builder.graceful_shutdown_signal();
    let address = listener.local_addr()?;
    let http = Http { make, on_connect, stopping, address };
    let builder = match tls {
        None => builder.listen(address.to_string(), listener, move || {
            fn_service(|connection: TcpStream| async move {
                let peer = connection.peer_addr().ok();
                Ok((OneRequest::new(connection), peer))
            })
            .and_then(http.service(false))
        }),
        Some(config) => tls::listen(builder, listener, config, http),
    };
    Ok(builder?.run())
}

/// The parts of a service for connections of one kind.
#[derive(Clone)]
struct Http<F, C> {
    make: F,
    on_connect: C,
    stopping: GracefulShutdownSignal,
    address: SocketAddr,
}

impl<F, C> Http<F, C> {
    fn service<T, I, S, B>(
        &self,
        is_secure: bool,
    ) -> impl ServiceFactory<
        (OneRequest<T>, Option<SocketAddr>),
        Config = (),
        Response = (),
        Error = DispatchError,
        InitError = (),
    > + use<T, F, C, I, S, B>
    where
        T: AsyncRead + AsyncWrite + Unpin + 'static,
        F: Fn() -> I,
        I: IntoServiceFactory<S, Request>,
        S: ServiceFactory<Request, Config = AppConfig> + 'static,
        S::Error: Into<actix_web::Error> + 'static,
        S::InitError: Debug,
        S::Response: Into<Response<B>>,
        <S::Service as Service<Request>>::Future: 'static,
        B: MessageBody + 'static,
        C: Fn(&mut Extensions) + Clone + 'static,
    {
        let (on_connect, stopping) = (self.on_connect.clone(), self.stopping.clone());
        let app = (self.make)().into_factory();
        let app = app.map_err(|error| error.into().error_response());
        HttpService::build()
            .graceful_shutdown_signal(move || {
                let stopping = stopping.clone();
                async move { stopping.notified().await }
            })
            .client_disconnect_timeout(CLOSES_WITHIN)
            .h1_write_buffer_size(WRITE_BUFFER_BYTES)
            .local_addr(self.address)
            .on_connect_ext(move |connection: &OneRequest<T>, data: &mut Extensions| {
                data.insert(connection.gate());
                if is_secure {
                    data.insert(OverTls);
                }
                on_connect(data);
            })
            .h1(map_config(app, |()| AppConfig::default()))
    }
}

/// Data beside a connection that uses TLS. (`AppConfig` cannot tell, because only `HttpServer` can
/// make one.)
pub(crate) struct OverTls;
