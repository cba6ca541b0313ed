//! TLS 1.2 and 1.3 on the public address, with rustls. Key and certificates come from files.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::box_error::BoxError;

/// The certificate and key of a server.
#[derive(Clone)]
pub struct TlsConfig(pub(super) rustls::ServerConfig);

impl TlsConfig {
    /// Reads the certificate chain (PEM) and its private key (PEM).
    ///
    /// # Errors
    /// A file cannot be read, or key and certificate do not match.
    pub fn files(certificate: impl AsRef<Path>, key: impl AsRef<Path>) -> Result<Self, BoxError> {
        let (certificate, key) = (certificate.as_ref(), key.as_ref());
        let wrong = |file: &Path, reason: &dyn std::fmt::Display| -> BoxError {
            format!("cannot use {} for TLS: {reason}", file.display()).into()
        };
        let read = CertificateDer::pem_file_iter(certificate).and_then(Iterator::collect);
        let chain: Vec<CertificateDer<'static>> = read.map_err(|e| wrong(certificate, &e))?;
        if chain.is_empty() {
            return Err(wrong(certificate, &"there is no certificate in it"));
        }
        let proof = PrivateKeyDer::from_pem_file(key).map_err(|e| wrong(key, &e))?;
        let builder = rustls::ServerConfig::builder_with_provider(Arc::new(default_provider()));
        let builder = builder.with_safe_default_protocol_versions()?.with_no_client_auth();
        builder.with_single_cert(chain, proof).map(Self).map_err(|e| wrong(key, &e))
    }
}
