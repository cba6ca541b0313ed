//! Deferred commands with several deciders: a refusal and an execution exclude each other, and a
//! release leaves the commands that it cannot read to another release.

use std::time::Duration;

use actix_web::ResponseError;
use actum::operations::SubscriptionState;
use actum::store::{Append, AppendOutcome, NewEvent};
use actum::web::Problem;
use actum::{
    Aggregate, Application, CommandError, CommandKey, CommandOptions, CommandState,
    ExpectedVersion, Metadata, Settings, StartError, StreamId, StreamVersion,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{concluded, counted, keyed, later, start, start_with};
use crate::support::counter::{Ask, BelowZero, Counted, Counter};
use crate::support::events::foreign;
use crate::support::place::{Place, on_every_place};

/// The append that an owner had decided on before it was stopped.
pub fn decided_before(counter: &str, event: &Counted, key: &CommandKey) -> Append {
    let Counted::Added(number) = event else { panic!("{event:?} is never decided here") };
    Append { command: Some(key.clone()), ..foreign(counter, "Added", [number]) }
}

pub async fn append(app: &Application, append: Append) -> AppendOutcome {
    app.store().append(vec![append]).await.remove(0)
}

fn is_replayed(outcome: &AppendOutcome) -> bool {
    matches!(outcome, AppendOutcome::Committed(committed) if committed.replayed)
}

async fn a_command_that_was_refused_is_not_carried_out_by_an_owner_that_wakes_later(place: Place) {
    let app = start(&place).await;
    let exact = ExpectedVersion::Exact(StreamVersion(7));
    for (counter, ask, expected, code) in [
        ("rule", Ask::Add(-1), ExpectedVersion::Any, "below_zero"),
        ("version", Ask::Add(1), exact, "precondition_failed"),
        ("panic", Ask::Panic, ExpectedVersion::Any, "failed"),
    ] {
        let key = CommandKey::new(counter, format!("{ask:?}").as_bytes()).unwrap();
        let options = CommandOptions { expected, ..CommandOptions::keyed(key.clone()) };
        let id = app.execute_later::<Counter>(counter, &ask, options.clone(), None).await.unwrap();
        let told = concluded(&app, id).await;
        assert!(!matches!(told, CommandState::Committed { .. }), "{told:?}");
        app.execute::<Counter>(counter, Ask::Add(5)).await.unwrap();
        let late = append(&app, decided_before(counter, &Counted::Added(-1), &key)).await;
        assert!(is_replayed(&late), "{counter}: {late:?}");
        assert_eq!(counted(&app, counter).await, [Counted::Added(5)]);
        assert_eq!(concluded(&app, id).await, told);
        // A retry by the client does not execute it either, and gets the same refusal.
        let again = app.execute_with::<Counter>(counter, ask, options).await;
        let Err(CommandError::RefusedBefore { code: again, .. }) = again else {
            panic!("{counter}: {again:?}")
        };
        assert_eq!(again, code);
        assert_eq!(counted(&app, counter).await, [Counted::Added(5)]);
    }
    app.shutdown().await;
}

async fn of_a_refusal_and_its_command_one_is_stored_never_both_never_neither(place: Place) {
    let app = start(&place).await;
    let mut running = Vec::new();
    for n in 0..300 {
        let app = app.clone();
        running.push(tokio::spawn(async move {
            let (counter, ask) = (format!("c{n}"), Ask::Add(-1));
            let options = keyed(&format!("k{n}"), &ask);
            let key = options.key.clone().unwrap();
            let late = decided_before(&counter, &Counted::Added(1), &key);
            let id = app.execute_later::<Counter>(&counter, &ask, options, None).await.unwrap();
            for _ in 0..n % 30 {
                tokio::task::yield_now().await;
            }
            let late = append(&app, late).await;
            let events = counted(&app, &counter).await;
            match concluded(&app, id).await {
                CommandState::Committed { version, .. } => {
                    assert_eq!((version, events.len()), (StreamVersion(1), 1), "{late:?}");
                }
                CommandState::Refused { .. } => {
                    assert!(events.is_empty() && is_replayed(&late), "{events:?} {late:?}");
                }
                other => panic!("{other:?}"),
            }
        }));
    }
    for one in running {
        one.await.unwrap();
    }
    app.shutdown().await;
}

/// The counter of a later release, which knows one command more.
#[derive(Debug, Default, Clone)]
struct Later(Counter);

#[derive(Debug, Clone, Serialize, Deserialize)]
enum LaterAsk {
    Add(i64),
    Double,
}

impl Aggregate for Later {
    const TYPE: &'static str = "counter";
    type Command = LaterAsk;
    type Event = Counted;
    type Error = BelowZero;

    fn handle(&self, ask: LaterAsk) -> Result<Vec<Counted>, BelowZero> {
        match ask {
            LaterAsk::Add(n) => self.0.handle(Ask::Add(n)),
            LaterAsk::Double => self.0.handle(Ask::Add(self.0.sum)),
        }
    }

    fn apply(&mut self, event: &Counted) {
        self.0.apply(event);
    }
}

async fn next_release(place: &Place) -> Application {
    start_with(place, |builder| builder.aggregate::<Later>().answers_later::<Later>()).await
}

/// Accepts a command as another release does: as the one of `like`, with some of it changed.
pub async fn accept(
    app: &Application,
    like: Uuid,
    number: u128,
    metadata: &'static str,
    change: impl FnOnce(&mut Value),
) -> Uuid {
    let stream = StreamId::new("command", &like.to_string()).unwrap();
    let accepted = app
        .store()
        .read_stream(&stream, StreamVersion::ZERO, actum::store::PageLimit::events(1))
        .await
        .unwrap();
    let mut payload: Value = serde_json::from_str(&accepted[0].payload).unwrap();
    payload["key"]["id"] = json!(format!("accepted {number}"));
    change(&mut payload);
    let id = Uuid::from_u128(number);
    let event = NewEvent {
        event_id: Uuid::now_v7(),
        event_type: accepted[0].event_type.clone().into(),
        schema_version: accepted[0].schema_version,
        payload: payload.to_string().into(),
        metadata: metadata.into(),
    };
    let accepted = Append {
        stream: StreamId::new("command", &id.to_string()).unwrap(),
        expected: ExpectedVersion::NoStream,
        events: vec![event],
        command: None,
        claims: Vec::new(),
        chained: false,
    };
    assert!(matches!(append(app, accepted).await, AppendOutcome::Committed(_)));
    id
}

pub fn double(payload: &mut Value) {
    payload["command"] = json!("Double");
    payload["aggregate_id"] = json!("b");
}

/// Waits until the executor has left a command open and reported it.
async fn is_left_open(app: &Application) {
    let look = async {
        loop {
            let status = app.operations().status().await;
            let mut executor = status.subscriptions.iter();
            let executor = executor.find(|one| one.name == "command_executor").unwrap();
            let partition = &executor.partitions[0];
            if partition.state == Some(SubscriptionState::Parked) {
                let error = partition.last_error.as_ref().unwrap();
                assert!(error.error.contains("stays open"), "{error:?}");
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), look).await.expect("nothing says that");
}

async fn state(app: &Application, id: Uuid) -> CommandState {
    app.command(&id.to_string()).await.unwrap().state
}

async fn a_command_that_this_release_cannot_read_is_left_to_one_that_can(place: Place) {
    let app = start(&place).await;
    let first = later(&app, "a", Ask::Add(1), "first").await;
    concluded(&app, first).await;
    app.execute::<Counter>("b", Ask::Add(3)).await.unwrap();
    let unknown = accept(&app, first, 1, "{}", double).await;
    let behind = later(&app, "b", Ask::Add(1), "behind").await;
    let beside = later(&app, "a", Ask::Add(1), "beside").await;
    assert!(matches!(concluded(&app, beside).await, CommandState::Committed { .. }));
    is_left_open(&app).await;
    assert_eq!(state(&app, unknown).await, CommandState::Accepted);
    assert_eq!(state(&app, behind).await, CommandState::Accepted, "it overtook the one before");
    app.shutdown().await;
    drop(app);
    let app = next_release(&place).await;
    for id in [unknown, behind] {
        let told = concluded(&app, id).await;
        assert!(matches!(told, CommandState::Committed { .. }), "{told:?}");
    }
    let expected = [Counted::Added(3), Counted::Added(3), Counted::Added(1)];
    assert_eq!(counted(&app, "b").await, expected);
    app.shutdown().await;
}

async fn a_command_that_no_release_knows_stays_open_until_an_operator_fails_it(place: Place) {
    let app = start(&place).await;
    let first = later(&app, "a", Ask::Add(1), "first").await;
    concluded(&app, first).await;
    let type_of = |payload: &mut Value| payload["aggregate_type"] = json!("ledger");
    let unknown_type = accept(&app, first, 1, "{}", type_of).await;
    let to_b = |payload: &mut Value| payload["aggregate_id"] = json!("b");
    // Without its actor it would pass authorisation.
    let twice = r#"{"actor":"eve","actor":"ada"}"#;
    let unknown_actor = accept(&app, first, 2, twice, to_b).await;
    let no_key = |payload: &mut Value| payload["key"]["fingerprint"] = json!("nonsense");
    let unknown_key = accept(&app, first, 3, "{}", no_key).await;
    is_left_open(&app).await;
    let beside = later(&app, "c", Ask::Add(1), "beside").await;
    concluded(&app, beside).await;
    for id in [unknown_type, unknown_actor, unknown_key] {
        assert_eq!(state(&app, id).await, CommandState::Accepted);
        let reason = "no such ledger any more".to_owned();
        assert!(
            app.operations().fail_command(&id.to_string(), " ").await.is_err(),
            "without a reason"
        );
        let failed = app.operations().fail_command(&id.to_string(), &reason).await.unwrap();
        assert_eq!(failed, CommandState::Failed { reason });
    }
    assert_eq!(counted(&app, "b").await, []);
    assert!(app.operations().fail_command("nobody", "why not").await.is_err());
    let done = app.operations().fail_command(&first.to_string(), "too late").await.unwrap();
    assert!(matches!(done, CommandState::Committed { .. }), "{done:?}");
    app.shutdown().await;
}

async fn open_commands_have_a_limit_for_each_client_and_in_total(place: Place) {
    let limited = Settings { deferred_commands: 5, deferred_per_client: 3, ..Settings::default() };
    let app = start_with(&place, |builder| {
        builder.aggregate::<Counter>().answers_later::<Counter>().settings(limited.clone())
    })
    .await;
    let first = later(&app, "a", Ask::Add(1), "first").await;
    concluded(&app, first).await;
    let blocks = accept(&app, first, 1, "{}", double).await;
    let of = async |client: &str, key: &str| {
        let metadata = Metadata { actor: Some(client.to_owned()), ..Metadata::default() };
        let options = CommandOptions { metadata, ..keyed(key, &Ask::Add(1)) };
        app.execute_later::<Counter>("b", &Ask::Add(1), options, None).await
    };
    let mut ids = Vec::new();
    for n in 0..3 {
        ids.push(of("ada", &format!("a{n}")).await.unwrap());
    }
    let refused = of("ada", "a3").await.unwrap_err();
    assert!(matches!(refused, CommandError::ClientLimit(_)), "{refused:?}");
    let problem = Problem::from(refused);
    assert_eq!((problem.status_code().as_u16(), problem.code()), (429, "too_many_open"));
    assert_eq!(of("ada", "a1").await.unwrap(), ids[1], "one that is open already is refused");
    let mut bobs = 0;
    let full = loop {
        match of("bob", &format!("b{bobs}")).await {
            Ok(id) => ids.push(id),
            Err(error) => break error,
        }
        bobs += 1;
    };
    assert!(matches!(full, CommandError::Overloaded(_)) && bobs <= 2, "{bobs}: {full:?}");
    assert_eq!(Problem::from(full).status_code().as_u16(), 503);
    app.operations().fail_command(&blocks.to_string(), "enough").await.unwrap();
    for id in ids {
        assert!(matches!(concluded(&app, id).await, CommandState::Committed { .. }));
    }
    let free = async {
        while let Err(error) = of("ada", "a4").await {
            assert!(matches!(error, CommandError::ClientLimit(_) | CommandError::Overloaded(_)));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), free).await.expect("what is done counts");
    app.shutdown().await;
}

async fn the_last_event_is_read_without_those_before_it(place: Place) {
    let app = start(&place).await;
    assert!(app.last_event::<Counter>("a").await.unwrap().is_none());
    let key = CommandKey::new("k", b"").unwrap();
    let mut unreadable = decided_before("a", &Counted::Added(1), &key);
    unreadable.events[0].event_type = "Unheard".into();
    append(&app, unreadable).await;
    let key = CommandKey::new("l", b"").unwrap();
    append(&app, decided_before("a", &Counted::Added(2), &key)).await;
    let last = app.last_event::<Counter>("a").await.unwrap().unwrap();
    assert_eq!((last.version, &last.event), (StreamVersion(2), &Counted::Added(2)));
    app.shutdown().await;
}

on_every_place!(
    a_command_that_was_refused_is_not_carried_out_by_an_owner_that_wakes_later,
    of_a_refusal_and_its_command_one_is_stored_never_both_never_neither,
    a_command_that_this_release_cannot_read_is_left_to_one_that_can,
    a_command_that_no_release_knows_stays_open_until_an_operator_fails_it,
    open_commands_have_a_limit_for_each_client_and_in_total,
    the_last_event_is_read_without_those_before_it,
);

#[tokio::test]
async fn an_aggregate_that_answers_later_must_be_registered() {
    let builder = Application::builder(actum::store::MemoryStore::new()).answers_later::<Counter>();
    match builder.start().await {
        Err(StartError::NoAggregate(name)) => assert_eq!(name, "counter"),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it starts"),
    }
}

/// While an older and a newer release run side by side, the older one steps down for the newer one.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn an_older_release_makes_way_for_one_that_knows_the_command() {
    let place = Place::postgres().await;
    let older = start(&place).await;
    let first = later(&older, "a", Ask::Add(1), "first").await;
    concluded(&older, first).await;
    older.execute::<Counter>("b", Ask::Add(3)).await.unwrap();
    let newer = next_release(&place).await;
    let ids = [LaterAsk::Double, LaterAsk::Add(1)].map(|ask| {
        let newer = &newer;
        async move {
            let options = CommandOptions::default();
            newer.execute_later::<Later>("b", &ask, options, None).await.unwrap()
        }
    });
    for id in ids {
        let told = concluded(&newer, id.await).await;
        assert!(matches!(told, CommandState::Committed { .. }), "{told:?}");
    }
    assert_eq!(counted(&newer, "b").await.len(), 3);
    newer.shutdown().await;
    // The older one goes on with what it knows.
    let last = later(&older, "a", Ask::Add(1), "last").await;
    assert!(matches!(concluded(&older, last).await, CommandState::Committed { .. }));
    older.shutdown().await;
}
