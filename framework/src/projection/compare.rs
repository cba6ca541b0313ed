//! Two versions of a projection side by side: the rows they name, one by one, or else their number.
//!
//! Rows are read in the order of their keys, a stretch of the one version and the same stretch of the
//! other. Where a stretch ends is the database's to say, which sorts both alike, whatever its collation.

use std::collections::BTreeMap;
use std::fmt;

use async_trait::async_trait;
use serde_json::Value;

use super::ComparedRows;
use super::handle::ProjectorHandle;
use crate::error::StoreError;
use crate::partition::FollowerControl;
use crate::store::contract::sql::{SqlError, SqlRow, SqlValue};
use crate::store::contract::{Comparison, Difference, SqlSnapshot};
use crate::versions::{Both, Found, PAGE, Pair};

/// Maximum number of rows that one statement reads again.
const AT_ONCE: usize = 100;

/// Compares the rows of the new version with those of the old one.
///
/// # Errors
/// The store is not available.
pub(super) async fn compare(
    old: &ProjectorHandle,
    new: &ProjectorHandle,
) -> Result<Comparison, StoreError> {
    // Nobody has said which rows mean the same, so only their numbers can be compared.
    if old.compared.is_empty() && new.compared.is_empty() {
        return compare_counts(old, new).await;
    }
    let sides = Sides { old, new };
    let mut tables: Vec<_> =
        old.compared.iter().chain(new.compared).map(|rows| rows.table).collect();
    tables.sort_unstable();
    tables.dedup();
    let mut found = Found::new();
    for table in tables {
        sides.compare(table, &mut found).await?;
    }
    found.end(&sides).await
}

struct Sides<'a> {
    old: &'a ProjectorHandle,
    new: &'a ProjectorHandle,
}

/// A row of any table.
struct RowKey {
    table: &'static str,
    key: Vec<SqlValue>,
}

impl fmt::Display for RowKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.table, json(&self.key))
    }
}

/// Rows by their key, in words.
type Stretch = BTreeMap<String, (Vec<SqlValue>, Value)>;

impl Sides<'_> {
    async fn compare(
        &self,
        table: &'static str,
        found: &mut Found<RowKey>,
    ) -> Result<(), StoreError> {
        let mut after: Option<Vec<SqlValue>> = None;
        loop {
            // So far as neither version has more rows than are read at a time.
            let (mut olds, mut last) = read(self.old, table, after.as_deref(), None).await?;
            let (mut news, last_new) =
                read(self.new, table, after.as_deref(), last.as_deref()).await?;
            if last.is_none() || news.len() == PAGE {
                last = last_new;
                (olds, _) = read(self.old, table, after.as_deref(), last.as_deref()).await?;
            }
            if last.is_none() {
                return Ok(());
            }
            for (word, (key, row)) in olds {
                let new = news.remove(&word).map(|(_, row)| Ok(row));
                found.see(RowKey { table, key }, Pair { old: Some(Ok(row)), new });
            }
            for (key, row) in news.into_values() {
                found.see(RowKey { table, key }, Pair { old: None, new: Some(Ok(row)) });
            }
            after = last;
        }
    }
}

#[async_trait]
impl Both for Sides<'_> {
    type Key = RowKey;

    async fn load(&self, keys: &[RowKey]) -> Result<Vec<Pair>, StoreError> {
        let mut pairs = Vec::with_capacity(keys.len());
        for keys in keys.chunks(AT_ONCE) {
            for keys in keys.chunk_by(|one, other| one.table == other.table) {
                let mut olds = read_keys(self.old, keys).await?;
                let mut news = read_keys(self.new, keys).await?;
                pairs.extend(keys.iter().map(|key| {
                    // Keys are compared as text, because a value may have another SQL type in each
                    // version.
                    let word = json(&key.key).to_string();
                    let [old, new] = [&mut olds, &mut news]
                        .map(|side| side.remove(&word).map(|(_, row)| Ok(row)));
                    Pair { old, new }
                }));
            }
        }
        Ok(pairs)
    }
}

fn declared(side: &ProjectorHandle, table: &str) -> Option<&'static ComparedRows> {
    side.compared.iter().find(|rows| rows.table == table)
}

/// The next rows of a table, up to a key if there is one, and the key of the last of them.
async fn read(
    side: &ProjectorHandle,
    table: &str,
    after: Option<&[SqlValue]>,
    up_to: Option<&[SqlValue]>,
) -> Result<(Stretch, Option<Vec<SqlValue>>), StoreError> {
    let Some(rows) = declared(side, table) else { return Ok((Stretch::new(), None)) };
    let names = rows.key.join(", ");
    let (mut bounds, mut values) = (Vec::new(), Vec::new());
    for (bound, key) in [(">", after), ("<=", up_to)] {
        let Some(key) = key else { continue };
        bounds.push(format!("({names}) {bound} {}", places(values.len(), key.len())));
        values.extend_from_slice(key);
    }
    let bounds = match bounds.is_empty() {
        true => String::new(),
        false => format!("WHERE {}", bounds.join(" AND ")),
    };
    let select = select(rows);
    let sql = format!("{select} {bounds} ORDER BY {names} LIMIT {PAGE}");
    let found = ask(side, &sql, &values).await?;
    let last = found.last().map(|row| row.values()[..rows.key.len()].to_vec());
    Ok((stretch(rows, found), last))
}

async fn read_keys(side: &ProjectorHandle, keys: &[RowKey]) -> Result<Stretch, StoreError> {
    let table = keys.first().map_or("", |key| key.table);
    let Some(rows) = declared(side, table) else { return Ok(Stretch::new()) };
    let width = rows.key.len();
    let all: Vec<_> = (0..keys.len()).map(|key| places(key * width, width)).collect();
    let values: Vec<_> = keys.iter().flat_map(|key| key.key.iter().cloned()).collect();
    let (select, names, all) = (select(rows), rows.key.join(", "), all.join(", "));
    let sql = format!("{select} WHERE ({names}) IN (VALUES {all})");
    Ok(stretch(rows, ask(side, &sql, &values).await?))
}

fn select(rows: &ComparedRows) -> String {
    let columns: Vec<_> = rows.key.iter().chain(rows.columns).copied().collect();
    format!("SELECT {} FROM {}", columns.join(", "), rows.table)
}

/// `($3, $4)`
fn places(before: usize, count: usize) -> String {
    let places: Vec<_> = (1..=count).map(|place| format!("${}", before + place)).collect();
    format!("({})", places.join(", "))
}

fn stretch(rows: &ComparedRows, found: Vec<SqlRow>) -> Stretch {
    let row = |row: SqlRow| {
        let (key, columns) = row.values().split_at(rows.key.len());
        (json(key).to_string(), (key.to_vec(), json(columns)))
    };
    found.into_iter().map(row).collect()
}

/// The values of a row as they are compared and shown.
fn json(values: &[SqlValue]) -> Value {
    let value = |value: &SqlValue| match value {
        SqlValue::Integer(value) => Value::from(*value),
        SqlValue::Real(value) => Value::from(*value),
        SqlValue::Text(value) => Value::from(value.clone()),
        SqlValue::Blob(value) => Value::from(value.clone()),
        SqlValue::Boolean(value) => Value::from(*value),
        SqlValue::Timestamp(value) => Value::from(value.map(|time| time.to_string())),
    };
    values.iter().map(value).collect()
}

async fn ask(
    side: &ProjectorHandle,
    sql: &str,
    values: &[SqlValue],
) -> Result<Vec<SqlRow>, StoreError> {
    // A snapshot for each statement: one for the whole comparison would keep old rows and the
    // write-ahead log for minutes.
    let mut snapshot = side.database.read().await?;
    let found = snapshot.connection().rows(sql, values).await;
    snapshot.end().await;
    found.map_err(|error| StoreError::Unavailable(format!("{}: {error}", side.versioned_name())))
}

/// Compares how many rows each table has.
async fn compare_counts(
    old: &ProjectorHandle,
    new: &ProjectorHandle,
) -> Result<Comparison, StoreError> {
    let (olds, news) = (count_rows(old).await?, count_rows(new).await?);
    let mut tables: Vec<_> = olds.iter().chain(&news).map(|(table, _)| table).collect();
    tables.sort_unstable();
    tables.dedup();
    let of = |rows: &[(String, u64)], table: &str| {
        rows.iter().find(|(known, _)| known == table).map(|(_, count)| *count)
    };
    let mut found = Comparison::default();
    for table in tables {
        let (old, new) = (of(&olds, table), of(&news, table));
        found.old_documents += old.unwrap_or(0);
        found.new_documents += new.unwrap_or(0);
        if old == new {
            found.equal += 1;
            continue;
        }
        found.different += 1;
        let rows = |count: Option<u64>| count.map(|count| format!("{count} rows"));
        found.differences.push(Difference { key: table.clone(), old: rows(old), new: rows(new) });
    }
    Ok(found)
}

/// The user's tables, and how many rows each has.
async fn count_rows(handle: &ProjectorHandle) -> Result<Vec<(String, u64)>, StoreError> {
    let mut snapshot = handle.database.read().await?;
    let counted = count_in(&mut *snapshot).await;
    snapshot.end().await;
    counted.map_err(|error| StoreError::Unavailable(error.to_string()))
}

async fn count_in(snapshot: &mut dyn SqlSnapshot) -> Result<Vec<(String, u64)>, SqlError> {
    let list = snapshot.tables();
    let mut db = snapshot.connection();
    let mut counts = Vec::new();
    for row in db.rows(list, &[]).await? {
        let table: String = row.get(0)?;
        let count = format!("SELECT count(*) FROM \"{}\"", table.replace('"', "\"\""));
        let rows = db.rows(&count, &[]).await?;
        let count = rows.first().map_or(Ok(0), |row| row.get::<i64>(0))?;
        counts.push((table, count as u64));
    }
    Ok(counts)
}
