//! Loads an aggregate: from its snapshot, if that is valid, and from the events after it.
//!
//! The same code catches up a state after other processes have appended events. All user code
//! (`Default`, decoding, upcasters, `apply`) runs in panic isolation.

use super::Aggregate;
use super::deciding::Deciding;
use crate::catch_panic::{Isolated, guarded};
use crate::error::StoreError;
use crate::event::{RecordedEvent, StreamId, StreamVersion, Tip};
use crate::store::contract::{PageLimit, Snapshot, Snapshots};

/// Maximum number of events per page, so that a long stream is never in memory as a whole.
const PAGE: usize = 2000;

/// An aggregate in memory. The state equals the fold of its stream up to `tip`.
pub(crate) struct Loaded<A> {
    pub(crate) aggregate: Isolated<A>,
    pub(crate) tip: Tip,
    /// Version of the newest snapshot, stored or being stored.
    pub(crate) snapshot_at: StreamVersion,
}

/// Error of loading or catching up an aggregate.
pub(crate) enum LoadError {
    /// The store is not available: retry later.
    Unavailable(StoreError),
    /// This program cannot fold the stored events.
    Quarantined(String),
    /// User code panicked before an event was folded, so a retry may succeed.
    Panicked(String),
}

impl From<StoreError> for LoadError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Hole { .. } | StoreError::Corrupt { .. } => {
                Self::Quarantined(error.to_string())
            }
            _ => Self::Unavailable(error),
        }
    }
}

/// Folds the events that `held` does not include, or all events of the stream if it is `None`.
/// Stops at `at_least`, a version that the store has reported, or else at the end of the stream.
///
/// If the store fails, the state in `held` is still correct up to its tip. After any other error it
/// must be discarded.
pub(crate) async fn catch_up<A: Aggregate>(
    deciding: &Deciding<A>,
    stream: &StreamId,
    held: &mut Option<Box<Loaded<A>>>,
    at_least: Option<StreamVersion>,
) -> Result<(), LoadError> {
    let loaded = match held {
        Some(loaded) => loaded,
        None => held.insert(Box::new(start(deciding, stream).await?)),
    };
    loop {
        let bytes = deciding.settings.page_bytes;
        let limit = PageLimit::events(PAGE).bytes(bytes);
        let events = deciding.store.read_stream(stream, loaded.tip.version, limit).await?;
        for event in &events {
            fold(deciding, loaded, event)?;
        }
        // An empty page is the end, not a short one, because a store may cut a page by its bytes. A
        // version that the store has reported saves the read of that empty page. If there are newer
        // events, the next append conflicts.
        let is_enough = at_least.is_some_and(|version| loaded.tip.version >= version);
        if events.is_empty() || is_enough {
            return Ok(());
        }
    }
}

/// Returns the state of the snapshot, or the default state.
async fn start<A: Aggregate>(
    deciding: &Deciding<A>,
    stream: &StreamId,
) -> Result<Loaded<A>, LoadError> {
    let snapshot = match &deciding.snapshots {
        Some(policy) => from_snapshot(deciding, policy, stream).await?,
        None => None,
    };
    if let Some(loaded) = snapshot {
        return Ok(loaded);
    }
    let aggregate = guarded(A::default)
        .map_err(|panic| LoadError::Panicked(format!("Default panicked: {panic}")))?;
    let (tip, snapshot_at) = (Tip::default(), StreamVersion::ZERO);
    Ok(Loaded { aggregate: Isolated::new(aggregate), tip, snapshot_at })
}

fn fold<A: Aggregate>(
    deciding: &Deciding<A>,
    loaded: &mut Loaded<A>,
    recorded: &RecordedEvent,
) -> Result<(), LoadError> {
    let quarantined = |reason: String| {
        let RecordedEvent { position, version, event_type, .. } = recorded;
        LoadError::Quarantined(format!(
            "the event {event_type:?} at position {position}, version {version}: {reason}"
        ))
    };
    // A panic or a decoding error quarantines the aggregate: stored events do not change, so the
    // same program would fail again.
    let decoded = guarded(|| deciding.codec.decode(recorded));
    let event = decoded
        .map_err(|panic| quarantined(format!("its decoder panicked: {panic}")))?
        .map_err(|error| quarantined(error.to_string()))?;
    let event = Isolated::new(event);
    guarded(|| loaded.aggregate.apply(&event))
        .map_err(|panic| quarantined(format!("apply panicked: {panic}")))?;
    loaded.tip = Tip { version: recorded.version, position: recorded.position };
    Ok(())
}

/// Returns the state of the stream's snapshot. An invalid snapshot is ignored, because the events
/// have the same state.
async fn from_snapshot<A: Aggregate>(
    deciding: &Deciding<A>,
    policy: &Snapshots<A>,
    stream: &StreamId,
) -> Result<Option<Loaded<A>>, LoadError> {
    let Some(snapshot) = deciding.store.load_snapshot(stream).await? else { return Ok(None) };
    if snapshot.state_version != policy.state_version || snapshot.version == StreamVersion::ZERO {
        return Ok(None);
    }
    let ignored = |reason: &str| {
        let version = snapshot.version;
        tracing::warn!(%stream, %version, reason, "a snapshot is ignored; the events are folded");
        Ok(None)
    };
    if !snapshot.is_intact() {
        return ignored("its checksum does not match");
    }
    if !stands_in_log(deciding, stream, &snapshot).await? {
        return ignored("the log no longer has the event at which it was taken");
    }
    match guarded(|| (policy.decode)(&snapshot.state)) {
        Ok(Ok(aggregate)) => {
            let tip = Tip { version: snapshot.version, position: snapshot.position };
            let aggregate = Isolated::new(aggregate);
            Ok(Some(Loaded { aggregate, tip, snapshot_at: snapshot.version }))
        }
        Ok(Err(error)) => ignored(&error.to_string()),
        Err(panic) => ignored(&panic),
    }
}

/// Checks that the log has the event at which the snapshot was taken. A log that was rewound or
/// restored may have another event at that version.
async fn stands_in_log<A: Aggregate>(
    deciding: &Deciding<A>,
    stream: &StreamId,
    snapshot: &Snapshot,
) -> Result<bool, LoadError> {
    let before = StreamVersion(snapshot.version.0 - 1);
    let at = deciding.store.read_stream(stream, before, PageLimit::events(1)).await?;
    let is_it = |event: &RecordedEvent| {
        (event.position, event.event_id) == (snapshot.position, snapshot.event_id)
    };
    Ok(at.first().is_some_and(is_it))
}
