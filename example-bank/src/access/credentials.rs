//! What the command line says of credentials, and what follows if it says nothing.
//!
//! There are no default credentials. Without any the bank is open to all, so it listens only where
//! nobody else can reach it; everything else is refused.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use actum::BoxError;

use super::Access;
use super::api_keys::ApiKeys;
use super::tokens::Tokens;

/// Whose credentials are good; with none of them, or `--dev`, everybody may do everything.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Credentials {
    /// The API keys of machines: a file of lines that `key new` makes, read again when it changes.
    #[arg(long, value_name = "FILE", env = "BANK_API_KEYS")]
    pub api_keys: Option<PathBuf>,
    /// The public key (PEM; ES256, EdDSA or RS256) by which JWTs of people are signed.
    #[arg(long, value_name = "FILE", env = "BANK_JWT_KEY", conflicts_with = "jwt_secret")]
    pub jwt_key: Option<PathBuf>,
    /// The secret (at least 32 bytes) with which JWTs of people are signed (HS256).
    #[arg(long, value_name = "FILE", env = "BANK_JWT_SECRET")]
    pub jwt_secret: Option<PathBuf>,
    /// Who issues them: their `iss`.
    #[arg(long, env = "BANK_JWT_ISSUER")]
    pub jwt_issuer: Option<String>,
    /// For whom they are: their `aud`.
    #[arg(long, env = "BANK_JWT_AUDIENCE")]
    pub jwt_audience: Option<String>,
    /// Ask nobody who they are: whoever reaches the bank may do everything. Only on a loopback
    /// address, where it is the default as long as there are no credentials.
    #[arg(long)]
    pub dev: bool,
}

impl Credentials {
    /// Who may enter a bank that listens there.
    ///
    /// # Errors
    /// It would be open to the world, the options contradict each other, or a file is not good.
    pub fn open(&self, listen: SocketAddr) -> Result<Access, BoxError> {
        let keys = self.api_keys.as_deref().map(ApiKeys::open).transpose()?;
        let tokens = self.tokens()?;
        match (keys.is_some() || tokens.is_some(), self.dev) {
            (true, true) => {
                Err("--dev asks nobody who they are: leave it, or the credentials".into())
            }
            (true, false) => {
                if let Some(keys) = &keys {
                    keys.keep_reading();
                }
                Ok(Access::by(keys, tokens))
            }
            (false, _) if listen.ip().is_loopback() => Ok(Access::dev()),
            (false, _) => Err(format!(
                "{listen} can be reached from elsewhere and nobody would be asked who they are: \
                 give --api-keys or --jwt-key, or listen on 127.0.0.1"
            )
            .into()),
        }
    }

    fn tokens(&self) -> Result<Option<Tokens>, BoxError> {
        let (issuer, audience) = (self.jwt_issuer.as_deref(), self.jwt_audience.as_deref());
        let file = self.jwt_key.as_deref().or(self.jwt_secret.as_deref());
        let (Some(file), Some(issuer), Some(audience)) = (file, issuer, audience) else {
            if file.is_none() && issuer.is_none() && audience.is_none() {
                return Ok(None);
            }
            let together =
                "--jwt-key (or --jwt-secret), --jwt-issuer and --jwt-audience go together";
            return Err(together.into());
        };
        let bytes = std::fs::read(file).map_err(|error| in_file(file, &error))?;
        let tokens = match self.jwt_key {
            Some(_) => Tokens::by_public_key(&bytes, issuer, audience),
            None => Tokens::by_secret(&bytes, issuer, audience),
        };
        Ok(Some(tokens.map_err(|error| in_file(file, &error))?))
    }
}

fn in_file(file: &Path, error: &dyn std::fmt::Display) -> String {
    format!("{}: {error}", file.display())
}
