//! The versions of a read model: documents of one shape, or of two with a way from the old to the new.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;

use super::ReadModel;
use crate::catch_panic::guarded;
use crate::error::StoreError;
use crate::event::GlobalPosition;
use crate::store::contract::{Comparison, PartitionId, Store, Version};
use crate::versions::{Candidates, Shown, Side, compare};

/// The versions of a read model whose own one is `M`.
pub(crate) struct DocumentVersions {
    store: Arc<dyn Store>,
    name: &'static str,
    own: u32,
    shown: Shown,
    /// Number of the version before, and its documents as the own version shows them.
    before: Option<(u32, Shown)>,
}

impl DocumentVersions {
    /// Nothing is known of other versions but their JSON.
    pub(crate) fn of<M: ReadModel>(store: Arc<dyn Store>) -> Self {
        Self { store, name: M::NAME, own: M::VERSION, shown: shown::<M>, before: None }
    }

    /// A document of the version before becomes an `M`.
    pub(crate) fn replacing<M: ReadModel + From<Old>, Old: ReadModel>(
        store: Arc<dyn Store>,
    ) -> Self {
        Self { before: Some((Old::VERSION, shown_as::<Old, M>)), ..Self::of::<M>(store) }
    }

    fn model(&self, number: u32) -> String {
        format!("{}@{number}", self.name)
    }
}

#[async_trait]
impl Candidates for DocumentVersions {
    async fn saved(&self, version: &Version) -> Result<GlobalPosition, StoreError> {
        let mut least = None;
        for partition in 0..version.partitions {
            let partition = PartitionId::new(self.model(version.number), partition);
            let checkpoint = self.store.load_checkpoint(&partition).await?;
            let saved = checkpoint.map_or(GlobalPosition::ZERO, |checkpoint| checkpoint.position);
            least = Some(least.map_or(saved, |least: GlobalPosition| least.min(saved)));
        }
        Ok(least.unwrap_or_default())
    }

    async fn compare(&self, old: &Version) -> Result<Comparison, StoreError> {
        let before = self.before.filter(|(number, _)| *number == old.number);
        let shown_old = before.map_or(shown::<Value> as Shown, |(_, shown)| shown);
        let old = Side { model: self.model(old.number), shown: shown_old };
        let new = Side { model: self.model(self.own), shown: self.shown };
        compare(&*self.store, &old, &new).await
    }
}

fn shown<T: serde::Serialize + serde::de::DeserializeOwned>(body: &str) -> Result<Value, String> {
    read(body, |document: T| document)
}

fn shown_as<Old: ReadModel, M: ReadModel + From<Old>>(body: &str) -> Result<Value, String> {
    read(body, |document: Old| M::from(document))
}

fn read<T: serde::de::DeserializeOwned, S: serde::Serialize>(
    body: &str,
    show: impl FnOnce(T) -> S,
) -> Result<Value, String> {
    let value = guarded(|| serde_json::to_value(show(serde_json::from_str(body)?)));
    value.and_then(|value| value.map_err(|error: serde_json::Error| error.to_string()))
}
