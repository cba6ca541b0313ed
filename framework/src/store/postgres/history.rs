//! The history that this process knows: which log it is, and events by their position.
//!
//! A position alone names no place: a log that was rewound, restored or failed over to a server
//! that lacked its end reaches the same positions again with other events. So a [`Place`] is a
//! position with the id of the event there. Every new connection, every read of events and every
//! append carries the places that this process knows, and the database compares them in the same
//! statement. Once one is missing, the history is lost for good: nothing is read or written any
//! more until a restart.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use sqlx::Row;
use sqlx::postgres::{PgConnection, PgRow};
use tokio::sync::watch;
use uuid::Uuid;

use super::connections::Statement;
use crate::event::{GlobalPosition, RecordedEvent};
use crate::store::contract::LogIdentity;

/// An event and its position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) position: GlobalPosition,
    pub(super) event_id: Uuid,
}

impl From<&RecordedEvent> for Place {
    fn from(event: &RecordedEvent) -> Self {
        Self { position: event.position, event_id: event.event_id }
    }
}

/// Places that a statement carries. Nearly always one: the last that this process has seen.
#[derive(Clone)]
pub(super) struct Known {
    identity: LogIdentity,
    places: Arc<[Place]>,
}

impl Known {
    /// Binds what the function `is_same_history` takes: log id, epoch, positions and event ids.
    pub(super) fn bind(&self, statement: Statement) -> Statement {
        let positions = self.places.iter().map(|place| place.position.0 as i64);
        let ids = self.places.iter().map(|place| place.event_id);
        statement
            .bind(self.identity.log_id)
            .bind(self.identity.epoch as i64)
            .bind(positions.collect::<Vec<_>>())
            .bind(ids.collect::<Vec<_>>())
    }
}

/// See the module.
pub(super) struct History {
    identity: OnceLock<LogIdentity>,
    places: Mutex<Arc<[Place]>>,
    /// Why the history is lost, once it is.
    lost: watch::Sender<Option<String>>,
}

impl History {
    pub(super) fn new() -> Self {
        let places = Mutex::new(Arc::from([]));
        Self { identity: OnceLock::new(), places, lost: watch::Sender::new(None) }
    }

    /// Begins with a log as it was found when it was opened.
    pub(super) fn adopt(&self, found: &Found) -> LogIdentity {
        let known = self.known();
        self.learn(&known, found.last);
        *self.identity.get_or_init(|| found.identity)
    }

    /// The log, once it is known.
    pub(super) fn identity(&self) -> Option<LogIdentity> {
        self.identity.get().copied()
    }

    pub(super) fn known(&self) -> Known {
        // Before the log is opened no statement carries places: see `Opening::check`.
        let unopened = LogIdentity { log_id: Uuid::nil(), epoch: 0 };
        Known { identity: self.identity().unwrap_or(unopened), places: Arc::clone(&self.places()) }
    }

    /// Keeps a place that the database answered in a statement that also found all of `known`. One
    /// place then stands for all of them: the later one, because a log that has it has the others
    /// too. Places that other statements added meanwhile stay, until a statement has carried those.
    pub(super) fn learn(&self, known: &Known, place: Option<Place>) {
        let Some(latest) = known.places.iter().copied().chain(place).max_by_key(|p| p.position)
        else {
            return;
        };
        if *known.places == [latest] {
            return; // nothing new, or covered by now by what another statement found
        }
        let mut places = self.places();
        let others = places.iter().filter(|place| !known.places.contains(place));
        let others = others.copied().filter(|place| *place != latest);
        *places = others.chain([latest]).collect();
    }

    /// Why nothing may be read or written any more, if so.
    pub(super) fn lost(&self) -> Option<String> {
        self.lost.borrow().clone()
    }

    pub(super) fn watch(&self) -> watch::Receiver<Option<String>> {
        self.lost.subscribe()
    }

    /// Gives the history up, for this reason or for an earlier one, which is returned.
    pub(super) fn lose(&self, reason: &str) -> String {
        self.lost.send_if_modified(|lost| {
            let is_first = lost.is_none();
            lost.get_or_insert_with(|| reason.to_owned());
            is_first
        });
        self.lost().unwrap_or_else(|| reason.to_owned())
    }

    /// Compares with the log that a connection leads to; the error is the reason, for whoever has
    /// to do something about it.
    pub(super) async fn check(&self, connection: &mut PgConnection) -> Result<(), Refused> {
        let Some(identity) = self.identity() else { return Ok(()) };
        // Before the question: what is known now cannot be beyond what the database answers after.
        let known = self.known();
        let found = find(connection, &known).await.map_err(Refused::Failed)?;
        match contradiction(&identity, &known.places, &found) {
            None => {
                self.learn(&known, found.last);
                Ok(())
            }
            Some(reason) => Err(Refused::Lost(self.lose(&reason))),
        }
    }

    /// Nothing under the lock can panic, so a poisoned one is whole.
    fn places(&self) -> std::sync::MutexGuard<'_, Arc<[Place]>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a connection is not used.
pub(super) enum Refused {
    Failed(sqlx::Error),
    Lost(String),
}

/// The log that a connection leads to.
pub(super) struct Found {
    pub(super) identity: LogIdentity,
    pub(super) last: Option<Place>,
    /// For each known place, the event that is there.
    at: Vec<Option<Uuid>>,
}

impl Found {
    pub(super) fn head(&self) -> GlobalPosition {
        self.last.map(|last| last.position).unwrap_or_default()
    }
}

/// Asks which log a connection leads to, where it ends, and what is at the known places.
pub(super) async fn find(
    connection: &mut PgConnection,
    known: &Known,
) -> Result<Found, sqlx::Error> {
    let positions = known.places.iter().map(|place| place.position.0 as i64).collect::<Vec<_>>();
    let row = sqlx::query(
        "SELECT log.log_id, log.epoch, last.position, last.event_id,
                ARRAY(SELECT e.event_id FROM unnest($1::bigint[]) WITH ORDINALITY AS known (place, n)
                      LEFT JOIN events AS e ON e.position = known.place ORDER BY known.n)
         FROM log LEFT JOIN
              (SELECT position, event_id FROM events ORDER BY position DESC LIMIT 1) AS last ON true",
    )
    .bind(positions)
    .fetch_one(connection)
    .await?;
    let identity = LogIdentity { log_id: row.try_get(0)?, epoch: row.try_get::<i64, _>(1)? as u64 };
    Ok(Found { identity, last: last_place(&row, 2)?, at: row.try_get(4)? })
}

/// The place in two columns, the position and the event's id, if there is one.
pub(super) fn last_place(row: &PgRow, column: usize) -> Result<Option<Place>, sqlx::Error> {
    let position: Option<i64> = row.try_get(column)?;
    let Some(position) = position else { return Ok(None) };
    let event_id = row.try_get(column + 1)?;
    Ok(Some(Place { position: GlobalPosition(position as u64), event_id }))
}

fn contradiction(identity: &LogIdentity, known: &[Place], found: &Found) -> Option<String> {
    let Found { identity: now, at, .. } = found;
    if now != identity {
        return Some(format!(
            "this is the log {} of epoch {}, no longer {} of epoch {}: it was exchanged or restored; start anew",
            now.log_id, now.epoch, identity.log_id, identity.epoch
        ));
    }
    let head = found.head();
    let (place, there) = known.iter().zip(at).find(|(place, id)| **id != Some(place.event_id))?;
    let reached = known.iter().map(|place| place.position).max().unwrap_or_default();
    Some(match there {
        None => format!(
            "the log ends at {head}, it had reached {reached}: it was rewound, and acknowledged events are lost; see to the server, then start anew"
        ),
        Some(there) => format!(
            "position {} of the log has the event {there}, it had the event {}: the log was rewound and written again, and acknowledged events are lost; see to the server, then start anew",
            place.position, place.event_id
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(position: u64) -> Place {
        Place { position: GlobalPosition(position), event_id: Uuid::now_v7() }
    }

    fn positions(history: &History) -> Vec<u64> {
        let mut places: Vec<_> = history.places().iter().map(|place| place.position.0).collect();
        places.sort_unstable();
        places
    }

    #[test]
    fn one_place_stands_for_all_that_one_statement_found() {
        let history = History::new();
        let none = history.known();
        history.learn(&none, None);
        assert_eq!(positions(&history), [0; 0]);
        history.learn(&none, Some(place(2)));
        history.learn(&history.known(), Some(place(5)));
        assert_eq!(positions(&history), [5]);
        // An earlier place says nothing that the later one does not.
        history.learn(&history.known(), Some(place(3)));
        assert_eq!(positions(&history), [5]);
    }

    /// Neither of two statements under way at one time has compared what the other found.
    #[test]
    fn places_found_side_by_side_are_all_compared_by_the_next_statement() {
        let history = History::new();
        history.learn(&history.known(), Some(place(2)));
        let (one, two) = (history.known(), history.known());
        history.learn(&one, Some(place(4)));
        history.learn(&two, Some(place(5)));
        assert_eq!(positions(&history), [4, 5]);
        history.learn(&history.known(), Some(place(6)));
        assert_eq!(positions(&history), [6]);
    }

    #[test]
    fn a_log_that_lacks_a_known_event_is_another_history_however_long_it_is() {
        let identity = LogIdentity { log_id: Uuid::now_v7(), epoch: 1 };
        let (second, third) = (place(2), place(3));
        let found = |last: Option<Place>, at: Vec<Option<Uuid>>| Found { identity, last, at };
        let known = [second];
        let same = found(Some(third), vec![Some(second.event_id)]);
        assert_eq!(contradiction(&identity, &known, &same), None);
        let shorter = found(Some(place(1)), vec![None]);
        let said = contradiction(&identity, &known, &shorter).unwrap();
        assert!(said.contains("the log ends at 1, it had reached 2: it was rewound"), "{said}");
        for regrown in [place(2), place(9)] {
            let other = Uuid::now_v7();
            let said = contradiction(&identity, &known, &found(Some(regrown), vec![Some(other)]));
            let said = said.unwrap();
            assert!(said.contains(&other.to_string()), "{said}");
            assert!(said.contains(&second.event_id.to_string()), "{said}");
        }
        let copied = LogIdentity { epoch: 2, ..identity };
        let said = contradiction(&copied, &known, &same).unwrap();
        assert!(said.contains("no longer") && said.contains("exchanged or restored"), "{said}");
    }

    #[test]
    fn the_first_reason_for_which_a_history_was_lost_stays() {
        let history = History::new();
        assert_eq!(history.lost(), None);
        assert_eq!(history.lose("first"), "first");
        assert_eq!(history.lose("second"), "first");
        assert_eq!(history.lost().as_deref(), Some("first"));
    }
}
