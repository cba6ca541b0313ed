//! Keys that the content of an event names: each once, valid, and not too many.

use std::collections::BTreeSet;

use crate::store::contract::{MAX_KEY_BYTES, MAX_KEYS_PER_EVENT, MAX_PAYLOAD_BYTES, is_valid_key};

/// Checks that a key belongs to this partition.
pub(super) type IsOurs<'a> = dyn Fn(&str) -> bool + 'a;

/// Maximum number of keys that are read for one event, including repeated ones, so that an endless
/// iterator ends. No key function that reads keys from an event needs more, because each key has at
/// least one byte.
const MAX_NAMED: usize = MAX_PAYLOAD_BYTES;

/// Returns the keys of this partition, each once and in order, with the reason if a key is invalid.
///
/// # Errors
/// There are too many keys. All partitions come to the same result, because each one counts the
/// keys of the others too.
pub(super) fn named(
    keys: impl IntoIterator<Item = String>,
    is_ours: &IsOurs<'_>,
) -> Result<Vec<(String, Option<String>)>, String> {
    let (mut seen, mut named) = (BTreeSet::new(), Vec::new());
    for (count, key) in keys.into_iter().enumerate() {
        let (key, reason) = match is_valid_key(&key) {
            true => (key, None),
            false => {
                let reason = format!("{key:?} is not a valid key of a document");
                (nearest_valid(&key), Some(reason))
            }
        };
        if seen.contains(&key) && count < MAX_NAMED {
            continue;
        }
        if seen.len() >= MAX_KEYS_PER_EVENT || count >= MAX_NAMED {
            return Err(format!(
                "it has more than {MAX_KEYS_PER_EVENT} keys and is applied to none of them: \
                 return fewer keys and raise the VERSION, or skip the event"
            ));
        }
        if is_ours(&key) {
            named.push((key.clone(), reason));
        }
        seen.insert(key);
    }
    Ok(named)
}

/// Returns the key under which events of an invalid key are parked: the same for each invalid key.
/// This key differs from any valid key, because those do not contain a replacement character.
fn nearest_valid(key: &str) -> String {
    let key = key.replace('\0', "\u{fffd}");
    match key.len() <= MAX_KEY_BYTES {
        true => key,
        false => format!("{}\u{fffd}", &key[..key.floor_char_boundary(MAX_KEY_BYTES - 3)]),
    }
}
