//! Limits and timeouts of an application, checked at its start.
//!
//! Every queue has a limit, and a full queue has its own error. A value that could break a promise
//! (such as forgetting a key while its command runs) or overflow is refused, by the name of its
//! field.

use std::fmt::Debug;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::error::StartError;
use crate::store::contract::PageLimit;

/// Limits and timeouts. The defaults suit a small server. Change single fields and keep the rest:
/// `Settings { live_aggregates: 10_000, ..Settings::default() }`.
///
/// ```
/// # use std::time::Duration;
/// use actum::store::MemoryStore;
/// use actum::{Application, Settings};
///
/// let settings = Settings { read_within: Duration::from_secs(2), ..Settings::default() };
/// let builder = Application::builder(MemoryStore::new()).settings(settings);
/// ```
#[derive(Debug, Clone)]
pub struct Settings {
    /// Number of threads that run actors, 1 to 1,024. Default: one per core.
    pub arbiters: usize,
    /// Maximum number of instances of one aggregate type in memory, 1 to 100,000,000. Beyond it the
    /// least recently used idle instance is passivated. Default 100,000.
    pub live_aggregates: usize,
    /// Approximate memory of the documents of each read model, in bytes of JSON. Beyond it the
    /// least recently used saved documents are evicted. Documents that are not saved yet stay, at
    /// most a quarter more. Default 64 MiB.
    pub hot_document_bytes: usize,
    /// Time after which an unused aggregate is passivated, 1 ms to 366 days. Default 10 minutes.
    pub idle_after: Duration,
    /// Maximum number of queued commands per aggregate, 1 to 1,000,000. Beyond it commands fail
    /// with `Overloaded`. Default 4,096.
    pub queue_per_aggregate: usize,
    /// Maximum number of commands in flight in the whole application, 1 to 1,000,000. Beyond it
    /// commands fail with `Overloaded`. Default 16,384.
    pub commands_in_flight: usize,
    /// Maximum bytes of commands in flight, 1 byte to 1 TiB. Beyond it commands fail with
    /// `Overloaded`. A command counts with the size of its request
    /// ([`CommandOptions::bytes`](crate::command::CommandOptions)). A larger one is admitted alone.
    /// Default 64 MiB.
    pub command_bytes_in_flight: usize,
    /// Maximum number of open deferred commands, at most 100,000,000. Beyond it commands fail with
    /// `Overloaded`. A command with a callback stays open until the callback is delivered or
    /// abandoned. Default 100,000.
    pub deferred_commands: usize,
    /// Maximum number of open deferred commands per actor, at most 100,000,000. Beyond it commands
    /// fail with `ClientLimit`. An actor can also use at most a ninth of the free places (but
    /// always 4), so that a few actors cannot use them all. Commands without an actor can use nine
    /// tenths of all places together. Default 10,000.
    pub deferred_per_client: usize,
    /// Maximum bytes of events in one read of the log or of a stream: payloads and metadata, 1 byte
    /// to 1 GiB. A larger event is read alone. Each follower that is behind, and each aggregate
    /// that is loading, holds up to two such pages. Default 4 MiB.
    pub page_bytes: usize,
    /// Timeout of a command, 1 ms to 1 day. A command that has not been decided by then is
    /// withdrawn and fails with `Unavailable`. A command that has been decided continues, and its
    /// caller gets `Unknown`. A caller that waits behind another command with the same key gets
    /// `StillRunning`. Default 10 s.
    pub answer_within: Duration,
    /// Maximum number of times that a command is decided again after a conflict with another
    /// writer. Beyond it the command fails with `Conflict`. Default 16.
    pub conflict_retries: u32,
    /// Timeout of a read that waits for its read model, at most 1 day. After it the read fails with
    /// `NotYet`. Default 5 s.
    pub read_within: Duration,
    /// Maximum number of open live streams (of events, documents and changes), at most 1,000,000.
    /// Beyond it a new stream fails with `NoLiveStream`. Default 1,024.
    pub live_streams: usize,
    /// Activates a new version of a read model or projection automatically when it has caught up.
    /// If false, call `Operations::serve_version`. Default true.
    pub switch_by_itself: bool,
    /// Maximum share of documents or compared rows, from 0 to 1, that may differ from the active
    /// version for a new version to be activated automatically. If more differ, the comparison is
    /// logged and kept, and an operator decides with `Operations::serve_version`. Default 1:
    /// differences are logged and prevent nothing, because a new version is usually meant to
    /// differ.
    pub switch_up_to_different: f64,
    /// Retention of idempotency keys and their outcomes, by the clocks of the processes: at least 1
    /// minute, and at least twice `answer_within`. A command that is sent again after that is
    /// carried out a second time. So choose a longer time than any client retries and than any
    /// deferred command may be open. Default `None`: keys are kept indefinitely.
    pub keep_commands: Option<Duration>,
    /// Time that a shutdown waits for queued commands, at most 1 day. Default 30 s.
    pub drain_within: Duration,
}

const DAY: Duration = Duration::from_secs(86_400);
const MILLISECOND: Duration = Duration::from_millis(1);

impl Settings {
    /// Checks all bounds.
    ///
    /// # Errors
    /// [`StartError::Setting`] names the first field that is out of its bounds.
    pub(crate) fn check(&self) -> Result<(), StartError> {
        const MILLION: usize = 1_000_000;
        within("arbiters", self.arbiters, 1..=1024)?;
        within("live_aggregates", self.live_aggregates, 1..=100 * MILLION)?;
        within("idle_after", self.idle_after, MILLISECOND..=366 * DAY)?;
        within("queue_per_aggregate", self.queue_per_aggregate, 1..=MILLION)?;
        within("commands_in_flight", self.commands_in_flight, 1..=MILLION)?;
        within("command_bytes_in_flight", self.command_bytes_in_flight, 1..=1 << 40)?;
        within("deferred_commands", self.deferred_commands, 0..=100 * MILLION)?;
        within("deferred_per_client", self.deferred_per_client, 0..=100 * MILLION)?;
        within("hot_document_bytes", self.hot_document_bytes, 1..=1 << 40)?;
        within("page_bytes", self.page_bytes, 1..=1 << 30)?;
        within("answer_within", self.answer_within, MILLISECOND..=DAY)?;
        within("read_within", self.read_within, Duration::ZERO..=DAY)?;
        within("live_streams", self.live_streams, 0..=MILLION)?;
        within("drain_within", self.drain_within, Duration::ZERO..=DAY)?;
        // A key that is deleted while its caller still waits would let a retry act twice.
        let least = (2 * self.answer_within).max(Duration::from_secs(60));
        match self.keep_commands {
            None => Ok(()),
            Some(keep) => within("keep_commands", keep, least..=Duration::MAX),
        }
    }
}

fn within<T: PartialOrd + Debug>(
    setting: &'static str,
    found: T,
    bounds: RangeInclusive<T>,
) -> Result<(), StartError> {
    if bounds.contains(&found) {
        return Ok(());
    }
    let needed = format!("{:?} to {:?}", bounds.start(), bounds.end());
    Err(StartError::Setting { setting, found: format!("{found:?}"), needed })
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            arbiters: std::thread::available_parallelism().map_or(2, usize::from),
            live_aggregates: 100_000,
            hot_document_bytes: 64 << 20,
            idle_after: Duration::from_secs(600),
            queue_per_aggregate: 4096,
            commands_in_flight: 16_384,
            command_bytes_in_flight: 64 << 20,
            deferred_commands: 100_000,
            deferred_per_client: 10_000,
            page_bytes: PageLimit::DEFAULT_BYTES,
            answer_within: Duration::from_secs(10),
            conflict_retries: 16,
            read_within: Duration::from_secs(5),
            live_streams: 1024,
            switch_by_itself: true,
            switch_up_to_different: 1.0,
            keep_commands: None,
            drain_within: Duration::from_secs(30),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(change: impl FnOnce(&mut Settings)) -> &'static str {
        let mut settings = Settings::default();
        change(&mut settings);
        match settings.check() {
            Err(StartError::Setting { setting, .. }) => setting,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_setting_out_of_its_bounds_is_refused_by_name() {
        assert!(Settings::default().check().is_ok());
        for many in [0, usize::MAX] {
            assert_eq!(refused(|settings| settings.arbiters = many), "arbiters");
            assert_eq!(refused(|settings| settings.live_aggregates = many), "live_aggregates");
            assert_eq!(refused(|s| s.queue_per_aggregate = many), "queue_per_aggregate");
            assert_eq!(refused(|s| s.commands_in_flight = many), "commands_in_flight");
            assert_eq!(refused(|s| s.command_bytes_in_flight = many), "command_bytes_in_flight");
        }
        assert_eq!(refused(|settings| settings.live_streams = usize::MAX), "live_streams");
        for long in [Duration::ZERO, Duration::MAX] {
            assert_eq!(refused(|settings| settings.idle_after = long), "idle_after");
            assert_eq!(refused(|settings| settings.answer_within = long), "answer_within");
        }
        assert_eq!(refused(|settings| settings.read_within = Duration::MAX), "read_within");
        assert_eq!(refused(|settings| settings.drain_within = Duration::MAX), "drain_within");
    }

    #[test]
    fn a_key_is_kept_for_longer_than_its_caller_waits() {
        for short in [Duration::ZERO, MILLISECOND, Duration::from_secs(59)] {
            assert_eq!(refused(|settings| settings.keep_commands = Some(short)), "keep_commands");
        }
        let patient = |keep| Settings {
            answer_within: Duration::from_secs(3600),
            keep_commands: Some(Duration::from_secs(keep)),
            ..Settings::default()
        };
        assert!(patient(7199).check().is_err());
        assert!(patient(7200).check().is_ok());
        let settings = Settings { keep_commands: Some(Duration::MAX), ..Settings::default() };
        assert!(settings.check().is_ok());
    }
}
