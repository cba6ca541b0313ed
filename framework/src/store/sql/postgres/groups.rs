//! A batch by streams: what is assumed of each, and what the server answers.
//!
//! The version check stays in [`plan`](crate::store::plan): it runs on assumptions, taken from what
//! the appends expect, and the server stores only what they hold for. Positions are planned
//! relative to a head far beyond any real one, and become real with the answer.

use std::collections::HashMap;

use sqlx::Row;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use crate::command::Committed;
use crate::event_store::{Append, AppendOutcome, NotCommitted};
use crate::store::plan::{Current, PastCommand, Plan};
use crate::store::sql::numbers::{past_command, tip};
use crate::stream::{ExpectedVersion, GlobalPosition, StreamId, StreamVersion, Tip};

/// Planned positions begin after this one.
const BASE: u64 = 1 << 62;

/// What a call assumes of the streams it touches.
pub(super) struct Assumed<'a> {
    pub(super) streams: Vec<&'a StreamId>,
    pub(super) versions: Vec<StreamVersion>,
    /// Every append to it takes any version.
    pub(super) takes_any: Vec<bool>,
    /// The place in `streams` of each append's.
    of_append: Vec<usize>,
    places: HashMap<&'a StreamId, usize>,
}

impl<'a> Assumed<'a> {
    /// A stream is assumed to be where it was found, or else where its first append expects it.
    pub(super) fn of(appends: &'a [Append], found: &Current) -> Self {
        let mut assumed = Self {
            streams: Vec::new(),
            versions: Vec::new(),
            takes_any: Vec::new(),
            of_append: Vec::with_capacity(appends.len()),
            places: HashMap::with_capacity(appends.len()),
        };
        for Append { stream, expected, .. } in appends {
            let place = *assumed.places.entry(stream).or_insert_with(|| {
                let version = match (found.tips.get(stream), expected) {
                    (Some(tip), _) => tip.version,
                    // No stream is as long as what planned versions begin beyond.
                    (None, ExpectedVersion::Exact(version)) => StreamVersion(version.0.min(BASE)),
                    (None, ExpectedVersion::StreamExists) => StreamVersion(1),
                    (None, ExpectedVersion::Any | ExpectedVersion::NoStream) => StreamVersion::ZERO,
                };
                assumed.streams.push(stream);
                assumed.versions.push(version);
                assumed.takes_any.push(true);
                assumed.streams.len() - 1
            });
            assumed.takes_any[place] &= *expected == ExpectedVersion::Any;
            assumed.of_append.push(place);
        }
        assumed
    }

    /// What the plan is made on.
    pub(super) fn current(&self, found: &Current) -> Current {
        let tips = self.streams.iter().zip(&self.versions);
        let tips = tips.map(|(stream, version)| {
            ((*stream).clone(), Tip { version: *version, position: GlobalPosition(BASE) })
        });
        Current {
            head: GlobalPosition(BASE),
            tips: tips.collect(),
            commands: found.commands.clone(),
            stored: found.stored.clone(),
        }
    }

    /// An outcome that needed no call, because nothing is to be stored: what it says of the stream
    /// is what was found.
    pub(super) fn settled(
        &self,
        index: usize,
        outcome: AppendOutcome,
        found: &Current,
    ) -> AppendOutcome {
        match outcome {
            AppendOutcome::Committed(committed) if committed.position.0 >= BASE => {
                let stream = self.streams[self.of_append[index]];
                let position = found.tips.get(stream).copied().unwrap_or_default().position;
                AppendOutcome::Committed(Committed { position, ..committed })
            }
            other => other,
        }
    }

    pub(super) fn place(&self, stream: &StreamId) -> usize {
        self.places[stream]
    }

    /// How far a planned version is from the assumed one.
    pub(super) fn offset(&self, place: usize, version: StreamVersion) -> i64 {
        version.0 as i64 - self.versions[place].0 as i64
    }
}

/// The rank of a planned position among the rows, from 1; 0 for one before them all.
pub(super) fn rank(position: GlobalPosition) -> usize {
    position.0.saturating_sub(BASE) as usize
}

/// What the server found, and which streams it stored.
pub(super) struct Answer {
    head: u64,
    tips: Vec<Tip>,
    held: Vec<bool>,
    /// For each row, how many up to it were stored.
    stored: Vec<u64>,
    all_held: bool,
}

impl Answer {
    /// Reads the row; what was found is added to `found`.
    pub(super) fn read(
        row: &PgRow,
        assumed: &Assumed<'_>,
        planned: &Plan<'_>,
        found: &mut Current,
    ) -> Result<Self, sqlx::Error> {
        let head: i64 = row.try_get("head")?;
        let (versions, positions): (Vec<i64>, Vec<i64>) =
            (row.try_get("versions")?, row.try_get("positions")?);
        let tips: Vec<Tip> = versions.into_iter().zip(positions).map(|(v, p)| tip(v, p)).collect();
        let held: Vec<bool> = row.try_get("held")?;
        let mut count = 0;
        let stored = planned.rows.iter().map(|row| {
            count += u64::from(held[assumed.place(row.stream)]);
            count
        });
        let stored = stored.collect();
        let all_held = held.iter().all(|held| *held);
        if !all_held {
            let streams = assumed.streams.iter().map(|stream| (*stream).clone());
            found.tips.extend(streams.zip(tips.iter().copied()));
            found.commands.extend(known_commands(row)?);
            found.stored.extend(stored_events(row)?);
        }
        Ok(Self { head: head as u64, tips, held, stored, all_held })
    }

    /// The last position of the log.
    pub(super) fn head(&self) -> GlobalPosition {
        GlobalPosition(self.head + self.stored.last().copied().unwrap_or(0))
    }

    /// What came of an append, if this answer settles it.
    pub(super) fn settle(
        &self,
        index: usize,
        assumed: &Assumed<'_>,
        planned: &Plan<'_>,
    ) -> Option<AppendOutcome> {
        let place = assumed.of_append[index];
        let outcome = match planned.outcomes[index].clone() {
            AppendOutcome::Committed(committed) if committed.position.0 < BASE => committed,
            // The first of two with one command id, without events: the next answer knows it.
            AppendOutcome::Committed(Committed { replayed: true, position, .. })
                if rank(position) == 0 || !self.all_held =>
            {
                return None;
            }
            AppendOutcome::Committed(committed) => {
                let actual = self.actual(place, committed, assumed, planned);
                return self.held[place].then_some(AppendOutcome::Committed(actual));
            }
            AppendOutcome::NotCommitted(NotCommitted::Conflict { actual }) => {
                let offset = assumed.offset(place, actual);
                let actual =
                    StreamVersion(self.tips[place].version.0.saturating_add_signed(offset));
                let conflict = AppendOutcome::NotCommitted(NotCommitted::Conflict { actual });
                return self.held[place].then_some(conflict);
            }
            // It may refer to a neighbour that was not stored.
            other => return self.all_held.then_some(other),
        };
        Some(AppendOutcome::Committed(outcome))
    }

    /// Version and position as they came to be.
    fn actual(
        &self,
        place: usize,
        committed: Committed,
        assumed: &Assumed<'_>,
        planned: &Plan<'_>,
    ) -> Committed {
        let rank = rank(committed.position);
        let (place, position) = match rank {
            0 => (place, self.tips[place].position),
            _ => {
                let row = &planned.rows[rank - 1];
                let position = GlobalPosition(self.head + self.stored[rank - 1]);
                (assumed.place(row.stream), position)
            }
        };
        let offset = assumed.offset(place, committed.version);
        let version = StreamVersion(self.tips[place].version.0.saturating_add_signed(offset));
        Committed { version, position, ..committed }
    }
}

fn known_commands(row: &PgRow) -> Result<Vec<(String, PastCommand)>, sqlx::Error> {
    let ids: Option<Vec<String>> = row.try_get("known_ids")?;
    let Some(ids) = ids else { return Ok(Vec::new()) };
    let fingerprints: Vec<Vec<u8>> = row.try_get("known_fingerprints")?;
    let versions: Vec<i64> = row.try_get("known_versions")?;
    let positions: Vec<i64> = row.try_get("known_positions")?;
    let outcomes = fingerprints.iter().zip(versions.into_iter().zip(positions));
    let known = ids.into_iter().zip(outcomes);
    known.map(|(id, (f, (v, p)))| Ok((id, past_command(f, v, p)?))).collect()
}

/// An event's id, and where it stands.
type Stored = (Uuid, (StreamId, Tip));

fn stored_events(row: &PgRow) -> Result<Vec<Stored>, sqlx::Error> {
    let ids: Option<Vec<Uuid>> = row.try_get("stored_ids")?;
    let Some(ids) = ids else { return Ok(Vec::new()) };
    let types: Vec<String> = row.try_get("stored_types")?;
    let streams: Vec<String> = row.try_get("stored_streams")?;
    let versions: Vec<i64> = row.try_get("stored_versions")?;
    let positions: Vec<i64> = row.try_get("stored_positions")?;
    let streams = types.iter().zip(&streams).map(|(stream_type, id)| {
        StreamId::new(stream_type, id).map_err(|e| sqlx::Error::Decode(Box::new(e)))
    });
    let tips = versions.into_iter().zip(positions).map(|(v, p)| tip(v, p));
    ids.into_iter().zip(streams.zip(tips)).map(|(id, (s, tip))| Ok((id, (s?, tip)))).collect()
}
