//! The parts of a running application. Each part is started and registered here.

use std::any::{Any, TypeId};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use tokio::sync::{Semaphore, watch};
use uuid::Uuid;

use super::later::Deferrable;
use super::observer::Observer;
use crate::aggregate::{
    Admission, Aggregate, Arbiters, Deciding, Router, RouterControl, RunningKeys,
};
use crate::catch_panic::guarded;
use crate::clock::Clock;
use crate::deferred::{AcceptedCommand, OpenCommands};
use crate::error::{StartError, StoreError};
use crate::event::StreamId;
use crate::live::Wakes;
use crate::partition::{FollowerControl, LeaseRenewer, Pacing};
use crate::process::ProcessInputs;
use crate::reaction::Worker;
use crate::read_model::versions::DocumentVersions;
use crate::read_model::{ReadModel, ReadModelHandle, Served, check_name, start};
use crate::settings::Settings;
use crate::store::contract::{CheckpointStore, Store};
use crate::subscription::sources::Routes;
use crate::subscription::{Tail, TailSettings};
use crate::versions::{Beginning, Candidates, Switch, SwitchSettings};

pub(super) struct Running {
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: Arc<dyn Clock>,
    /// Id of this process, for stores that several processes share.
    pub(super) process: Uuid,
    pub(super) settings: Settings,
    pub(super) arbiters: Arc<Arbiters>,
    pub(super) admission: Admission,
    /// Running keys of all routers together, because a key is unique in the whole log.
    running_keys: RunningKeys,
    pub(super) tail: Tail,
    /// Renews the leases and memberships of all followers of the log.
    pub(super) renewer: LeaseRenewer,
    /// Reason why the store's history was lost, once that is known.
    history: watch::Receiver<Option<String>>,
    /// `Router<A>` by the type `A`.
    pub(super) routers: HashMap<TypeId, Arc<dyn RouterControl>>,
    /// True once `Application::store` was called: its user may append.
    pub(super) is_handed_out: Arc<AtomicBool>,
    /// `TYPE` of each registered aggregate.
    aggregate_types: HashSet<&'static str>,
    /// Constructors of the executors of deferred commands, by aggregate type.
    pub(super) answers_later: HashMap<&'static str, Deferrable>,
    /// Name of the reaction that sends callbacks, if there is one.
    pub(super) callbacks: Option<&'static str>,
    /// Set when the executor of deferred commands has started.
    pub(super) open_commands: Option<Arc<OpenCommands>>,
    /// Thread of the reactions, if there are any.
    pub(super) worker: Option<Arc<Worker>>,
    /// `Served<M>` by the type `M`.
    pub(super) read_models: HashMap<TypeId, Arc<dyn Any + Send + Sync>>,
    /// All followers of the log, of every version.
    pub(super) read_side: Vec<Arc<dyn FollowerControl>>,
    /// Number of partitions of all read models together.
    partitions: u64,
    /// Activation tasks, by the name of the read model or projection.
    pub(super) switches: HashMap<&'static str, Arc<Switch>>,
    /// Followers of documents of the read model `M`, by that type.
    pub(super) watchers: HashMap<TypeId, Wakes>,
    pub(super) followers: Wakes,
    pub(super) live_streams: Arc<Semaphore>,
    /// Set when all parts have started.
    pub(super) observer: Observer,
}

impl Running {
    /// Starts the tail of the log. Nothing else runs yet.
    ///
    /// # Errors
    /// The store is not available, or a thread did not start.
    pub(super) async fn start(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        settings: Settings,
    ) -> Result<Self, StartError> {
        let arbiters = Arc::new(Arbiters::start(settings.arbiters)?);
        let (head, identity) = (store.head().await?, store.info().identity);
        for (setting, value) in store.info().settings {
            tracing::info!(setting, value, "store setting");
        }
        tracing::info!(log_id = %identity.log_id, epoch = identity.epoch, %head, "opened the log");
        let tailing = Arc::clone(&arbiters);
        let spawn = move |task| tailing.spawn(0, task);
        let tailing_settings = TailSettings::with_page_bytes(settings.page_bytes);
        let tail = Tail::start(Arc::clone(&store), head, tailing_settings, spawn);
        let process = clock.new_id();
        let (renewing, leased) = (Arc::clone(&arbiters), Arc::clone(&store));
        let renewer = LeaseRenewer::start(leased, process, &Pacing::default(), move |task| {
            renewing.spawn(0, task);
        });
        Ok(Self {
            process,
            renewer,
            admission: Admission::new(
                settings.commands_in_flight,
                settings.command_bytes_in_flight,
            ),
            running_keys: RunningKeys::default(),
            followers: Wakes::of_streams(tail.clone()),
            live_streams: Arc::new(Semaphore::new(settings.live_streams)),
            history: store.watch_history(),
            store,
            clock,
            settings,
            arbiters,
            tail,
            routers: HashMap::new(),
            is_handed_out: Arc::default(),
            aggregate_types: HashSet::new(),
            answers_later: HashMap::new(),
            callbacks: None,
            open_commands: None,
            worker: None,
            read_models: HashMap::new(),
            read_side: Vec::new(),
            partitions: 0,
            switches: HashMap::new(),
            watchers: HashMap::new(),
            observer: Observer::new([].iter()),
        })
    }

    /// Checks the history, so that nothing is returned from memory after the store's history was
    /// lost.
    ///
    /// # Errors
    /// [`StoreError::OtherHistory`]
    pub(super) fn check_history(&self) -> Result<(), StoreError> {
        match &*self.history.borrow() {
            None => Ok(()),
            Some(reason) => Err(StoreError::OtherHistory(reason.clone())),
        }
    }

    pub(super) fn add_aggregate<A: Aggregate>(&mut self) -> Result<(), StartError> {
        self.check_aggregate::<A>()?;
        let (store, clock) = (Arc::clone(&self.store), Arc::clone(&self.clock));
        let is_handed_out = Arc::clone(&self.is_handed_out);
        let make = || Deciding::<A>::new(store, clock, self.settings.clone(), is_handed_out);
        let unstorable =
            |reason| StartError::UnstorableAggregate { aggregate_type: A::TYPE, reason };
        let deciding = guarded(make).map_err(unstorable)?;
        let checked = guarded(|| deciding.codec.check()).map_err(unstorable)?;
        checked.map_err(|error| unstorable(error.to_string()))?;
        if let Some(event_type) = deciding.codec.orphaned_upcaster() {
            return Err(StartError::Upcaster { aggregate: A::TYPE, event_type });
        }
        let deciding = Arc::new(deciding);
        let (admission, running_keys) = (self.admission.clone(), self.running_keys.clone());
        let arbiters = Arc::clone(&self.arbiters);
        let router = Arc::new(Router::new(deciding, arbiters, admission, running_keys));
        // Weak, so that the task ends with the application.
        let (passivating, idle_after) = (Arc::downgrade(&router), self.settings.idle_after);
        let (mut history, mut is_lost) = (self.store.watch_history(), false);
        self.arbiters.spawn(0, async move {
            loop {
                tokio::select! {
                    // So an instance stays at most a quarter longer than `idle_after`.
                    () = tokio::time::sleep(idle_after / 4) => {}
                    Ok(_) = history.wait_for(Option::is_some), if !is_lost => {
                        // The state in memory was folded from events that the log no longer has.
                        is_lost = true;
                        let Some(router) = passivating.upgrade() else { return };
                        router.passivate(Instant::now());
                        continue;
                    }
                }
                let Some(router) = passivating.upgrade() else { return };
                if let Some(before) = Instant::now().checked_sub(idle_after) {
                    router.passivate(before);
                }
            }
        });
        self.routers.insert(TypeId::of::<A>(), router);
        Ok(())
    }

    /// Checks that an aggregate type is a valid stream type and is not registered yet.
    fn check_aggregate<A: Aggregate>(&mut self) -> Result<(), StartError> {
        let (aggregate_type, id) = (A::TYPE, TypeId::of::<A>());
        let own = [
            (AcceptedCommand::TYPE, TypeId::of::<AcceptedCommand>()),
            (ProcessInputs::TYPE, TypeId::of::<ProcessInputs>()),
        ];
        if own.iter().any(|(reserved, own)| aggregate_type == *reserved && id != *own) {
            return Err(StartError::Reserved(aggregate_type));
        }
        let valid = StreamId::new(aggregate_type, "1");
        valid.map_err(|error| {
            let reason = error.to_string();
            StartError::UnstorableAggregate { aggregate_type, reason }
        })?;
        match self.aggregate_types.insert(aggregate_type) {
            true => Ok(()),
            false => Err(StartError::AlreadyRegistered(aggregate_type)),
        }
    }

    pub(super) async fn add_read_model<M: ReadModel>(&mut self) -> Result<(), StartError> {
        let own = self.start_read_model::<M>().await?;
        let versions = DocumentVersions::of::<M>(Arc::clone(&self.store));
        self.add_switch((M::NAME, M::VERSION), versions, None).await?;
        self.serve(Served::alone(own));
        Ok(())
    }

    pub(super) async fn add_replacing<M: ReadModel + From<Old>, Old: ReadModel>(
        &mut self,
    ) -> Result<(), StartError> {
        check_successor((M::NAME, M::VERSION), (Old::NAME, Old::VERSION))?;
        // The older version first: on a new database the first one registered becomes active.
        let old = self.start_read_model::<Old>().await?;
        let own = self.start_read_model::<M>().await?;
        let versions = DocumentVersions::replacing::<M, Old>(Arc::clone(&self.store));
        let beside: Arc<dyn FollowerControl> = Arc::new(old.clone());
        let switch =
            self.add_switch((M::NAME, M::VERSION), versions, Some((Old::VERSION, beside))).await?;
        self.serve(Served::beside(own, old, switch.serving()));
        Ok(())
    }

    async fn start_read_model<M: ReadModel>(&mut self) -> Result<ReadModelHandle<M>, StartError> {
        check_name(M::NAME)?;
        self.check_new(M::NAME, M::VERSION)?;
        let beginning = self.check_begun((M::NAME, M::VERSION), M::sources().routes).await?;
        // Each partition of each read model runs on the next arbiter, so that they share the cores
        // evenly.
        let first = self.partitions;
        self.partitions += u64::from(M::PARTITIONS);
        let hot_bytes = self.settings.hot_document_bytes;
        let pacing = Pacing { hot_bytes, ..Pacing::default() };
        let (arbiters, tail, clock) = (&self.arbiters, &self.tail, Arc::clone(&self.clock));
        let handle = start::start::<M>(arbiters, first, &self.renewer, clock, tail, pacing).await?;
        self.begun(beginning).await?;
        self.read_side.push(Arc::new(handle.clone()));
        Ok(handle)
    }

    /// Compares the sources and keys of a version with those it was created with.
    pub(super) async fn check_begun<T: 'static>(
        &self,
        version: (&'static str, u32),
        routes: Routes<T>,
    ) -> Result<Beginning<T>, StartError> {
        Beginning::check(Arc::clone(&self.store), version, routes).await
    }

    /// Stores what a new version was created with, and then takes samples of its keys.
    pub(super) async fn begun<T: 'static>(
        &self,
        beginning: Beginning<T>,
    ) -> Result<(), StartError> {
        beginning.keep_if_new().await?;
        self.arbiters.spawn(0, beginning.sample());
        Ok(())
    }

    fn serve<M: ReadModel>(&mut self, served: Served<M>) {
        self.read_models.insert(TypeId::of::<M>(), Arc::new(served));
        self.watchers.insert(TypeId::of::<M>(), Wakes::of_documents::<M>(self.tail.clone()));
    }

    pub(super) fn check_new(&self, name: &'static str, version: u32) -> Result<(), StartError> {
        let is_it = |known: &Arc<dyn FollowerControl>| {
            let is_a_version = !known.followers().sends_commands;
            known.name() == name && !(is_a_version && known.version() != version)
        };
        match self.read_side.iter().any(is_it) {
            true => Err(StartError::AlreadyRegistered(name)),
            false => Ok(()),
        }
    }

    /// Checks that nothing has this name, for a follower that has no versions.
    pub(super) fn check_name_is_new(&self, name: &'static str) -> Result<(), StartError> {
        match self.read_side.iter().any(|known| known.name() == name) {
            true => Err(StartError::AlreadyRegistered(name)),
            false => Ok(()),
        }
    }

    /// Activates a version when that is due, and stops the older one when it was dropped.
    pub(super) async fn add_switch(
        &mut self,
        (name, own): (&'static str, u32),
        candidates: impl Candidates,
        beside: Option<(u32, Arc<dyn FollowerControl>)>,
    ) -> Result<Arc<Switch>, StartError> {
        if self.switches.contains_key(name) {
            return Err(StartError::AlreadyRegistered(name));
        }
        let settings = SwitchSettings {
            by_itself: self.settings.switch_by_itself,
            up_to_different: self.settings.switch_up_to_different,
            ..Default::default()
        };
        let store = Arc::clone(&self.store);
        let candidates = Box::new(candidates);
        let switch = Switch::new((name, own), self.process, store, candidates, settings).await?;
        let switch = Arc::new(switch);
        let watching = Arc::clone(&switch);
        self.arbiters.spawn(0, async move {
            let (number, old) = beside.unzip();
            watching.run(number).await;
            if let Some(old) = old {
                old.flush_and_stop().await;
            }
        });
        self.switches.insert(name, Arc::clone(&switch));
        Ok(switch)
    }
}

impl Running {
    /// Returns the store that has the checkpoints and parked keys of a read model or projection.
    pub(super) fn checkpoints<'a>(
        &'a self,
        control: &'a dyn FollowerControl,
    ) -> &'a dyn CheckpointStore {
        control.checkpoints().unwrap_or(&*self.store)
    }
}

/// Checks that a version can replace another one: same name, greater version.
pub(super) fn check_successor(
    (name, version): (&'static str, u32),
    (old_name, old_version): (&'static str, u32),
) -> Result<(), StartError> {
    match name == old_name && version > old_version {
        true => Ok(()),
        false => {
            let old = format!("{old_name}@{old_version}");
            Err(StartError::NoSuccessor { name, version, old })
        }
    }
}

impl Drop for Running {
    /// Stops an application that is no longer referenced, even without `shutdown`. Callers of
    /// commands in flight get `Unknown`, and read models resume from their checkpoints.
    fn drop(&mut self) {
        self.tail.stop();
        self.arbiters.halt();
    }
}
