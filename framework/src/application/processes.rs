//! Process managers of an application: registration, and the story of an instance.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;

use super::builder::ApplicationBuilder;
use super::running::Running;
use super::{Application, Operations};
use crate::error::{OperationError, ReadError, StartError};
use crate::partition::{Followers, Pacing};
use crate::process::{Dispatcher, ProcessInputs, ProcessManager, Start, Story, start, story};
use crate::reaction::StartPosition;
use crate::read_model::check_name;

impl ApplicationBuilder {
    /// Registers the process manager `P`. It resumes from its checkpoint; a new one begins at `from`.
    /// Register the aggregates that it commands with `.aggregate`, before or after it.
    #[must_use]
    pub fn process_manager<P: ProcessManager>(mut self, from: StartPosition) -> Self {
        // After all aggregates, because it commands them.
        self.last_parts.push(Box::new(move |parts| Box::pin(parts.add_process_manager::<P>(from))));
        self
    }
}

impl Application {
    /// Returns the story of an instance of the process manager `P`, as it was last saved.
    ///
    /// # Errors
    /// [`ReadError::NotFound`] if there is no such instance yet; [`ReadError::Unavailable`] if the store
    /// did not reply.
    pub async fn story<P: ProcessManager>(&self, key: &str) -> Result<Story<P>, ReadError> {
        self.inner.check_history()?;
        let reflects = *self.inner.store.watch_head().borrow();
        let found = story(&*self.inner.store, (P::NAME, P::PARTITIONS), key).await?;
        let not_found = || ReadError::NotFound { model: P::NAME, key: key.to_owned(), reflects };
        found.ok_or_else(not_found)
    }
}

impl Operations<'_> {
    /// Returns the story of an instance of the process manager with this name, as it was last saved. Its
    /// state is the stored JSON, so operators need not know the type.
    ///
    /// # Errors
    /// [`OperationError`]: `Unknown` if no process manager has this name, `UnknownInstance` if there is no
    /// such instance yet, and `Unavailable` if the store is not available.
    pub async fn story(&self, name: &str, key: &str) -> Result<Story<Value>, OperationError> {
        let (control, _) = self.control(name)?;
        let Followers { name, progress, derives_keys, .. } = control.followers();
        if !derives_keys {
            return Err(OperationError::Unknown { name: (*name).to_owned() });
        }
        let process = (*name, progress.len() as u32);
        let unknown =
            || OperationError::UnknownInstance { name: (*name).to_owned(), key: key.to_owned() };
        story(&*self.app.inner.store, process, key).await?.ok_or_else(unknown)
    }
}

impl Running {
    async fn add_process_manager<P: ProcessManager>(
        &mut self,
        from: StartPosition,
    ) -> Result<(), StartError> {
        check_name(P::NAME)?;
        self.check_new(P::NAME, 1)?;
        if !self.routers.contains_key(&TypeId::of::<ProcessInputs>()) {
            self.add_aggregate::<ProcessInputs>()?;
        }
        let mut targets = HashMap::new();
        for target in P::correlation().targets() {
            let router = self.routers.get(&target.type_id).cloned();
            let router = router.map(|router| router as Arc<dyn Any + Send + Sync>);
            let carries_out = router.and_then(|router| target.carries_out(router));
            let missing = StartError::NoAggregate(target.aggregate_type);
            targets.insert(target.aggregate_type, carries_out.ok_or(missing)?);
        }
        let inputs = self.router_of::<ProcessInputs>();
        let inputs = inputs.ok_or(StartError::NoAggregate("process"))?;
        let dispatcher = Dispatcher { store: Arc::clone(&self.store), inputs, targets };
        let arbiters = Arc::clone(&self.arbiters);
        let parts = Start {
            renewer: self.renewer.clone(),
            tail: self.tail.clone(),
            pacing: Pacing::default(),
            clock: Arc::clone(&self.clock),
            dispatcher,
            from,
            spawn: Arc::new(move |task| arbiters.spawn(0, task)),
        };
        self.read_side.push(Arc::new(start::<P>(parts).await?));
        Ok(())
    }
}
