//! Replacement of `tls_config.rs` without the feature `web-tls`: no configuration can be created.

use std::path::Path;

use crate::box_error::BoxError;

/// The certificate and key of a server; there is none without the feature `web-tls`.
#[derive(Clone)]
pub enum TlsConfig {}

impl TlsConfig {
    /// Always fails, so that a program whose TLS is enabled reports the missing feature.
    ///
    /// # Errors
    /// This program was built without TLS.
    pub fn files(_: impl AsRef<Path>, _: impl AsRef<Path>) -> Result<Self, BoxError> {
        Err("this program was built without TLS: add the feature `web-tls` of actum".into())
    }
}
