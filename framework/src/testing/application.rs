//! A whole application in memory, on a clock that the test moves: it settles, crashes and starts again.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;

use super::clock::ManualClock;
use crate::application::{Application, ApplicationBuilder};
use crate::clock::Clock;
use crate::event::{GlobalPosition, RecordedEvent};
use crate::store::contract::{EventStore, Filter, PageLimit};
use crate::store::memory::MemoryStore;

/// Longest time that an application may need to settle.
const SETTLES_WITHIN: Duration = Duration::from_secs(30);

/// Pause between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// An application in memory on a [`ManualClock`], with its process managers, handlers and scheduled
/// commands. Dereferences to [`Application`].
///
/// ```
/// # mod tour { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/tour.txt")); }
/// # use tour::{Account, Command};
/// # impl actum::RefusalCode for tour::InsufficientFunds {}
/// use std::time::Duration;
///
/// use actum::CommandOptions;
/// use actum::testing::TestApplication;
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), actum::BoxError> {
/// let mut app = TestApplication::start(|builder| {
///     builder.aggregate::<Account>().answers_later::<Account>()
/// })
/// .await;
/// let tomorrow = app.now() + Duration::from_secs(24 * 60 * 60);
/// let options = CommandOptions::default();
/// app.schedule::<Account>("42", &Command::Credit { cents: 5 }, tomorrow, options).await?;
/// app.crash().await;
/// assert_eq!(app.load::<Account>("42").await?.cents, 0);
/// app.advance(Duration::from_secs(24 * 60 * 60)).await;
/// assert_eq!(app.load::<Account>("42").await?.cents, 5);
/// # Ok(()) }
/// ```
pub struct TestApplication {
    store: MemoryStore,
    clock: ManualClock,
    build: Box<dyn Fn(ApplicationBuilder) -> ApplicationBuilder + Send + Sync>,
    app: Option<Application>,
}

impl TestApplication {
    /// Starts an application with an empty log at the beginning of 2000. `build` registers its parts, and
    /// is called again after a crash.
    ///
    /// # Panics
    /// The application does not start.
    pub async fn start(
        build: impl Fn(ApplicationBuilder) -> ApplicationBuilder + Send + Sync + 'static,
    ) -> Self {
        let clock = ManualClock::new();
        clock.advance(Duration::from_secs(10_957 * 24 * 60 * 60));
        let store = MemoryStore::with_clock(clock.clone());
        let mut app = Self { store, clock, build: Box::new(build), app: None };
        app.restart().await;
        app
    }

    async fn restart(&mut self) {
        let builder = Application::builder(self.store.clone()).clock(self.clock.clone());
        match (self.build)(builder).start().await {
            Ok(app) => self.app = Some(app),
            Err(error) => panic!("the application does not start: {error}"),
        }
    }

    /// Time that the clock shows.
    pub fn now(&self) -> OffsetDateTime {
        self.clock.now()
    }

    /// Waits until nothing is left to do: everything that follows the log has reached its head, and every
    /// command that it led to is carried out. What waits for a time waits on.
    ///
    /// # Panics
    /// There is still something to do after 30 s, such as a command that is retried for ever.
    pub async fn settle(&self) {
        let settled = async {
            // Twice, because a handler may have begun between the two looks of one.
            let mut looks = 0;
            while looks < 2 {
                let is_settled = self.is_settled().await.unwrap_or_default();
                looks = if is_settled { looks + 1 } else { 0 };
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        let settled = tokio::time::timeout(SETTLES_WITHIN, settled).await;
        assert!(settled.is_ok(), "the application does not settle: {:?}", self.story().await);
    }

    /// Settles, moves the clock, and settles again: everything that is due by then has happened.
    pub async fn advance(&self, by: Duration) {
        self.settle().await;
        self.clock.advance(by);
        self.settle().await;
    }

    /// Ends the application without a shutdown, so that nothing more is saved, and starts it again on the
    /// same log.
    pub async fn crash(&mut self) {
        self.app = None;
        self.restart().await;
    }

    /// All events of the log in words, such as `account-42: Credited {"cents":5}`.
    pub async fn story(&self) -> Vec<String> {
        let (mut story, mut after) = (Vec::new(), GlobalPosition::ZERO);
        let limit = PageLimit::events(1_000);
        // The memory store always replies.
        while let Ok(page) = self.store.read_all(after, &Filter::all(), limit).await {
            let in_words = |event: &Arc<RecordedEvent>| {
                let RecordedEvent { stream, event_type, payload, .. } = &**event;
                format!("{stream}: {event_type} {payload}")
            };
            story.extend(page.events.iter().map(in_words));
            if page.scanned_to <= after {
                break;
            }
            after = page.scanned_to;
        }
        story
    }
}

impl Deref for TestApplication {
    type Target = Application;

    fn deref(&self) -> &Application {
        match &self.app {
            Some(app) => app,
            None => panic!("it is being started again"),
        }
    }
}
