//! TLS on the bank's public address, by rustls: 1.2 and 1.3, the key and its certificates from files.

use std::path::Path;
use std::sync::Arc;

use actum::BoxError;
use rustls::ServerConfig;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// What a server shows of itself.
pub(crate) type Config = ServerConfig;

/// Shows the certificate in this file, with those that vouch for it after it, and proves it by the
/// key in that one.
pub(crate) fn config(certificate: &Path, key: &Path) -> Result<Config, BoxError> {
    let wrong = |file: &Path, reason: &dyn std::fmt::Display| -> BoxError {
        format!("cannot use {} for TLS: {reason}", file.display()).into()
    };
    let read = CertificateDer::pem_file_iter(certificate).and_then(Iterator::collect);
    let chain: Vec<CertificateDer<'static>> = read.map_err(|e| wrong(certificate, &e))?;
    if chain.is_empty() {
        return Err(wrong(certificate, &"there is no certificate in it"));
    }
    let proof = PrivateKeyDer::from_pem_file(key).map_err(|e| wrong(key, &e))?;
    let builder = ServerConfig::builder_with_provider(Arc::new(default_provider()));
    let builder = builder.with_safe_default_protocol_versions()?.with_no_client_auth();
    builder.with_single_cert(chain, proof).map_err(|e| wrong(key, &e))
}

/// Has a server listen there with TLS.
macro_rules! listen {
    ($server:expr, $listener:expr, $config:expr) => {
        $server.listen_rustls_0_23($listener, $config)
    };
}
pub(crate) use listen;
