//! Compares JSON texts by content, to find out if a value survived a round trip.
//!
//! The entries of a map and the elements of a sequence may come in another order, because a
//! `HashMap` or `HashSet` iterates in another order after it was decoded. Numbers are compared as
//! texts, because a `serde_json::Value` would round large ones.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::value::RawValue;

/// Checks that two JSON texts have the same content, in any order.
pub(crate) fn is_same_json(one: &str, other: &str) -> bool {
    one == other || canonical(one).is_some_and(|one| canonical(other) == Some(one))
}

/// Returns the text with sorted entries and elements, or `None` if it is not JSON.
fn canonical(json: &str) -> Option<String> {
    match json.as_bytes().first()? {
        b'{' => {
            let entries: BTreeMap<Cow<'_, str>, &RawValue> = serde_json::from_str(json).ok()?;
            let entry = |(key, value): (&Cow<'_, str>, &&RawValue)| {
                Some(format!("{key:?}:{}", canonical(value.get())?))
            };
            let entries: Option<Vec<_>> = entries.iter().map(entry).collect();
            Some(format!("{{{}}}", entries?.join(",")))
        }
        b'[' => {
            let elements: Vec<&RawValue> = serde_json::from_str(json).ok()?;
            let elements: Option<Vec<_>> =
                elements.iter().map(|element| canonical(element.get())).collect();
            let mut elements = elements?;
            elements.sort_unstable();
            Some(format!("[{}]", elements.join(",")))
        }
        _ => Some(json.to_owned()),
    }
}
