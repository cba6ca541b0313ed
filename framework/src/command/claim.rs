//! Claims: values that are unique in the whole log, such as a user's name.
//!
//! No aggregate can see another one, so none can guarantee that a name is free. The log can: an
//! event may take a claim, and is stored only if no other stream holds it. Another event may
//! release it. A claim is stored and released in the transaction of its event, so neither exists
//! without the other.
//!
//! See `docs/decisions.md`, "How is something unique among all aggregates?"

use std::fmt;
use std::sync::Arc;

/// Maximum size of a kind and, separately, of a value in bytes.
pub const MAX_CLAIM_BYTES: usize = 255;

/// A claim that an event takes or releases: a value that is unique among all values of its kind.
///
/// A kind consists of 1 to 255 ASCII letters, digits and `_`, such as `user_name`. Kinds are shared
/// by the whole log: two aggregate types that use the same kind share its values. A value has 1 to
/// 255 bytes and no control character. Values are compared byte by byte, so normalise them first
/// (case, spaces, Unicode). They are stored in plain text, so claim a digest of anything
/// confidential.
///
/// ```
/// use actum::Claim;
///
/// let claim = Claim::take("user_name", "ada");
/// assert_eq!(claim.taken_code(), "user_name_taken");
/// ```
///
/// [`Aggregate::claims`](crate::aggregate::Aggregate::claims) returns the claims of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    pub(crate) name: ClaimName,
    pub(crate) takes: bool,
}

/// Kind and value of a claim.
pub type ClaimName = (Arc<str>, Arc<str>);

impl Claim {
    /// Takes the value for the stream. The append is refused if another stream holds it. A value
    /// that the stream already holds may be taken again.
    pub fn take(kind: &str, value: &str) -> Self {
        Self { name: (kind.into(), value.into()), takes: true }
    }

    /// Releases the value, so that any stream may take it. A value that the stream does not hold is
    /// left unchanged.
    pub fn release(kind: &str, value: &str) -> Self {
        Self { name: (kind.into(), value.into()), takes: false }
    }

    /// Kind of the value, such as `user_name`.
    pub fn kind(&self) -> &str {
        &self.name.0
    }

    /// Value that is unique among those of its kind.
    pub fn value(&self) -> &str {
        &self.name.1
    }

    /// Error code for programs if another stream holds the value, such as `user_name_taken`.
    pub fn taken_code(&self) -> String {
        format!("{}_taken", self.kind())
    }

    /// Returns true if the claim takes its value, and false if it releases it.
    pub fn takes(&self) -> bool {
        self.takes
    }

    /// Returns the reason why no store can keep the claim, if there is one.
    pub(crate) fn invalid(&self) -> Option<String> {
        let (kind, value) = (self.kind(), self.value());
        let fits = |text: &str| !text.is_empty() && text.len() <= MAX_CLAIM_BYTES;
        if !fits(kind) || !kind.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            return Some(format!(
                "{kind:?} is not a valid kind of a claim: use 1 to {MAX_CLAIM_BYTES} ASCII \
                 letters, digits and _"
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
