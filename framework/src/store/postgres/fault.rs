//! Errors of PostgreSQL, sorted by their meaning for a write: nothing stored, or outcome unknown.

use std::time::Duration;

use sqlx::postgres::{PgDatabaseError, PgSeverity};

use crate::error::{StartError, StoreError};

pub(super) const UNIQUE_VIOLATION: &str = "23505";
const SERIALIZATION_FAILURE: &str = "40001";
const DEADLOCK: &str = "40P01";
const READ_ONLY: &str = "25006";
const PROTOCOL_VIOLATION: &str = "08P01";
const STATEMENT_EXISTS: &str = "42P05";
const NO_SUCH_STATEMENT: &str = "26000";

/// Why a statement has no answer.
#[derive(Debug)]
pub(super) enum Fault {
    /// There was no connection: nothing was sent.
    NotConnected(String),
    /// The database holds another history than this process knows: nothing was stored.
    OtherHistory(String),
    /// The server, or the connection, said so.
    Answered(sqlx::Error),
    /// Nothing came in time.
    Silent(Duration),
}

impl From<sqlx::Error> for Fault {
    fn from(error: sqlx::Error) -> Self {
        Self::Answered(error)
    }
}

impl From<StartError> for Fault {
    fn from(error: StartError) -> Self {
        match error {
            // Where, is said with every fault.
            StartError::Open { reason, .. } => Self::NotConnected(reason),
            other => Self::NotConnected(other.to_string()),
        }
    }
}

impl Fault {
    /// True if the outcome of a statement in its own transaction is unknown. An ERROR is the
    /// server's word that it aborted. FATAL and PANIC end the session at any point, also behind the
    /// commit. A connection that breaks or is silent says nothing.
    pub(super) fn is_unknown(&self) -> bool {
        match self {
            Self::NotConnected(_) | Self::OtherHistory(_) => false,
            Self::Answered(error) => is_lost(error),
            Self::Silent(_) => true,
        }
    }

    pub(super) fn code(&self) -> Option<&str> {
        match self {
            Self::Answered(error) => code(error),
            Self::NotConnected(_) | Self::OtherHistory(_) | Self::Silent(_) => None,
        }
    }

    /// Aborted by the server for reasons that are gone when it is sent again.
    pub(super) fn is_transient(&self) -> bool {
        matches!(self.code(), Some(SERIALIZATION_FAILURE | DEADLOCK))
    }

    /// Message that names the fault, the place and the next step. Contains nothing that a URL keeps
    /// secret.
    pub(super) fn explain(&self, place: &str) -> String {
        match self {
            Self::NotConnected(reason) | Self::OtherHistory(reason) => format!("{place}: {reason}"),
            Self::Answered(error) => format!("{place}: {}", describe(error)),
            Self::Silent(within) => {
                format!("{place}: no answer within {within:?}; check the network and the server")
            }
        }
    }

    /// The same for a read, which leaves nothing in doubt.
    pub(super) fn unavailable(&self, place: &str) -> StoreError {
        StoreError::Unavailable(self.explain(place))
    }

    /// The same for a write.
    pub(super) fn not_written(&self, place: &str) -> StoreError {
        match self.is_unknown() {
            true => StoreError::Unknown(self.explain(place)),
            false => self.unavailable(place),
        }
    }
}

/// The server's code of an error, if the error is the server's.
pub(super) fn code(error: &sqlx::Error) -> Option<&str> {
    database_error(error).map(PgDatabaseError::code)
}

fn database_error(error: &sqlx::Error) -> Option<&PgDatabaseError> {
    error.as_database_error()?.try_downcast_ref()
}

/// True if the connection cannot be used any more.
pub(super) fn is_lost(error: &sqlx::Error) -> bool {
    use sqlx::Error::{ColumnDecode, Decode, Encode, RowNotFound};
    match database_error(error) {
        Some(error) => matches!(error.severity(), PgSeverity::Fatal | PgSeverity::Panic),
        None => !matches!(error, ColumnDecode { .. } | Decode(_) | Encode(_) | RowNotFound),
    }
}

/// True if the server failed and not the statement, so that a retry may succeed. A statement that
/// took too long is no such fault, because it would again.
pub(super) fn is_trouble(error: &sqlx::Error) -> bool {
    let code = database_error(error).map(PgDatabaseError::code);
    is_lost(error)
        || code.is_some_and(|code| {
            // Rolled back for another's sake, out of resources, stopping, broken, locked.
            ["40", "53", "57P", "58", "XX"].iter().any(|class| code.starts_with(class))
                || matches!(code, "55P03" | "25006")
        })
}

/// The server's message, and what to do about it.
pub(super) fn describe(error: &sqlx::Error) -> String {
    let advice = match database_error(error).map(PgDatabaseError::code) {
        Some(READ_ONLY) => "this server is a standby or read-only; connect to the primary",
        Some(PROTOCOL_VIOLATION | STATEMENT_EXISTS | NO_SUCH_STATEMENT) => {
            "if this is pgbouncer or another pooler, connect to PostgreSQL itself"
        }
        Some("28000" | "28P01") => "check user and password",
        Some("3D000") => "create the database first: createdb",
        Some("42501") => "the role lacks a privilege",
        Some("53100") => "the server's disk is full; free space and retry",
        Some("53300") => "the server has no connection left; raise max_connections",
        Some("57014") => "the server took too long; see its load and its locks",
        Some("57P01" | "57P02" | "57P03") => "the server is stopping or starting; retry",
        Some(_) => "see the server's log",
        None if matches!(error, sqlx::Error::Tls(_)) => {
            "check sslmode, sslrootcert and the server's certificate; TLS needs the feature postgres-tls"
        }
        None => "check that the server runs and can be reached",
    };
    format!("{error}; {advice}")
}
