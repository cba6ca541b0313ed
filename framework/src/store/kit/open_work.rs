//! The work delta: the net effect of a list of changes to open work, as one pure function. So each
//! store applies it in three statements, whatever the length and the order of the list.
//!
//! [`WorkItems`] keeps the open work of a partition in memory.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;

use serde::Serialize;
use time::OffsetDateTime;

use super::pages::within;
use super::parked_keys::{micros, text, time};
use crate::event::GlobalPosition;
use crate::store::contract::{OpenWork, PageLimit, WorkChange, WorkDue};

/// The net effect of a list of changes. An id is in one part at most, so the order in which a store
/// applies the parts does not matter. As JSON, each part is the parameter of one SQL statement.
#[derive(Debug, Default, PartialEq, Serialize)]
pub struct WorkDelta {
    /// Ids of items to delete, if they are stored.
    pub closed: Vec<String>,
    /// Items to store, each in place of the one with its id.
    pub opened: Vec<Opened>,
    /// Items to postpone, if they are stored.
    pub again: Vec<Postponed>,
}

/// An [`OpenWork`] as a row.
#[derive(Debug, PartialEq, Serialize)]
pub struct Opened {
    /// See [`OpenWork::id`].
    pub id: String,
    /// See [`OpenWork::key`].
    pub key: String,
    /// See [`OpenWork::position`].
    pub position: u64,
    /// Microseconds since 1970.
    pub due_at: i64,
    /// See [`OpenWork::attempts`].
    pub attempts: u32,
    /// See [`OpenWork::reason`].
    pub reason: Option<String>,
    /// See [`OpenWork::command_key`].
    pub command_key: Option<String>,
    /// See [`OpenWork::body`].
    pub body: String,
}

/// New values of a row.
#[derive(Debug, PartialEq, Serialize)]
pub struct Postponed {
    /// See [`OpenWork::id`].
    pub id: String,
    /// Microseconds since 1970.
    pub due_at: i64,
    /// See [`OpenWork::attempts`].
    pub attempts: u32,
    /// See [`OpenWork::reason`].
    pub reason: Option<String>,
}

// One value per id, not a list: a store that ran the parts in another order would else bring back an
// item that is closed.
/// Net effect on one item.
enum Net {
    Closed,
    Opened(Opened),
    Again(Postponed),
}

impl WorkDelta {
    /// The net effect of these changes, one after the other.
    pub fn of(changes: &[WorkChange]) -> Self {
        let mut items = BTreeMap::<&str, Net>::new();
        for change in changes {
            match change {
                WorkChange::Open(work) => drop(items.insert(&work.id, Net::Opened(opened(work)))),
                WorkChange::Close { id } => drop(items.insert(id, Net::Closed)),
                WorkChange::Again { id, due_at, attempts, reason } => {
                    let again = Postponed {
                        id: id.clone(),
                        due_at: micros(*due_at),
                        attempts: *attempts,
                        reason: reason.as_deref().map(text),
                    };
                    match items.get_mut(id.as_str()) {
                        // A late attempt must not bring back what this list has closed.
                        Some(Net::Closed) => {}
                        Some(Net::Opened(item)) => {
                            item.due_at = again.due_at;
                            item.attempts = again.attempts;
                            item.reason = again.reason;
                        }
                        _ => drop(items.insert(id, Net::Again(again))),
                    }
                }
            }
        }
        let mut all = Self::default();
        for (id, net) in items {
            match net {
                Net::Closed => all.closed.push(id.to_owned()),
                Net::Opened(item) => all.opened.push(item),
                Net::Again(again) => all.again.push(again),
            }
        }
        all
    }

    /// True if nothing changes.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

fn opened(work: &OpenWork) -> Opened {
    Opened {
        id: work.id.clone(),
        key: work.key.clone(),
        position: work.position.0,
        due_at: micros(work.due_at),
        attempts: work.attempts,
        reason: work.reason.as_deref().map(text),
        command_key: work.command_key.clone(),
        body: work.body.clone(),
    }
}

/// Open work of one partition in memory, found by id and ordered by due time.
#[derive(Debug, Clone, Default)]
pub struct WorkItems {
    due: HashMap<String, OffsetDateTime>,
    items: BTreeMap<WorkDue, OpenWork>,
}

impl WorkItems {
    /// Applies a delta.
    pub fn apply(&mut self, delta: WorkDelta) {
        for id in delta.closed {
            self.remove(&id);
        }
        // Removed before it is inserted, because its due time is part of its key: with another time,
        // the old row would stay beside the new one.
        for Opened { id, key, position, due_at, attempts, reason, command_key, body } in
            delta.opened
        {
            self.remove(&id);
            let (position, due_at) = (GlobalPosition(position), time(due_at));
            self.insert(OpenWork {
                id,
                key,
                position,
                due_at,
                attempts,
                reason,
                command_key,
                body,
            });
        }
        for Postponed { id, due_at, attempts, reason } in delta.again {
            // An item that is closed already stays closed: a late attempt has nothing to postpone.
            if let Some(work) = self.remove(&id) {
                self.insert(OpenWork { due_at: time(due_at), attempts, reason, ..work });
            }
        }
    }

    /// See `DocumentStore::load_work`.
    pub fn page(&self, after: Option<WorkDue>, limit: PageLimit) -> Vec<OpenWork> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let rest = self.items.range((from, Bound::Unbounded)).map(|(_, work)| work);
        within(limit, rest, |work| work.bytes()).cloned().collect()
    }

    /// Ids of the idempotency keys that the items have.
    pub fn command_keys(&self) -> impl Iterator<Item = &str> {
        self.items.values().filter_map(|work| work.command_key.as_deref())
    }

    fn insert(&mut self, work: OpenWork) {
        self.due.insert(work.id.clone(), work.due_at);
        self.items.insert(work.due(), work);
    }

    fn remove(&mut self, id: &str) -> Option<OpenWork> {
        let due_at = self.due.remove(id)?;
        self.items.remove(&WorkDue { due_at, id: id.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(id: &str, attempts: u32) -> WorkChange {
        WorkChange::Open(OpenWork {
            id: id.to_owned(),
            key: id.to_owned(),
            position: GlobalPosition(1),
            due_at: time(0),
            attempts,
            reason: None,
            command_key: None,
            body: "{}".to_owned(),
        })
    }

    fn again(id: &str, attempts: u32) -> WorkChange {
        let reason = Some("later\0".to_owned());
        WorkChange::Again { id: id.to_owned(), due_at: time(attempts.into()), attempts, reason }
    }

    fn close(id: &str) -> WorkChange {
        WorkChange::Close { id: id.to_owned() }
    }

    /// Ids of what is closed, what is opened and what is postponed, with the number of attempts.
    fn net(changes: &[WorkChange]) -> (Vec<String>, Vec<u32>, Vec<u32>) {
        let delta = WorkDelta::of(changes);
        let opened = delta.opened.iter().map(|item| item.attempts).collect();
        (delta.closed, opened, delta.again.iter().map(|again| again.attempts).collect())
    }

    #[test]
    fn the_last_change_of_an_item_counts() {
        assert_eq!(net(&[]), (vec![], vec![], vec![]));
        assert!(WorkDelta::of(&[]).is_empty() && !WorkDelta::of(&[close("a")]).is_empty());
        assert_eq!(net(&[open("a", 0), again("a", 1), again("a", 2)]), (vec![], vec![2], vec![]));
        assert_eq!(net(&[again("a", 1), again("a", 2)]), (vec![], vec![], vec![2]));
        assert_eq!(net(&[open("a", 0), close("a")]), (vec!["a".to_owned()], vec![], vec![]));
        assert_eq!(net(&[close("a"), open("a", 7)]), (vec![], vec![7], vec![]));
        assert_eq!(net(&[close("a"), again("a", 7)]), (vec!["a".to_owned()], vec![], vec![]));
        assert_eq!(net(&[again("a", 3), open("a", 7)]), (vec![], vec![7], vec![]));
    }

    /// A list of changes at once comes to the same as its changes one by one.
    #[test]
    fn a_list_is_as_good_as_its_changes_one_at_a_time() {
        let step = |n: u64, change: u64| {
            let id = ["a", "b", "c"][(n % 3) as usize];
            match change % 3 {
                0 => open(id, n as u32),
                1 => again(id, n as u32),
                _ => close(id),
            }
        };
        let mut state = 7_u64;
        for _ in 0..500 {
            let changes: Vec<_> = (0..12)
                .map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    step(state >> 33, state >> 50)
                })
                .collect();
            let (mut at_once, mut one_by_one) = (WorkItems::default(), WorkItems::default());
            at_once.apply(WorkDelta::of(&changes));
            for change in &changes {
                one_by_one.apply(WorkDelta::of(std::slice::from_ref(change)));
            }
            let all = |items: &WorkItems| items.page(None, PageLimit::events(9));
            assert_eq!(all(&at_once), all(&one_by_one), "{changes:?}");
        }
    }
}
