//! Access to the bank: credentials, policies, ownership, rate and concurrency limits, deadlines,
//! TLS.

mod api_keys;
mod crowds;
mod deadlines;
mod dev_mode;
mod holders;
mod later;
mod limits;
mod lookups;
mod matrix;
mod secrets;
mod security_headers;
mod signing;
mod start;
mod tls;
mod tokens;
mod transfers;

use std::path::PathBuf;

use actix_web::App;
use actix_web::http::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use actix_web::test::{TestRequest, call_service, init_service, read_body};
use actum::Application;
use actum::web::{Access, NewKey, Principal};
use example_bank::{Credentials, KEYS};
use jsonwebtoken::{Algorithm, Header, get_current_timestamp};
use serde_json::{Value, json};

use self::signing::{SigningKey, sign};
use crate::support::bank::Answer;
use crate::support::directory::Directory;

const SECRET: &str = "thirty-two bytes are a secret, no less";
const ISSUER: &str = "https://id.example";
const AUDIENCE: &str = "bank";

/// A folder with a file of API keys and the secret of the tokens.
struct Doorkeeper {
    directory: Directory,
}

impl Doorkeeper {
    fn new() -> Self {
        let directory = Directory::new();
        std::fs::write(directory.file("jwt.secret"), SECRET).unwrap();
        let doorkeeper = Self { directory };
        doorkeeper.write_keys("");
        doorkeeper
    }

    fn keys_file(&self) -> PathBuf {
        self.directory.file("keys").into()
    }

    fn write_keys(&self, text: &str) {
        // Replaced in one step, as an editor does it, so that no reader sees half a file.
        let new = self.directory.file("keys.new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, self.keys_file()).unwrap();
    }

    /// Both ways of entering, as the command line gives them.
    fn credentials(&self) -> Credentials {
        Credentials {
            api_keys: Some(self.keys_file()),
            jwt_secret: Some(self.directory.file("jwt.secret").into()),
            jwt_issuer: Some(ISSUER.into()),
            jwt_audience: Some(AUDIENCE.into()),
            ..Credentials::default()
        }
    }

    fn open(&self) -> Access {
        open(&self.credentials()).unwrap_or_else(|error| panic!("{error}"))
    }
}

fn open(credentials: &Credentials) -> Result<Access, String> {
    let somewhere = "192.0.2.1:80".parse().unwrap();
    credentials.open(somewhere).map_err(|error| error.to_string())
}

fn new_key(name: &str, scopes: &[&str]) -> NewKey {
    let scopes = scopes.iter().map(|scope| (*scope).to_owned()).collect();
    KEYS.generate(name.into(), scopes, None).unwrap()
}

/// The lines of a file of keys.
fn lines(keys: &[&NewKey]) -> String {
    let lines = keys.iter().map(|key| serde_json::to_string(&key.line).unwrap() + "\n");
    lines.collect()
}

fn headers(authorization: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(AUTHORIZATION, HeaderValue::from_str(authorization).unwrap());
    headers
}

/// The principal that this bearer credential belongs to, if it is accepted.
fn enter(access: &Access, bearer: &str) -> Option<Principal> {
    access.principal(&headers(&format!("Bearer {bearer}")))
}

/// Sends it to a bank that admits the credentials in `access`.
async fn send_by(bank: &Application, access: &Access, request: TestRequest) -> Answer {
    let routes = example_bank::routes().serve(bank.clone(), access.clone());
    let service = init_service(App::new().configure(routes)).await;
    let response = call_service(&service, request.to_request()).await;
    let (status, headers) = (response.status(), response.headers().clone());
    let text = String::from_utf8(read_body(response).await.to_vec()).unwrap();
    Answer { status, headers, text }
}

/// Claims about Ada that are valid for an hour.
fn claims(scope: &str) -> Value {
    let exp = get_current_timestamp() + 3600;
    json!({ "sub": "ada", "iss": ISSUER, "aud": AUDIENCE, "exp": exp, "scope": scope })
}

fn signed(claims: &Value) -> String {
    sign(&Header::new(Algorithm::HS256), claims, &SigningKey::secret(SECRET.as_bytes()))
}
