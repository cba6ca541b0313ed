//! The one connection of this process that writes: a batch in one call of `append`.
//!
//! The call is a transaction of its own. It takes the writer lock, looks, stores and lets go
//! without another word from here, so a process that is stopped, killed or cut off never sits on
//! the lock. A stream that is not where it was assumed to be comes back as it is, and only its
//! appends are planned again.

use std::borrow::Cow;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use sqlx::Row;
use sqlx::postgres::{PgConnection, PgRow};
use time::OffsetDateTime;
use tokio::time::timeout;

use super::connections::Statement;
use super::fault::{Fault, UNIQUE_VIOLATION};
use super::groups::{Answer, Assumed};
use super::open::Opening;
use super::rows::Care;
use super::{claims, rows};
use crate::error::StoreError;
use crate::store::contract::{Append, AppendOutcome, NotCommitted};
use crate::store::kit::group_commit::{Batch, WriteFailure, Writer, Written};
use crate::store::kit::version_check::{Current, plan};

/// Number of times that a call the server aborted is repeated at once.
const ATTEMPTS: u32 = 4;

/// Time after a failed connection in which no other is tried; commands are refused meanwhile.
const PAUSE: Duration = Duration::from_millis(200);

/// Maximum time for closing.
const CLOSE_WITHIN: Duration = Duration::from_secs(1);

pub(super) struct PostgresWriter {
    opening: Arc<Opening>,
    session: Option<Session>,
    /// A session that was given up and may still be carrying out a call.
    in_doubt: Option<SessionId>,
    refused: Option<(Instant, String)>,
}

struct Session {
    connection: PgConnection,
    id: SessionId,
}

/// A server process; its start tells it from another that has its number later.
#[derive(Clone, Copy)]
struct SessionId {
    pid: i32,
    started: OffsetDateTime,
}

/// A call that failed, and whether an earlier one of the same batch has stored something.
struct Failed {
    fault: Fault,
    partly_stored: bool,
}

impl PostgresWriter {
    pub(super) fn new(opening: Arc<Opening>) -> Self {
        Self { opening, session: None, in_doubt: None, refused: None }
    }

    async fn connect(&mut self) -> Result<(), String> {
        // A batch that comes while the server is down is refused at once. Otherwise each one would
        // wait for a connection, and the queue behind it.
        if let Some((at, reason)) = &self.refused
            && at.elapsed() < PAUSE
        {
            return Err(reason.clone());
        }
        match self.open_session().await {
            Ok(session) => {
                (self.session, self.refused) = (Some(session), None);
                Ok(())
            }
            Err(reason) => {
                self.refused = Some((Instant::now(), reason.clone()));
                Err(reason)
            }
        }
    }

    async fn open_session(&self) -> Result<Session, String> {
        let mut connection = self.opening.connect().await.map_err(|error| error.to_string())?;
        let row = self.one_row(
            &mut connection,
            sqlx::query(
                // Known before the first call, because a session that no longer replies cannot be
                // asked who it is.
                "SELECT pid, backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()",
            ),
        );
        let row = row.await.map_err(|fault| fault.explain(&self.opening.place))?;
        let id = SessionId { pid: row.get(0), started: row.get(1) };
        Ok(Session { connection, id })
    }

    /// One call of the function `append`.
    async fn call(&self, session: &mut Session, call: Statement) -> Result<PgRow, Fault> {
        crate::failpoints::point("append.before_commit");
        let row = self.one_row(&mut session.connection, call).await;
        crate::failpoints::point("append.after_commit");
        self.check_history(row?).await
    }

    /// Refuses an answer that says that nothing was looked for or stored, nor will be.
    async fn check_history(&self, row: PgRow) -> Result<PgRow, Fault> {
        match row.try_get("is_same_history") {
            Ok(false) => Err(Fault::OtherHistory(self.opening.lost().await)),
            // An answer that cannot be read is an outcome of its own.
            Ok(true) | Err(_) => Ok(row),
        }
    }

    fn lost(&self) -> Option<String> {
        let lost = self.opening.history.lost()?;
        Some(format!("{}: {lost}", self.opening.place))
    }

    async fn one_row(
        &self,
        connection: &mut PgConnection,
        statement: Statement,
    ) -> Result<PgRow, Fault> {
        let within = self.opening.silent_after();
        let answer = timeout(within, statement.fetch_one(connection)).await;
        Ok(answer.map_err(|_| Fault::Silent(within))??)
    }

    /// Ends a session that may still be carrying out a call: what it has not stored when it is
    /// gone, it never will.
    async fn end(&self, connection: &mut PgConnection, id: SessionId) -> Result<(), StoreError> {
        let ended = sqlx::query(
            "SELECT count(*), count(*) FILTER (WHERE pg_terminate_backend(pid, 5000))
             FROM pg_stat_activity WHERE pid = $1 AND backend_start = $2",
        );
        let row = self.one_row(connection, ended.bind(id.pid).bind(id.started)).await;
        let row = row.map_err(|fault| fault.unavailable(&self.opening.place))?;
        let (there, ended): (i64, i64) = (row.get(0), row.get(1));
        match there == ended {
            true => Ok(()),
            false => Err(StoreError::Unavailable(format!(
                "{}: the session {} does not end; its last call is in doubt",
                self.opening.place, id.pid
            ))),
        }
    }

    /// The batch in as many calls as it takes until every append is settled; nearly always one.
    async fn append(
        &self,
        session: &mut Session,
        all: &[Append],
        again: bool,
    ) -> Result<Written, Failed> {
        let mut outcomes: Vec<Option<AppendOutcome>> = vec![None; all.len()];
        let mut open: Vec<usize> = (0..all.len()).collect();
        let (mut found, mut head) = (Current::default(), None);
        let mut unread = "the server did not answer for it".to_owned();
        while !open.is_empty() {
            let appends: Cow<'_, [Append]> = match open.len() == all.len() {
                true => Cow::Borrowed(all),
                // What is settled is not sent again: it is committed already.
                false => open.iter().map(|index| all[*index].clone()).collect(),
            };
            if head.is_some() {
                let planned = plan(&appends, found.clone());
                let nothing = planned.rows.is_empty() && planned.commands.is_empty();
                if nothing && claims::are_known(&appends, &planned, &found.claims) {
                    // What the last call found settles it.
                    for (index, outcome) in open.into_iter().zip(planned.outcomes) {
                        outcomes[index] = Some(outcome);
                    }
                    break;
                }
            }
            let assumed = Assumed::of(&appends, &found);
            let planned = plan(&appends, assumed.current(&appends, &found));
            let care = Care {
                // Costs a lookup for each event, so only when the batch may be stored already or a
                // refusal has to be told from a replay.
                find_events: again || planned.has_refusals(),
                all_or_none: Assumed::is_one(&planned, &found, &appends),
            };
            let known = self.opening.history.known();
            let opening = &*self.opening;
            let call = rows::append(opening, &known, &appends, &assumed, &planned, &found, care);
            let row = match self.call(session, call).await {
                Ok(row) => row,
                // An earlier call has committed a part, and no call can settle the rest any more.
                Err(fault @ Fault::OtherHistory(_)) if head.is_some() => {
                    let reason = fault.explain(&self.opening.place);
                    settle_unstored(&mut outcomes, &reason, again);
                    break;
                }
                Err(fault) => return Err(Failed { fault, partly_stored: head.is_some() }),
            };
            let answer = match Answer::read(&row, &assumed, &planned, &mut found) {
                Ok(answer) => answer,
                // Committed, and sent again it would be answered no better.
                Err(error) => {
                    unread = format!("{}: the answer cannot be read: {error}", self.opening.place);
                    break;
                }
            };
            // From now on every connection checks that the log still ends with this event, or goes
            // beyond it.
            self.opening.history.learn(&known, answer.last());
            head = head.max(Some(answer.head()));
            for (place, index) in open.iter().enumerate() {
                outcomes[*index] = answer.settle(place, &assumed, &planned);
            }
            open.retain(|index| outcomes[*index].is_none());
        }
        let lost = || AppendOutcome::Unknown(unread.clone());
        let appends = outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(lost)).collect();
        Ok(Written { appends, side_writes: Vec::new(), head: head.unwrap_or_default() })
    }
}

/// Settles the appends of which this attempt has stored nothing. If an earlier attempt of the batch
/// may have stored them, nobody knows.
fn settle_unstored(outcomes: &mut [Option<AppendOutcome>], reason: &str, again: bool) {
    for outcome in outcomes.iter_mut().filter(|outcome| outcome.is_none()) {
        *outcome = Some(match again {
            true => AppendOutcome::Unknown(reason.to_owned()),
            false => AppendOutcome::NotCommitted(NotCommitted::Unavailable(reason.to_owned())),
        });
    }
}

#[async_trait(?Send)]
impl Writer for PostgresWriter {
    type Side = Infallible;

    async fn write(
        &mut self,
        batch: &Batch<Infallible>,
        again: bool,
    ) -> Result<Written, WriteFailure> {
        if let Some(reason) = self.lost() {
            return Err(WriteFailure::OtherHistory(reason));
        }
        if self.session.is_none() {
            self.connect().await.map_err(WriteFailure::NotCommitted)?;
        }
        let Some(mut session) = self.session.take() else {
            return Err(WriteFailure::NotCommitted("there is no session".into()));
        };
        let (mut care, mut attempts) = (again, 0);
        loop {
            let Failed { fault, partly_stored } =
                match self.append(&mut session, &batch.appends, care).await {
                    Ok(written) => {
                        self.session = Some(session);
                        return Ok(written);
                    }
                    Err(failed) => failed,
                };
            let reason = fault.explain(&self.opening.place);
            if let Fault::OtherHistory(_) = fault {
                return Err(WriteFailure::OtherHistory(reason));
            }
            if fault.is_unknown() || partly_stored {
                self.in_doubt = Some(session.id);
                return Err(WriteFailure::Unknown(reason));
            }
            attempts += 1;
            // An event id stands already: find out whose.
            let is_double = fault.code() == Some(UNIQUE_VIOLATION);
            if attempts < ATTEMPTS && (fault.is_transient() || is_double && !care) {
                care |= is_double;
                continue;
            }
            // The session goes: should it lead to a standby now, the next one is refused as such.
            return Err(WriteFailure::NotCommitted(reason));
        }
    }

    async fn reopen(&mut self) -> Result<(), StoreError> {
        self.session = None;
        let opened = self.open_session().await;
        let mut session = opened.map_err(|reason| match self.lost() {
            Some(lost) => StoreError::OtherHistory(lost),
            None => StoreError::Unavailable(reason),
        })?;
        if let Some(id) = self.in_doubt {
            self.end(&mut session.connection, id).await?;
            self.in_doubt = None;
        }
        self.session = Some(session);
        Ok(())
    }

    async fn close(&mut self) -> Result<(), String> {
        use sqlx::Connection;
        if let Some(session) = self.session.take() {
            let _ = timeout(CLOSE_WITHIN, session.connection.close()).await; // the server notices anyway
        }
        Ok(())
    }
}
