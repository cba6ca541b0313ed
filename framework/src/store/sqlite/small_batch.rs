//! A small batch as one list of statements: BEGIN, the rows, the mark and COMMIT.
//!
//! Each statement costs two hops between threads, to the driver's and back, and these dominate the
//! time of a command that comes alone. So a batch of a few rows, of which nothing has to be looked up
//! first, goes to the driver as one piece of work. The driver runs the list up to the first failure
//! and reports each statement that ended, which shows where it stopped.

use std::future::poll_fn;
use std::sync::{Arc, LazyLock};

use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, Executor};
use time::OffsetDateTime;

use super::origin;
use super::origin::Row;
use super::rows::{COMMANDS, EVENTS, Names, bind_command, bind_event, micros};
use super::side_write::SideWrite;
use super::writer::{Failed, SqliteWriter, Step};
use crate::store::contract::Append;
use crate::store::kit::group_commit::{Batch, Written};
use crate::store::kit::version_check::{Current, Plan, plan};

/// Most events, and most commands, of such a batch. Every pair of numbers is a statement text of its
/// own, and all of them stay prepared.
const MOST: usize = 8;

/// The text for each number of events, from 1, and of commands, from 0.
static TEXTS: LazyLock<Vec<Vec<Arc<str>>>> = LazyLock::new(|| {
    let text = |events: usize, commands: usize| {
        let events = EVENTS.text(events);
        let commands = match commands {
            0 => String::new(),
            count => format!("{};", COMMANDS.text(count)),
        };
        format!("BEGIN IMMEDIATE;{events};{commands}{}", origin::COMMIT).into()
    };
    (1..=MOST).map(|events| (0..=MOST).map(|commands| text(events, commands)).collect()).collect()
});

impl SqliteWriter {
    /// Writes a small batch of appends as one piece of work, if memory has all that it touches.
    ///
    /// # Errors
    /// As for a batch whose statements are sent one by one.
    pub(super) async fn write_at_once(
        &mut self,
        connection: &mut SqliteConnection,
        batch: &Batch<SideWrite>,
    ) -> Result<Option<Written>, Failed> {
        let is_small = batch.appends.len() <= MOST && batch.side_writes.is_empty();
        let (true, Some(mark)) = (is_small, self.mark) else { return Ok(None) };
        let Some(current) = self.remembered(&batch.appends) else { return Ok(None) };
        let planned = plan(&batch.appends, current);
        if !fits(&planned) {
            return Ok(None);
        }
        let row = origin::next(connection, &self.opening.held, Some(mark)).await?;
        let now = self.opening.options.clock.now();
        crate::failpoints::point("append.before_commit");
        write(connection, &planned, row, now).await?;
        self.mark = Some(row.own);
        crate::failpoints::point("append.after_commit");
        Ok(Some(self.committed(planned, Vec::new())))
    }

    /// State of the log for all that the appends touch, if nothing has to be looked up.
    fn remembered(&mut self, appends: &[Append]) -> Option<Current> {
        let head = self.head.filter(|_| self.wary == 0)?;
        let mut current = Current { head, ..Current::default() };
        for append in appends {
            if !append.claims.is_empty() {
                return None;
            }
            let tip = self.tips.get(&append.stream)?;
            current.tips.insert(append.stream.clone(), *tip);
        }
        Some(current)
    }
}

/// Checks that a plan consists of rows only, and of few.
fn fits(planned: &Plan<'_>) -> bool {
    (1..=MOST).contains(&planned.rows.len())
        && planned.commands.len() <= MOST
        && planned.claims.is_empty()
        && !planned.has_refusals()
}

/// Writes the rows of a plan that [`fits`], with the mark, in one transaction.
///
/// # Errors
/// The error, and the step of the transaction that it came from; unless COMMIT failed, the
/// transaction is still open, as after statements that are sent one by one.
async fn write(
    connection: &mut SqliteConnection,
    planned: &Plan<'_>,
    mark: Row,
    recorded_at: OffsetDateTime,
) -> Result<(), Failed> {
    let (events, commands) = (planned.rows.len(), planned.commands.len());
    let micros = micros(recorded_at);
    // Made of column names and placeholders only.
    let statement = sqlx::query(AssertSqlSafe(Arc::clone(&TEXTS[events - 1][commands])));
    let mut names = Names::default();
    let bind = |statement, row: &_| bind_event(statement, row, micros, &mut names);
    let statement = planned.rows.iter().fold(statement, bind);
    let commands = planned.commands.iter();
    let statement = commands.fold(statement, |s, kept| bind_command(s, kept, micros));
    let mut results = connection.fetch_many(statement.bind(mark.to_bytes()));
    let mut ended = 0;
    while let Some(result) = poll_fn(|context| results.as_mut().poll_next(context)).await {
        match result {
            Ok(_) => ended += 1,
            Err(error) => {
                let at = step(ended, planned.commands.is_empty());
                return Err(Failed { error, at });
            }
        }
    }
    Ok(())
}

/// The step that failed after so many statements of the list.
fn step(ended: usize, without_commands: bool) -> Step {
    match (ended, without_commands) {
        (0 | 1, _) => Step::Begun,
        (2, false) => Step::Events,
        _ => Step::Commit,
    }
}
