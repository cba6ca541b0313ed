//! Command line options for credentials.
//!
//! There are no default credentials. Without any, all clients have full access, so the bank only
//! starts on a loopback address.

use std::net::SocketAddr;
use std::path::PathBuf;

use actum::BoxError;
use actum::web::{Access, ApiKeys, Jwt};

use crate::{KEYS, OPERATE};

/// Credentials that are accepted. Without any, or with `--dev`, every client may do everything.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Credentials {
    /// File with the API keys of machines: lines printed by `key new`. The file is read again when
    /// it changes.
    #[arg(long, value_name = "FILE", env = "BANK_API_KEYS")]
    pub api_keys: Option<PathBuf>,
    /// Public key (PEM; ES256, EdDSA or RS256) that verifies the JWTs of people.
    #[arg(long, value_name = "FILE", env = "BANK_JWT_KEY", conflicts_with = "jwt_secret")]
    pub jwt_key: Option<PathBuf>,
    /// File with the secret (at least 32 bytes) that verifies the JWTs of people (HS256).
    #[arg(long, value_name = "FILE", env = "BANK_JWT_SECRET")]
    pub jwt_secret: Option<PathBuf>,
    /// Issuer of the JWTs: their `iss`.
    #[arg(long, env = "BANK_JWT_ISSUER")]
    pub jwt_issuer: Option<String>,
    /// Audience of the JWTs: their `aud`.
    #[arg(long, env = "BANK_JWT_AUDIENCE")]
    pub jwt_audience: Option<String>,
    /// Disables authentication: every client may do everything. Only allowed on a loopback address,
    /// where it is the default if no credentials are configured.
    #[arg(long)]
    pub dev: bool,
}

impl Credentials {
    /// Opens the configured credentials for a bank that listens on this address.
    ///
    /// # Errors
    /// The bank would be open to other machines without credentials, the options contradict each
    /// other, or a file is invalid.
    pub fn open(&self, listen: SocketAddr) -> Result<Access, BoxError> {
        let mut access = Access::dev().operator_scope(OPERATE);
        let jwt = self.jwt()?;
        if let Some(file) = &self.api_keys {
            access = access.and(ApiKeys::in_format(KEYS, file)?);
        }
        if let Some(jwt) = jwt {
            access = access.and(jwt);
        }
        match (access.is_dev(), self.dev) {
            (false, true) => {
                Err("--dev asks nobody who they are: leave it, or the credentials".into())
            }
            (true, _) if !listen.ip().is_loopback() => Err(format!(
                "{listen} can be reached from elsewhere and nobody would be asked who they are: \
                 give --api-keys or --jwt-key, or listen on 127.0.0.1"
            )
            .into()),
            _ => Ok(access),
        }
    }

    fn jwt(&self) -> Result<Option<Jwt>, BoxError> {
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
        let in_file = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
        let bytes = std::fs::read(file).map_err(|error| in_file(&error))?;
        let jwt = match self.jwt_key {
            Some(_) => Jwt::by_public_key(&bytes, issuer, audience),
            None => Jwt::by_secret(&bytes, issuer, audience),
        };
        Ok(Some(jwt.map_err(|error| in_file(&error))?))
    }
}
