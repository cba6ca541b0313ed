//! Who may take a route. Which accounts are whose is decided by the account itself.

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
