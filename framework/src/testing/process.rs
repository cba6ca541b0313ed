//! Tests of process managers by values: given events, when an event comes, then effects.
//!
//! The folder of production folds each event, and the instance is stored and loaded after it. So a state
//! that cannot be stored fails in its first test.

use std::fmt::{Debug, Display, Write};
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Instant;

use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::stored::{encoded, stream};
use crate::aggregate::Aggregate;
use crate::event::codec::EventCodec;
use crate::event::{GlobalPosition, Metadata, RecordedEvent, StreamId, StreamVersion};
use crate::partition::Reached;
use crate::partition::parking::{Parking, ParkingSettings};
use crate::process::input::{self, ProcessInput, ProcessInputs};
use crate::process::instance::{Instance, Out, PROCESS};
use crate::process::{Effects, ProcessManager, Reacts, Refused, Step};
use crate::read_model::{Changes, Folder, ReadModel};
use crate::store::contract::{Page, partition_of};

/// One instance of the process manager `P`, and the events that it has handled.
///
/// Expected effects are written as the process manager writes them. Events are recorded one second apart,
/// starting at the beginning of 2000.
///
/// ```
/// # mod tour { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/tour.txt")); }
/// # use tour::{Account, Command, Event};
/// # use serde::{Deserialize, Serialize};
/// # impl actum::RefusalCode for tour::InsufficientFunds {}
/// # use std::time::Duration;
/// # use actum::{Correlation, Effects, EventEnvelope, ProcessManager, Reacts, Refused};
/// # #[derive(Debug, Default, Clone, Serialize, Deserialize)]
/// # struct Fee { is_due: bool }
/// # impl ProcessManager for Fee {
/// #     const NAME: &'static str = "fee";
/// #     type Deadline = ();
/// #     fn correlation() -> Correlation<Self> {
/// #         Correlation::starts::<Account>().commands::<Account>()
/// #     }
/// #     fn refused(&mut self, _: &Refused, effects: &mut Effects<Self>) { effects.complete(); }
/// #     fn due(&mut self, (): (), effects: &mut Effects<Self>) {
/// #         effects.execute::<Account>(effects.key().to_owned(), &Command::Withdraw { cents: 100 });
/// #     }
/// # }
/// # impl Reacts<Account> for Fee {
/// #     fn on(&mut self, event: &EventEnvelope<Event>, effects: &mut Effects<Self>) {
/// #         if !std::mem::replace(&mut self.is_due, true) {
/// #             let month = Duration::from_secs(30 * 24 * 60 * 60);
/// #             effects.deadline("fee", event.recorded_at + month, &());
/// #         }
/// #     }
/// # }
/// use actum::testing::ProcessScenario;
///
/// ProcessScenario::<Fee>::of("42")
///     .given::<Account>("42", Event::Credited { cents: 500 })
///     .when_due("fee")
///     .then(|effects| effects.execute::<Account>("42", &Command::Withdraw { cents: 100 }))
///     .when_refused::<Account>("42", "insufficient_funds")
///     .then(|effects| effects.complete());
/// ```
pub struct ProcessScenario<P> {
    key: String,
    actor: Option<String>,
    handled: Vec<String>,
    position: u64,
    /// The instance as JSON, as it is stored.
    saved: Option<String>,
    last: Option<Last>,
    process: PhantomData<fn() -> P>,
}

/// The last event, and the instance before it.
struct Last {
    event: Arc<RecordedEvent>,
    before: Option<String>,
    /// Name of the deadline that the event is about.
    reached: Option<String>,
    /// Effects of the event.
    outbox: Vec<Out>,
}

impl<P: ProcessManager> ProcessScenario<P> {
    /// The instance with this key, before its first event.
    #[must_use]
    pub fn of(key: &str) -> Self {
        Self {
            key: key.to_owned(),
            actor: None,
            handled: Vec::new(),
            position: 0,
            saved: None,
            last: None,
            process: PhantomData,
        }
    }

    /// Sets the actor of the events that follow, such as `user:ada`.
    #[must_use]
    pub fn actor(mut self, actor: &str) -> Self {
        self.actor = Some(actor.to_owned());
        self
    }

    /// Handles a past event of the aggregate `A` with this id. An event of an aggregate that is followed
    /// with [`Correlation::and_caused`](crate::Correlation::and_caused) counts as caused by this instance.
    #[must_use]
    #[track_caller]
    pub fn given<A: Aggregate>(self, id: &str, event: A::Event) -> Self
    where
        P: Reacts<A>,
        A::Event: Debug + PartialEq,
    {
        self.when::<A>(id, event)
    }

    /// Handles an event of the aggregate `A` with this id.
    #[must_use = "say what is expected: .then(|effects| …)"]
    #[track_caller]
    pub fn when<A: Aggregate>(self, id: &str, event: A::Event) -> Self
    where
        P: Reacts<A>,
        A::Event: Debug + PartialEq,
    {
        self.happens::<A>(stream(A::TYPE, id), &event, None)
    }

    /// Handles the refusal of a command to the aggregate `A` with this id.
    #[must_use = "say what is expected: .then(|effects| …)"]
    #[track_caller]
    pub fn when_refused<A: Aggregate>(self, id: &str, code: &str) -> Self {
        let refused = Refused::new(self.step::<A>(id), code, code);
        self.input(ProcessInput::Refused(refused), None)
    }

    /// Handles a command to the aggregate `A` with this id that was carried out and stored no event.
    #[must_use = "say what is expected: .then(|effects| …)"]
    #[track_caller]
    pub fn when_unchanged<A: Aggregate>(self, id: &str) -> Self {
        let step = self.step::<A>(id);
        self.input(ProcessInput::Unchanged(step), None)
    }

    /// Handles the deadline of this name, at its time.
    ///
    /// # Panics
    /// No deadline of this name is set.
    #[must_use = "say what is expected: .then(|effects| …)"]
    #[track_caller]
    pub fn when_due(self, name: &str) -> Self {
        let instance = self.instance(self.saved.as_deref());
        let Some((step, _)) = instance.deadline(name) else {
            panic!("{}\n  no deadline {name:?} is set", self.story())
        };
        self.input(ProcessInput::DeadlineReached { step: step.to_owned() }, Some(name.to_owned()))
    }

    /// Asserts that the last event had these effects in this order, and no others.
    #[track_caller]
    pub fn then(self, expected: impl FnOnce(&mut Effects<P>)) -> Self {
        let Some(Last { event, before, reached, outbox }) = &self.last else {
            panic!("nothing has happened yet: add .when::<…>(…)")
        };
        let mut effects = Effects::new(&self.key, event.recorded_at);
        expected(&mut effects);
        let mut had = self.instance(self.saved.as_deref());
        had.outbox.clone_from(outbox);
        let before = self.instance(before.as_deref());
        let effects = (reached.as_deref(), effects);
        let expected = before.with_effects(&self.key, event, effects);
        let (had, expected) = (had.shown(), expected.shown());
        if had != expected {
            let (had, expected) = (had.join("\n    "), expected.join("\n    "));
            panic!("{}\n  expected:\n    {expected}\n  was:\n    {had}", self.story());
        }
        self
    }

    /// Passes the state to `assert`.
    #[track_caller]
    pub fn then_state(self, assert: impl FnOnce(&P)) -> Self {
        assert(self.instance(self.saved.as_deref()).state());
        self
    }

    fn step<A: Aggregate>(&self, id: &str) -> Step {
        let (aggregate_type, aggregate_id) = (A::TYPE.to_owned(), id.to_owned());
        Step { id: "test".to_owned(), aggregate_type, aggregate_id }
    }

    #[track_caller]
    fn input(self, input: ProcessInput, reached: Option<String>) -> Self {
        let stream = match input::stream(P::NAME, &self.key) {
            Ok(stream) => stream,
            Err(error) => panic!("{:?} cannot be the key of an instance: {error}", self.key),
        };
        self.happens::<ProcessInputs>(stream, &input, reached)
    }

    #[track_caller]
    fn happens<A: Aggregate<Event: Debug + PartialEq>>(
        mut self,
        stream: StreamId,
        event: &A::Event,
        reached: Option<String>,
    ) -> Self {
        self.handled.push(format!("{stream}: {event:?}"));
        let (encoded, _) = encoded(&EventCodec::new(A::upcasters()), event);
        self.position += 1;
        let mut metadata = Metadata { actor: self.actor.clone(), ..Metadata::default() };
        metadata.extra.insert(PROCESS.to_owned(), format!("{}/0/0/{}", P::NAME, self.key));
        let at = OffsetDateTime::UNIX_EPOCH + Duration::days(10_957);
        let at = at + Duration::seconds(self.position as i64 - 1);
        let instance = self.instance(self.saved.as_deref());
        let due = reached.as_deref().and_then(|name| instance.deadline(name));
        let at = due.map_or(at, |(_, due)| due);
        let event = Arc::new(RecordedEvent {
            position: GlobalPosition(self.position),
            stream,
            version: StreamVersion(self.position),
            event_id: Uuid::from_u128(u128::from(self.position)),
            event_type: encoded.event_type.to_owned(),
            schema_version: encoded.schema_version,
            payload: encoded.payload,
            // Texts are always JSON.
            metadata: serde_json::to_string(&metadata).unwrap_or_default(),
            recorded_at: at,
        });
        let before = self.saved.clone();
        let outbox = self.fold(&event);
        self.last = Some(Last { event, before, reached, outbox });
        self
    }

    /// Folds one event into the instance as it is stored, and stores it again.
    #[track_caller]
    fn fold(&mut self, event: &Arc<RecordedEvent>) -> Vec<Out> {
        let partition = partition_of(&self.key, P::PARTITIONS);
        let before = Reached::before(event.position);
        let mut folder = Folder::<Instance<P>>::standby(partition, P::PARTITIONS, before);
        let parking = Parking::new(partition, ParkingSettings::default());
        folder.begin(before, 1, false, parking);
        folder.warm(self.saved.iter().map(|body| (self.key.clone(), body.clone())).collect());
        let page = Page { events: vec![Arc::clone(event)], scanned_to: event.position };
        let page = folder.decode(Arc::new(page));
        let now = Instant::now();
        let folded = folder.fold(page, 0, now, event.recorded_at);
        if let Some(poison) = folded.poison {
            panic!("{}\n  {}", self.story(), poison.reason);
        }
        if let Some((_, reason)) = folder.parking().standing(&self.key) {
            panic!("{}\n  the event parks the instance: {reason}", self.story());
        }
        let outbox = folder.change(&self.key, |instance| std::mem::take(&mut instance.outbox));
        let changes = folder.hand_out(now, event.recorded_at);
        let Changes { documents, unstorable, .. } = changes.unwrap_or_default();
        if let Some(unfit) = unstorable.first() {
            panic!("{}\n  {}", self.story(), unfit.reason);
        }
        match documents.into_iter().find(|(key, _)| *key == self.key) {
            Some((_, body)) => self.saved = Some(body),
            None => panic!("{}\n  the event does not belong to {:?}", self.story(), self.key),
        }
        outbox.unwrap_or_default()
    }

    #[track_caller]
    fn instance(&self, saved: Option<&str>) -> Instance<P> {
        match saved.map(serde_json::from_str) {
            None => Instance::default(),
            Some(Ok(instance)) => instance,
            Some(Err(error)) => panic!("{}\n  {error}", self.story()),
        }
    }

    fn story(&self) -> impl Display {
        let mut story = format!("{}/{}", <Instance<P> as ReadModel>::NAME, self.key);
        for handled in &self.handled {
            let _ = write!(story, "\n  {handled}");
        }
        story
    }
}
