//! Delivers the same events in other batches, twice, and with a crash at every place.
//!
//! Events are folded like in the runtime: documents stay in memory, a batch is saved as JSON, and
//! only saved documents survive a crash. The result must not depend on the way of delivery.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::catch_panic::guarded;
use crate::event::RecordedEvent;
use crate::read_model::{Change, ReadModel};
use crate::subscription::sources::Routes;
use crate::testing::given::batch_sizes;
use crate::testing::stored::is_same;

/// Stored state after all events.
#[derive(Default, Clone)]
pub(super) struct Saved {
    /// Documents as JSON, by key.
    pub(super) documents: BTreeMap<String, String>,
    /// Reasons of parked keys. The document of a parked key is the one before the event.
    pub(super) parked: BTreeMap<String, String>,
}

/// One way of delivering the events.
#[derive(Clone, Copy)]
struct Delivery {
    batch: usize,
    /// Number of a batch, and if the crash comes before or after it is saved.
    crash: Option<(usize, Crash)>,
}

#[derive(Clone, Copy, PartialEq)]
enum Crash {
    /// The batch was folded but not saved, so it is delivered again.
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

/// Folds the events in every way of delivery.
///
/// # Errors
/// A document cannot be stored, or depends on the way of delivery.
pub(super) fn fold<M: ReadModel>(
    routes: &Routes<Change<M>>,
    events: &[Arc<RecordedEvent>],
) -> Result<Saved, String> {
    let expected = deliver(routes, events, Delivery { batch: 1, crash: None })?;
    for delivery in deliveries(events.len()) {
        let saved = deliver(routes, events, delivery)?;
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

/// Returns batches of 1, 2, 3, 5, 8 … and all events, each size with a crash at each place.
fn deliveries(events: usize) -> impl Iterator<Item = Delivery> {
    batch_sizes(events).flat_map(move |batch| {
        let crashes = (0..events.div_ceil(batch)).flat_map(|index| {
            [Crash::BeforeSaving, Crash::AfterSaving].map(|crash| Some((index, crash)))
        });
        [None].into_iter().chain(crashes).map(move |crash| Delivery { batch, crash })
    })
}

fn deliver<M: ReadModel>(
    routes: &Routes<Change<M>>,
    events: &[Arc<RecordedEvent>],
    delivery: Delivery,
) -> Result<Saved, String> {
    let mut process = Process::<M> { hot: BTreeMap::new(), parked: BTreeMap::new() };
    let mut saved = Saved::default();
    for (index, batch) in events.chunks(delivery.batch).enumerate() {
        process.take_in(routes, batch, &saved)?;
        if delivery.crash == Some((index, Crash::BeforeSaving)) {
            process = Process::resumed(&saved);
            process.take_in(routes, batch, &saved)?;
        }
        process.save(&mut saved).map_err(|error| match batch.last() {
            Some(event) => format!("after {} {}: {error}", event.event_type, event.payload),
            None => error,
        })?;
        if delivery.crash == Some((index, Crash::AfterSaving)) {
            process = Process::resumed(&saved);
        }
    }
    Ok(saved)
}

/// Returns the first key that differs, with its state in `one` and in `other`.
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
    /// Describes the state of a key for a message.
    pub(super) fn shown(&self, key: &str) -> String {
        let document = self.documents.get(key).map_or("no document", String::as_str);
        match self.parked.get(key) {
            Some(reason) => format!("parked ({reason}) with {document}"),
            None => document.to_owned(),
        }
    }
}

/// Memory of a process.
struct Process<M> {
    /// Documents by key; `None` if a document was deleted.
    hot: BTreeMap<String, Option<M>>,
    parked: BTreeMap<String, String>,
}

impl<M: ReadModel> Process<M> {
    fn resumed(saved: &Saved) -> Self {
        Self { hot: BTreeMap::new(), parked: saved.parked.clone() }
    }

    fn take_in(
        &mut self,
        routes: &Routes<Change<M>>,
        events: &[Arc<RecordedEvent>],
        saved: &Saved,
    ) -> Result<(), String> {
        for event in events {
            let mut keyed = Vec::new();
            let routed = routes.route(event, |_| true);
            routed.each(|key, change| keyed.push((key, change))).map_err(|reason| {
                let RecordedEvent { event_type, payload, .. } = &**event;
                format!("{event_type} {payload} stops all of {}: {reason}", M::NAME)
            })?;
            for (key, change) in keyed {
                self.take_in_one(key, change, saved)?;
            }
        }
        Ok(())
    }

    fn take_in_one(
        &mut self,
        key: String,
        change: Result<Change<M>, String>,
        saved: &Saved,
    ) -> Result<(), String> {
        if self.parked.contains_key(&key) {
            return Ok(()); // the event waits behind the parked one
        }
        let change = match change {
            Ok(change) => change,
            Err(reason) => {
                self.parked.insert(key, reason);
                return Ok(());
            }
        };
        // A copy, because a panic may leave it inconsistent.
        let document = match self.hot.get(&key) {
            Some(hot) => hot.clone(),
            None => saved.documents.get(&key).map(|json| read(&key, json)).transpose()?,
        };
        let applied = guarded(|| {
            let mut document = document.unwrap_or_default();
            (change.apply)(&mut document);
            (!document.is_deleted()).then_some(document)
        });
        match applied {
            Ok(document) => drop(self.hot.insert(key, document)),
            Err(panic) => drop(self.parked.insert(key, format!("panicked: {panic}"))),
        }
        Ok(())
    }

    /// Encodes every document, and decodes it again.
    fn save(&self, saved: &mut Saved) -> Result<(), String> {
        for (key, document) in &self.hot {
            let Some(document) = document else {
                saved.documents.remove(key);
                continue;
            };
            let json = written(key, document)?;
            let again = written(key, &read::<M>(key, &json)?)?;
            if !is_same(&json, &again) {
                return Err(format!(
                    "the document {key:?}, {json}, is read back as {again}; \
                     a HashSet would do that, a BTreeSet has an order"
                ));
            }
            saved.documents.insert(key.clone(), json);
        }
        saved.parked = self.parked.clone();
        Ok(())
    }
}

/// Encodes a document as JSON.
pub(super) fn written<M: ReadModel>(key: &str, document: &M) -> Result<String, String> {
    let json = serde_json::to_string(document);
    json.map_err(|error| format!("the document {key:?} cannot be stored: {error}"))
}

/// Decodes a document from JSON.
pub(super) fn read<M: ReadModel>(key: &str, json: &str) -> Result<M, String> {
    let document = serde_json::from_str(json);
    document.map_err(|error| format!("the document {key:?}, {json}, cannot be read: {error}"))
}
