//! Who may take a route. Which accounts are whose is decided by the account itself.

use crate::access::{OPERATE, READ, WRITE};

/// What a route asks of who takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// Nothing.
    Public,
    /// To be known, and to have the scope `accounts:read`.
    Read,
    /// To be known, and to have the scope `accounts:write`.
    Write,
    /// To run the bank: the scope `bank:operate`.
    Operate,
}

impl Policy {
    /// The scope to have; none where nobody is asked who they are.
    pub fn scope(self) -> Option<&'static str> {
        match self {
            Self::Public => None,
            Self::Read => Some(READ),
            Self::Write => Some(WRITE),
            Self::Operate => Some(OPERATE),
        }
    }
}
