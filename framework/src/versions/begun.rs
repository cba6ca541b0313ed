//! Detects at start that a version was created with other sources or another key function.
//!
//! Documents and rows are folds of certain events under certain keys. If the sources or the key
//! function change under the same version, the stored data and later changes do not fit together.
//! Sources are compared by a fingerprint. A key function cannot be compared, so the keys of some
//! events are stored as samples. A function that returns other keys for one of these events is a
//! different one. A change that only affects other events is not detected.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tracing::warn;
use uuid::Uuid;

use crate::error::{StartError, StoreError};
use crate::event::{GlobalPosition, RecordedEvent};
use crate::store::contract::{Filter, PageLimit, Store, VersionNote};
use crate::subscription::sources::Routes;

/// Maximum number of samples of one event type. Key functions usually differ by event type.
const OF_ONE_TYPE: usize = 2;

/// Maximum number of samples in total.
const SAMPLES: usize = 32;

/// Samples are taken from this many positions at the beginning of the log.
const LOOKED_THROUGH: GlobalPosition = GlobalPosition(10_000);

/// Number of events per read.
const PAGE: usize = 500;

/// Minimum time between two searches for samples, so that they cost a busy log nothing.
const REST: Duration = Duration::from_secs(1);

/// Text that is stored with a version.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Begun {
    /// Fingerprint of the sources; see [`Routes::fingerprint`].
    sources: String,
    /// Keys of some events.
    samples: Vec<Sample>,
    /// Position up to which events were searched for samples.
    looked_to: GlobalPosition,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Sample {
    position: GlobalPosition,
    event_id: Uuid,
    event_type: String,
    /// Hash of the keys, because keys may be personal data.
    keys: String,
}

/// A version of a read model or projection in this program, and its stored text.
pub(crate) struct Beginning<T> {
    store: Arc<dyn Store>,
    name: &'static str,
    version: u32,
    routes: Routes<T>,
    begun: Begun,
    /// True if nothing has been stored with the version yet.
    is_new: bool,
}

impl<T: 'static> Beginning<T> {
    /// Compares the program with the stored text of the version, before any follower of it starts,
    /// because events folded from other sources could not be undone.
    ///
    /// # Errors
    /// [`StartError::OtherSources`], [`StartError::OtherKeys`], or the store is not available.
    pub(crate) async fn check(
        store: Arc<dyn Store>,
        (name, version): (&'static str, u32),
        routes: Routes<T>,
    ) -> Result<Self, StartError> {
        let stored = store.version_note(name, version, VersionNote::Sources).await?;
        // A text in the format of another release is ignored, because it cannot be compared.
        let begun = stored.and_then(|text| serde_json::from_str::<Begun>(&text).ok());
        let sources = routes.fingerprint();
        let is_new = begun.is_none();
        let begun = begun.unwrap_or_else(|| Begun { sources: sources.clone(), ..Begun::default() });
        let model = format!("{name}@{version}");
        if begun.sources != sources {
            return Err(StartError::OtherSources { model, sources, stored: begun.sources });
        }
        let beginning = Self { store, name, version, routes, begun, is_new };
        if let Some(event) = beginning.contradicted().await? {
            let (position, event_type) = (event.position, event.event_type.clone());
            return Err(StartError::OtherKeys { model, position, event_type });
        }
        Ok(beginning)
    }

    /// Stores the text of a new version, after the version has been registered.
    ///
    /// # Errors
    /// The store is not available.
    pub(crate) async fn keep_if_new(&self) -> Result<(), StoreError> {
        match self.is_new {
            true => self.keep().await,
            false => Ok(()),
        }
    }

    /// Returns the event of the first sample that has other keys now.
    async fn contradicted(&self) -> Result<Option<Arc<RecordedEvent>>, StoreError> {
        let positions: Vec<_> = self.begun.samples.iter().map(|sample| sample.position).collect();
        let events = self.store.read_positions(&positions, PageLimit::events(SAMPLES)).await?;
        Ok(events.into_iter().find(|event| {
            let sample = self.begun.samples.iter().find(|sample| sample.event_id == event.event_id);
            let keys = keys(&self.routes, event);
            matches!((sample, keys), (Some(sample), Some(keys)) if sample.keys != keys)
        }))
    }

    async fn keep(&self) -> Result<(), StoreError> {
        // Consists of texts and numbers only, so it can always be written as JSON.
        let text = serde_json::to_string(&self.begun).unwrap_or_default();
        self.store.note_version(self.name, self.version, VersionNote::Sources, &text).await
    }

    /// Takes samples while events arrive, until there are enough.
    pub(crate) async fn sample(mut self) {
        let by_content = self.routes.keyed_by_content().map(str::to_owned).collect();
        let filter = Filter { aggregate_types: by_content };
        if filter.aggregate_types.is_empty() {
            return;
        }
        let mut head = self.store.watch_head();
        loop {
            match self.look(&filter).await {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => {
                    warn!(name = self.name, %error, "cannot store samples of event keys; retrying");
                    tokio::time::sleep(REST).await;
                    continue;
                }
            }
            if head.changed().await.is_err() {
                return; // the store is closed
            }
            tokio::time::sleep(REST).await;
        }
    }

    /// Searches the new events. Returns true if the search is finished.
    async fn look(&mut self, filter: &Filter) -> Result<bool, StoreError> {
        let before = self.begun.samples.len();
        let head = self.store.head().await?.min(LOOKED_THROUGH);
        while self.begun.looked_to < head && self.begun.samples.len() < SAMPLES {
            let page =
                self.store.read_all(self.begun.looked_to, filter, PageLimit::events(PAGE)).await?;
            if page.scanned_to <= self.begun.looked_to {
                break;
            }
            page.events.iter().for_each(|event| self.take(event));
            self.begun.looked_to = page.scanned_to;
        }
        let is_over = self.begun.samples.len() >= SAMPLES || self.begun.looked_to >= LOOKED_THROUGH;
        if self.begun.samples.len() > before || is_over {
            self.keep().await?;
        }
        Ok(is_over)
    }

    fn take(&mut self, event: &Arc<RecordedEvent>) {
        let mut of_type = HashMap::<&str, usize>::new();
        for sample in &self.begun.samples {
            *of_type.entry(&*sample.event_type).or_default() += 1;
        }
        let count = of_type.get(&*event.event_type).copied().unwrap_or_default();
        if count >= OF_ONE_TYPE || self.begun.samples.len() >= SAMPLES {
            return;
        }
        if let Some(keys) = keys(&self.routes, event) {
            self.begun.samples.push(Sample {
                position: event.position,
                event_id: event.event_id,
                event_type: event.event_type.clone(),
                keys,
            });
        }
    }
}

/// Returns the hash of an event's keys. `None` if the keys are unknown or one of them is invalid,
/// because a release that fixes the key function changes these keys.
fn keys<T: 'static>(routes: &Routes<T>, event: &Arc<RecordedEvent>) -> Option<String> {
    let (mut keys, mut is_whole) = (Vec::new(), true);
    let routed = routes.route(event, |_| true);
    routed
        .each(|key, item| {
            is_whole &= item.is_ok();
            keys.push(key);
        })
        .ok()?;
    keys.sort_unstable();
    let hash = keys.iter().fold(Sha256::new(), |hash, key| {
        hash.chain_update((key.len() as u64).to_be_bytes()).chain_update(key)
    });
    let hex = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    is_whole.then_some(hex)
}
