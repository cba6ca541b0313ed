//! JWTs of people, signed with the configured key and its algorithm, for this audience.
//!
//! Header fields of a token decide nothing: `alg` must be the one of the key, and `kid`, `jku` and
//! `jwk` are ignored.

use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use serde::Deserialize;

use super::{Authenticator, is_name, verifier};
use crate::box_error::BoxError;
use crate::web::principal::Principal;

/// Number of seconds that the issuer's clock may be off.
const LEEWAY_S: u64 = 30;

/// Minimum size of a secret; a shorter one could be guessed.
const MIN_SECRET_BYTES: usize = 32;

/// Minimum size of an encoded RSA key; a shorter one has less than 2048 bits.
const MIN_RSA_BYTES: usize = 256;

/// Size of an uncompressed point of P-256.
const P256_BYTES: usize = 65;

/// JWTs of one issuer, for one audience. The principal is `user:` and the token's `sub`. Its scopes
/// are those in `scope`, separated by spaces (RFC 8693).
pub struct Jwt {
    key: DecodingKey,
    validation: Validation,
}

#[derive(Deserialize)]
struct Claims {
    sub: String,
    /// A single issuer, because `jsonwebtoken` alone would accept a list that contains the
    /// configured one.
    #[serde(rename = "iss")]
    _issuer: String,
    #[serde(default)]
    scope: String,
}

impl Jwt {
    /// Accepts tokens signed with the private key of this public key (PEM): ES256, EdDSA or RS256,
    /// depending on the key.
    ///
    /// # Errors
    /// The text is not such a key in PEM.
    pub fn by_public_key(pem: &[u8], issuer: &str, audience: &str) -> Result<Self, BoxError> {
        if !pem.trim_ascii().starts_with(b"-----BEGIN PUBLIC KEY-----") {
            return Err("this is no public key in PEM".into());
        }
        let es = DecodingKey::from_ec_pem(pem).map(|key| (key, Algorithm::ES256));
        let ed = || DecodingKey::from_ed_pem(pem).map(|key| (key, Algorithm::EdDSA));
        let rs = || DecodingKey::from_rsa_pem(pem).map(|key| (key, Algorithm::RS256));
        let (key, algorithm) = es.or_else(|_| ed()).or_else(|_| rs())?;
        let bytes = key.try_get_as_bytes()?.len();
        match algorithm {
            Algorithm::ES256 if bytes != P256_BYTES => Err("an EC key is of P-256".into()),
            Algorithm::RS256 if bytes < MIN_RSA_BYTES => {
                Err("an RSA key has at least 2048 bits".into())
            }
            _ => Ok(Self::new(key, algorithm, issuer, audience)),
        }
    }

    /// Accepts tokens signed with this secret (HS256).
    ///
    /// # Errors
    /// The secret is shorter than 32 bytes.
    pub fn by_secret(secret: &[u8], issuer: &str, audience: &str) -> Result<Self, BoxError> {
        let secret = secret.trim_ascii_end();
        if secret.len() < MIN_SECRET_BYTES {
            return Err(format!("a secret has at least {MIN_SECRET_BYTES} bytes").into());
        }
        let key = DecodingKey::from_secret(secret);
        Ok(Self::new(key, Algorithm::HS256, issuer, audience))
    }

    fn new(key: DecodingKey, algorithm: Algorithm, issuer: &str, audience: &str) -> Self {
        verifier::install();
        let mut validation = Validation::new(algorithm);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        validation.set_issuer(&[issuer]);
        validation.set_audience(&[audience]);
        validation.validate_nbf = true;
        validation.leeway = LEEWAY_S;
        Self { key, validation }
    }
}

impl Authenticator for Jwt {
    // The reason why a token is invalid is neither returned nor logged, because the message may
    // quote the token.
    fn principal(&self, token: &str) -> Option<Principal> {
        let read = decode::<Claims>(token, &self.key, &self.validation).ok()?;
        let Claims { sub, scope, .. } = read.claims;
        // A critical header that this code does not understand makes the token invalid.
        let believed = read.header.crit.is_none() && is_name(&sub);
        believed.then(|| Principal::new(format!("user:{sub}"), scope.split_ascii_whitespace()))
    }
}
