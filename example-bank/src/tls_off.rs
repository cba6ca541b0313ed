//! In place of `tls.rs` in a bank that was built without TLS: asked for it, it says so.

use std::path::Path;

use actum::BoxError;

/// There is none.
pub(crate) enum Config {}

pub(crate) fn config(_: &Path, _: &Path) -> Result<Config, BoxError> {
    Err("this bank was built without TLS: build it with --features tls".into())
}

macro_rules! listen {
    ($server:expr, $listener:expr, $config:expr) => {
        match $config {}
    };
}
pub(crate) use listen;
