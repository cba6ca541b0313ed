//! Activation of a version: one task per name watches which version is active, and activates its
//! own when that is due.
//!
//! Every process runs this task. The active version is one row in the store that is changed by
//! compare-and-set, so two processes that decide at the same time come to the same result.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use time::OffsetDateTime;
use tokio::sync::watch;
use tracing::{info, warn};
use uuid::Uuid;

use super::Candidates;
use crate::error::{OperationError, StoreError};
use crate::event::GlobalPosition;
use crate::store::contract::{Comparison, Store, Version, VersionNote};

/// Settings of the activation.
#[derive(Debug, Clone)]
pub(crate) struct SwitchSettings {
    /// True to activate a new version automatically when it has caught up. Otherwise an operator
    /// activates it.
    pub(crate) by_itself: bool,
    /// Maximum share of differences, from 0 to 1, for an automatic activation.
    pub(crate) up_to_different: f64,
    /// Interval at which a process checks which version is active.
    pub(crate) look_every: Duration,
    /// Timeout of an operator's activation while the version catches up.
    pub(crate) wait: Duration,
    /// Duration of the lease on a comparison, so that only one process makes it.
    pub(crate) compare_within: Duration,
}

impl Default for SwitchSettings {
    fn default() -> Self {
        Self {
            by_itself: true,
            up_to_different: 1.0,
            look_every: Duration::from_secs(1),
            wait: Duration::from_secs(5),
            compare_within: Duration::from_secs(60),
        }
    }
}

/// The versions of one name, seen from this process. Its program includes the version `own`.
pub(crate) struct Switch {
    name: &'static str,
    own: u32,
    process: Uuid,
    store: Arc<dyn Store>,
    candidates: Box<dyn Candidates>,
    serving: watch::Sender<u32>,
    /// True if too many documents differ. Then only an operator activates this program's version.
    is_held_back: AtomicBool,
    settings: SwitchSettings,
}

impl Switch {
    /// Creates the task's state from the stored versions.
    ///
    /// # Errors
    /// The store is not available.
    pub(crate) async fn new(
        (name, own): (&'static str, u32),
        process: Uuid,
        store: Arc<dyn Store>,
        candidates: Box<dyn Candidates>,
        settings: SwitchSettings,
    ) -> Result<Self, StoreError> {
        let versions = store.versions(name).await?;
        let serving = serving(&versions).map_or(own, |version| version.number);
        let serving = watch::Sender::new(serving);
        let is_held_back = AtomicBool::new(false);
        Ok(Self { name, own, process, store, candidates, serving, is_held_back, settings })
    }

    /// Returns the number of the active version, as far as this process knows it.
    pub(crate) fn serving(&self) -> watch::Receiver<u32> {
        self.serving.subscribe()
    }

    /// Watches the versions and activates this program's one when that is due. Returns when it is
    /// active and the version `beside`, if there is one, has been dropped.
    pub(crate) async fn run(&self, beside: Option<u32>) {
        let mut seen = None;
        loop {
            match self.look(&mut seen, beside).await {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => {
                    warn!(name = self.name, %error, "cannot read the active version; retrying");
                }
            }
            tokio::time::sleep(self.settings.look_every).await;
        }
    }

    /// Checks the versions once. Returns true if there is nothing left to watch.
    async fn look(
        &self,
        seen: &mut Option<GlobalPosition>,
        beside: Option<u32>,
    ) -> Result<bool, StoreError> {
        let versions = self.store.versions(self.name).await?;
        let (Some(serving), Some(own)) = (serving(&versions), find(&versions, self.own)) else {
            return Ok(false);
        };
        self.serves(serving.number);
        if serving.number == own.number {
            return Ok(beside.is_none_or(|beside| find(&versions, beside).is_none()));
        }
        // A version that was active before was switched off by an operator, and an older version
        // never replaces a newer one automatically.
        if !self.settings.by_itself || own.has_served || serving.number > own.number {
            return Ok(false);
        }
        if self.is_held_back.load(Ordering::Relaxed) {
            return Ok(false);
        }
        let head = self.store.head().await?;
        // Compared with the head of the previous check, because in a growing log a version never
        // quite reaches the current head.
        if let Some(before) = seen.replace(head)
            && self.candidates.saved(own).await? >= before
        {
            self.compare_and_serve(serving, own).await?;
        }
        Ok(false)
    }

    async fn compare_and_serve(&self, from: &Version, to: &Version) -> Result<(), StoreError> {
        let (name, process) = (format!("{}/switch", self.name), self.process);
        let lease = self.store.acquire_lease(&name, process, self.settings.compare_within).await?;
        let Some(lease) = lease else { return Ok(()) }; // another process compares them
        let switched = self.judge_and_serve(from, to).await;
        self.store.release_lease(&lease).await?;
        if switched? {
            info!("{}: version {} is active now instead of {}", self.name, to.number, from.number);
            self.serves(to.number);
        }
        Ok(())
    }

    /// Activates `to`, unless too much of it differs now or differed in the stored comparison.
    async fn judge_and_serve(&self, from: &Version, to: &Version) -> Result<bool, StoreError> {
        let kept = self.kept(to.number).await?;
        // A comparison that another program was unable to make is repeated.
        let kept =
            kept.filter(|kept| kept.old_version == from.number && kept.not_compared.is_none());
        let comparison = match kept {
            // The limit may have changed with the program, so it is checked again.
            Some(kept) if self.differs_too_much(&kept) => kept,
            _ => self.compare_and_keep(from).await?,
        };
        if self.differs_too_much(&comparison) {
            self.is_held_back.store(true, Ordering::Relaxed);
            warn!(
                "{}: version {} is not activated automatically, because more than {} of it may \
                 differ; compare_versions shows some differences, and serve_version activates it",
                self.name, to.number, self.settings.up_to_different
            );
            return Ok(false);
        }
        self.store.serve_version(self.name, from.number, Some(to.number)).await
    }

    fn differs_too_much(&self, comparison: &Comparison) -> bool {
        comparison.different_share() > self.settings.up_to_different
    }

    /// Compares this program's version with an older one, logs the result and stores it with the
    /// version.
    async fn compare_and_keep(&self, old: &Version) -> Result<Comparison, StoreError> {
        let comparison = self.compare_with(old).await?;
        match comparison.different {
            _ if comparison.not_compared.is_some() => {
                warn!("{}: version {} is {comparison}", self.name, self.own);
            }
            0 => info!("{}: version {} compared: {comparison}", self.name, self.own),
            _ => warn!("{}: version {} differs: {comparison}", self.name, self.own),
        }
        // Consists of texts and numbers only, so it can always be written as JSON.
        let text = serde_json::to_string(&comparison).unwrap_or_default();
        self.store.note_version(self.name, self.own, VersionNote::Comparison, &text).await?;
        Ok(comparison)
    }

    async fn compare_with(&self, old: &Version) -> Result<Comparison, StoreError> {
        let comparison = self.candidates.compare(old).await?;
        let compared_at = Some(OffsetDateTime::now_utc());
        Ok(Comparison { old_version: old.number, new_version: self.own, compared_at, ..comparison })
    }

    /// Returns the comparison that is stored with a version.
    async fn kept(&self, number: u32) -> Result<Option<Comparison>, StoreError> {
        let text = self.store.version_note(self.name, number, VersionNote::Comparison).await?;
        Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
    }

    fn serves(&self, number: u32) {
        self.serving.send_if_modified(|serving| std::mem::replace(serving, number) != number);
    }

    /// Returns the comparison of this program's version with the active one.
    pub(crate) async fn compare(&self) -> Result<Comparison, OperationError> {
        let versions = self.store.versions(self.name).await?;
        let old = serving(&versions).ok_or_else(|| self.unknown(self.own))?;
        // Compared with itself it would be equal, so the comparison from before the activation is
        // returned.
        if old.number == self.own
            && let Some(kept) = self.kept(self.own).await?
        {
            return Ok(kept);
        }
        Ok(self.compare_with(old).await?)
    }

    /// Compares the versions before an operator's activation of this program's version, unless a
    /// comparison is stored. A comparison that fails or takes too long does not prevent the
    /// activation.
    async fn compare_first(&self, from: &Version, to: &Version) {
        let compare = async {
            match self.kept(to.number).await? {
                Some(kept) if kept.old_version == from.number && kept.not_compared.is_none() => {
                    Ok(())
                }
                _ => self.compare_and_keep(from).await.map(drop),
            }
        };
        if to.number != self.own || from.number == to.number {
            return;
        }
        match tokio::time::timeout(self.settings.compare_within, compare).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => warn!(name = self.name, %error, "the versions could not be compared"),
            Err(_) => warn!(name = self.name, "comparing the versions took too long"),
        }
    }

    /// Activates a version: a new one, or an old one to switch back.
    pub(crate) async fn serve(&self, number: u32) -> Result<(), OperationError> {
        let head = self.store.head().await?;
        let looks = self.settings.wait.as_millis() / LOOK.as_millis();
        for look in 0.. {
            let versions = self.store.versions(self.name).await?;
            let to = find(&versions, number).ok_or_else(|| self.unknown(number))?;
            let from = serving(&versions).ok_or_else(|| self.unknown(self.own))?;
            let position = self.candidates.saved(to).await?;
            if position >= head || to.is_serving {
                self.compare_first(from, to).await;
                if self.store.serve_version(self.name, from.number, Some(number)).await? {
                    break;
                }
            } else if look >= looks {
                let name = format!("{}@{number}", self.name);
                return Err(OperationError::Behind { name, position, head });
            }
            tokio::time::sleep(LOOK).await;
        }
        info!("{}: an operator has activated version {number}", self.name);
        self.serves(number);
        Ok(())
    }

    fn unknown(&self, number: u32) -> OperationError {
        OperationError::Unknown { name: format!("{}@{number}", self.name) }
    }
}

/// Interval at which an operator's activation checks if the version has caught up.
const LOOK: Duration = Duration::from_millis(50);

fn serving(versions: &[Version]) -> Option<&Version> {
    versions.iter().find(|version| version.is_serving)
}

fn find(versions: &[Version], number: u32) -> Option<&Version> {
    versions.iter().find(|version| version.number == number)
}
