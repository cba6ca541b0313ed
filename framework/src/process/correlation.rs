//! Correlation: the events that a process manager follows, the instance that each event belongs to, and
//! the aggregates that it commands.

use std::any::{Any, TypeId};
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::input::{self, ProcessInputs};
use super::instance::{Instance, caused_key};
use super::{ProcessManager, Reacts};
use crate::aggregate::{Aggregate, Router};
use crate::catch_panic::Isolated;
use crate::command::RefusalCode;
use crate::deferred::{CarriesOut, CarryOut};
use crate::event::{EventEnvelope, RecordedEvent};
use crate::read_model::{Change, Sources};
use crate::subscription::sources::{EventKeys, Routes, with_shared};

/// Events that a process manager follows, each with the instance it belongs to, and the aggregates that
/// it commands.
///
/// ```
/// # use actum::{Aggregate, Correlation, Effects, EventEnvelope, ProcessManager, Reacts, Refused};
/// # fn correlation<P: ProcessManager + Reacts<Transfer> + Reacts<Account>, Transfer, Account>()
/// # -> Correlation<P>
/// # where
/// #     Transfer: Aggregate<Command: serde::Serialize + serde::de::DeserializeOwned, Error: actum::RefusalCode>,
/// #     Account: Aggregate<Command: serde::Serialize + serde::de::DeserializeOwned, Error: actum::RefusalCode>,
/// # {
/// // An instance for each transfer. It commands transfers and accounts, and follows those events of
/// // accounts that its own commands caused.
/// Correlation::starts::<Transfer>().commands::<Transfer>().and_caused::<Account>()
/// # }
/// ```
pub struct Correlation<P: ProcessManager> {
    routes: Routes<Change<Instance<P>>>,
    targets: Vec<CommandTarget>,
}

/// An aggregate type that a process manager commands.
pub(crate) struct CommandTarget {
    pub(crate) aggregate_type: &'static str,
    /// The aggregate as a type.
    pub(crate) type_id: TypeId,
    make: MakeCarryOut,
}

/// Makes the executor of an aggregate type from its `Router`.
type MakeCarryOut = fn(Arc<dyn Any + Send + Sync>) -> Option<Arc<dyn CarryOut>>;

impl CommandTarget {
    fn of<A>() -> Self
    where
        A: Aggregate<Command: DeserializeOwned, Error: RefusalCode>,
    {
        Self {
            aggregate_type: A::TYPE,
            type_id: TypeId::of::<A>(),
            make: |router| Some(Arc::new(CarriesOut::new(router.downcast::<Router<A>>().ok()?))),
        }
    }

    /// Makes the executor from the `Router` of the aggregate.
    pub(crate) fn carries_out(
        &self,
        router: Arc<dyn Any + Send + Sync>,
    ) -> Option<Arc<dyn CarryOut>> {
        (self.make)(router)
    }
}

impl<P: ProcessManager> Correlation<P> {
    /// Follows the aggregate `A`, with an instance for each: its key is the aggregate's id.
    pub fn starts<A: Aggregate>() -> Self
    where
        P: Reacts<A>,
    {
        let mut routes = Routes::new();
        routes.by_stream::<A>(|event| change::<P, A>(event));
        Self { routes, targets: Vec::new() }
    }

    /// Follows the aggregate `A`, with the instances that `keys` names, as
    /// [`Sources::by`](crate::Sources::by) does. A key has the characters of an id.
    pub fn starts_by<A: Aggregate>(keys: impl EventKeys<A::Event>) -> Self
    where
        P: Reacts<A>,
    {
        Self { routes: Routes::new(), targets: Vec::new() }.and_by::<A>(keys)
    }

    /// Follows the aggregate `A` too, with the instances that `keys` names.
    #[must_use]
    pub fn and_by<A: Aggregate>(mut self, keys: impl EventKeys<A::Event>) -> Self
    where
        P: Reacts<A>,
    {
        let share = |event: Arc<std::sync::Mutex<EventEnvelope<A::Event>>>, key: &str| {
            let (key, event) = (key.to_owned(), Isolated::new(event));
            Some(Change {
                apply: Box::new(move |instance: &mut Instance<P>| {
                    with_shared(&event, &key, |event| react::<P, A>(instance, event));
                }),
            })
        };
        self.routes.by_content::<A>(keys, |event| change::<P, A>(event), share);
        self
    }

    /// Commands the aggregate `A`, and follows those of its events that commands of an instance caused.
    /// Each belongs to that instance. So events of `A` need not name the story they belong to.
    #[must_use]
    pub fn and_caused<A>(mut self) -> Self
    where
        A: Aggregate<Command: Serialize + DeserializeOwned, Error: RefusalCode>,
        P: Reacts<A>,
    {
        let key = |event: &RecordedEvent| {
            // Most events are caused by nobody, and are not looked at any further.
            let metadata = event.metadata.contains(P::NAME).then(|| event.metadata().ok())??;
            caused_key(P::NAME, &metadata)
        };
        self.routes.by_header::<A>(key, |event| change::<P, A>(event));
        self.commands::<A>()
    }

    /// Commands the aggregate `A`. Each aggregate type that is commanded must be named, because only
    /// then stored commands can be decoded.
    #[must_use]
    pub fn commands<A>(mut self) -> Self
    where
        A: Aggregate<Command: Serialize + DeserializeOwned, Error: RefusalCode>,
    {
        self.targets.push(CommandTarget::of::<A>());
        self
    }

    /// The sources of the instances' documents: what is followed, and the inputs.
    pub(super) fn sources(mut self) -> Sources<Instance<P>> {
        let key = |event: &RecordedEvent| input::key_of(P::NAME, &event.stream).map(str::to_owned);
        self.routes.by_header::<ProcessInputs>(key, |event| {
            let event = Isolated::new(event);
            Change {
                apply: Box::new(move |instance: &mut Instance<P>| {
                    instance.take_input(event.key(), &event.recorded, &event.event);
                }),
            }
        });
        Sources { routes: self.routes }
    }

    /// Aggregate types that are commanded.
    pub(crate) fn targets(&self) -> &[CommandTarget] {
        &self.targets
    }
}

fn change<P: Reacts<A>, A: Aggregate>(event: EventEnvelope<A::Event>) -> Change<Instance<P>> {
    // Wherever the change is dropped, the event's Drop is isolated.
    let event = Isolated::new(event);
    Change { apply: Box::new(move |instance: &mut Instance<P>| react::<P, A>(instance, &event)) }
}

fn react<P: Reacts<A>, A: Aggregate>(instance: &mut Instance<P>, event: &EventEnvelope<A::Event>) {
    instance.take(event.key(), &event.recorded, |state, effects| state.on(event, effects));
}
