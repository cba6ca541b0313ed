//! Pages of entries, limited by number and by bytes.
//!
//! A page stays in memory until its client has read it, so a client that does not read costs one
//! page. The request's `limit` bounds the entries; this file bounds their bytes. A page that ends
//! early returns the place to continue from, like every page.

use std::io::Write;

use serde::Serialize;

use super::problem::Problem;

/// Number of entries of a page by default.
const DEFAULT_LIMIT: usize = 50;

/// Maximum number of entries of a page.
const MAX_LIMIT: usize = 500;

/// Maximum bytes of a page's entries as JSON. A page has at least one entry, however large.
pub(super) const PAGE_BYTES: usize = 32 * 1024;

/// Returns the limit of a request, or the default of 50.
///
/// # Errors
/// 400 `invalid_query`: the limit is 0 or more than 500.
pub fn page_limit(given: Option<usize>) -> Result<usize, Problem> {
    let limit = given.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        let detail = format!("a limit is 1 to {MAX_LIMIT}");
        return Err(Problem::new(400, "invalid_query", detail));
    }
    Ok(limit)
}

/// Cuts the entries to a page: at most `limit` of them and 32 KiB. Returns true if entries
/// were cut off, so that there is a next page.
///
/// # Errors
/// 500: an entry cannot be written as JSON.
pub fn cut_page<T: Serialize>(entries: &mut Vec<T>, limit: usize) -> Result<bool, Problem> {
    let (whole, mut bytes, mut count) = (entries.len(), Bytes(0), 0);
    for entry in entries.iter().take(limit) {
        serde_json::to_writer(&mut bytes, entry).map_err(|error| Problem::internal(&error))?;
        if bytes.0 > PAGE_BYTES && count > 0 {
            break;
        }
        count += 1;
    }
    entries.truncate(count);
    Ok(count < whole)
}

/// A writer that only counts bytes.
struct Bytes(usize);

impl Write for Bytes {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_bounded_by_number_and_bytes_and_is_never_empty() {
        let page = |sizes: &[usize], limit| {
            let mut entries: Vec<String> = sizes.iter().map(|size| "x".repeat(*size)).collect();
            let is_cut = cut_page(&mut entries, limit).unwrap();
            (entries.len(), is_cut)
        };
        assert_eq!(page(&[], 50), (0, false));
        assert_eq!(page(&[10; 50], 50), (50, false));
        assert_eq!(page(&[10; 51], 50), (50, true));
        assert_eq!(page(&[20_000; 3], 50), (1, true));
        assert_eq!(page(&[100_000, 10], 50), (1, true));
        assert_eq!(page(&[16_000, 16_000], 50), (2, false));
    }
}
