//! One task for each name: it watches which version serves, and lets its own serve when that is due.
//!
//! Every process runs it. What matters is the one row that tells who serves, moved by compare-and-set:
//! two that decide at once decide the same.

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

/// When a new version serves.
#[derive(Debug, Clone)]
pub(crate) struct SwitchSettings {
    /// Once it has caught up. If not: when somebody says so.
    pub(crate) by_itself: bool,
    /// Largest share of differences with which it does, from 0 to 1.
    pub(crate) up_to_different: f64,
    /// How often a process looks which version serves.
    pub(crate) look_every: Duration,
    /// How long a switch by hand waits until the version has caught up.
    pub(crate) wait: Duration,
    /// How long a comparison keeps other processes from making the same one.
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

/// The versions of one name, seen from this process, whose program has the version `own`.
pub(crate) struct Switch {
    name: &'static str,
    own: u32,
    process: Uuid,
    store: Arc<dyn Store>,
    candidates: Box<dyn Candidates>,
    serving: watch::Sender<u32>,
    /// Too much differs: only an operator lets this program's version serve.
    is_held_back: AtomicBool,
    settings: SwitchSettings,
}

impl Switch {
    /// # Errors
    /// The store did not answer.
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

    /// The number of the version that serves, as this process knows it.
    pub(crate) fn serving(&self) -> watch::Receiver<u32> {
        self.serving.subscribe()
    }

    /// Watches, and switches when that is due, until this program's version serves and the one
    /// `beside` it, if there is one, is known no more.
    pub(crate) async fn run(&self, beside: Option<u32>) {
        let mut seen = None;
        loop {
            match self.look(&mut seen, beside).await {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => {
                    warn!(name = self.name, %error, "cannot tell which version serves; trying again");
                }
            }
            tokio::time::sleep(self.settings.look_every).await;
        }
    }

    /// Whether there is nothing more to look for.
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
        if !self.settings.by_itself || own.has_served || serving.number > own.number {
            return Ok(false);
        }
        if self.is_held_back.load(Ordering::Relaxed) {
            return Ok(false);
        }
        let head = self.store.head().await?;
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
        let Some(lease) = lease else { return Ok(()) }; // another process is at it
        let switched = self.judge_and_serve(from, to).await;
        self.store.release_lease(&lease).await?;
        if switched? {
            info!("{}: version {} serves in place of {}", self.name, to.number, from.number);
            self.serves(to.number);
        }
        Ok(())
    }

    /// Lets `to` serve, unless too much of it differs, or differed when it was compared before.
    async fn judge_and_serve(&self, from: &Version, to: &Version) -> Result<bool, StoreError> {
        let kept = self.kept(to.number).await?;
        // Another program may have been unable to compare them.
        let kept =
            kept.filter(|kept| kept.old_version == from.number && kept.not_compared.is_none());
        let comparison = match kept {
            // The share that is allowed may have changed with the program.
            Some(kept) if self.differs_too_much(&kept) => kept,
            _ => self.compare_and_keep(from).await?,
        };
        if self.differs_too_much(&comparison) {
            self.is_held_back.store(true, Ordering::Relaxed);
            warn!(
                "{}: version {} does not serve by itself, because more than {} of it may differ; \
                 compare_versions shows some differences, and serve_version lets it serve",
                self.name, to.number, self.settings.up_to_different
            );
            return Ok(false);
        }
        self.store.serve_version(self.name, from.number, Some(to.number)).await
    }

    fn differs_too_much(&self, comparison: &Comparison) -> bool {
        comparison.different_share() > self.settings.up_to_different
    }

    /// Compares this program's version with an old one, logs it and stores it beside the version.
    async fn compare_and_keep(&self, old: &Version) -> Result<Comparison, StoreError> {
        let comparison = self.compare_with(old).await?;
        match comparison.different {
            _ if comparison.not_compared.is_some() => {
                warn!("{}: version {} is {comparison}", self.name, self.own);
            }
            0 => info!("{}: version {} compared: {comparison}", self.name, self.own),
            _ => warn!("{}: version {} differs: {comparison}", self.name, self.own),
        }
        // Made of texts and numbers, so it can always be JSON.
        let text = serde_json::to_string(&comparison).unwrap_or_default();
        self.store.note_version(self.name, self.own, VersionNote::Comparison, &text).await?;
        Ok(comparison)
    }

    async fn compare_with(&self, old: &Version) -> Result<Comparison, StoreError> {
        let comparison = self.candidates.compare(old).await?;
        let compared_at = Some(OffsetDateTime::now_utc());
        Ok(Comparison { old_version: old.number, new_version: self.own, compared_at, ..comparison })
    }

    /// The comparison that is stored beside a version.
    async fn kept(&self, number: u32) -> Result<Option<Comparison>, StoreError> {
        let text = self.store.version_note(self.name, number, VersionNote::Comparison).await?;
        Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
    }

    fn serves(&self, number: u32) {
        self.serving.send_if_modified(|serving| std::mem::replace(serving, number) != number);
    }

    /// What this program's version makes different from the one that serves.
    pub(crate) async fn compare(&self) -> Result<Comparison, OperationError> {
        let versions = self.store.versions(self.name).await?;
        let old = serving(&versions).ok_or_else(|| self.unknown(self.own))?;
        // Compared with itself it would be equal, whatever the switch changed.
        if old.number == self.own
            && let Some(kept) = self.kept(self.own).await?
        {
            return Ok(kept);
        }
        Ok(self.compare_with(old).await?)
    }

    /// Compares before an operator's switch to this program's version, unless that was done. A
    /// comparison that fails or takes too long does not prevent the switch.
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
            Ok(Err(error)) => warn!(name = self.name, %error, "the versions are not compared"),
            Err(_) => warn!(name = self.name, "the versions take too long to compare"),
        }
    }

    /// Lets a version serve, be it a new one or, to go back, an old one.
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
        info!("{}: version {number} serves, as somebody said", self.name);
        self.serves(number);
        Ok(())
    }

    fn unknown(&self, number: u32) -> OperationError {
        OperationError::Unknown { name: format!("{}@{number}", self.name) }
    }
}

/// How often a switch by hand looks whether the version has caught up.
const LOOK: Duration = Duration::from_millis(50);

fn serving(versions: &[Version]) -> Option<&Version> {
    versions.iter().find(|version| version.is_serving)
}

fn find(versions: &[Version], number: u32) -> Option<&Version> {
    versions.iter().find(|version| version.number == number)
}
