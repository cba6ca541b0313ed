//! API key as it is stored: everything except the key itself.
//!
//! A key is `<mark>_<prefix>_<256 random bits>`. The prefix is not secret; it identifies the line.
//! Of the rest only the SHA-256 is stored. A salt or a slow hash is not needed, because 256 random
//! bits cannot be guessed.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use time::OffsetDateTime;

use super::is_name;
use super::secret::HiddenText;
use crate::box_error::BoxError;
use crate::clock::{Clock, SystemClock};
use crate::web::principal::Principal;

/// Format of an application's API keys.
#[derive(Debug, Clone, Copy)]
pub struct ApiKeyFormat {
    /// Prefix of every key, before a `_`, so that a leaked key can be recognised as one.
    pub mark: &'static str,
    /// Scopes that a key may have. Empty: any scope.
    pub scopes: &'static [&'static str],
}

/// Keys begin with `key_` and may have any scope.
impl Default for ApiKeyFormat {
    fn default() -> Self {
        Self { mark: "key", scopes: &[] }
    }
}

impl ApiKeyFormat {
    /// Generates a key.
    ///
    /// # Errors
    /// The name or a scope is not allowed, or the system has no random numbers.
    pub fn generate(
        &self,
        name: String,
        scopes: Vec<String>,
        expires: Option<OffsetDateTime>,
    ) -> Result<NewKey, BoxError> {
        let (prefix, secret) = (random::<4>()?, random::<32>()?);
        let key = HiddenText::from(format!("{}_{prefix}_{secret}", self.mark));
        let line = ApiKey { name, prefix, sha256: digest(&secret), scopes, expires };
        line.check(self)?;
        Ok(NewKey { key, line })
    }

    /// The rest of a key after its mark.
    pub(super) fn unmarked<'k>(&self, key: &'k str) -> Option<&'k str> {
        key.strip_prefix(self.mark)?.strip_prefix('_')
    }
}

/// A line of a file of API keys.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiKey {
    /// Name of the machine. Several keys of one name are the same principal, so that a key can be
    /// replaced.
    name: String,
    /// Distinguishes the keys of one name.
    pub(super) prefix: String,
    /// Digest of the random part as it is written, in hexadecimal.
    sha256: String,
    scopes: Vec<String>,
    /// Time from which the key is not valid any more.
    #[serde(
        default,
        with = "time::serde::rfc3339::option",
        skip_serializing_if = "Option::is_none"
    )]
    expires: Option<OffsetDateTime>,
}

/// A key that was just generated. Its secret is in no other place.
pub struct NewKey {
    /// Credential that the machine sends.
    pub key: HiddenText,
    /// Line of the file of keys.
    pub line: ApiKey,
}

impl ApiKey {
    /// Checks the fields. The error never quotes a field, because it may be a secret in the wrong
    /// place.
    pub(super) fn check(&self, format: &ApiKeyFormat) -> Result<(), String> {
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
        let known = format.scopes;
        if known.is_empty() || scopes.iter().all(|scope| known.contains(&scope.as_str())) {
            return Ok(());
        }
        Err(format!("a scope is one of {}", known.join(", ")))
    }

    /// Returns the principal of the key, if this is its secret and it has not expired.
    pub(super) fn principal(&self, secret: &str) -> Option<Principal> {
        // Compared in constant time, so the time reveals nothing about the digest.
        let is_it: bool = digest(secret).as_bytes().ct_eq(self.sha256.as_bytes()).into();
        let holds = self.expires.is_none_or(|end| SystemClock.now() < end);
        (is_it && holds).then(|| Principal::new(format!("key:{}", self.name), &self.scopes))
    }
}

/// The line as it stands in the file.
impl fmt::Display for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = serde_json::to_string(self).map_err(|_| fmt::Error)?;
        f.write_str(&line)
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
