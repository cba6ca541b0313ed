//! In place of `tls.rs` in a build without TLS, where no configuration for it can be made.

use std::io;
use std::net::TcpListener;

use actix_server::ServerBuilder;

use super::Http;
use crate::web::tls_config::TlsConfig;

pub(super) fn listen<F, C>(
    _: ServerBuilder,
    _: TcpListener,
    config: TlsConfig,
    _: Http<F, C>,
) -> io::Result<ServerBuilder> {
    match config {}
}
