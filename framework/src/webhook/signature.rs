//! Signatures of Standard Webhooks: HMAC-SHA256 over `id.timestamp.body`, for sender and receiver.
//!
//! A message has one signature for each secret, so a secret can be rotated without a gap: for a
//! while the sender signs with both, and the receiver accepts either.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use time::OffsetDateTime;

use super::secret::Secret;

const VERSION: &str = "v1,";

/// Returns the `webhook-signature` header: one signature for each secret.
pub(super) fn sign(secrets: &[Secret], id: &str, timestamp: &str, body: &[u8]) -> String {
    let signature = |secret: &Secret| {
        let mac = content(secret, id, timestamp, body).finalize();
        format!("{VERSION}{}", STANDARD.encode(mac.into_bytes()))
    };
    secrets.iter().map(signature).collect::<Vec<_>>().join(" ")
}

fn content(secret: &Secret, id: &str, timestamp: &str, body: &[u8]) -> Hmac<Sha256> {
    secret.hmac().chain_update(format!("{id}.{timestamp}.")).chain_update(body)
}

/// A received message: its three headers and its unparsed body.
#[derive(Debug, Clone, Copy)]
pub struct Signed<'a> {
    /// Header `webhook-id`. Ignore a message whose id has been processed before.
    pub id: &'a str,
    /// Header `webhook-timestamp`: seconds since 1970.
    pub timestamp: &'a str,
    /// Header `webhook-signature`.
    pub signature: &'a str,
    /// Body, byte for byte as received.
    pub body: &'a [u8],
}

/// Reason why a message is not authentic. Respond with 401 and without details.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotVerified {
    /// The timestamp is not a number of seconds.
    #[error("the timestamp cannot be read")]
    Timestamp,
    /// The timestamp is too far in the past or future: it may be an old message that is being
    /// replayed.
    #[error("the timestamp is too far from now")]
    TooFarFromNow,
    /// No signature matches one of the secrets.
    #[error("no signature matches")]
    Signature,
}

impl Signed<'_> {
    /// Recommended tolerance of the timestamp: five minutes.
    pub const TOLERANCE: Duration = Duration::from_secs(300);

    /// Checks that one of the signatures matches one of the secrets, and that the message is
    /// recent. Signatures are compared in constant time, so the time reveals nothing about them.
    ///
    /// # Errors
    ///
    /// [`NotVerified`]: the signature does not match, or the timestamp differs from `now` by more
    /// than `tolerance`. Refuse the message.
    pub fn verify(
        &self,
        secrets: &[Secret],
        now: OffsetDateTime,
        tolerance: Duration,
    ) -> Result<(), NotVerified> {
        let seconds: i64 = self.timestamp.parse().map_err(|_| NotVerified::Timestamp)?;
        if seconds.abs_diff(now.unix_timestamp()) > tolerance.as_secs() {
            return Err(NotVerified::TooFarFromNow);
        }
        let signatures = self.signature.split(' ').filter_map(|one| one.strip_prefix(VERSION));
        let decoded: Vec<_> = signatures.filter_map(|one| STANDARD.decode(one).ok()).collect();
        let fits = |secret| {
            let mac = content(secret, self.id, self.timestamp, self.body);
            decoded.iter().any(|one| mac.clone().verify_slice(one).is_ok())
        };
        if secrets.iter().any(fits) { Ok(()) } else { Err(NotVerified::Signature) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const AT: i64 = 1_614_265_330;
    const BODY: &[u8] = br#"{"test": 2432232314}"#;
    const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
    /// Base64 of the text `actum-signs-with-this-test-key!!`.
    const OTHER: &str = "whsec_YWN0dW0tc2lnbnMtd2l0aC10aGlzLXRlc3Qta2V5ISE=";
    /// Computed with Python's `hmac` and `hashlib`, like the one for a body of every byte.
    const BY_OTHER: &str = "v1,6V+oORMXmCnQJDCiXamobEkZnOLs180XePfrz9/vP8k=";
    const EVERY_BYTE: &str = "v1,R3zWErWMEXaCuMfn9zvwApMQkNahV46GRALXpcmffrE=";

    fn published() -> Secret {
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse().unwrap()
    }

    fn other() -> Secret {
        OTHER.parse().unwrap()
    }

    fn verify(signed: Signed<'_>, secrets: &[Secret], now: i64) -> Result<(), NotVerified> {
        let now = OffsetDateTime::from_unix_timestamp(now).unwrap();
        signed.verify(secrets, now, Signed::TOLERANCE)
    }

    fn signed(signature: &str) -> Signed<'_> {
        Signed { id: ID, timestamp: "1614265330", signature, body: BODY }
    }

    #[test]
    fn signatures_are_those_of_the_published_vector_and_of_another_implementation() {
        let at = AT.to_string();
        assert_eq!(sign(&[published()], ID, &at, BODY), SIGNATURE);
        assert_eq!(sign(&[other()], ID, &at, BODY), BY_OTHER);
        let every_byte: Vec<u8> = (0..=255).collect();
        assert_eq!(sign(&[other()], "0190-a_b", "0", &every_byte), EVERY_BYTE);
    }

    #[test]
    fn while_a_secret_is_changed_either_side_may_be_first() {
        let both = sign(&[published(), other()], ID, &AT.to_string(), BODY);
        assert_eq!(both, format!("{SIGNATURE} {BY_OTHER}"));
        assert_eq!(verify(signed(&both), &[published()], AT), Ok(()));
        assert_eq!(verify(signed(&both), &[other()], AT), Ok(()));
        assert_eq!(verify(signed(SIGNATURE), &[other(), published()], AT), Ok(()));
        let among = format!("v1a,x v2,{} v1,?? {SIGNATURE} v1,AAAA", &SIGNATURE[3..]);
        assert_eq!(verify(signed(&among), &[published()], AT), Ok(()));
    }

    #[test]
    fn what_was_changed_is_not_believed() {
        let refused = |signed| {
            assert_eq!(verify(signed, &[published()], AT), Err(NotVerified::Signature));
        };
        let good = signed(SIGNATURE);
        refused(Signed { id: "msg_other", ..good });
        refused(Signed { timestamp: "1614265331", ..good });
        refused(Signed { timestamp: "+1614265330", ..good });
        refused(Signed { body: br#"{"test": 2432232315}"#, ..good });
        refused(Signed { body: b"", ..good });
        let other_version = SIGNATURE.replace("v1,", "v2,");
        let cut = &SIGNATURE[..SIGNATURE.len() - 4];
        for forged in ["", " ", "v1,", "v1", &SIGNATURE[3..], &other_version, cut, BY_OTHER] {
            refused(signed(forged));
        }
        assert_eq!(verify(good, &[], AT), Err(NotVerified::Signature));
        assert_eq!(verify(good, &[other()], AT), Err(NotVerified::Signature));
    }

    #[test]
    fn what_is_too_old_or_from_the_future_is_not_believed() {
        for (now, expected) in [
            (AT - 301, Err(NotVerified::TooFarFromNow)),
            (AT - 300, Ok(())),
            (AT + 300, Ok(())),
            (AT + 301, Err(NotVerified::TooFarFromNow)),
        ] {
            assert_eq!(verify(signed(SIGNATURE), &[published()], now), expected, "{now}");
        }
        for timestamp in ["", "hello", "1614265330.0", "1614265330 ", "99999999999999999999"] {
            let signed = Signed { timestamp, ..signed(SIGNATURE) };
            assert_eq!(verify(signed, &[published()], AT), Err(NotVerified::Timestamp));
        }
        for timestamp in ["-9223372036854775808", "9223372036854775807"] {
            let signed = Signed { timestamp, ..signed(SIGNATURE) };
            assert_eq!(verify(signed, &[published()], AT), Err(NotVerified::TooFarFromNow));
        }
    }
}
