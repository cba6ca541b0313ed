//! Name of the program, stored in the log so that no other program appends to it by mistake.
//!
//! Two different programs on one log would fold each other's events and share idempotency keys. The
//! first application that starts on a log claims it. An application with another name is refused.

use crate::error::StartError;
use crate::store::contract::Store;

/// Length of the hash that Cargo appends to the names of test executables.
const CARGO_HASH: usize = 16;

/// Returns the name of the executable, without its extension and Cargo's hash.
pub(super) fn default_name() -> String {
    let path = std::env::current_exe().ok();
    let stem = path.as_deref().and_then(|path| path.file_stem()).and_then(|stem| stem.to_str());
    without_hash(stem.unwrap_or("program")).to_owned()
}

fn without_hash(stem: &str) -> &str {
    let is_hash =
        |hash: &str| hash.len() == CARGO_HASH && hash.bytes().all(|c| c.is_ascii_hexdigit());
    match stem.rsplit_once('-') {
        Some((name, hash)) if is_hash(hash) => name,
        _ => stem,
    }
}

/// Claims the log for the program of this name.
///
/// # Errors
/// [`StartError::OtherProgram`], or the store is not available.
pub(super) async fn claim(store: &dyn Store, name: &str) -> Result<(), StartError> {
    let found = store.claim_program(name).await?;
    if found == name {
        return Ok(());
    }
    Err(StartError::OtherProgram { name: name.to_owned(), found })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_of_a_test_program_is_no_part_of_its_name() {
        let names = ["bank", "bank-0123456789abcdef", "bank-server", "bank-0123456789abcdeg"];
        let expected = ["bank", "bank", "bank-server", "bank-0123456789abcdeg"];
        assert_eq!(names.map(without_hash), expected);
        assert!(!default_name().is_empty());
    }
}
