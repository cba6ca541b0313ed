//! An API key as the bank keeps it: everything but the key itself.
//!
//! A key is `bank_<prefix>_<256 random bits>`. The prefix is no secret, it finds the line; of the rest
//! only the SHA-256 is kept. No salt and no slow hash: there is nothing to guess in 256 random bits.

use actum::web::Principal;
use actum::{BoxError, Clock, SystemClock};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use time::OffsetDateTime;

use super::{SCOPES, Secret, is_name};

/// How every key begins, so that it is known for one wherever it turns up.
pub(super) const MARK: &str = "bank_";

/// One line of the file.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiKey {
    /// Whose it is; several keys of one name are the same principal, so that they can be changed.
    name: String,
    /// Which of them.
    pub(super) prefix: String,
    /// Of the random part as it is written, in hexadecimal.
    sha256: String,
    scopes: Vec<String>,
    /// Good for nothing from then on.
    #[serde(
        default,
        with = "time::serde::rfc3339::option",
        skip_serializing_if = "Option::is_none"
    )]
    expires: Option<OffsetDateTime>,
}

/// A key that was just made: the only time its secret is there.
pub struct NewKey {
    /// What its owner sends.
    pub key: Secret,
    /// What the bank keeps.
    pub line: ApiKey,
}

impl ApiKey {
    /// A new key.
    ///
    /// # Errors
    /// The name or a scope is none, or the system gives no random numbers.
    pub fn generate(
        name: String,
        scopes: Vec<String>,
        expires: Option<OffsetDateTime>,
    ) -> Result<NewKey, BoxError> {
        let (prefix, secret) = (random::<4>()?, random::<32>()?);
        let key = Secret::from(format!("{MARK}{prefix}_{secret}"));
        let line = Self { name, prefix, sha256: digest(&secret), scopes, expires };
        line.check()?;
        Ok(NewKey { key, line })
    }

    /// Whether it says what it must. What is wrong is not quoted: it may be a secret in the wrong place.
    pub(super) fn check(&self) -> Result<(), String> {
        let Self { name, prefix, sha256, scopes, .. } = self;
        if !is_name(name) {
            return Err("a name is 1 to 64 of A-Z a-z 0-9 . - _ @".into());
        }
        if prefix.is_empty() || !prefix.bytes().all(|c| c.is_ascii_alphanumeric()) {
            return Err("a prefix is what stands between the two _ of a key".into());
        }
        if sha256.len() != 64 || !sha256.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f')) {
            return Err("a sha256 is 64 digits of 0-9 a-f".into());
        }
        match scopes.iter().all(|scope| SCOPES.contains(&scope.as_str())) {
            true => Ok(()),
            false => Err(format!("a scope is one of {}", SCOPES.join(", "))),
        }
    }

    /// Whose key it is, if this is its secret and it still holds.
    pub(super) fn principal(&self, secret: &str) -> Option<Principal> {
        // How long this takes tells nothing of the digest.
        let is_it: bool = digest(secret).as_bytes().ct_eq(self.sha256.as_bytes()).into();
        let holds = self.expires.is_none_or(|end| SystemClock.now() < end);
        (is_it && holds).then(|| Principal::new(format!("key:{}", self.name), &self.scopes))
    }
}

fn digest(secret: &str) -> String {
    hex(&Sha256::digest(secret))
}

fn random<const N: usize>() -> Result<String, getrandom::Error> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)?;
    Ok(hex(&bytes))
}

fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.filter_map(|digit| char::from_digit(digit.into(), 16)).collect()
}
