//! Secrets that sender and receiver share to sign and verify messages.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use rustls::crypto::ring;
use sha2::Sha256;

const PREFIX: &str = "whsec_";
const BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// A signing key, written as `whsec_` and the base64 of 24 to 64 bytes. `Debug` does not print it.
#[derive(Clone)]
pub struct Secret(Vec<u8>);

/// Error of parsing a [`Secret`]. The message does not repeat the text, which may be a mistyped
/// secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a secret is `whsec_` and the base64 of 24 to 64 bytes")]
pub struct InvalidSecret;

impl Secret {
    /// Generates a secret of 32 random bytes. Returns `None` if the system's random source fails.
    pub fn generate() -> Option<Self> {
        let mut key = vec![0; 32];
        ring::default_provider().secure_random.fill(&mut key).ok()?;
        Some(Self(key))
    }

    /// Derives another secret from this one, always the same for the same label. So one stored key
    /// serves all endpoints, and no endpoint can forge messages to another.
    #[must_use]
    pub fn derive(&self, label: &[u8]) -> Self {
        Self(self.hmac().chain_update(label).finalize().into_bytes().to_vec())
    }

    /// Returns the text form of the secret, to be stored, and shown to its owner once.
    pub fn reveal(&self) -> String {
        format!("{PREFIX}{}", STANDARD.encode(&self.0))
    }

    pub(super) fn hmac(&self) -> Hmac<Sha256> {
        // HMAC accepts keys of every length: it hashes those that are longer than a block.
        Hmac::new_from_slice(&self.0).expect("a key of any length")
    }
}

impl FromStr for Secret {
    type Err = InvalidSecret;

    fn from_str(text: &str) -> Result<Self, InvalidSecret> {
        let key = text.strip_prefix(PREFIX).and_then(|key| STANDARD.decode(key).ok());
        key.filter(|key| BYTES.contains(&key.len())).map(Self).ok_or(InvalidSecret)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_read_back_from_what_it_reveals_and_prints_nothing() {
        let secret = Secret::generate().unwrap();
        let text = secret.reveal();
        assert_eq!(text.parse::<Secret>().unwrap().reveal(), text);
        assert_ne!(Secret::generate().unwrap().reveal(), text);
        assert_eq!(format!("{secret:?} {:#?}", Some(&secret)).matches("Secret(…)").count(), 2);
    }

    #[test]
    fn a_derived_secret_is_the_same_for_the_same_label_and_of_no_other_key() {
        let (one, other) = (Secret(vec![1; 32]), Secret(vec![2; 32]));
        assert_eq!(one.derive(b"a").reveal(), one.derive(b"a").reveal());
        let apart = [&one, &one.derive(b"a"), &one.derive(b"b"), &other.derive(b"a")];
        let apart: std::collections::HashSet<_> = apart.map(Secret::reveal).into();
        assert_eq!(apart.len(), 4);
        assert!(one.derive(b"").reveal().parse::<Secret>().is_ok());
    }

    #[test]
    fn what_is_no_secret_is_refused_and_not_repeated() {
        let of = |bytes: usize| format!("{PREFIX}{}", STANDARD.encode(vec![7; bytes]));
        for text in [of(23), of(65), of(0), STANDARD.encode([7; 32]), "whsec_!".repeat(8)] {
            let refused = text.parse::<Secret>().unwrap_err();
            assert!(!format!("{refused} {refused:?}").contains("BwcH"), "{text}");
        }
        assert!(of(24).parse::<Secret>().is_ok() && of(64).parse::<Secret>().is_ok());
    }
}
