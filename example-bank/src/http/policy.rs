//! The policy of a route: the scope it needs. Which accounts are whose is decided by the account.

use crate::access::{OPERATE, READ, WRITE};

/// The condition on which a client may take a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// No condition, and the request is not counted by the rate limit: a probe of the process's
    /// health must not fail because of what other clients behind the same address do.
    Probe,
    /// No condition.
    Public,
    /// A credential with the scope `accounts:read`.
    Read,
    /// A credential with the scope `accounts:write`.
    Write,
    /// A credential with the scope `bank:operate`, to run the bank.
    Operate,
}

impl Policy {
    /// The scope that a client needs; `None` if the route needs no credential.
    pub fn scope(self) -> Option<&'static str> {
        match self {
            Self::Probe | Self::Public => None,
            Self::Read => Some(READ),
            Self::Write => Some(WRITE),
            Self::Operate => Some(OPERATE),
        }
    }
}
