//! Tests of aggregates by values: given events, when a command is sent, then events or a refusal.
//!
//! Every event is encoded and decoded by the codec, and the state by the aggregate's snapshot
//! policy if there is one. So a type that cannot be stored fails in its first test.

use std::fmt::Debug;

use super::stored::{encoded, is_same, stream};
use crate::aggregate::Aggregate;
use crate::command::Claim;
use crate::event::codec::EventCodec;

/// An aggregate with its past events.
///
/// ```
/// # use actum::testing::Scenario;
/// # use actum::Aggregate;
/// # #[derive(Default, Clone)] struct Door { open: bool }
/// # #[derive(Clone)] enum Ask { Open }
/// # #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)] enum Happened { Opened }
/// # #[derive(Debug, PartialEq, thiserror::Error)] #[error("it is open")] struct IsOpen;
/// # impl Aggregate for Door {
/// #     const TYPE: &'static str = "door";
/// #     type Command = Ask; type Event = Happened; type Error = IsOpen;
/// #     fn handle(&self, _: Ask) -> Result<Vec<Happened>, IsOpen> {
/// #         if self.open { Err(IsOpen) } else { Ok(vec![Happened::Opened]) }
/// #     }
/// #     fn apply(&mut self, _: &Happened) { self.open = true; }
/// # }
/// Scenario::<Door>::given_nothing().when(Ask::Open).then([Happened::Opened]);
/// Scenario::<Door>::given([Happened::Opened]).when(Ask::Open).then_refused(IsOpen);
/// ```
pub struct Scenario<A: Aggregate> {
    aggregate: A,
    codec: EventCodec<A::Event>,
    given: Vec<String>,
}

/// A decided command, whose result is to be asserted.
#[must_use = "say what is expected: .then([…]), .then_nothing(), .then_refused(…) or .then_state(…)"]
pub struct When<A: Aggregate> {
    aggregate: A,
    given: Vec<String>,
    decided: Result<Vec<A::Event>, A::Error>,
}

/// A command with the expected result. More can be asserted, or another command sent.
pub struct Then<A: Aggregate> {
    when: When<A>,
}

impl<A: Aggregate> Scenario<A>
where
    A::Event: Debug + PartialEq,
{
    /// An aggregate without events.
    #[track_caller]
    pub fn given_nothing() -> Self {
        stream(A::TYPE, "1");
        let codec = EventCodec::new(A::upcasters());
        if let Err(error) = codec.check() {
            panic!("the events of {} cannot be stored: {error}", A::TYPE);
        }
        Self { aggregate: A::default(), codec, given: Vec::new() }
    }

    /// An aggregate with these past events.
    #[track_caller]
    pub fn given(events: impl IntoIterator<Item = A::Event>) -> Self {
        let mut scenario = Self::given_nothing();
        for event in events {
            scenario.happen(&event);
        }
        scenario
    }

    /// An aggregate with past events as an earlier release stored them: event type, schema version
    /// and JSON body of each. Upcasters are applied as in production. Keep one of each version in
    /// a test, so that no release loses the ability to read it.
    #[track_caller]
    pub fn given_stored<'a>(events: impl IntoIterator<Item = (&'a str, u32, &'a str)>) -> Self {
        let mut scenario = Self::given_nothing();
        for (event_type, schema_version, body) in events {
            match scenario.codec.decode_parts(event_type, schema_version, body) {
                Ok(event) => scenario.happen(&event),
                Err(error) => panic!(
                    "{event_type} of schema version {schema_version} cannot be read from {body}: {error}"
                ),
            }
        }
        scenario
    }

    /// Sends a command.
    #[track_caller]
    pub fn when(self, command: A::Command) -> When<A> {
        let decided = self.aggregate.handle(command);
        self.decided(decided)
    }

    /// Sends a command on behalf of `actor`, which must be authorised.
    #[track_caller]
    pub fn when_by(self, actor: &str, command: A::Command) -> When<A> {
        let permitted = self.aggregate.authorise(actor, &command);
        let decided = permitted.and_then(|()| self.aggregate.handle(command));
        self.decided(decided)
    }

    #[track_caller]
    fn decided(mut self, decided: Result<Vec<A::Event>, A::Error>) -> When<A> {
        let given = self.given.clone();
        for event in decided.iter().flatten() {
            self.happen(event);
        }
        When { aggregate: self.aggregate, given, decided }
    }

    #[track_caller]
    fn happen(&mut self, event: &A::Event) {
        let (_, decoded) = encoded(&self.codec, event);
        self.aggregate.apply(&decoded);
        self.given.push(format!("{event:?}"));
        let Some(policy) = A::snapshots() else { return };
        let state = (policy.encode)(&self.aggregate);
        let state = state.unwrap_or_else(|e| panic!("the state cannot be snapshotted: {e}"));
        let read = (policy.decode)(&state);
        let read = read.unwrap_or_else(|e| panic!("the snapshot {state} cannot be read: {e}"));
        let again = (policy.encode)(&read).unwrap_or_default();
        assert!(is_same(&again, &state), "the snapshot {state} is read back as {again}");
        // Continue with the decoded snapshot. A field that it lacks is lost here, like after a
        // restart.
        self.aggregate = read;
    }
}

impl<A: Aggregate> When<A>
where
    A::Event: Debug + PartialEq,
    A::Error: Debug,
{
    /// Asserts that the command produced exactly these events.
    #[track_caller]
    pub fn then(self, events: impl IntoIterator<Item = A::Event>) -> Then<A> {
        let expected: Vec<_> = events.into_iter().collect();
        match &self.decided {
            Ok(events) if *events == expected => Then { when: self },
            decided => {
                panic!("given {:?}\n  expected {expected:?}\n  decided  {decided:?}", self.given)
            }
        }
    }

    /// Asserts that the command produced no event and was not refused.
    #[track_caller]
    pub fn then_nothing(self) -> Then<A> {
        self.then([])
    }

    /// Asserts that the command was refused for this reason.
    #[track_caller]
    pub fn then_refused(self, refusal: A::Error)
    where
        A::Error: PartialEq,
    {
        match &self.decided {
            Err(refused) if *refused == refusal => {}
            decided => panic!(
                "given {:?}\n  expected the refusal {refusal:?}\n  decided  {decided:?}",
                self.given
            ),
        }
    }

    /// Passes the state after the command to `assert`.
    pub fn then_state(self, assert: impl FnOnce(&A)) -> Then<A> {
        assert(&self.aggregate);
        Then { when: self }
    }
}

impl<A: Aggregate> Then<A>
where
    A::Event: Debug + PartialEq,
    A::Error: Debug,
{
    /// Passes the state after the command to `assert`.
    pub fn then_state(self, assert: impl FnOnce(&A)) -> Self {
        self.when.then_state(assert)
    }

    /// Asserts that the events claim exactly this, in this order.
    #[track_caller]
    pub fn then_claims(self, claims: impl IntoIterator<Item = Claim>) -> Self {
        let claimed: Vec<_> = self.when.decided.iter().flatten().flat_map(A::claims).collect();
        let expected: Vec<_> = claims.into_iter().collect();
        assert_eq!(claimed, expected, "given {:?}", self.when.given);
        self
    }

    /// Sends another command to the resulting state.
    #[track_caller]
    pub fn when(self, command: A::Command) -> When<A> {
        let When { aggregate, mut given, decided } = self.when;
        given.extend(decided.iter().flatten().map(|event| format!("{event:?}")));
        let codec = EventCodec::new(A::upcasters());
        Scenario { aggregate, codec, given }.when(command)
    }
}

#[cfg(test)]
mod tests;
