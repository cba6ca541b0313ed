//! In place of `tls.rs` without the feature `web-tls`: there is no way to make a configuration.

use std::path::Path;

use crate::box_error::BoxError;

/// The certificate and key of a server; there is none without the feature `web-tls`.
#[derive(Clone)]
pub enum TlsConfig {}

impl TlsConfig {
    /// Always fails, so that a program that is asked for TLS says what it lacks.
    ///
    /// # Errors
    /// This program was built without TLS.
    pub fn files(_: impl AsRef<Path>, _: impl AsRef<Path>) -> Result<Self, BoxError> {
        Err("this program was built without TLS: add the feature `web-tls` of actum".into())
    }
}

macro_rules! listen {
    ($server:expr, $listener:expr, $config:expr) => {
        match $config {}
    };
}
pub(super) use listen;
