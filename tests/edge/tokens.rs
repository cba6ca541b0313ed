//! JWTs: their keys, issuer, audience and lifetime, and texts that look like a JWT and are not
//! valid.

use std::path::PathBuf;

use actix_web::test::TestRequest;
use actum::web::{Access, Principal};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use example_bank::Credentials;
use jsonwebtoken::{Algorithm, Header, get_current_timestamp};
use ring::hmac;
use serde_json::{Value, json};

use super::signing::{SigningKey, der, sign};
use super::{AUDIENCE, Doorkeeper, ISSUER, SECRET, claims, enter, open, send_by, signed};
use crate::support::bank::bank_with_account;

fn key_file(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "edge/keys", name].iter().collect()
}

fn by_public_key(name: &str) -> Credentials {
    Credentials {
        jwt_key: Some(key_file(name)),
        jwt_issuer: Some(ISSUER.into()),
        jwt_audience: Some(AUDIENCE.into()),
        ..Credentials::default()
    }
}

/// The algorithms of secrets, with their hashes.
const HMACS: [(Algorithm, hmac::Algorithm); 3] = [
    (Algorithm::HS256, hmac::HMAC_SHA256),
    (Algorithm::HS384, hmac::HMAC_SHA384),
    (Algorithm::HS512, hmac::HMAC_SHA512),
];

/// The algorithms of public keys, with the key that signs and the one that is configured.
fn pairs() -> [(Algorithm, SigningKey, &'static str); 3] {
    let private = |name| std::fs::read(key_file(name)).unwrap();
    let ec = SigningKey::ec(&private("ec.private.pem"));
    let ed = SigningKey::ed(&private("ed.private.pem"));
    let rsa = SigningKey::rsa(&private("rsa.private.pem"));
    [
        (Algorithm::ES256, ec, "ec.public.pem"),
        (Algorithm::EdDSA, ed, "ed.public.pem"),
        (Algorithm::RS256, rsa, "rsa.public.pem"),
    ]
}

fn ada() -> Option<Principal> {
    Some(Principal::new("user:ada", ["accounts:read", "accounts:write"]))
}

#[actix_web::test]
async fn a_token_is_its_subject_with_its_scopes() {
    let claims = claims("accounts:read accounts:write");
    assert_eq!(enter(&Doorkeeper::new().open(), &signed(&claims)), ada());
    for (algorithm, key, public) in pairs() {
        let token = sign(&Header::new(algorithm), &claims, &key);
        assert_eq!(enter(&open(&by_public_key(public)).unwrap(), &token), ada(), "{algorithm:?}");
    }
    let mut without_scope = claims;
    without_scope.as_object_mut().unwrap().remove("scope");
    let found = enter(&Doorkeeper::new().open(), &signed(&without_scope));
    assert_eq!(found, Some(Principal::new("user:ada", [""; 0])));
}

#[actix_web::test]
async fn a_token_of_another_algorithm_or_key_is_nobody() {
    let claims = claims("accounts:read");
    for (configured, _, public) in pairs() {
        let access = open(&by_public_key(public)).unwrap();
        for (algorithm, key, _) in pairs().into_iter().filter(|pair| pair.0 != configured) {
            let token = sign(&Header::new(algorithm), &claims, &key);
            assert_eq!(enter(&access, &token), None, "{configured:?} {algorithm:?}");
        }
        // The public key is known to all: it must not do as a secret.
        let pem = std::fs::read(key_file(public)).unwrap();
        for secret in [&pem[..], pem.trim_ascii(), &der(&pem)] {
            for (algorithm, hash) in HMACS {
                let key = SigningKey::secret_of(hash, secret);
                let token = sign(&Header::new(algorithm), &claims, &key);
                assert_eq!(enter(&access, &token), None, "{configured:?} {algorithm:?}");
            }
        }
    }
    let access = Doorkeeper::new().open();
    let [hs256, hs384, hs512] = HMACS;
    for ((algorithm, hash), secret) in [
        (hs384, SECRET),
        (hs512, SECRET),
        (hs256, "another secret of thirty-two bytes"),
        (hs256, ""),
    ] {
        let key = SigningKey::secret_of(hash, secret.as_bytes());
        let token = sign(&Header::new(algorithm), &claims, &key);
        assert_eq!(enter(&access, &token), None, "{algorithm:?}");
    }
}

/// Ada's claims with one of them changed; null takes it out.
fn with(name: &str, value: Value) -> Value {
    let mut claims = claims("accounts:read");
    match value {
        Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
        value => claims[name] = value,
    }
    claims
}

/// Claims that are signed as they should be, and yet not good.
fn wrong_claims() -> Vec<Value> {
    let now = get_current_timestamp();
    let subjects = ["", " ", "ada\n", "a b", "user:ada", "../ada", "ada\u{202e}", "àda", "ada/x"];
    let mut wrong: Vec<Value> = subjects.iter().map(|sub| with("sub", json!(sub))).collect();
    wrong.extend([
        with("exp", json!(now - 60)),
        with("exp", json!(0)),
        with("exp", json!(-1)),
        with("exp", json!(format!("{}", now + 60))),
        with("exp", json!(1e300)),
        with("exp", json!([now + 60])),
        with("exp", Value::Null),
        with("nbf", json!(now + 120)),
        with("nbf", json!("never")),
        with("iss", json!("https://id.example.evil")),
        with("iss", json!("https://id.example/")),
        with("iss", json!("")),
        with("iss", Value::Null),
        with("iss", json!([ISSUER])),
        with("iss", json!([ISSUER, "https://id.example.evil"])),
        with("iss", json!({ "0": ISSUER })),
        with("aud", json!("shop")),
        with("aud", json!(["shop", "bank2"])),
        with("aud", json!([])),
        with("aud", Value::Null),
        with("sub", json!("x".repeat(65))),
        with("sub", json!(1)),
        with("sub", json!(["ada"])),
        with("sub", Value::Null),
        with("scope", json!(["accounts:read"])),
        json!({}),
        json!([]),
        json!("ada"),
    ]);
    wrong
}

/// Headers that would make a gullible reader take another key, with a good signature of our key or
/// of the sender's own.
fn tricky(claims: &Value) -> Vec<String> {
    let ours = SigningKey::secret(SECRET.as_bytes());
    let own = SigningKey::secret(b"");
    let mut headers = Vec::new();
    for kid in ["../../../../../../dev/null", "/dev/null", "' UNION SELECT '", "|true", "0"] {
        headers.push(Header { kid: Some(kid.into()), ..Header::new(Algorithm::HS256) });
    }
    let url = Some("http://127.0.0.1:1/jwks.json".to_owned());
    headers.push(Header { jku: url.clone(), ..Header::new(Algorithm::HS256) });
    headers.push(Header { x5u: url, ..Header::new(Algorithm::HS256) });
    let mut tokens: Vec<String> = headers.iter().map(|header| sign(header, claims, &own)).collect();
    let critical = Header { crit: Some(vec!["exp".into()]), ..Header::new(Algorithm::HS256) };
    tokens.push(sign(&critical, claims, &ours));
    let text = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let jwk = json!({ "kty": "oct", "k": BASE64_URL_SAFE_NO_PAD.encode("own"), "alg": "HS256" });
    for header in [
        json!({ "alg": "none" }),
        json!({ "alg": "None", "typ": "JWT" }),
        json!({ "alg": "nOnE" }),
        json!({ "alg": "" }),
        json!({ "alg": null }),
        json!({ "alg": ["HS256"] }),
        json!({ "alg": "HS256", "jwk": jwk }),
        json!({}),
        json!([]),
    ] {
        let unsigned = format!("{}.{}", text(&header), text(claims));
        let good = signed(claims);
        let signature = good.rsplit('.').next().unwrap();
        tokens.extend([
            format!("{unsigned}."),
            unsigned.clone(),
            format!("{unsigned}.{signature}"),
        ]);
    }
    tokens
}

fn garbage() -> Vec<String> {
    let good = signed(&claims("accounts:read"));
    let parts: Vec<&str> = good.split('.').collect();
    let (header, payload, signature) = (parts[0], parts[1], parts[2]);
    let richer = BASE64_URL_SAFE_NO_PAD.encode(claims("bank:operate").to_string());
    vec![
        String::new(),
        ".".into(),
        "..".into(),
        "...".into(),
        "a.b.c".into(),
        "null".into(),
        "{}".into(),
        header.into(),
        format!("{header}.{payload}"),
        format!("{header}.{payload}."),
        format!("{header}..{signature}"),
        format!(".{payload}.{signature}"),
        format!("{header}.{richer}.{signature}"),
        format!("{header}.{payload}.{}", &signature[1..]),
        format!("{good}."),
        format!("{good}.{signature}"),
        format!("{good}="),
        format!("Bearer {good}"),
        format!("{good}, {good}"),
        "A".repeat(8000),
        "....................".repeat(100),
    ]
}

#[actix_web::test]
async fn every_invalid_token_gets_the_same_answer() {
    let (doorkeeper, bank) = (Doorkeeper::new(), bank_with_account().await);
    let access: Access = doorkeeper.open();
    let ask = || TestRequest::get().uri("/accounts/42");
    let nobody = send_by(&bank, &access, ask()).await;
    nobody.is_problem(401, "unauthenticated");
    assert_eq!(nobody.header("www-authenticate"), Some("Bearer"));

    let mut rows: Vec<String> = wrong_claims().iter().map(signed).collect();
    rows.extend(tricky(&claims("accounts:read")));
    rows.extend(garbage());
    rows.push("bank_00000000_00".into());
    for row in rows {
        let request = ask().insert_header(("authorization", format!("Bearer {row}")));
        let answer = send_by(&bank, &access, request).await;
        assert_eq!((answer.status, &answer.text), (nobody.status, &nobody.text), "{row}");
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"), "{row}");
    }
    let query =
        TestRequest::get().uri(&format!("/accounts/42?access_token={}", signed(&claims(""))));
    assert_eq!(send_by(&bank, &access, query).await.status, 401);
}

#[actix_web::test]
async fn clocks_may_be_off_a_little() {
    let (access, now) = (Doorkeeper::new().open(), get_current_timestamp());
    for good in [with("exp", json!(now - 5)), with("nbf", json!(now + 5)), with("nbf", json!(now))]
    {
        assert!(enter(&access, &signed(&good)).is_some(), "{good}");
    }
    let several = with("aud", json!(["shop", "bank"]));
    assert!(enter(&access, &signed(&several)).is_some());
}

#[actix_web::test]
async fn a_key_that_is_weak_or_not_public_is_refused() {
    for (file, why) in [
        ("p384.public.pem", "P-256"),
        ("rsa1024.public.pem", "2048 bits"),
        ("rsa.private.pem", "no public key"),
        ("ec.private.pem", "no public key"),
        ("../tokens.rs", "no public key"),
        ("missing.pem", "missing.pem"),
    ] {
        let error = open(&by_public_key(file)).err().unwrap_or_default();
        assert!(error.contains(why), "{file}: {error}");
    }
    let short = Doorkeeper::new();
    std::fs::write(short.directory.file("jwt.secret"), "x".repeat(31) + "\n").unwrap();
    let error = open(&short.credentials()).err().unwrap_or_default();
    assert!(error.contains("at least 32 bytes"), "{error}");
}

#[actix_web::test]
async fn the_options_of_tokens_go_together() {
    let all = by_public_key("ec.public.pem");
    for incomplete in [
        Credentials { jwt_key: None, ..all.clone() },
        Credentials { jwt_issuer: None, ..all.clone() },
        Credentials { jwt_audience: None, ..all },
    ] {
        let error = open(&incomplete).err().unwrap_or_default();
        assert!(error.contains("go together"), "{error}");
    }
}
