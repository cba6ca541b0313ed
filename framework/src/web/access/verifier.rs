//! Signatures of JWTs, verified by `ring`: HS256, ES256, EdDSA and RS256.
//!
//! `jsonwebtoken` leaves the cryptography to a provider, and `ring` is a dependency of TLS and
//! webhooks anyway. The provider that comes with the crate would add some forty crates, among them
//! an RSA with a known timing leak (<https://rustsec.org/advisories/RUSTSEC-2023-0071>).

use jsonwebtoken::crypto::{CryptoProvider, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::signature::{self, Verifier};
use jsonwebtoken::{Algorithm, DecodingKey};
use ring::hmac;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey,
    VerificationAlgorithm,
};

/// Installs `ring` as the provider of `jsonwebtoken`. A provider that the application has installed
/// is kept.
pub(super) fn install() {
    static PROVIDER: CryptoProvider = CryptoProvider {
        signer_factory: |_, _| Err(ErrorKind::InvalidAlgorithm.into()),
        verifier_factory: |algorithm, key| Ok(Box::new(Ring::new(*algorithm, key)?)),
        key_utils: KeyUtils::new_unimplemented(),
    };
    let _ = PROVIDER.install_default(); // an error means that there is one
}

/// One key with its algorithm.
struct Ring {
    algorithm: Algorithm,
    key: Key,
}

enum Key {
    Secret(hmac::Key),
    Public(UnparsedPublicKey<Vec<u8>>),
}

impl Ring {
    fn new(algorithm: Algorithm, key: &DecodingKey) -> Result<Self, Error> {
        let bytes = key.try_get_as_bytes()?;
        let public = |verification: &'static dyn VerificationAlgorithm| {
            Key::Public(UnparsedPublicKey::new(verification, bytes.to_vec()))
        };
        let key = match algorithm {
            Algorithm::HS256 => Key::Secret(hmac::Key::new(hmac::HMAC_SHA256, bytes)),
            Algorithm::ES256 => public(&ECDSA_P256_SHA256_FIXED),
            Algorithm::EdDSA => public(&ED25519),
            Algorithm::RS256 => public(&RSA_PKCS1_2048_8192_SHA256),
            _ => return Err(ErrorKind::InvalidAlgorithm.into()),
        };
        Ok(Self { algorithm, key })
    }
}

impl Verifier<Vec<u8>> for Ring {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), signature::Error> {
        let verified = match &self.key {
            Key::Secret(key) => hmac::verify(key, message, signature),
            Key::Public(key) => key.verify(message, signature),
        };
        verified.map_err(|_| signature::Error::new())
    }
}

impl JwtVerifier for Ring {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}
