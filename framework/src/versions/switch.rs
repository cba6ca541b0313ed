//! One task for each name: it watches which version serves, and lets its own serve when that is due.
//!
//! Every process runs it. What matters is the one row that tells who serves, moved by compare-and-set:
//! two that decide at once decide the same.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tracing::{info, warn};
use uuid::Uuid;

use super::Candidates;
use crate::document::Store;
use crate::error::{OperationError, StoreError};
use crate::stream::GlobalPosition;
use crate::version::{Comparison, Version};

/// When a new version serves.
#[derive(Debug, Clone)]
pub(crate) struct SwitchSettings {
    /// Once it has caught up. If not: when somebody says so.
    pub(crate) by_itself: bool,
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
        Ok(Self { name, own, process, store, candidates, serving, settings })
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
        let comparison = self.candidates.compare(from).await;
        let switched = match &comparison {
            Ok(comparison) => {
                info!("{}: version {} has caught up; {comparison}", self.name, to.number);
                self.store.serve_version(self.name, from.number, to.number).await
            }
            Err(error) => Err(error.clone()),
        };
        self.store.release_lease(&lease).await?;
        if switched? {
            info!("{}: version {} serves in place of {}", self.name, to.number, from.number);
            self.serves(to.number);
        }
        Ok(())
    }

    fn serves(&self, number: u32) {
        self.serving.send_if_modified(|serving| std::mem::replace(serving, number) != number);
    }

    /// What this program's version makes different from the one that serves.
    pub(crate) async fn compare(&self) -> Result<Comparison, OperationError> {
        let versions = self.store.versions(self.name).await?;
        let old = serving(&versions).ok_or_else(|| self.unknown(self.own))?;
        Ok(self.candidates.compare(old).await?)
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
                if self.store.serve_version(self.name, from.number, number).await? {
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
