//! A claim: something of which there may be one in the whole log, such as a user's name.
//!
//! One aggregate cannot see another, so none can promise that a name is free. The log can: an event
//! may take a claim, and is stored only if no other stream holds it; another event may release it.
//! Claims stand and fall with their events.

use std::fmt;
use std::sync::Arc;

/// The longest kind and, separately, the longest value in bytes.
pub const MAX_CLAIM_BYTES: usize = 255;

/// What an event does to a value that is unique among all of its kind: takes it, or releases it.
///
/// A kind is ASCII letters, digits and `_`, such as `user_name`, and belongs to the whole log: two
/// aggregate types that name the same kind share its values. A value has 1 to 255 bytes and no control character,
/// and is compared byte by byte: bring it into one form (case, blanks, Unicode) before. It is kept as
/// it is, so claim a digest of what may not be read.
///
/// ```
/// use actum::Claim;
///
/// let claim = Claim::take("user_name", "ada");
/// assert_eq!(claim.taken_code(), "user_name_taken");
/// ```
///
/// [`Aggregate::claims`](crate::aggregate::Aggregate::claims) says which claims an event takes or releases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    pub(crate) name: ClaimName,
    pub(crate) takes: bool,
}

/// Kind and value.
pub(crate) type ClaimName = (Arc<str>, Arc<str>);

impl Claim {
    /// The stream shall hold this value from now on. Another one that holds it refuses the append;
    /// what the stream holds already it may take again.
    pub fn take(kind: &str, value: &str) -> Self {
        Self { name: (kind.into(), value.into()), takes: true }
    }

    /// The stream no longer holds this value, and whoever wants it may take it. What it does not
    /// hold stays as it is.
    pub fn release(kind: &str, value: &str) -> Self {
        Self { name: (kind.into(), value.into()), takes: false }
    }

    /// What the value is one of.
    pub fn kind(&self) -> &str {
        &self.name.0
    }

    /// The value.
    pub fn value(&self) -> &str {
        &self.name.1
    }

    /// The code by which a program is told that somebody else holds it, such as `user_name_taken`.
    pub fn taken_code(&self) -> String {
        format!("{}_taken", self.kind())
    }

    /// Whether it takes; if not, it releases.
    pub fn takes(&self) -> bool {
        self.takes
    }

    /// Why no store can keep it, if so.
    pub(crate) fn invalid(&self) -> Option<String> {
        let (kind, value) = (self.kind(), self.value());
        let fits = |text: &str| !text.is_empty() && text.len() <= MAX_CLAIM_BYTES;
        if !fits(kind) || !kind.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            return Some(format!(
                "{kind:?} cannot be the kind of a claim: that is 1 to {MAX_CLAIM_BYTES} ASCII letters, digits and _"
            ));
        }
        (!fits(value) || value.chars().any(char::is_control)).then(|| {
            format!(
                "a claim of the kind {kind} has 1 to {MAX_CLAIM_BYTES} bytes and no control character; this one has {} bytes",
                value.len()
            )
        })
    }
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.kind(), self.value())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_every_store_can_keep_is_valid() {
        let longest = "x".repeat(MAX_CLAIM_BYTES);
        for (kind, value) in [("user_name", "ada"), ("K9", "é 'x' \"y\" \\"), (&longest, &longest)]
        {
            assert_eq!(Claim::take(kind, value).invalid(), None, "{kind} {value}");
        }
    }

    #[test]
    fn an_empty_long_or_unprintable_claim_is_named() {
        let long = "x".repeat(MAX_CLAIM_BYTES + 1);
        for kind in ["", "a b", "a-b", "é", &long] {
            let reason = Claim::take(kind, "x").invalid().unwrap();
            assert!(reason.contains("kind of a claim"), "{reason}");
        }
        for value in ["", "a\0b", "\n", &long] {
            let reason = Claim::release("user_name", value).invalid().unwrap();
            assert!(reason.contains("user_name"), "{reason}");
            assert!(!reason.contains(&long), "the reason is as long as the value");
        }
    }
}
