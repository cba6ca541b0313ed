//! The bank's accounts that commands go to.

/// How many accounts the commands are spread over.
pub const ACCOUNTS: u64 = 1000;

/// The id of one of them.
pub fn id(account: u64) -> String {
    format!("account-{account}")
}
