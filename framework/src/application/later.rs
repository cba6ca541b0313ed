//! Commands that are answered later: accepted, asked after, and followed.

use std::any::{Any, TypeId};
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::Application;
use super::builder::ApplicationBuilder;
use super::running::Running;
use crate::actor::Router;
use crate::aggregate::Aggregate;
use crate::command::{CommandKey, CommandOptions};
use crate::error::{CommandError, ReadError, StartError};
use crate::later::{
    self, Acceptance, AcceptedCommand, CarriesOut, Change, CommandStatus, Executor, Key,
    NotAccepted,
};
use crate::refusal::RefusalCode;
use crate::stream::{StreamId, StreamVersion};

/// Command ids that are made of keys are made in here; another one would make other ids.
const NAMESPACE: Uuid = Uuid::from_u128(0x3b0c_61f2_8d5e_4a57_b7d4_92e6_0f1a_c83d);

impl ApplicationBuilder {
    /// Lets commands of the aggregate `A` be answered later, by [`Application::execute_later`]: they
    /// are stored as JSON, so a release must read those of the one before. `A` needs `.aggregate`
    /// as well.
    #[must_use]
    pub fn answers_later<A>(self) -> Self
    where
        A: Aggregate<Command: Serialize + DeserializeOwned, Error: RefusalCode>,
    {
        self.part(Box::new(|parts| Box::pin(async move { parts.answer_later::<A>() })))
    }
}

impl Application {
    /// Stores a command and answers its id at once. It is carried out after that, once, whatever
    /// happens meanwhile, in the order in which commands of one aggregate were accepted. What becomes
    /// of it is told by [`Application::command`], and as it happens by `follow::<AcceptedCommand>`.
    ///
    /// The same key gives the same id, and it is carried out under that key: also a caller who asks
    /// again by [`Application::execute_with`] is answered with its outcome. Whoever gives the URL of a
    /// `callback` is told by a signed message, if the application [calls back](ApplicationBuilder).
    ///
    /// # Errors
    /// [`CommandError`]; it is never `Refused`. With `Unknown` it is open whether it was accepted.
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
        let target = StreamId::new(A::TYPE, id)?;
        if !self.inner.answers_later.contains_key(A::TYPE) {
            return Err(CommandError::NotRegistered(A::TYPE));
        }
        let command = serde_json::to_value(command).map_err(|error| {
            let reason = format!("the command is no JSON: {error}");
            CommandError::Unstorable { stream: target.clone(), reason }
        })?;
        let (id, key) = match options.key {
            Some(key) => (Uuid::new_v5(&NAMESPACE, key.id.as_bytes()), key),
            None => {
                let id = self.inner.clock.new_id();
                (id, CommandKey::new(id.to_string(), &[])?)
            }
        };
        let acceptance = Acceptance {
            aggregate_type: A::TYPE.to_owned(),
            aggregate_id: target.id().to_owned(),
            command,
            key: Key::from(&key),
            expected: options.expected,
            callback,
        };
        let accept = Change::Accept(Box::new(acceptance));
        let options = CommandOptions { metadata: options.metadata, ..CommandOptions::default() };
        let accepted = self.execute_with::<AcceptedCommand>(&id.to_string(), accept, options).await;
        crate::crash::point("later.accepted");
        match accepted {
            Ok(_) => Ok(id),
            Err(error) => Err(error.map_refused(|refused| match refused {
                NotAccepted::KeyReused | NotAccepted::Unknown => {
                    CommandError::KeyReused { id: key.id.clone() }
                }
            })),
        }
    }

    /// What became of the command with this id, as the log has it now, in whichever process.
    ///
    /// # Errors
    /// [`ReadError`]; `NotFound` if nothing was accepted under this id.
    pub async fn command(&self, id: &str) -> Result<CommandStatus, ReadError> {
        let events =
            self.history::<AcceptedCommand>(id, StreamVersion::ZERO, later::MOST_EVENTS).await?;
        let not_found = || ReadError::NotFound { model: AcceptedCommand::TYPE, key: id.to_owned() };
        CommandStatus::of(&events).ok_or_else(not_found)
    }
}

impl Running {
    fn answer_later<A>(&mut self) -> Result<(), StartError>
    where
        A: Aggregate<Command: DeserializeOwned, Error: RefusalCode>,
    {
        let make: Make = |running| Some(Arc::new(CarriesOut::new(running.router_of::<A>()?)));
        match self.answers_later.insert(A::TYPE, make) {
            None => Ok(()),
            Some(_) => Err(StartError::Twice(A::TYPE)),
        }
    }

    fn router_of<A: Aggregate>(&self) -> Option<Arc<Router<A>>> {
        let any: Arc<dyn Any + Send + Sync> = self.routers.get(&TypeId::of::<A>())?.clone();
        any.downcast().ok()
    }

    /// Starts what carries out accepted commands, once all aggregates are known.
    ///
    /// # Errors
    /// The store did not answer, or a checkpoint does not belong to this log.
    pub(super) async fn start_later(&mut self) -> Result<(), StartError> {
        if self.answers_later.is_empty() {
            return Ok(());
        }
        let Some(commands) = self.accepted_commands()? else { return Ok(()) };
        let able = self.answers_later.iter();
        let by_type = able.filter_map(|(name, make)| Some((*name, make(self)?))).collect();
        let executor = Executor { store: Arc::clone(&self.store), commands, by_type };
        self.react(executor).await
    }

    /// The aggregate of accepted commands, added by whoever asks first.
    pub(super) fn accepted_commands(
        &mut self,
    ) -> Result<Option<Arc<Router<AcceptedCommand>>>, StartError> {
        if !self.routers.contains_key(&TypeId::of::<AcceptedCommand>()) {
            self.add_aggregate::<AcceptedCommand>()?;
        }
        Ok(self.router_of())
    }

    pub(super) async fn react(&mut self, reaction: impl later::Reaction) -> Result<(), StartError> {
        let (store, tail) = (Arc::clone(&self.store), self.tail.clone());
        let start = later::Start { store, tail, process: self.process };
        self.read_side.push(Arc::new(later::start(reaction, start).await?));
        Ok(())
    }
}

/// Makes what carries out stored commands of one type, once its router is there.
pub(super) type Make = fn(&Running) -> Option<Arc<dyn later::CarryOut>>;
