//! The same events delivered in other batches, twice, and with a crash at every place.
//!
//! The folder of production folds them: it decodes each batch, loads what is cold, folds, and hands out
//! what a save would store. After a crash it begins with nothing but what is saved. What comes out may
//! not depend on any of it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use time::OffsetDateTime;

use crate::event::{GlobalPosition, RecordedEvent};
use crate::partition::Reached;
use crate::partition::parking::{Parking, ParkingSettings};
use crate::read_model::ReadModel;
use crate::read_model::folder::{Changes, Folder};
use crate::store::contract::{Page, ParkedChange, ParkedKey};
use crate::testing::given::batch_sizes;
use crate::testing::stored::is_same;

/// Documents and parked keys after a delivery.
#[derive(Default, Clone)]
pub(super) struct Saved {
    /// JSON by key.
    pub(super) documents: BTreeMap<String, String>,
    /// Parked keys. Their documents are as they were before.
    parked: BTreeMap<String, ParkedKey>,
    position: GlobalPosition,
}

/// Way in which the events arrive.
#[derive(Clone, Copy)]
struct Delivery {
    batch: usize,
    /// In or behind which batch.
    crash: Option<(usize, Crash)>,
}

#[derive(Clone, Copy, PartialEq)]
enum Crash {
    /// The batch is folded and not saved: it is delivered again.
    BeforeSaving,
    AfterSaving,
}

impl fmt::Display for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "delivered in batches of {}", self.batch)?;
        match self.crash {
            None => Ok(()),
            Some((index, Crash::BeforeSaving)) => {
                write!(f, ", batch {} twice because of a crash before it was saved", index + 1)
            }
            Some((index, Crash::AfterSaving)) => {
                write!(f, ", with a crash after batch {} was saved", index + 1)
            }
        }
    }
}

/// Folds the events in every way.
///
/// # Errors
/// A document cannot be stored, or is another one if the events are delivered otherwise.
pub(super) fn fold<M: ReadModel>(events: &[Arc<RecordedEvent>]) -> Result<Saved, String> {
    let expected = deliver::<M>(events, Delivery { batch: 1, crash: None })?;
    for delivery in deliveries(events.len()) {
        let saved = deliver::<M>(events, delivery)?;
        let difference = difference(&expected, &saved);
        let Some((key, expected, otherwise)) = difference else { continue };
        return Err(format!(
            "the document {key:?} is not a function of its events: once it is {expected}, then, \
             {delivery}, {otherwise}. What its JSON leaves out is lost in a crash; time, chance and \
             the order of a HashMap are no part of an event"
        ));
    }
    Ok(expected)
}

/// Batches of 1, 2, 3, 5, 8 … events and of all, each size with a crash at each place.
fn deliveries(events: usize) -> impl Iterator<Item = Delivery> {
    batch_sizes(events).flat_map(move |batch| {
        let crashes = (0..events.div_ceil(batch)).flat_map(|index| {
            [Crash::BeforeSaving, Crash::AfterSaving].map(|crash| Some((index, crash)))
        });
        [None].into_iter().chain(crashes).map(move |crash| Delivery { batch, crash })
    })
}

fn deliver<M: ReadModel>(
    events: &[Arc<RecordedEvent>],
    delivery: Delivery,
) -> Result<Saved, String> {
    let mut saved = Saved::default();
    let mut folder = resume::<M>(&saved);
    for (index, batch) in events.chunks(delivery.batch).enumerate() {
        take(&mut folder, batch, &saved)?;
        if delivery.crash == Some((index, Crash::BeforeSaving)) {
            folder = resume(&saved);
            take(&mut folder, batch, &saved)?;
        }
        save(&mut folder, &mut saved).map_err(|error| match batch.last() {
            Some(event) => format!("after {} {}: {error}", event.event_type, event.payload),
            None => error,
        })?;
        if delivery.crash == Some((index, Crash::AfterSaving)) {
            folder = resume(&saved);
        }
    }
    Ok(saved)
}

/// The first key that differs, what it is in `one` and what in the `other`.
fn difference(one: &Saved, other: &Saved) -> Option<(String, String, String)> {
    let keys = [one, other].map(|saved| saved.documents.keys().chain(saved.parked.keys()));
    let mut keys = keys.into_iter().flatten();
    let key = keys.find(|key| {
        let [one_json, other_json] = [one, other].map(|saved| saved.documents.get(*key));
        let is_same_document = match (one_json, other_json) {
            (Some(one), Some(other)) => is_same(one, other),
            (one, other) => one == other,
        };
        !is_same_document || one.parked.contains_key(*key) != other.parked.contains_key(*key)
    })?;
    Some((key.clone(), one.shown(key), other.shown(key)))
}

impl Saved {
    /// The reason why a key is parked.
    pub(super) fn parked(&self, key: &str) -> Option<&str> {
        self.parked.get(key).map(|parked| &*parked.reason)
    }

    /// Document or parked state of a key, for a message.
    pub(super) fn shown(&self, key: &str) -> String {
        let document = self.documents.get(key).map_or("no document", String::as_str);
        match self.parked(key) {
            Some(reason) => format!("parked ({reason}) with {document}"),
            None => document.to_owned(),
        }
    }

    /// Applies what became of a parked key, as a store does.
    fn park(&mut self, change: ParkedChange) {
        match change {
            ParkedChange::Park(mut parked) => {
                let before = self.parked.remove(&parked.key);
                let queue = before.map(|before| before.queue).unwrap_or_default();
                parked.queue = queue.into_iter().filter(|at| *at > parked.position).collect();
                self.parked.insert(parked.key.clone(), parked);
            }
            ParkedChange::Queue { key, position } => {
                if let Some(parked) = self.parked.get_mut(&key) {
                    parked.queue.push(position);
                }
            }
            ParkedChange::Unlisted { key, from, sum } => {
                if let Some(parked) = self.parked.get_mut(&key) {
                    (parked.unlisted_from, parked.unlisted_sum) = (from, sum);
                }
            }
            ParkedChange::Release { key } => drop(self.parked.remove(&key)),
            // Nobody asks to skip an event here.
            ParkedChange::Skip(_) => {}
        }
    }
}

/// A process that has nothing but what is saved.
fn resume<M: ReadModel>(saved: &Saved) -> Folder<M> {
    let mut folder = Folder::standby(0, 1, Reached::at(saved.position));
    let (parked, settings) = (saved.parked.values().cloned().collect(), ParkingSettings::default());
    let parking = Parking::resume(0, settings, parked, Instant::now());
    let is_new = saved.position == GlobalPosition::ZERO;
    folder.begin(Reached::at(saved.position), 1 << 20, is_new, parking);
    folder
}

fn take<M: ReadModel>(
    folder: &mut Folder<M>,
    events: &[Arc<RecordedEvent>],
    saved: &Saved,
) -> Result<(), String> {
    let scanned_to = events.last().map_or(saved.position, |last| last.position);
    let page = folder.decode(Arc::new(Page { events: events.to_vec(), scanned_to }));
    let cold = folder.cold_keys(&page).into_iter();
    let loaded = cold.filter_map(|key| Some((key.clone(), saved.documents.get(&key)?.clone())));
    folder.warm(loaded.collect());
    let folded = folder.fold(page, 0, Instant::now(), OffsetDateTime::UNIX_EPOCH);
    match folded.poison {
        None => Ok(()),
        Some(poison) => {
            let event = events.iter().find(|event| event.position == poison.position);
            let event = event.map(|event| format!("{} {}", event.event_type, event.payload));
            let event = event.unwrap_or_default();
            Err(format!("{event} stops all of {}: {}", M::NAME, poison.reason))
        }
    }
}

/// Stores what changed. Each document is read back and written again, to be the same.
fn save<M: ReadModel>(folder: &mut Folder<M>, saved: &mut Saved) -> Result<(), String> {
    let handed_out = folder.hand_out(Instant::now(), OffsetDateTime::UNIX_EPOCH);
    let changes = handed_out.map_err(|full| full.to_string())?;
    let Changes { documents, deleted, unstorable, parked } = changes;
    if let Some(document) = unstorable.first() {
        return Err(format!(
            "the document {:?} cannot be stored: {}",
            document.key, document.reason
        ));
    }
    for (key, json) in documents {
        let again = written(&key, &read::<M>(&key, &json)?)?;
        if !is_same(&json, &again) {
            return Err(format!(
                "the document {key:?}, {json}, is read back as {again}; \
                 a HashSet would do that, a BTreeSet has an order"
            ));
        }
        saved.documents.insert(key, json);
    }
    for key in deleted {
        saved.documents.remove(&key);
    }
    parked.into_iter().for_each(|change| saved.park(change));
    saved.position = folder.reached();
    folder.saved(usize::MAX, 1 << 20);
    Ok(())
}

/// The document as JSON.
pub(super) fn written<M: ReadModel>(key: &str, document: &M) -> Result<String, String> {
    let json = serde_json::to_string(document);
    json.map_err(|error| format!("the document {key:?} cannot be stored: {error}"))
}

/// The document from its JSON.
pub(super) fn read<M: ReadModel>(key: &str, json: &str) -> Result<M, String> {
    let document = serde_json::from_str(json);
    document.map_err(|error| format!("the document {key:?}, {json}, cannot be read: {error}"))
}
