//! Delivers the same events in other batches, twice, and with a crash at every place. The rows and
//! the parked keys must not depend on the way of delivery.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::row::shown_row;
use crate::event::{GlobalPosition, RecordedEvent};
use crate::projection::{Delivery, Projection, deliver};
use crate::store::contract::sql::SqlError;
use crate::store::contract::{
    Page, ParkedKey, ParkedQuery, ProjectionDatabase, SqlSnapshot, Store,
};
use crate::testing::given::batch_sizes;

/// One way of delivering all events.
#[derive(Clone, Copy)]
struct Way {
    batch: usize,
    delivery: Delivery,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "delivered in batches of {}", self.batch)?;
        match self.delivery {
            Delivery::Once => Ok(()),
            Delivery::Twice => write!(f, ", each of them twice"),
            Delivery::Crash => {
                write!(f, ", with a crash between the rows and the checkpoint of each")
            }
        }
    }
}

/// Result of one way of delivery.
pub(super) struct Outcome {
    pub(super) database: Arc<dyn ProjectionDatabase>,
    /// Rows of each table as text, sorted.
    tables: BTreeMap<String, Vec<String>>,
    /// Descriptions of the parked keys.
    pub(super) parked: BTreeMap<String, String>,
}

/// Processes the events in every way of delivery, each in a database place of its own. Returns the
/// result of the last one and the number of its place.
///
/// # Errors
/// A failure, or a difference between two ways of delivery.
pub(super) async fn take_in<P: Projection>(
    store: &Arc<dyn Store>,
    events: &[Arc<RecordedEvent>],
) -> Result<(Outcome, u32), String> {
    let first = Way { batch: 1, delivery: Delivery::Once };
    let mut outcome = take_in_one_way::<P>(store, 1, events, first).await?;
    let mut number = 1;
    for way in ways(events.len()) {
        let otherwise = take_in_one_way::<P>(store, number + 1, events, way).await;
        let dropped = store.drop_projection(P::NAME, number).await;
        dropped.map_err(|error| error.to_string())?;
        number += 1;
        let otherwise = otherwise?;
        if let Some((what, once, then)) = difference(&outcome, &otherwise) {
            return Err(format!(
                "{what} depends on the way of delivery: once it is {once}, but {way} it is \
                 {then}. A batch may have any number of events of any keys, and state outside the \
                 tables is lost in a crash"
            ));
        }
        outcome = otherwise;
    }
    Ok((outcome, number))
}

fn ways(events: usize) -> impl Iterator<Item = Way> {
    batch_sizes(events).flat_map(|batch| {
        [Delivery::Once, Delivery::Twice, Delivery::Crash].map(|delivery| Way { batch, delivery })
    })
}

async fn take_in_one_way<P: Projection>(
    store: &Arc<dyn Store>,
    number: u32,
    events: &[Arc<RecordedEvent>],
    way: Way,
) -> Result<Outcome, String> {
    let page = |events: &[Arc<RecordedEvent>]| Page {
        events: events.to_vec(),
        scanned_to: events.last().map(|last| last.position).unwrap_or(GlobalPosition::ZERO),
    };
    let pages: Vec<_> = events.chunks(way.batch).map(page).collect();
    let delivered = deliver::<P>(store, number, &pages, way.delivery).await;
    let database = delivered.map_err(|error| format!("{way}: {error}"))?;
    let parked =
        database.load_parked(&format!("{}@{number}", P::NAME), &ParkedQuery::default()).await;
    let parked = parked.map_err(|error| error.to_string())?.keys.into_iter();
    let parked = parked.map(|parked| (parked.key.clone(), in_words(parked))).collect();
    let mut snapshot = database.read().await.map_err(|error| error.to_string())?;
    let tables = tables(&mut *snapshot).await;
    snapshot.end().await;
    Ok(Outcome { database, tables: tables.map_err(|error| error.to_string())?, parked })
}

fn in_words(parked: ParkedKey) -> String {
    let ParkedKey { position, event, reason, queue, .. } = parked;
    format!("parked at {event}, position {position}: {reason} ({} wait behind it)", queue.len())
}

async fn tables(snapshot: &mut dyn SqlSnapshot) -> Result<BTreeMap<String, Vec<String>>, SqlError> {
    let list = snapshot.tables();
    let mut db = snapshot.connection();
    let mut tables = BTreeMap::new();
    for row in db.rows(list, &[]).await? {
        let table: String = row.get(0)?;
        let all = format!("SELECT * FROM \"{}\"", table.replace('"', "\"\""));
        let rows = db.rows(&all, &[]).await?;
        let mut rows: Vec<_> = rows.iter().map(shown_row).collect();
        rows.sort_unstable();
        tables.insert(table, rows);
    }
    Ok(tables)
}

/// Returns the first difference, with the value in `one` and in `other`.
fn difference(one: &Outcome, other: &Outcome) -> Option<(String, String, String)> {
    let mut keys = one.parked.keys().chain(other.parked.keys());
    if let Some(key) = keys.find(|key| one.parked.get(*key) != other.parked.get(*key)) {
        let told = |outcome: &Outcome| {
            outcome.parked.get(key).map_or("taken in", String::as_str).to_owned()
        };
        return Some((format!("the key {key:?}"), told(one), told(other)));
    }
    let none = Vec::new();
    let mut tables = one.tables.keys().chain(other.tables.keys());
    tables.find_map(|table| {
        let [one, other] = [one, other].map(|outcome| outcome.tables.get(table).unwrap_or(&none));
        let place = (0..one.len().max(other.len())).find(|row| one.get(*row) != other.get(*row))?;
        let row = |rows: &Vec<String>| match rows.get(place) {
            Some(row) => format!("{row} in row {} of {}", place + 1, rows.len()),
            None => format!("{} rows", rows.len()),
        };
        Some((format!("the table {table}"), row(one), row(other)))
    })
}
