//! The story of an instance: its state, its deadlines, and its events with what each led to.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use time::OffsetDateTime;

use super::instance::{Deadline, MOST_STEPS, Taken};
use crate::error::StoreError;
use crate::event::{GlobalPosition, RecordedEvent};
use crate::store::contract::{PageLimit, PartitionId, Store, partition_of};

/// The story of an instance of the process manager `P`, as it was last saved.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Story<P> {
    /// State of the instance.
    pub state: P,
    /// True once the instance has ended.
    pub is_complete: bool,
    /// Deadlines that are set, by name.
    pub deadlines: BTreeMap<String, OffsetDateTime>,
    /// Events of the instance in the order of the log, refusals and reached deadlines included. Of a long
    /// story the first hundred and the last hundred.
    pub steps: Vec<StoryStep>,
    /// The story reflects the log up to here.
    pub position: GlobalPosition,
}

/// One event of a [`Story`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct StoryStep {
    /// The event as the log stores it.
    pub event: Arc<RecordedEvent>,
    /// Commands and deadlines that it led to, in words. Commands are named without their fields.
    pub effects: Vec<String>,
}

/// The document of an instance, with a state of any type.
#[derive(Deserialize)]
struct Stored<S> {
    state: S,
    #[serde(default)]
    deadlines: BTreeMap<String, Deadline>,
    #[serde(default)]
    is_complete: bool,
    #[serde(default)]
    steps: Vec<Taken>,
}

/// Loads the story of an instance of the process manager with this name and number of partitions; `None`
/// if there is no such instance.
///
/// # Errors
/// The store did not reply, or the stored state does not decode.
pub(crate) async fn story<S: DeserializeOwned>(
    store: &dyn Store,
    (name, partitions): (&str, u32),
    key: &str,
) -> Result<Option<Story<S>>, StoreError> {
    let partition = PartitionId::new(format!("{name}@1"), partition_of(key, partitions));
    let found = store.load_documents(&partition, &[key.to_owned()]).await?;
    let Some((_, body)) = found.documents.first() else { return Ok(None) };
    let stored: Stored<S> = serde_json::from_str(body).map_err(|error| {
        let place = format!("the instance {key:?} of {name}");
        StoreError::Corrupt { place, reason: error.to_string() }
    })?;
    let positions: Vec<_> = stored.steps.iter().map(|taken| taken.position).collect();
    let mut events = Vec::new();
    while events.len() < positions.len() {
        let page = store.read_positions(&positions[events.len()..], PageLimit::events(MOST_STEPS));
        let page = page.await?;
        if page.is_empty() {
            let place = format!("position {}", positions[events.len()]);
            let reason = format!("an event of the story of {key:?} is not in the log");
            return Err(StoreError::Corrupt { place, reason });
        }
        events.extend(page);
    }
    let steps = events.into_iter().zip(stored.steps);
    Ok(Some(Story {
        state: stored.state,
        is_complete: stored.is_complete,
        deadlines: stored.deadlines.into_iter().map(|(name, set)| (name, set.at)).collect(),
        steps: steps.map(|(event, taken)| StoryStep { event, effects: taken.effects }).collect(),
        position: found.checkpoint.map_or(GlobalPosition::ZERO, |saved| saved.position),
    }))
}
