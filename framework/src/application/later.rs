//! Deferred commands: accepted within limits, looked up, concluded by an operator, and carried out.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use time::OffsetDateTime;
use uuid::Uuid;

use super::Application;
use super::builder::ApplicationBuilder;
use super::running::Running;
use crate::aggregate::{Aggregate, Router};
use crate::clock::clamped;
use crate::command::{CommandKey, CommandOptions, RefusalCode};
use crate::deferred::{
    Acceptance, AcceptedCommand, CarriesOut, Change, CommandEvent, CommandStatus, Entered,
    Executor, Full, Key, NotAccepted, OpenCommands,
};
use crate::error::{CommandError, ReadError, StartError};
use crate::event::{EventEnvelope, GlobalPosition, StreamId, StreamVersion};
use crate::partition::Pacing;
use crate::reaction::{Reaction, Worker, open_work};
use crate::store::contract::{Filter, PageLimit, PartitionId};
use crate::subscription::verify;
use crate::{deferred, reaction};

impl ApplicationBuilder {
    /// Allows commands of the aggregate `A` to be deferred with [`Application::execute_later`].
    /// They are stored as JSON, so a release must be able to read those of the previous release. A
    /// command that it cannot read stays open for a release that can. `A` must be registered with
    /// `.aggregate` too.
    #[must_use]
    pub fn answers_later<A>(self) -> Self
    where
        A: Aggregate<Command: Serialize + DeserializeOwned, Error: RefusalCode>,
    {
        self.part(Box::new(|parts| Box::pin(async move { parts.answer_later::<A>() })))
    }
}

impl Application {
    /// Stores a command and returns its id at once. The command is carried out later, exactly once,
    /// in the order in which commands of one aggregate were accepted. [`Application::command`]
    /// returns its status.
    ///
    /// The same key gives the same id. The command and its refusal are stored under that key. So
    /// [`Application::execute_with`] with the same key returns the same outcome, or `StillRunning`
    /// if the aggregate would refuse it while the deferred command is still open. If `callback` is
    /// set and the application has [callbacks](ApplicationBuilder), the outcome is sent to that URL
    /// in a signed message.
    ///
    /// # Errors
    /// [`CommandError`], but never `Refused`. `ClientLimit` and `Overloaded` beyond
    /// `Settings::deferred_per_client` and `Settings::deferred_commands`. `Unstorable` if the
    /// command is not equal after encoding and decoding as JSON. After `Unknown`, retry with the
    /// same key to learn if the command was accepted.
    pub async fn execute_later<A>(
        &self,
        id: &str,
        command: &A::Command,
        options: CommandOptions,
        callback: Option<String>,
    ) -> Result<Uuid, CommandError<A::Error>>
    where
        A: Aggregate<Command: Serialize + DeserializeOwned, Error: RefusalCode>,
    {
        self.defer::<A>(id, command, options, callback).await
    }

    /// Returns true if commands of `A` can be deferred, because the builder has
    /// [`answers_later`](crate::ApplicationBuilder::answers_later) for it.
    pub fn answers_later<A: Aggregate>(&self) -> bool {
        self.inner.answers_later.contains_key(A::TYPE)
    }

    /// As [`Application::execute_later`]; the registration knows how a command is stored.
    pub(crate) async fn defer<A: Aggregate>(
        &self,
        id: &str,
        command: &A::Command,
        options: CommandOptions,
        callback: Option<String>,
    ) -> Result<Uuid, CommandError<A::Error>> {
        self.defer_until::<A>(id, command, options, (callback, None)).await
    }

    /// The same, carried out at a time.
    pub(super) async fn defer_until<A: Aggregate>(
        &self,
        id: &str,
        command: &A::Command,
        options: CommandOptions,
        (callback, not_before): (Option<String>, Option<OffsetDateTime>),
    ) -> Result<Uuid, CommandError<A::Error>> {
        let target = StreamId::new(A::TYPE, id)?;
        let deferrable = self.inner.answers_later.get(A::TYPE);
        let encode = deferrable.ok_or(CommandError::NotRegistered(A::TYPE))?.encode;
        let command = encode(command)
            .map_err(|reason| CommandError::Unstorable { stream: target.clone(), reason })?;
        let (id, key) = match options.key {
            Some(key) => (key.deferred_id(), key),
            // The executor needs a key to repeat the command safely, so its own id becomes the key.
            None => {
                let id = self.inner.clock.new_id();
                (id, CommandKey::new(id.to_string(), &[])?)
            }
        };
        let client = options.metadata.actor.clone();
        let entered = self.enter(&id.to_string(), client.as_deref(), callback.is_some()).await?;
        let acceptance = Acceptance {
            aggregate_type: A::TYPE.to_owned(),
            aggregate_id: target.id().to_owned(),
            command,
            key: Key::from(&key),
            expected: options.expected,
            callback,
            client,
            not_before: not_before.map(clamped),
        };
        let accept = Change::Accept(Box::new(acceptance));
        let options = CommandOptions { metadata: options.metadata, ..CommandOptions::default() };
        let accepted = self.execute_with::<AcceptedCommand>(&id.to_string(), accept, options).await;
        crate::failpoints::point("later.accepted");
        match accepted {
            Ok(committed) => {
                entered.accepted(committed.position);
                Ok(id)
            }
            Err(error) => Err(error.map_refused(|refused| match refused {
                NotAccepted::KeyReused | NotAccepted::Unknown => {
                    CommandError::KeyReused { id: key.id.clone() }
                }
            })),
        }
    }

    /// Counts the command, unless it was accepted before.
    async fn enter<E>(
        &self,
        id: &str,
        client: Option<&str>,
        has_callback: bool,
    ) -> Result<Entered, CommandError<E>> {
        let commands =
            self.inner.open_commands.as_ref().ok_or(CommandError::NotRegistered("command"))?;
        let full = match commands.enter(id, client, has_callback) {
            Ok(entered) => return Ok(entered),
            Err(full) => full,
        };
        // A retry of an accepted command opens nothing new, so it is not limited.
        let stream = StreamId::new(AcceptedCommand::TYPE, id)?;
        let before =
            self.inner.store.read_stream(&stream, StreamVersion::ZERO, PageLimit::events(1)).await;
        match (before.map_err(CommandError::Unavailable)?.is_empty(), full) {
            (false, _) => Ok(commands.known(id)),
            (true, Full::Client) => {
                let what = "this client has too many open deferred commands";
                Err(CommandError::ClientLimit(what))
            }
            (true, Full::Total) => {
                Err(CommandError::Overloaded("too many deferred commands are open"))
            }
        }
    }

    /// Returns the current status of the command with this id, from any process.
    ///
    /// # Errors
    /// [`ReadError`]; `NotFound` if no command was accepted under this id.
    pub async fn command(&self, id: &str) -> Result<CommandStatus, ReadError> {
        let reflects = *self.inner.store.watch_head().borrow();
        let events = self.command_events(id).await?;
        let not_found =
            || ReadError::NotFound { model: AcceptedCommand::TYPE, key: id.to_owned(), reflects };
        CommandStatus::of(&events).ok_or_else(not_found)
    }

    /// Returns all events of the command with this id.
    pub(super) async fn command_events(
        &self,
        id: &str,
    ) -> Result<Vec<EventEnvelope<CommandEvent>>, ReadError> {
        let most = deferred::MOST_EVENTS;
        let mut events = self.history::<AcceptedCommand>(id, StreamVersion::ZERO, most).await?;
        // The first event contains the command and may fill a page. The other events are small.
        if let Some(last) = events.last().map(|last| last.version) {
            let rest = self.history::<AcceptedCommand>(id, last, most - events.len()).await?;
            events.extend(rest);
        }
        Ok(events)
    }
}

impl Running {
    fn answer_later<A>(&mut self) -> Result<(), StartError>
    where
        A: Aggregate<Command: Serialize + DeserializeOwned, Error: RefusalCode>,
    {
        let deferrable = Deferrable {
            make: |running| Some(Arc::new(CarriesOut::new(running.router_of::<A>()?))),
            encode: |command| match command.downcast_ref::<A::Command>() {
                Some(command) => deferred::encode(command),
                None => Err("it is no command of this aggregate type".to_owned()),
            },
        };
        match self.answers_later.insert(A::TYPE, deferrable) {
            None => Ok(()),
            Some(_) => Err(StartError::AlreadyRegistered(A::TYPE)),
        }
    }

    pub(super) fn router_of<A: Aggregate>(&self) -> Option<Arc<Router<A>>> {
        let any: Arc<dyn Any + Send + Sync> = self.routers.get(&TypeId::of::<A>())?.clone();
        any.downcast().ok()
    }

    /// Starts the executor of deferred commands, after all aggregates have been registered.
    ///
    /// # Errors
    /// The store is not available, a checkpoint does not belong to this log, or an aggregate is
    /// missing.
    pub(super) async fn start_later(&mut self) -> Result<(), StartError> {
        if self.answers_later.is_empty() {
            return Ok(());
        }
        let Some(commands) = self.accepted_commands()? else { return Ok(()) };
        let mut by_type = HashMap::new();
        for (name, deferrable) in &self.answers_later {
            by_type.insert(*name, (deferrable.make)(self).ok_or(StartError::NoAggregate(name))?);
        }
        let executor = Executor { store: Arc::clone(&self.store), commands, by_type };
        self.react(executor).await?;
        self.count_open_commands().await
    }

    /// Starts to count open commands: those that the reactions have stored, and the log after their
    /// checkpoints.
    async fn count_open_commands(&mut self) -> Result<(), StartError> {
        let names = [Executor::NAME].into_iter().chain(self.callbacks);
        let partitions: Vec<_> =
            names.map(|name| PartitionId::new(format!("{name}@1"), 0)).collect();
        let mut from: Option<GlobalPosition> = None;
        for id in &partitions {
            let checkpoint = self.store.load_checkpoint(id).await?;
            let position = verify(&*self.store, &id.to_string(), checkpoint).await?;
            from = Some(from.map_or(position, |from| from.min(position)));
        }
        let (from, settings) = (from.unwrap_or_default(), &self.settings);
        let commands = OpenCommands::new(
            settings.deferred_commands,
            settings.deferred_per_client,
            self.callbacks.is_some(),
            from,
        );
        // After the checkpoints, because their owners save meanwhile: what is closed by then was
        // closed by an event that is read, or never was open after `from`.
        for id in &partitions {
            open_work::load(&*self.store, id, |work| commands.add(&work)).await?;
        }
        let filter = Filter { aggregate_types: vec![AcceptedCommand::TYPE.to_owned()] };
        let subscription = self.tail.subscribe("open_commands", filter, from);
        let following = Arc::clone(&commands).follow(subscription);
        self.worker()?.spawn(Box::pin(following));
        self.open_commands = Some(commands);
        Ok(())
    }

    /// Returns the thread of the reactions, and starts it when the first reaction needs it.
    fn worker(&mut self) -> Result<&Arc<Worker>, StartError> {
        if self.worker.is_none() {
            self.worker = Some(Arc::new(Worker::start()?));
        }
        // Cannot fail, because it was set above.
        self.worker.as_ref().ok_or_else(|| StartError::Thread("no reactions".to_owned()))
    }

    /// Returns the router of accepted commands, and registers the aggregate on the first call.
    pub(super) fn accepted_commands(
        &mut self,
    ) -> Result<Option<Arc<Router<AcceptedCommand>>>, StartError> {
        if !self.routers.contains_key(&TypeId::of::<AcceptedCommand>()) {
            self.add_aggregate::<AcceptedCommand>()?;
        }
        Ok(self.router_of())
    }

    pub(super) async fn react<R: Reaction>(&mut self, reaction: R) -> Result<(), StartError> {
        self.check_name_is_new(R::NAME)?;
        let worker = Arc::downgrade(self.worker()?);
        let spawn = Arc::new(move |task| {
            if let Some(worker) = worker.upgrade() {
                worker.spawn(task);
            }
        });
        let (renewer, tail, pacing) = (self.renewer.clone(), self.tail.clone(), Pacing::default());
        let clock = Arc::clone(&self.clock);
        let start = reaction::Start { renewer, tail, pacing, clock, spawn };
        self.read_side.push(Arc::new(reaction::start(reaction, start).await?));
        Ok(())
    }
}

/// An aggregate type whose commands can be deferred.
pub(super) struct Deferrable {
    /// Creates the executor for stored commands, after the router was created.
    make: fn(&Running) -> Option<Arc<dyn deferred::CarryOut>>,
    /// Encodes a command, which must be of the aggregate type.
    encode: fn(&dyn Any) -> Result<serde_json::Value, String>,
}
