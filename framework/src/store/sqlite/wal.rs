//! Checks, before SQLite sees them, that the side files of a database are its own.
//!
//! SQLite replays a write-ahead log or rolls back a journal because of its name: beside a copy from
//! another time that mixes two states, and both are lost. These checks only read. They accept each
//! state that a crash can leave, and each copy that was taken with all files.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::open::refuse;
use super::origin::{Header, MainFile, Mark, Row};
use super::path::{JOURNAL, RESTORING, WAL, beside};
use crate::error::StartError;

/// Bytes before the first frame, and before the page of each frame
/// (<https://sqlite.org/fileformat2.html#the_write_ahead_log>).
const WAL_HEADER: usize = 32;
const FRAME_HEADER: usize = 24;

/// First bytes of a rollback journal that is not spent.
const JOURNAL_MAGIC: [u8; 8] = [0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7];

/// Refuses to create a database beside side files of one that is gone.
pub(super) fn refuse_orphans(given: &Path, path: &Path) -> Result<(), StartError> {
    refuse_unfinished_restore(given, path)?;
    for suffix in [WAL, JOURNAL] {
        let left = beside(path, suffix);
        // An empty file holds no transaction, so nothing would be lost with it.
        if std::fs::metadata(&left).is_ok_and(|found| found.len() > 0) {
            let reason = format!(
                "the database is gone, and {} of it is left, which may hold its last events: move \
                 the database back beside it, or move {} away to begin a new log",
                left.display(),
                left.display()
            );
            return Err(refuse(given, reason));
        }
    }
    Ok(())
}

/// Refuses side files that do not belong to the database.
pub(super) fn refuse_others(
    given: &Path,
    path: &Path,
    main: &MainFile<'_>,
) -> Result<(), StartError> {
    refuse_unfinished_restore(given, path)?;
    for suffix in [JOURNAL, WAL] {
        let file = beside(path, suffix);
        let belongs = match File::open(&file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Ok(opened) if suffix == JOURNAL => journal_belongs(main, opened).map(Belongs::from),
            opened => opened.and_then(|opened| wal_belongs(main, opened)),
        };
        match belongs {
            Ok(Belongs::Yes) => {}
            Ok(Belongs::No) => return Err(refuse(given, foreign(&file))),
            Ok(Belongs::Unknown) => return Err(refuse(given, unknown(path, &file))),
            Err(error) => {
                let reason = format!("{} cannot be read: {error}", file.display());
                return Err(refuse(given, reason));
            }
        }
    }
    Ok(())
}

/// Result of comparing a side file with the database.
#[derive(Debug, PartialEq)]
enum Belongs {
    Yes,
    No,
    /// The write-ahead log holds transactions, and none of them is ours.
    Unknown,
}

impl From<bool> for Belongs {
    fn from(belongs: bool) -> Self {
        if belongs { Self::Yes } else { Self::No }
    }
}

fn unknown(path: &Path, file: &Path) -> String {
    let (path, file) = (path.display(), file.display());
    format!(
        "{file} holds transactions of another program only, so nothing shows whether it belongs to \
         this database. Nothing was changed. If neither file was replaced or restored, it belongs: \
         move its content into the database with \
         `sqlite3 {path} 'PRAGMA wal_checkpoint(TRUNCATE)'` and start again. If one of them was, \
         restore a backup. A program that keeps tables of its own in this file should open the log \
         before it writes to them."
    )
}

fn foreign(file: &Path) -> String {
    let file = file.display();
    format!(
        "{file} does not belong to this database: one of the two is from another time or another \
         database, and together they would be corrupt. Nothing was changed. To keep this database \
         as it is, move {file} away; to keep what is in {file}, put back the database that it was \
         written for. After a restore from a backup, move it away."
    )
}

fn refuse_unfinished_restore(given: &Path, path: &Path) -> Result<(), StartError> {
    let prepared = beside(path, RESTORING);
    match prepared.exists() {
        false => Ok(()),
        true => Err(refuse(
            given,
            format!("a restore was interrupted ({} is left): restore again", prepared.display()),
        )),
    }
}

/// A log belongs to the file if nothing of it would be replayed, or if it names the mark and the
/// header that the file carries. A file without a mark is no log yet, so that other programs alone
/// know which write-ahead log is its own.
fn wal_belongs(main: &MainFile<'_>, wal: File) -> io::Result<Belongs> {
    if !wal.metadata()?.is_file() {
        return Ok(Belongs::No);
    }
    // SQLite would replay nothing of it, so it cannot mix two states.
    let Some(log) = replayed(wal)? else { return Ok(Belongs::Yes) };
    // The switch to WAL mode writes the header, so a file without one never had such a log.
    let Ok(header) = main.header() else { return Ok(Belongs::No) };
    let Some(first) = log.rows.first() else {
        return Ok(if is_marked(main)? { Belongs::Unknown } else { Belongs::Yes });
    };
    let header = Header::of(&header).unwrap_or_default();
    // Two copies of one database can have equal headers, so the mark has to match as well.
    Ok((log.headers.contains(&header) && carries_mark_of(main, &log, first.1.before)).into())
}

/// Looks for a mark in each page, because only SQLite knows which page holds it.
fn is_marked(main: &MainFile<'_>) -> io::Result<bool> {
    let header = main.header()?;
    // 1 means 64 KiB, which two bytes cannot hold.
    let page_bytes = match u16::from_be_bytes([header[16], header[17]]) {
        1 => 65_536,
        bytes => u32::from(bytes),
    };
    if page_bytes < 512 {
        return Ok(true); // this is no database: nothing is known of it
    }
    let pages = u32::try_from(main.len()? / u64::from(page_bytes)).unwrap_or(u32::MAX);
    for number in 1..=pages {
        if Row::in_page(&main.page(number, page_bytes)?).is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Checks that SQLite would replay nothing of the write-ahead log at `file`, or marks of ours.
pub(super) fn is_empty_or_ours(file: &Path) -> io::Result<bool> {
    match File::open(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        opened => Ok(replayed(opened?)?.is_none_or(|log| !log.rows.is_empty())),
    }
}

/// Checks that the file carries a mark of the log, or none if the log begins with the first one.
fn carries_mark_of(main: &MainFile<'_>, log: &Replayed, before: Mark) -> bool {
    let mut marks: HashSet<Mark> = log.rows.iter().map(|(_, row)| row.own).collect();
    marks.insert(before);
    for (page, _) in &log.rows {
        match main.page(*page, log.page_bytes) {
            // The first transactions of a new file: the row's page is not in the file yet.
            Err(_) if before == Mark::default() => return true,
            Ok(page) if before == Mark::default() && page.iter().all(|b| *b == 0) => return true,
            Ok(page) if Row::in_page(&page).is_some_and(|row| marks.contains(&row.own)) => {
                return true;
            }
            _ => {}
        }
    }
    false
}

/// The part of a log that SQLite would replay.
struct Replayed {
    page_bytes: u32,
    /// Each version of the row with our mark, and its page.
    rows: Vec<(u32, Row)>,
    /// Headers that the file can have: those found by our transactions and those in the log.
    headers: HashSet<Header>,
}

/// Reads the frames that belong to finished transactions, as SQLite's recovery does; `None` if
/// there are none.
fn replayed(wal: File) -> io::Result<Option<Replayed>> {
    let mut wal = BufReader::with_capacity(1 << 20, wal);
    let mut head = [0; WAL_HEADER];
    if !fill(&mut wal, &mut head)? {
        return Ok(None);
    }
    let word =
        |at: usize, of: &[u8]| u32::from_be_bytes([of[at], of[at + 1], of[at + 2], of[at + 3]]);
    let (magic, page_bytes) = (word(0, &head), word(8, &head));
    let is_big_endian = magic & 1 == 1;
    let mut sum = checksum((0, 0), &head[..24], is_big_endian);
    let is_log = magic & !1 == 0x377f_0682 && page_bytes.is_power_of_two();
    if !is_log || !(512..=65_536).contains(&page_bytes) || sum != (word(24, &head), word(28, &head))
    {
        return Ok(None); // SQLite takes such a log for an empty one
    }
    let (mut done, mut open) = (None::<Replayed>, Vec::<(u32, Option<Row>, Option<Header>)>::new());
    let mut frame = vec![0; FRAME_HEADER + page_bytes as usize];
    while fill(&mut wal, &mut frame)? {
        let (frame_head, page) = frame.split_at(FRAME_HEADER);
        sum = checksum(sum, &frame_head[..8], is_big_endian);
        sum = checksum(sum, page, is_big_endian);
        // What follows is left of an earlier log in the same file, or was not written completely.
        // SQLite stops at this frame too.
        if frame_head[8..16] != head[16..24] || sum != (word(16, frame_head), word(20, frame_head))
        {
            break;
        }
        let number = word(0, frame_head);
        let header = if number == 1 { Header::of(page) } else { None };
        let row = if number == 1 { None } else { Row::in_page(page) };
        if header.is_some() || row.is_some() {
            open.push((number, row, header));
        }
        // A commit frame: only now do the frames since the last one count. SQLite discards a
        // transaction without one, because a crash has cut it off.
        if word(4, frame_head) != 0 {
            let log = done.get_or_insert_with(|| Replayed {
                page_bytes,
                rows: vec![],
                headers: HashSet::new(),
            });
            for (number, row, header) in open.drain(..) {
                log.rows.extend(row.map(|row| (number, row)));
                log.headers.extend(header.into_iter().chain(row.map(|row| row.header)));
            }
        }
    }
    Ok(done)
}

/// Writes a log once more, byte for byte, and syncs it: after a failed sync a page cache that holds
/// the only copy writes it no more. Hold the database's write lock, so that nobody appends
/// meanwhile; readers are not in the way.
pub(super) fn write_again(path: &Path) -> io::Result<()> {
    let wal = File::options().read(true).write(true).open(beside(path, WAL))?;
    let (mut chunk, mut at) = (vec![0; 1 << 20], 0);
    loop {
        let read = wal.read_at(&mut chunk, at)?;
        if read == 0 {
            return wal.sync_all();
        }
        wal.write_all_at(&chunk[..read], at)?;
        at += read as u64;
    }
}

/// Reads until the buffer is full; `false` at the end of the file.
fn fill(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match from.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// SQLite's checksum of a write-ahead log (<https://sqlite.org/fileformat2.html#walformat>).
fn checksum((mut first, mut second): (u32, u32), bytes: &[u8], is_big_endian: bool) -> (u32, u32) {
    let word = |bytes: &[u8]| {
        let bytes = [bytes[0], bytes[1], bytes[2], bytes[3]];
        if is_big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
    };
    for pair in bytes.chunks_exact(8) {
        first = first.wrapping_add(word(&pair[..4])).wrapping_add(second);
        second = second.wrapping_add(word(&pair[4..])).wrapping_add(first);
    }
    (first, second)
}

/// A journal belongs to the file only before the file is a log: while it is created, or while the
/// database of another program becomes one. A log in WAL mode has none.
fn journal_belongs(main: &MainFile<'_>, mut journal: File) -> io::Result<bool> {
    let mut head = [0; 28];
    if !fill(&mut journal, &mut head)? || head[..8] != JOURNAL_MAGIC {
        return Ok(true); // SQLite takes such a journal for a spent one
    }
    let word = |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let (pages_before, sector, page_bytes) = (word(16), word(20), word(24));
    // The journal of the very first transaction records that the file had no page.
    if main.len()? == 0 {
        return Ok(pages_before == 0);
    }
    if pages_before == 0 && main.len()? <= u64::from(page_bytes) {
        return Ok(true); // a new file whose first page was just written
    }
    let header = main.header()?;
    // The file is not in WAL mode yet, so SQLite itself needs this journal to recover it.
    if header[18] != 2 && header[19] != 2 {
        return Ok(true);
    }
    // The switch to WAL mode, cut short: the only page in it is the first, and it differs from the
    // file's by the version, the counter and who wrote it.
    let mut journal = BufReader::new(journal);
    if !(512..=65_536).contains(&page_bytes) || !(32..=65_536).contains(&sector) {
        return Ok(false);
    }
    let mut skipped = vec![0; sector as usize - head.len()];
    let mut record = vec![0; page_bytes as usize + 4];
    if !fill(&mut journal, &mut skipped)? || !fill(&mut journal, &mut record)? {
        return Ok(false);
    }
    let (mut now, mut then) = (main.page(1, page_bytes)?, record.split_off(4));
    for page in [&mut now, &mut then] {
        page[18..20].fill(0);
        page[24..32].fill(0);
        page[92..100].fill(0);
    }
    Ok(record == [0, 0, 0, 1]
        && now == then
        && u64::from(pages_before) * u64::from(page_bytes) == main.len()?)
}
