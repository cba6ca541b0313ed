//! Pages of a list of documents: bounds of a range, and the page made of what a store found.
//!
//! Pure functions, the same for every store. A store finds at most one key more than the page may
//! hold, so the page knows whether the range continues.

use std::collections::BTreeMap;

use crate::event::GlobalPosition;
use crate::store::contract::{DocumentRange, MAX_KEY_BYTES, MAX_LIST, StoredPage};

/// Bounds of the keys of a range.
#[derive(Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The first key, if it is there.
    pub from: String,
    /// The least text that is greater than all keys of the range.
    pub below: String,
    /// Number of keys in a page.
    pub limit: usize,
}

impl Bounds {
    /// Bounds of this range.
    pub fn of(range: &DocumentRange) -> Self {
        let limit = range.limit.clamp(1, MAX_LIST);
        if range.prefix.contains('\0') {
            // No key has a NUL, and PostgreSQL refuses a text that has one.
            return Self { from: String::new(), below: String::new(), limit };
        }
        // No key has a NUL, so nothing lies between a key and the same key with U+0001 behind it,
        // nor between that and any text that continues the key with a NUL.
        let after = range.after.as_ref().and_then(|after| after.split('\0').next());
        let after = after.map(|after| format!("{after}\u{1}"));
        let from =
            after.map_or_else(|| range.prefix.clone(), |after| after.max(range.prefix.clone()));
        Self { from, below: below(&range.prefix), limit }
    }

    /// Number of keys that a store looks for.
    pub fn sought(&self) -> usize {
        self.limit + 1
    }
}

/// The least text that is greater than all keys with this prefix. UTF-8 sorts like the code points.
fn below(prefix: &str) -> String {
    let mut chars: Vec<char> = prefix.chars().collect();
    while let Some(last) = chars.pop() {
        // The range skips the surrogates.
        if let Some(next) = (last..=char::MAX).nth(1) {
            chars.push(next);
            return chars.into_iter().collect();
        }
    }
    // Longer than any key can be, and no character is greater.
    char::MAX.to_string().repeat(MAX_KEY_BYTES / char::MAX.len_utf8() + 1)
}

/// Rows that a store found in a range, each part in the order of the keys.
#[derive(Debug, Default)]
pub struct Found {
    /// Documents, at most [`Bounds::sought`]. The body is `None` if the bodies before it have
    /// `MAX_LIST_BYTES` already.
    pub documents: Vec<(String, Option<String>)>,
    /// Parked keys, at most [`Bounds::sought`].
    pub parked: Vec<String>,
    /// Position of each checkpoint of the model, by number of the partition.
    pub checkpoints: Vec<(u32, GlobalPosition)>,
}

impl Found {
    /// Makes the page.
    pub fn page(self, limit: usize) -> StoredPage {
        let Self { documents, parked, mut checkpoints } = self;
        checkpoints.sort_unstable();
        let mut page = StoredPage { checkpoints, ..StoredPage::default() };
        // `None` marks a parked key: its document is older than the checkpoint.
        let mut keys: BTreeMap<String, Option<Option<String>>> = BTreeMap::new();
        keys.extend(documents.into_iter().map(|(key, body)| (key, Some(body))));
        keys.extend(parked.into_iter().map(|key| (key, None)));
        let mut last = None;
        for (count, (key, entry)) in keys.into_iter().enumerate() {
            if count == limit || matches!(entry, Some(None)) {
                page.next = last;
                break;
            }
            last = Some(key.clone());
            match entry {
                Some(Some(body)) => page.documents.push((key, body)),
                _ => page.parked.push(key),
            }
        }
        page
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(prefix: &str, after: Option<&str>) -> DocumentRange {
        DocumentRange { prefix: prefix.into(), after: after.map(str::to_owned), limit: 9 }
    }

    #[test]
    fn the_bounds_of_a_prefix_hold_its_keys_and_no_others() {
        for prefix in ["", "a", "a\u{d7ff}", "a\u{10ffff}", "\u{10ffff}\u{10ffff}", "ä", "~"] {
            let Bounds { from, below, .. } = Bounds::of(&range(prefix, None));
            let keys = [
                "",
                "A",
                "a",
                "a\u{d7ff}",
                "a\u{d7ff}z",
                "a\u{e000}",
                "a\u{10ffff}",
                "b",
                "~",
                "ä",
                "å",
                "\u{10ffff}",
                "\u{10ffff}\u{10ffff}",
                "\u{10ffff}\u{10ffff}x",
            ];
            for key in keys {
                let is_within = *from <= *key && *key < *below;
                assert_eq!(is_within, key.starts_with(prefix), "{key:?} of {prefix:?}");
            }
        }
    }

    #[test]
    fn a_page_after_a_key_begins_with_the_next_one() {
        let Bounds { from, .. } = Bounds::of(&range("a", Some("ab")));
        assert!("ab" < &*from && &*from < "ab!" && &*from <= "ab\u{1}");
        assert_eq!(Bounds::of(&range("b", Some("a"))).from, "b");
    }

    #[test]
    fn no_bound_has_a_nul() {
        let Bounds { from, below, .. } = Bounds::of(&range("a\0", Some("b")));
        assert!(from.is_empty() && below.is_empty(), "{from:?} {below:?}");
        assert_eq!(Bounds::of(&range("", Some("ab\0c"))).from, "ab\u{1}");
    }

    #[test]
    fn a_page_ends_at_its_limit_or_at_the_first_body_that_is_too_much() {
        let found = |bodies: [Option<&str>; 3]| Found {
            documents: ["a", "b", "c"]
                .map(str::to_owned)
                .into_iter()
                .zip(bodies.map(|body| body.map(str::to_owned)))
                .collect(),
            parked: vec!["b".to_owned(), "bb".to_owned()],
            checkpoints: vec![(1, GlobalPosition(2)), (0, GlobalPosition(1))],
        };
        let page = found([Some("1"), Some("2"), Some("3")]).page(3);
        assert_eq!(page.documents, [("a".to_owned(), "1".to_owned())]);
        assert_eq!(page.parked, ["b", "bb"]);
        assert_eq!(page.next.as_deref(), Some("bb"));
        assert_eq!(page.checkpoints[0].0, 0);
        let page = found([Some("1"), Some("2"), None]).page(9);
        assert_eq!(page.next.as_deref(), Some("bb"));
        let page = found([Some("1"), Some("2"), Some("3")]).page(9);
        assert_eq!((page.documents.len(), page.next), (2, None));
    }
}
