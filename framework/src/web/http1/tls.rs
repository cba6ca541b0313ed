//! Connections over TLS.

use std::fmt::Debug;
use std::io;
use std::net::TcpListener;

use actix_http::body::MessageBody;
use actix_http::{Extensions, Request, Response};
use actix_server::ServerBuilder;
use actix_service::{IntoServiceFactory, Service, ServiceFactory, ServiceFactoryExt};
use actix_tls::accept::TlsError;
use actix_tls::accept::rustls_0_23::{Acceptor, TlsStream};
use actix_web::dev::AppConfig;
use actix_web::rt::net::TcpStream;

use super::{Http, OneRequest};
use crate::web::tls_config::TlsConfig;

/// The only protocol that is offered in the handshake (RFC 7301).
const HTTP_1_1: &[u8] = b"http/1.1";

pub(super) fn listen<F, I, S, B, C>(
    builder: ServerBuilder,
    listener: TcpListener,
    TlsConfig(mut config): TlsConfig,
    http: Http<F, C>,
) -> io::Result<ServerBuilder>
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
    config.alpn_protocols = vec![HTTP_1_1.to_vec()];
    let acceptor = Acceptor::new(config);
    builder.listen(http.address.to_string(), listener, move || {
        acceptor
            .clone()
            .map_err(TlsError::into_service_error)
            .and_then(|connection: TlsStream<TcpStream>| async move {
                let peer = connection.get_ref().0.peer_addr().ok();
                Ok((OneRequest::new(connection), peer))
            })
            .and_then(http.service(true).map_err(TlsError::Service))
    })
}
