//! A store that is not part of the crate: one file of JSON lines, read at start and appended to with
//! fsync. It uses the public contract and kit only, and passes the whole suite for stores.
//!
//! Everything is in memory, under one lock. A change is decided first, then written as one line and
//! synced, and only then applied, so no reader sees what a crash could take back.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use actum::store::kit::event_log::{Appended, EventLog};
use actum::store::kit::handles::Handle;
use actum::store::kit::leases::{InMemoryLeases, Leases};
use actum::store::kit::read_side::ReadSide;
use actum::store::kit::versions::Versions;
use actum::store::{
    Append, AppendOutcome, Checkpoint, CheckpointStore, Clock, Confirmation, DocumentBatch,
    DocumentRange, DocumentStore, DocumentsAt, EventStore, Filter, LogIdentity, NewEvent, Page,
    PageLimit, ParkedPage, ParkedQuery, ParkedRequest, PartitionId, ProjectionStore, RecordedEvent,
    SkippedEvent, SnapshotStore, StoreInfo, StoredPage, StoredVersion, SystemClock, Version,
    VersionNote, VersionStore,
};
use actum::{CommandKey, ExpectedVersion, GlobalPosition, StoreError, StreamId, StreamVersion};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use tokio::sync::watch;
use uuid::Uuid;

use crate::support::directory::Directory;

/// A change of the store, as one line of its file.
#[derive(Serialize, Deserialize)]
enum Line {
    Created { log_id: Uuid },
    Appended(Appended),
    Pruned { commands: Vec<String> },
    Saved(DocumentBatch),
    Requested { model: String, key: String, position: GlobalPosition, request: ParkedRequest },
    Versions(Versions),
    Dropped { name: String, version: u32 },
}

struct State {
    file: File,
    /// The reason why nothing can be written any more.
    broken: Option<String>,
    data: Data,
}

#[derive(Default)]
struct Data {
    log_id: Uuid,
    log: EventLog,
    read_side: ReadSide,
    versions: Versions,
}

impl Data {
    fn apply(&mut self, line: Line) -> Result<(), StoreError> {
        match line {
            Line::Created { log_id } => self.log_id = log_id,
            Line::Appended(appended) => self.log.apply(appended),
            Line::Pruned { commands } => self.log.forget_commands(&commands),
            Line::Saved(batch) => self.read_side.save(batch)?,
            Line::Requested { model, key, position, request } => {
                self.read_side.request(&model, &key, position, request);
            }
            Line::Versions(versions) => self.versions = versions,
            Line::Dropped { name, version } => {
                self.versions.remove(&name, version);
                self.read_side.forget(&format!("{name}@{version}"));
            }
        }
        Ok(())
    }
}

impl State {
    /// Writes a line durably, then applies it.
    fn commit(&mut self, line: Line) -> Result<(), StoreError> {
        if let Some(reason) = &self.broken {
            return Err(StoreError::Unavailable(reason.clone()));
        }
        let written = serde_json::to_string(&line).map_err(io::Error::other).and_then(|text| {
            self.file.write_all(format!("{text}\n").as_bytes())?;
            self.file.sync_data()
        });
        match written {
            Ok(()) => self.data.apply(line),
            Err(error) => {
                // How much of the line is on disk is unknown until the file is read again.
                let reason = format!("the file cannot be written: {error}. Open the store again.");
                self.broken = Some(reason.clone());
                Err(StoreError::Unknown(reason))
            }
        }
    }
}

/// The store. Clones are the same store.
#[derive(Clone)]
pub struct JsonLinesStore {
    state: Arc<Mutex<State>>,
    head: Arc<watch::Sender<GlobalPosition>>,
    leases: Leases,
    handle: Handle,
}

impl JsonLinesStore {
    pub fn open(path: &Path) -> Result<Self, Box<dyn std::error::Error>> {
        let mut data = Data::default();
        let text = if path.exists() { std::fs::read_to_string(path)? } else { String::new() };
        // A line without its end was never acknowledged, because a crash cut it off.
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        for line in text[..whole].lines() {
            data.apply(serde_json::from_str(line)?)?;
        }
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        file.set_len(whole as u64)?;
        let leases = Leases::after(data.read_side.last_token());
        let head = Arc::new(watch::Sender::new(data.log.head()));
        let mut state = State { file, broken: None, data };
        if whole == 0 {
            state.commit(Line::Created { log_id: SystemClock.new_id() })?;
        }
        Ok(Self { state: Arc::new(Mutex::new(state)), head, leases, handle: Handle::default() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn change<T>(&self, change: impl FnOnce(&mut Versions) -> T) -> Result<T, StoreError> {
        let mut state = self.state();
        let mut versions = state.data.versions.clone();
        let changed = change(&mut versions);
        state.commit(Line::Versions(versions)).map(|()| changed)
    }
}

#[async_trait]
impl EventStore for JsonLinesStore {
    async fn append(&self, appends: Vec<Append>) -> Vec<AppendOutcome> {
        let mut state = self.state();
        let planned = state.data.log.plan(&appends);
        let appended = Appended::of(&planned, || SystemClock.now());
        if let Err(error) = state.commit(Line::Appended(appended)) {
            return vec![AppendOutcome::Unknown(error.to_string()); appends.len()];
        }
        self.head.send_replace(state.data.log.head());
        planned.outcomes
    }

    async fn confirm(
        &self,
        stream: &StreamId,
        version: StreamVersion,
        command: Option<CommandKey>,
    ) -> Result<Confirmation, StoreError> {
        Ok(self.state().data.log.confirm(stream, version, command.as_ref()))
    }

    async fn read_stream(
        &self,
        stream: &StreamId,
        after: StreamVersion,
        limit: PageLimit,
    ) -> Result<Vec<RecordedEvent>, StoreError> {
        Ok(self.state().data.log.read_stream(stream, after, limit))
    }

    async fn read_all(
        &self,
        after: GlobalPosition,
        filter: &Filter,
        limit: PageLimit,
    ) -> Result<Page, StoreError> {
        Ok(self.state().data.log.read_all(after, filter, limit))
    }

    async fn claim_holder(&self, kind: &str, value: &str) -> Result<Option<StreamId>, StoreError> {
        Ok(self.state().data.log.claim_holder(kind, value))
    }

    async fn prune_commands(
        &self,
        recorded_before: OffsetDateTime,
        at_most: usize,
    ) -> Result<bool, StoreError> {
        let mut state = self.state();
        let commands = state.data.log.old_commands(recorded_before, at_most);
        let is_more = !commands.is_empty() && commands.len() == at_most;
        state.commit(Line::Pruned { commands }).map(|()| is_more)
    }

    async fn head(&self) -> Result<GlobalPosition, StoreError> {
        Ok(self.state().data.log.head())
    }

    fn info(&self) -> StoreInfo {
        let state = self.state();
        let mut info = StoreInfo::new(LogIdentity { log_id: state.data.log_id, epoch: 1 });
        info.is_sole_writer = true; // no other process opens the file of a test
        info.is_only_handle = self.handle.is_only_one();
        info.trouble = state.broken.clone();
        info
    }

    fn watch_head(&self) -> watch::Receiver<GlobalPosition> {
        self.head.subscribe()
    }
}

impl SnapshotStore for JsonLinesStore {}

impl ProjectionStore for JsonLinesStore {}

impl InMemoryLeases for JsonLinesStore {
    fn leases(&self) -> &Leases {
        &self.leases
    }
}

#[async_trait]
impl CheckpointStore for JsonLinesStore {
    async fn load_checkpoint(&self, of: &PartitionId) -> Result<Option<Checkpoint>, StoreError> {
        Ok(self.state().data.read_side.checkpoint(of))
    }

    async fn load_parked(
        &self,
        model: &str,
        query: &ParkedQuery,
    ) -> Result<ParkedPage, StoreError> {
        Ok(self.state().data.read_side.parked(model, query))
    }

    async fn load_skipped(&self, model: &str) -> Result<Vec<SkippedEvent>, StoreError> {
        Ok(self.state().data.read_side.skipped(model))
    }

    async fn request_parked(
        &self,
        model: &str,
        key: &str,
        position: GlobalPosition,
        request: ParkedRequest,
    ) -> Result<bool, StoreError> {
        let mut state = self.state();
        let parked = state.data.read_side.parked(model, &ParkedQuery::key(key)).keys;
        let is_parked = parked.iter().any(|parked| parked.position == position);
        let (model, key) = (model.to_owned(), key.to_owned());
        state.commit(Line::Requested { model, key, position, request }).map(|()| is_parked)
    }
}

#[async_trait]
impl DocumentStore for JsonLinesStore {
    async fn load_documents(
        &self,
        partition: &PartitionId,
        keys: &[String],
    ) -> Result<DocumentsAt, StoreError> {
        Ok(self.state().data.read_side.documents(partition, keys))
    }

    async fn list_documents(
        &self,
        model: &str,
        range: &DocumentRange,
    ) -> Result<StoredPage, StoreError> {
        Ok(self.state().data.read_side.list(model, range))
    }

    async fn save_documents(&self, batch: DocumentBatch) -> Result<(), StoreError> {
        let mut state = self.state();
        self.leases.check(&batch.update)?;
        if state.data.read_side.admits(&batch.update)? {
            state.commit(Line::Saved(batch))?;
        }
        Ok(())
    }
}

#[async_trait]
impl VersionStore for JsonLinesStore {
    async fn register_version(
        &self,
        name: &str,
        version: u32,
        partitions: u32,
    ) -> Result<Vec<Version>, StoreError> {
        self.change(|versions| {
            versions.register(name, version, partitions);
            versions.of(name)
        })
    }

    async fn all_versions(&self) -> Result<Vec<StoredVersion>, StoreError> {
        Ok(self.state().data.versions.all())
    }

    async fn note_version(
        &self,
        name: &str,
        version: u32,
        note: VersionNote,
        text: &str,
    ) -> Result<(), StoreError> {
        self.change(|versions| versions.write_note(name, version, note, text))
    }

    async fn version_note(
        &self,
        name: &str,
        version: u32,
        note: VersionNote,
    ) -> Result<Option<String>, StoreError> {
        Ok(self.state().data.versions.read_note(name, version, note))
    }

    async fn serve_version(
        &self,
        name: &str,
        from: u32,
        to: Option<u32>,
    ) -> Result<bool, StoreError> {
        self.change(|versions| versions.serve(name, from, to))
    }

    async fn drop_version(&self, name: &str, version: u32) -> Result<bool, StoreError> {
        let mut state = self.state();
        if !state.data.versions.clone().remove(name, version) {
            return Ok(false);
        }
        self.leases.void(&format!("{name}@{version}"));
        state.commit(Line::Dropped { name: name.to_owned(), version }).map(|()| true)
    }
}

actum::conformance!(suite, || async {
    let directory = Directory::new();
    let file = directory.file("log.jsonl");
    (JsonLinesStore::open(Path::new(&file)).unwrap(), directory)
});

#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_start_and_a_cut_line_is_not() {
    let directory = Directory::new();
    let file = directory.file("log.jsonl");
    let path = Path::new(&file);
    let event = |payload: &str| NewEvent {
        event_id: SystemClock.new_id(),
        event_type: "Noted".into(),
        schema_version: 1,
        payload: payload.into(),
        metadata: "{}".into(),
    };
    let append = |payload| Append {
        stream: StreamId::new("note", "1").unwrap(),
        expected: ExpectedVersion::Any,
        events: vec![event(payload)],
        command: None,
        claims: vec![],
        chained: false,
    };
    let store = JsonLinesStore::open(path).unwrap();
    let outcomes = store.append(vec![append("1"), append("\"two\\nlines\"")]).await;
    assert!(outcomes.iter().all(|outcome| matches!(outcome, AppendOutcome::Committed(_))));
    let (page, identity) = (read(&store).await, store.info().identity);
    drop(store);
    OpenOptions::new().append(true).open(path).unwrap().write_all(b"{\"Appended\":{").unwrap();
    let store = JsonLinesStore::open(path).unwrap();
    assert_eq!((read(&store).await, store.info().identity), (page, identity));
    store.append(vec![append("3")]).await;
    assert_eq!(read(&JsonLinesStore::open(path).unwrap()).await.len(), 3);
}

async fn read(store: &JsonLinesStore) -> Vec<Arc<RecordedEvent>> {
    let limit = PageLimit::events(9);
    store.read_all(GlobalPosition::ZERO, &Filter::all(), limit).await.unwrap().events
}
