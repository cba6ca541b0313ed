//! Compares JSON texts by what they hold, to find out if a value survived a round trip.
//!
//! The entries of a map and the elements of a sequence may come in another order, because a
//! `HashMap` or `HashSet` that was decoded has another one. Numbers are compared as texts, because a
//! `serde_json::Value` would round large ones.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::value::RawValue;

/// Checks that two JSON texts hold the same, in whatever order.
pub(crate) fn is_same_json(one: &str, other: &str) -> bool {
    one == other || canonical(one).is_some_and(|one| canonical(other) == Some(one))
}

/// The text with sorted entries and elements; `None` if it is no JSON.
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
