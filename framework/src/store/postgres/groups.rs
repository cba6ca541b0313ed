//! A batch by streams: what is assumed of each, and what the server answers.
//!
//! The version check stays in [`plan`](crate::store::kit::version_check): it runs on assumptions, taken from what
//! the appends expect, and the server stores only what they hold for. Positions are planned
//! relative to a head far beyond any real one, and become real with the answer.

use std::collections::HashMap;

use sqlx::Row;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use super::claims;
use super::history::Place;
use crate::command::Committed;
use crate::event::{ExpectedVersion, GlobalPosition, StreamId, StreamVersion, Tip};
use crate::store::contract::{Append, AppendOutcome, NotCommitted};
use crate::store::kit::version_check::{Current, PastCommand, Plan};
use crate::store::sql::numbers::{past_command, tip};

/// Planned positions are beyond this one, and from the next on they stand for the end that the
/// stream of that place has already.
const PLANNED: u64 = 1 << 61;
const ENDS: u64 = 1 << 62;

/// State of the streams that a call assumes.
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
                    // No stream is as long as this, and planned versions go on from it.
                    (None, ExpectedVersion::Exact(version)) => {
                        StreamVersion(version.0.min(PLANNED))
                    }
                    (None, ExpectedVersion::StreamExists) => StreamVersion(1),
                    (None, ExpectedVersion::Any | ExpectedVersion::NoStream) => StreamVersion::ZERO,
                };
                assumed.streams.push(stream);
                assumed.versions.push(version);
                assumed.takes_any.push(true);
                assumed.streams.len() - 1
            });
            // Where every append takes any version, a wrong assumption costs nothing: the server
            // stores the rows behind whatever it finds.
            assumed.takes_any[place] &= *expected == ExpectedVersion::Any;
            assumed.of_append.push(place);
        }
        assumed
    }

    /// State that the plan is made on.
    pub(super) fn current(&self, appends: &[Append], found: &Current) -> Current {
        let tips = self.streams.iter().zip(&self.versions).enumerate();
        let tips = tips.map(|(place, (stream, version))| {
            let position = GlobalPosition(ENDS + place as u64);
            ((*stream).clone(), Tip { version: *version, position })
        });
        Current {
            head: GlobalPosition(PLANNED),
            tips: tips.collect(),
            commands: found.commands.clone(),
            claims: claims::assumed(appends, &found.claims),
            stored: found.stored.clone(),
        }
    }

    /// Checks if an append was refused or replayed because of a neighbour in the batch. Then the
    /// plan holds only if all of it is stored.
    pub(super) fn is_one(planned: &Plan<'_>, found: &Current, appends: &[Append]) -> bool {
        let known = |append: &Append| {
            append.command.as_ref().is_some_and(|key| found.commands.contains_key(&key.id))
        };
        let within = appends.iter().zip(&planned.outcomes).any(|(append, outcome)| match outcome {
            AppendOutcome::Committed(c) => c.replayed && c.position.0 > PLANNED,
            AppendOutcome::NotCommitted(NotCommitted::KeyReused) => !known(append),
            AppendOutcome::NotCommitted(NotCommitted::Invalid(_)) => true,
            _ => false,
        });
        // Claims tie streams together, because the second taker of a value depends on what became
        // of the first.
        within || claims::are_shared(appends)
    }

    pub(super) fn place(&self, stream: &StreamId) -> usize {
        self.places[stream]
    }

    /// Distance of a planned version from the assumed one.
    pub(super) fn offset(&self, place: usize, version: StreamVersion) -> i64 {
        version.0 as i64 - self.versions[place].0 as i64
    }
}

/// The rank of a planned position among the rows, from 1; 0 for the end of a stream.
pub(super) fn rank(position: GlobalPosition) -> usize {
    match position.0 {
        ENDS.. => 0,
        planned => planned.saturating_sub(PLANNED) as usize,
    }
}

/// Reply of the server: the state it found, and the streams it stored.
pub(super) struct Answer {
    head: u64,
    /// The last event of the log, stored by this call or before it.
    last: Option<Place>,
    tips: Vec<Tip>,
    held: Vec<bool>,
    /// For each row, how many up to it were stored.
    stored: Vec<u64>,
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
        let stored: Vec<u64> = stored.collect();
        // The last row that was stored is the end of the log, because positions are assigned in
        // this order under the writer lock.
        let ours = planned.rows.iter().rev().find(|row| held[assumed.place(row.stream)]);
        let last = match ours {
            Some(row) => {
                let position = GlobalPosition(head as u64 + stored.last().copied().unwrap_or(0));
                Some(Place { position, event_id: row.event.event_id })
            }
            None => row
                .try_get::<Option<Uuid>, _>("head_event_id")?
                .map(|event_id| Place { position: GlobalPosition(head as u64), event_id }),
        };
        found.commands.extend(known_commands(row)?);
        found.stored.extend(stored_events(row)?);
        found.claims.extend(claims::holders(row)?);
        let streams = assumed.streams.iter().map(|stream| (*stream).clone());
        // Only of the streams that were not as assumed: they are planned again, this time on what
        // was found.
        let tips_of_all = streams.zip(tips.iter().copied()).zip(&held);
        found.tips.extend(tips_of_all.filter(|(_, held)| !**held).map(|(tip, _)| tip));
        Ok(Self { head: head as u64, last, tips, held, stored })
    }

    /// The last event of the log.
    pub(super) fn last(&self) -> Option<Place> {
        self.last
    }

    /// The last position of the log.
    pub(super) fn head(&self) -> GlobalPosition {
        GlobalPosition(self.head + self.stored.last().copied().unwrap_or(0))
    }

    /// Outcome of an append; `None` if its stream was not as assumed.
    pub(super) fn settle(
        &self,
        index: usize,
        assumed: &Assumed<'_>,
        planned: &Plan<'_>,
    ) -> Option<AppendOutcome> {
        let place = assumed.of_append[index];
        let outcome = planned.outcomes[index].clone();
        // The stream was elsewhere, so nothing of it was stored and its plan means nothing.
        if !self.held[place] {
            return None;
        }
        Some(match outcome {
            AppendOutcome::Committed(Committed { version, position, replayed, .. }) => {
                let planned_tip = Tip { version, position };
                let Tip { version, position } = self.actual(planned_tip, assumed, planned);
                AppendOutcome::Committed(Committed::new(version, position, replayed))
            }
            AppendOutcome::NotCommitted(NotCommitted::Conflict { actual }) => {
                let actual = self.version(place, actual, assumed);
                AppendOutcome::NotCommitted(NotCommitted::Conflict { actual })
            }
            other => other,
        })
    }

    /// A planned tip as it came to be. One from before is as it is.
    fn actual(&self, tip: Tip, assumed: &Assumed<'_>, planned: &Plan<'_>) -> Tip {
        let (place, position) = match tip.position.0 {
            end @ ENDS.. => {
                let place = (end - ENDS) as usize;
                (place, self.tips[place].position)
            }
            0..=PLANNED => return tip,
            _ => {
                let rank = rank(tip.position);
                let place = assumed.place(planned.rows[rank - 1].stream);
                (place, GlobalPosition(self.head + self.stored[rank - 1]))
            }
        };
        Tip { version: self.version(place, tip.version, assumed), position }
    }

    fn version(
        &self,
        place: usize,
        planned: StreamVersion,
        assumed: &Assumed<'_>,
    ) -> StreamVersion {
        let offset = assumed.offset(place, planned);
        StreamVersion(self.tips[place].version.0.saturating_add_signed(offset))
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

/// Id of an event and its place.
type StoredEvent = (Uuid, (StreamId, Tip));

fn stored_events(row: &PgRow) -> Result<Vec<StoredEvent>, sqlx::Error> {
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
