//! Event handlers of an application: registration.

use std::sync::Arc;

use super::builder::ApplicationBuilder;
use super::running::Running;
use crate::error::StartError;
use crate::partition::Pacing;
use crate::reaction::StartPosition;
use crate::reaction::handler::{EventHandler, StartHandler, start_handler};
use crate::read_model::check_name;

impl ApplicationBuilder {
    /// Registers an event handler. `from` counts when the handler starts for the first time on this
    /// log; after that it continues from its checkpoint.
    ///
    /// ```
    /// # mod tour { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/tour.txt")); }
    /// # use tour::*;
    /// use actum::{Application, Attempt, BoxError, EventEnvelope, EventHandler};
    /// use actum::{EventSources, StartPosition};
    ///
    /// struct Announce;
    ///
    /// #[async_trait::async_trait]
    /// impl EventHandler for Announce {
    ///     const NAME: &'static str = "announce";
    ///     type Event = EventEnvelope<Event>;
    ///
    ///     fn sources() -> EventSources<Self::Event> {
    ///         EventSources::of::<Account>()
    ///     }
    ///
    ///     async fn handle(&self, event: &Self::Event, _: &Attempt) -> Result<(), BoxError> {
    ///         println!("account {}: {:?}", event.key(), event.event);
    ///         Ok(())
    ///     }
    /// }
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), BoxError> {
    /// let app = Application::builder(actum::open("memory:").await?)
    ///     .aggregate::<Account>()
    ///     .event_handler(Announce, StartPosition::Now)
    ///     .start()
    ///     .await?;
    /// # app.shutdown().await;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn event_handler(self, handler: impl EventHandler, from: StartPosition) -> Self {
        self.part(Box::new(move |parts| Box::pin(parts.add_event_handler(handler, from))))
    }
}

impl Running {
    async fn add_event_handler<H: EventHandler>(
        &mut self,
        handler: H,
        from: StartPosition,
    ) -> Result<(), StartError> {
        check_name(H::NAME)?;
        self.check_name_is_new(H::NAME)?;
        let spawning = Arc::clone(&self.arbiters);
        let start = StartHandler {
            renewer: self.renewer.clone(),
            tail: self.tail.clone(),
            pacing: Pacing::default(),
            clock: Arc::clone(&self.clock),
            spawn: Arc::new(move |task| spawning.spawn(0, task)),
        };
        self.read_side.push(Arc::new(start_handler(handler, from, start).await?));
        Ok(())
    }
}
