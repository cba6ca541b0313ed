//! Opening a log in PostgreSQL, in an order in which a refusal changes nothing.
//!
//! First a connection looks at the server's settings and whose schema it is, then the schema is
//! migrated, then the parts start. Every later connection reads the settings back, too, and compares
//! the history it leads to with the one that this process knows.

use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, Connection, Row};
use tokio::sync::watch;
use tokio::time::timeout;

use super::connections::Connections;
use super::fault::describe;
use super::history::{History, Refused};
use super::options::PostgresOptions;
use super::schema::Schema;
use super::writer::PostgresWriter;
use super::{PostgresStore, history, schema, signals};
use crate::error::StartError;
use crate::event::GlobalPosition;
use crate::store::kit::group_commit::Committer;
use crate::store::sql::found::FoundSettings;

/// The oldest release whose `pg_terminate_backend` can wait.
const OLDEST_POSTGRES: i32 = 140_000;

/// The server gives up a statement at the limit; so much later its silence is taken for a loss.
const GRACE: Duration = Duration::from_secs(1);

const ASKED_FOR: &str = "what was asked for in connecting; if a pooler in between ignores that, connect to PostgreSQL itself";

/// Everything that a new connection needs.
pub(super) struct Opening {
    pub(super) options: PostgresOptions,
    pub(super) connect: PgConnectOptions,
    pub(super) schema: Schema,
    /// `postgres://host:port/database`, without user and password.
    pub(super) place: Arc<str>,
    pub(super) history: History,
    pub(super) head: Arc<watch::Sender<GlobalPosition>>,
    /// Why the database cannot be reached, if it cannot.
    pub(super) trouble: watch::Sender<Option<String>>,
    /// The settings as they were found last.
    pub(super) settings: FoundSettings,
}

impl Opening {
    pub(super) fn new(options: PostgresOptions) -> Result<Self, StartError> {
        let parsed: Result<PgConnectOptions, _> = options.url.parse();
        let connect = parsed.map_err(|error| {
            // The message may hold a piece of the URL; its kind does not.
            let reason = match error {
                sqlx::Error::Configuration(_) => {
                    "this is no URL like postgres://user:password@host:port/database"
                }
                _ => "the connection parameters cannot be used",
            };
            StartError::Open { place: "postgres://…".into(), reason: reason.into() }
        })?;
        let database = connect.get_database().unwrap_or_else(|| connect.get_username());
        let place: Arc<str> =
            format!("postgres://{}:{}/{database}", connect.get_host(), connect.get_port()).into();
        let schema = options.schema.as_deref().map_or(Ok(Schema::default()), Schema::new);
        let refuse = |reason| StartError::Open { place: format!("{place}"), reason };
        let schema = schema.map_err(refuse)?;
        let connect = with_session_settings(connect, &options, &schema);
        let head = Arc::new(watch::channel(GlobalPosition::ZERO).0);
        let (history, trouble) = (History::new(), watch::Sender::new(None));
        let settings = FoundSettings::default();
        Ok(Self { options, connect, schema, place, history, head, trouble, settings })
    }

    /// Time without a reply after which the connection of a statement is closed.
    pub(super) fn silent_after(&self) -> Duration {
        self.options.answer_within + GRACE
    }

    /// A connection whose settings are safe.
    pub(super) async fn connect(&self) -> Result<PgConnection, StartError> {
        let within = self.options.connect_within;
        let connecting = async {
            let connecting = self.connect.connect().await;
            let mut connection = connecting.map_err(|error| self.cannot_open(&error))?;
            self.check(&mut connection).await?;
            Ok(connection)
        };
        let late = |_| self.refuse(format!("no connection within {within:?}"));
        timeout(within, connecting).await.unwrap_or_else(|e| Err(late(e)))
    }

    pub(super) fn cannot_open(&self, error: &sqlx::Error) -> StartError {
        self.refuse(describe(error))
    }

    pub(super) fn refuse(&self, reason: impl Into<String>) -> StartError {
        StartError::Open { place: self.place.to_string(), reason: reason.into() }
    }

    /// Reads the settings back and refuses unsafe ones, and another history than before.
    pub(super) async fn check(&self, connection: &mut PgConnection) -> Result<(), StartError> {
        if let Some(reason) = self.history.lost() {
            return Err(self.refuse(reason));
        }
        // Before the history: a standby may lag behind, and be no reason to give the history up.
        self.check_settings(connection).await?;
        self.history.check(connection).await.map_err(|refused| match refused {
            Refused::Failed(error) => self.cannot_open(&error),
            Refused::Lost(reason) => self.refuse(reason),
        })
    }

    /// Says why a statement did not find the known places, after asking again on a new connection.
    pub(super) async fn lost(&self) -> String {
        match self.connect().await {
            // It was found in the end: even so, something was read or decided on another history.
            Ok(_) => self.history.lose("the log was exchanged while it was open; start anew"),
            Err(error) => match self.history.lost() {
                Some(reason) => reason,
                None => self.history.lose(&format!(
                    "the log has lost events that this process knows; start anew ({error})"
                )),
            },
        }
    }

    async fn check_settings(&self, connection: &mut PgConnection) -> Result<(), StartError> {
        // What the session was given it keeps: a reload of the configuration must not weaken it.
        let found = sqlx::query(
            "SELECT current_setting('fsync'), current_setting('full_page_writes'),
                    set_config('synchronous_commit', current_setting('synchronous_commit'), false),
                    current_setting('transaction_isolation'),
                    current_setting('session_replication_role'), current_setting('server_encoding'),
                    CASE WHEN pg_is_in_recovery() THEN 'on' ELSE 'off' END,
                    current_setting('transaction_read_only'),
                    (SELECT setting FROM pg_settings WHERE name = 'statement_timeout'),
                    set_config('search_path', $1, false),
                    current_setting('server_version') AS version,
                    current_setting('server_version_num')::int4 AS number",
        )
        .bind(self.schema.name())
        .fetch_one(connection)
        .await
        .map_err(|error| self.cannot_open(&error))?;
        let durable = self.options.check_durability;
        // PostgreSQL reports it in milliseconds, without a unit.
        let timeout = self.options.answer_within.as_millis().to_string();
        let rules: [(&'static str, &[&str], &'static str); 9] = [
            ("fsync", if durable { &["on"] } else { &["on", "off"] }, "on"),
            ("full_page_writes", if durable { &["on"] } else { &["on", "off"] }, "on"),
            // Waiting for a standby to apply it is more than enough.
            ("synchronous_commit", if durable { &["on", "remote_apply"] } else { &["off"] }, "on"),
            ("transaction_isolation", &["read committed"], "read committed"),
            ("session_replication_role", &["origin"], "origin"),
            ("server_encoding", &["UTF8"], "UTF8"),
            ("in_recovery", &["off"], "off, on a primary"),
            ("transaction_read_only", &["off"], "off"),
            ("statement_timeout", &[&timeout], ASKED_FOR),
        ];
        for (column, (setting, accepted, needed)) in rules.into_iter().enumerate() {
            let value: String = found.get(column);
            self.settings.note(setting, &value);
            if !accepted.contains(&&*value) {
                return Err(self.refuse_setting(setting, value, needed));
            }
        }
        self.settings.note("server_version", found.get("version"));
        if found.get::<i32, _>("number") < OLDEST_POSTGRES {
            return Err(self.refuse_setting("server_version", found.get("version"), "14 or later"));
        }
        Ok(())
    }

    fn refuse_setting(
        &self,
        setting: &'static str,
        found: String,
        needed: &'static str,
    ) -> StartError {
        StartError::Unsafe { place: self.place.to_string(), setting, found, needed }
    }
}

/// Sets the parameters of every session. Plans are pinned, because one that was made while a table
/// was empty would read all of it later.
fn with_session_settings(
    connect: PgConnectOptions,
    options: &PostgresOptions,
    schema: &Schema,
) -> PgConnectOptions {
    let answer_within = options.answer_within.as_millis().to_string();
    let mut settings = vec![
        ("statement_timeout", &*answer_within),
        // The statements name tables and functions without their schema.
        ("search_path", schema.name()),
        ("default_transaction_isolation", "read committed"),
        ("enable_seqscan", "off"),
        ("plan_cache_mode", "force_generic_plan"),
        ("jit", "off"),
        ("client_min_messages", "warning"),
        // A client that vanishes is noticed by the server in half a minute.
        ("tcp_keepalives_idle", "15"),
        ("tcp_keepalives_interval", "5"),
        ("tcp_keepalives_count", "3"),
    ];
    if !options.check_durability {
        settings.push(("synchronous_commit", "off"));
    }
    let connect = connect.extra_float_digits(None).disable_statement_logging().options(settings);
    match connect.get_application_name() {
        Some(_) => connect,
        None => connect.application_name("actum"),
    }
}

/// Opens the store, or refuses and changes nothing.
pub(super) async fn open(options: PostgresOptions) -> Result<PostgresStore, StartError> {
    let opening = Arc::new(Opening::new(options)?);
    let mut connection = opening.connect().await?;
    // First of all, because everything after it relies on sessions that are our own: settings,
    // prepared statements, locks.
    refuse_shared_sessions(&opening, &mut connection).await?;
    schema::refuse_others(&opening, &mut connection).await?;
    schema::migrate(&opening, &mut connection).await?;
    let found = history::find(&mut connection, &opening.history.known()).await;
    let found = found.map_err(|error| opening.cannot_open(&error))?;
    let _ = connection.close().await; // it has served
    // Before the parts start, so that none of them takes the log for an empty one.
    opening.head.send_replace(found.head());
    let identity = opening.history.adopt(&found);
    let writer = PostgresWriter::new(Arc::clone(&opening));
    let committer =
        Committer::start(Arc::clone(&opening.head), opening.options.queue_bytes, move || writer)?;
    let connections = Arc::new(Connections::start(&opening)?);
    signals::start(&opening, &connections);
    let (place, head) = (Arc::clone(&opening.place), opening.head.subscribe());
    let trouble = opening.trouble.subscribe();
    Ok(PostgresStore { committer, connections, identity, head, trouble, place, opening })
}

/// Refuses a pooler that gives one session to several clients: what one of them set or prepared,
/// another would find. While somebody else is in a transaction, a session of our own stays ours.
async fn refuse_shared_sessions(
    opening: &Opening,
    connection: &mut PgConnection,
) -> Result<(), StartError> {
    let failed = |error: sqlx::Error| opening.cannot_open(&error);
    let session = "SELECT pg_backend_pid()";
    let ours: i32 =
        sqlx::query_scalar(session).fetch_one(&mut *connection).await.map_err(failed)?;
    let mut other = opening.connect().await?;
    // A pooler in transaction mode must now give the other client a server session of its own. If
    // ours then moves, or is the same one, sessions are shared.
    sqlx::query("BEGIN").execute(&mut other).await.map_err(failed)?;
    let others: i32 = sqlx::query_scalar(session).fetch_one(&mut other).await.map_err(failed)?;
    let still: i32 = sqlx::query_scalar(session).fetch_one(connection).await.map_err(failed)?;
    let _ = other.close().await; // it rolls back
    match ours == still && ours != others {
        true => Ok(()),
        false => Err(opening.refuse(
            "a pooler shares sessions among clients here, which notifications and prepared statements do not survive; connect to PostgreSQL itself, or through a pool with pool_mode = session",
        )),
    }
}
