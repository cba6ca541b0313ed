//! The limits of an application: every queue has one, and a name for what happens when it is full.

use std::time::Duration;

use crate::event_store::PageLimit;

/// Limits and patience. The defaults suit a small server; change a field and keep the rest:
/// `Settings { live_aggregates: 10_000, ..Settings::default() }`.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Threads that run actors. Default: one for each core.
    pub arbiters: usize,
    /// How many instances of one aggregate type stay in memory; beyond it the longest unused idle
    /// one goes. Default 100,000.
    pub live_aggregates: usize,
    /// About how many bytes of documents each read model keeps in memory, counted as JSON; beyond it
    /// the longest unused saved ones go. What is not saved yet stays: at most a quarter of that more.
    /// Default 64 MiB.
    pub hot_document_bytes: usize,
    /// An aggregate unused for so long goes too. Default 10 minutes.
    pub idle_after: Duration,
    /// Commands that may wait for one aggregate; beyond it `Overloaded`. Default 4,096.
    pub queue_per_aggregate: usize,
    /// Commands in the whole application that may wait for an answer; beyond it `Overloaded`.
    /// Default 16,384.
    pub commands_in_flight: usize,
    /// Limit on open deferred commands in total; beyond it `Overloaded`. A command whose client asked
    /// for a callback is open until the callback was delivered or given up. Default 100,000.
    pub deferred_commands: usize,
    /// Limit on open deferred commands of one actor; beyond it `ClientLimit`. Commands without an
    /// actor count only in total. Default 10,000.
    pub deferred_per_client: usize,
    /// Maximum bytes of events in one read of the log or of a stream: payloads and metadata. A larger
    /// event is read alone. Every follower that is behind, and every aggregate that is loading, holds
    /// up to two such pages. Default 4 MiB.
    pub page_bytes: usize,
    /// How long a command may take before its caller is told `Unknown`, and who waits behind it
    /// with the same key `StillRunning`. It goes on. Default 10 s.
    pub answer_within: Duration,
    /// How often a command is decided again because another process was faster; beyond it
    /// `Conflict`. Default 16.
    pub conflict_retries: u32,
    /// How long a read waits for its read model before it answers `NotYet`. Default 5 s.
    pub read_within: Duration,
    /// Most live streams at a time: of events, of documents, of changes. One more is refused with
    /// `NoLiveStream`. Default 1,024.
    pub live_streams: usize,
    /// Whether a new version of a read model or projection serves as soon as it has caught up.
    /// Default true; if not, `Application::serve_version` says when.
    pub switch_by_itself: bool,
    /// How long a command's key is kept with its outcome, by the clocks of the processes; whoever
    /// sends a command again after that is not recognised, and it is carried out a second time. So
    /// longer than any client retries, and than commands may wait to be answered later. Default
    /// `None`: for ever.
    pub keep_commands: Option<Duration>,
    /// How long shutdown waits for queued commands. Default 30 s.
    pub drain_within: Duration,
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
            deferred_commands: 100_000,
            deferred_per_client: 10_000,
            page_bytes: PageLimit::DEFAULT_BYTES,
            answer_within: Duration::from_secs(10),
            conflict_retries: 16,
            read_within: Duration::from_secs(5),
            live_streams: 1024,
            switch_by_itself: true,
            keep_commands: None,
            drain_within: Duration::from_secs(30),
        }
    }
}
