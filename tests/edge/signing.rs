//! Tokens that tests sign: any header and claims, with a key of each algorithm.

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::Header;
use ring::hmac;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};
use serde_json::Value;

/// A key that signs.
pub enum SigningKey {
    Secret(hmac::Key),
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
    Rsa(RsaKeyPair),
}

impl SigningKey {
    pub fn secret(secret: &[u8]) -> Self {
        Self::Secret(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    pub fn secret_of(algorithm: hmac::Algorithm, secret: &[u8]) -> Self {
        Self::Secret(hmac::Key::new(algorithm, secret))
    }

    pub fn ec(pem: &[u8]) -> Self {
        let (algorithm, random) = (&ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
        Self::Ec(EcdsaKeyPair::from_pkcs8(algorithm, &der(pem), &random).unwrap())
    }

    pub fn ed(pem: &[u8]) -> Self {
        Self::Ed(Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der(pem)).unwrap())
    }

    pub fn rsa(pem: &[u8]) -> Self {
        Self::Rsa(RsaKeyPair::from_pkcs8(&der(pem)).unwrap())
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Self::Secret(key) => hmac::sign(key, message).as_ref().to_vec(),
            Self::Ec(key) => key.sign(&random, message).unwrap().as_ref().to_vec(),
            Self::Ed(key) => key.sign(message).as_ref().to_vec(),
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).unwrap();
                signature
            }
        }
    }
}

/// The content between the lines of a PEM file.
pub fn der(pem: &[u8]) -> Vec<u8> {
    let text = std::str::from_utf8(pem).unwrap();
    let body: String = text.lines().filter(|line| !line.starts_with('-')).collect();
    BASE64_STANDARD.decode(body).unwrap()
}

/// A signed token with this header, whatever it says of the algorithm.
pub fn sign(header: &Header, claims: &Value, key: &SigningKey) -> String {
    let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(&serde_json::to_value(header).unwrap()), part(claims));
    let signature = BASE64_URL_SAFE_NO_PAD.encode(key.sign(message.as_bytes()));
    format!("{message}.{signature}")
}
