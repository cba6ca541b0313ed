//! The mark that binds a write-ahead log to its database file, and both to this opening.
//!
//! SQLite replays any write-ahead log that has the right name. So each transaction of ours writes a
//! mark into one row: the mark before it and its own. A file carries the last mark that was
//! checkpointed; a log belongs to the file if it names that mark. Opening a store writes a new mark
//! into the file itself, so a copy from before differs from it. `wal` compares them at the next
//! start; `lock` checks around each commit that the file carries a mark of this opening.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use sqlx::sqlite::SqliteConnection;

use super::doubt;
use super::lock::HeldFile;
use crate::clock::{Clock, SystemClock};

/// Bytes of the row's value.
pub(super) const BYTES: usize = 56;

/// Begins the row's value, so that the row is recognised in a page.
const MAGIC: &[u8; 16] = b"actum-wal-origin";

/// The cell of the row before its value: 59 bytes of payload, key 1, a header of 3 bytes, NULL for
/// the key's column, a blob of 56 bytes (<https://sqlite.org/fileformat2.html#record_format>).
const CELL: [u8; 5] = [59, 1, 3, 0, 124];

/// One transaction of one opening.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub(super) struct Mark {
    opening: u64,
    number: u64,
}

/// First 100 bytes of a database, as far as they show that one file follows from another: the
/// change counter and the number of pages at the last checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub(super) struct Header {
    changes: u32,
    pages: u32,
}

/// The row, as a transaction writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Row {
    /// The mark that the transaction found.
    pub(super) before: Mark,
    /// The transaction's own mark.
    pub(super) own: Mark,
    /// The file's header when the transaction began.
    pub(super) header: Header,
}

impl Mark {
    /// The first mark of an opening.
    pub(super) fn first() -> Self {
        // Not `Uuid::now_v7`, which panics before 1970.
        let (time, random) = SystemClock.new_id().as_u64_pair();
        Self { opening: time ^ random, number: 1 }
    }

    fn next(self) -> Self {
        Self { number: self.number + 1, ..self }
    }
}

impl Header {
    /// Reads it from the first page.
    pub(super) fn of(page: &[u8]) -> Option<Self> {
        Some(Self { changes: number(page, 24)?, pages: number(page, 28)? })
    }
}

impl Row {
    pub(super) fn to_bytes(self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        for mark in [self.before, self.own] {
            bytes.extend(mark.opening.to_be_bytes());
            bytes.extend(mark.number.to_be_bytes());
        }
        bytes.extend(self.header.changes.to_be_bytes());
        bytes.extend(self.header.pages.to_be_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let rest = bytes.strip_prefix(MAGIC)?;
        let long = |at: usize| Some(u64::from_be_bytes(rest.get(at..at + 8)?.try_into().ok()?));
        Some(Self {
            before: Mark { opening: long(0)?, number: long(8)? },
            own: Mark { opening: long(16)?, number: long(24)? },
            header: Header { changes: number(rest, 32)?, pages: number(rest, 36)? },
        })
    }

    /// Finds it in a page of a database: the only cell of a leaf of a table.
    pub(super) fn in_page(page: &[u8]) -> Option<Self> {
        let (kind, cells) = (*page.first()?, page.get(3..5)?);
        // The table has one row, so its page is a leaf (0x0d) with one cell. No other page can hold
        // the mark.
        if kind != 0x0d || cells != [0, 1] {
            return None;
        }
        let cell = usize::from(u16::from_be_bytes(page.get(8..10)?.try_into().ok()?));
        let value = page.get(cell..)?.strip_prefix(&CELL)?;
        Self::from_bytes(value.get(..BYTES)?)
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// The database file itself, read beside SQLite and without a descriptor of its own.
pub(super) struct MainFile<'a> {
    file: &'a File,
}

impl<'a> MainFile<'a> {
    /// The first bytes of each database.
    pub(super) const MAGIC: &'static [u8; 16] = b"SQLite format 3\0";

    pub(super) fn new(file: &'a File) -> Self {
        Self { file }
    }

    /// Length in bytes.
    pub(super) fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// The first 100 bytes.
    pub(super) fn header(&self) -> io::Result<[u8; 100]> {
        let mut header = [0; 100];
        self.file.read_exact_at(&mut header, 0)?;
        Ok(header)
    }

    /// A page by its number, starting at 1.
    pub(super) fn page(&self, number: u32, bytes: u32) -> io::Result<Vec<u8>> {
        let mut page = vec![0; bytes as usize];
        let at = u64::from(number.saturating_sub(1)) * u64::from(bytes);
        self.file.read_exact_at(&mut page, at)?;
        Ok(page)
    }
}

/// The marks that the open file may carry.
pub(super) struct Origin {
    page: u32,
    page_bytes: u32,
    /// The mark that it carried when it was opened; it stays if another program keeps the first
    /// checkpoint from finishing. None between this one and ours gets into the file, because a
    /// checkpoint copies only the last version of a page.
    found: Mark,
    opening: u64,
    /// The last mark of this opening that the file was seen with.
    seen: u64,
}

impl Origin {
    /// Checks that the file carries a mark of this opening, and none older than seen before.
    pub(super) fn is_carried_by(&mut self, main: &MainFile<'_>) -> bool {
        let is_a_database = main.header().is_ok_and(|header| header.starts_with(MainFile::MAGIC));
        let page = main.page(self.page, self.page_bytes).ok();
        let Some(row) = page.filter(|_| is_a_database).and_then(|page| Row::in_page(&page)) else {
            return false;
        };
        // The mark of another opening is right only until ours was seen once, because a checkpoint
        // never brings an older version of a page back.
        if row.own.opening != self.opening {
            return self.seen == 0 && row.own == self.found;
        }
        let is_later = row.own.number >= self.seen;
        self.seen = self.seen.max(row.own.number);
        is_later
    }
}

/// The row as this connection sees it. In a new database nothing is marked yet.
async fn read(connection: &mut SqliteConnection) -> Result<Mark, sqlx::Error> {
    let row = sqlx::query_scalar("SELECT mark FROM wal_origin").fetch_one(connection).await;
    let row: Vec<u8> = row?;
    Ok(Row::from_bytes(&row).map(|row| row.own).unwrap_or_default())
}

/// The row that the next transaction on this connection writes; call it inside the transaction.
/// `last` is the mark that the connection wrote last, if it is known.
pub(super) async fn next(
    connection: &mut SqliteConnection,
    file: &HeldFile,
    last: Option<Mark>,
) -> Result<Row, sqlx::Error> {
    let before = match last {
        Some(mark) => mark,
        None => read(connection).await?,
    };
    // If the row still holds the mark of the opening before, this is the first transaction of ours.
    let own = match before.opening == file.first_mark.opening {
        true => before.next(),
        false => file.first_mark,
    };
    Ok(Row { before, own, header: file.header() })
}

/// Ends a transaction with its mark, which is bound last. One text, because each statement that is
/// sent alone costs a hop to the connection's thread.
pub(super) const COMMIT: &str = "UPDATE wal_origin SET mark = ?; COMMIT";

/// Commits the transaction with its mark.
pub(super) async fn commit(connection: &mut SqliteConnection, row: Row) -> Result<(), sqlx::Error> {
    let commit = sqlx::query(COMMIT).bind(row.to_bytes());
    commit.execute(connection).await.map(drop)
}

/// Commits a transaction that writes nothing but its mark.
pub(super) async fn mark(
    connection: &mut SqliteConnection,
    file: &HeldFile,
) -> Result<(), sqlx::Error> {
    sqlx::query("BEGIN IMMEDIATE").execute(&mut *connection).await?;
    let row = next(connection, file, None).await?;
    commit(connection, row).await
}

/// Gives a copy that no store has open a mark of its own, outside of a transaction.
pub(super) async fn mark_copy(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    let mark = Mark::first();
    let row = Row { before: mark, own: mark, header: Header::default() };
    let update = sqlx::query("UPDATE wal_origin SET mark = ?").bind(row.to_bytes());
    update.execute(connection).await.map(drop)
}

/// Writes a mark of this opening into the file itself, so that no earlier copy equals the file, and
/// from then on checks that the file carries one. Begins the next write-ahead log with a mark, and
/// makes durable what was recovered from the last one.
/// Returns whether another program's read kept the first mark in the write-ahead log.
pub(super) async fn bind(
    connection: &mut SqliteConnection,
    file: &HeldFile,
) -> Result<bool, sqlx::Error> {
    mark(connection, file).await?;
    let checkpoint = sqlx::query_as("PRAGMA wal_checkpoint(TRUNCATE)");
    let (busy, _, _): (i64, i64, i64) = checkpoint.fetch_one(&mut *connection).await?;
    mark(connection, file).await?;
    // The mark stays in the root page, because the table has one row of a fixed size. So a check
    // reads one page and needs no SQLite.
    let (page, page_bytes): (u32, u32) = sqlx::query_as(
        "SELECT rootpage, (SELECT page_size FROM pragma_page_size)
         FROM sqlite_schema WHERE name = 'wal_origin'",
    )
    .fetch_one(&mut *connection)
    .await?;
    let is_busy = busy != 0;
    if is_busy {
        // A checkpoint that is cut short syncs the log, which does not write pages that the kernel
        // has marked clean after a failed sync.
        doubt::make_durable(connection, &file.path).await?;
    }
    file.note_origin(|main| {
        let found = Row::in_page(&main.page(page, page_bytes).ok()?)?.own;
        let opening = file.first_mark.opening;
        Some(Origin { page, page_bytes, found, opening, seen: 0 })
    });
    Ok(is_busy)
}
