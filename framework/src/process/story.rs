//! The story of an instance: its state, its deadlines, and its events with what each led to.

use std::collections::BTreeMap;
use std::sync::Arc;

use time::OffsetDateTime;

use super::ProcessManager;
use super::instance::{Instance, MOST_STEPS};
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

/// Loads the story of an instance; `None` if there is no such instance.
///
/// # Errors
/// The store did not reply, or the stored state does not decode.
pub(crate) async fn story<P: ProcessManager>(
    store: &dyn Store,
    key: &str,
) -> Result<Option<Story<P>>, StoreError> {
    let model = format!("{}@1", P::NAME);
    let partition = PartitionId::new(&*model, partition_of(key, P::PARTITIONS));
    let stored = store.load_documents(&partition, &[key.to_owned()]).await?;
    let Some((_, body)) = stored.documents.first() else { return Ok(None) };
    let instance: Instance<P> = serde_json::from_str(body).map_err(|error| {
        let place = format!("the instance {key:?} of {}", P::NAME);
        StoreError::Corrupt { place, reason: error.to_string() }
    })?;
    let positions: Vec<_> = instance.steps.iter().map(|taken| taken.position).collect();
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
    let steps = events.into_iter().zip(instance.steps);
    Ok(Some(Story {
        state: instance.state,
        is_complete: instance.is_complete,
        deadlines: instance.deadlines.into_iter().map(|(name, set)| (name, set.at)).collect(),
        steps: steps.map(|(event, taken)| StoryStep { event, effects: taken.effects }).collect(),
        position: stored.checkpoint.map_or(GlobalPosition::ZERO, |saved| saved.position),
    }))
}
