//! Tests of a reaction's lease session, with a scripted reaction, and of the count of open
//! commands.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use time::OffsetDateTime;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{Instant, timeout};
use uuid::Uuid;

use super::AcceptedCommand;
use super::open_commands::{Full, OpenCommands};
use crate::aggregate::Aggregate;
use crate::event::{
    ExpectedVersion, GlobalPosition, NewEvent, RecordedEvent, StreamId, StreamVersion,
};
use crate::partition::{FollowerControl, Followers, LeaseRenewer, Pacing};
use crate::reaction::work_queue::Limits;
use crate::reaction::{Destination, Meaning, Reaction, Start, Step, Worked, start};
use crate::store::contract::{
    Append, AppendOutcome, CheckpointStore, EventStore, Page, PartitionId,
};
use crate::store::memory::MemoryStore;
use crate::subscription::{Tail, TailSettings};

/// A reaction that performs all work except that of `stuck…`, and panics at events of the type
/// `Panic`.
struct Puppet {
    worked: UnboundedSender<String>,
}

#[async_trait]
impl Reaction for Puppet {
    const NAME: &'static str = "puppet";

    const FOLLOWS: &'static str = AcceptedCommand::TYPE;

    const LIMITS: Limits = Limits::only(8);

    fn meaning(&self, event: &RecordedEvent) -> Meaning {
        match event.event_type.as_str() {
            "Accepted" => Meaning::Opens {
                lane: event.stream.id().to_owned(),
                destination: Destination::default(),
            },
            "Panic" => panic!("told to panic"),
            _ => Meaning::Closes,
        }
    }

    async fn work(&self, id: &str, _: Instant) -> Worked {
        let _ = self.worked.send(id.to_owned());
        match id.starts_with("stuck") {
            true => Step::Again(Some(Duration::from_secs(3600))).into(),
            false => Step::Done.into(),
        }
    }
}

async fn append(store: &MemoryStore, id: &str, event_type: &'static str) {
    let event = NewEvent {
        event_id: Uuid::now_v7(),
        event_type: event_type.into(),
        schema_version: 1,
        payload: "{}".into(),
        metadata: "{}".into(),
    };
    let append = Append {
        stream: StreamId::new("command", id).unwrap(),
        expected: ExpectedVersion::Any,
        events: vec![event],
        command: None,
        claims: Vec::new(),
        chained: false,
    };
    let outcomes = store.append(vec![append]).await;
    assert!(matches!(&*outcomes, [AppendOutcome::Committed(_)]), "{outcomes:?}");
}

async fn run(store: &MemoryStore) -> (Followers, UnboundedReceiver<String>) {
    let (worked, works) = unbounded_channel();
    let spawn = |task| drop(tokio::spawn(task));
    let store = Arc::new(store.clone());
    let tail = Tail::start(store.clone(), GlobalPosition::ZERO, TailSettings::default(), spawn);
    let pacing = Pacing::default();
    let renewer = LeaseRenewer::start(store, Uuid::now_v7(), &pacing, spawn);
    let start_on = Start { renewer, tail, pacing, spawn: Arc::new(spawn) };
    (start(Puppet { worked }, start_on).await.unwrap(), works)
}

/// Waits until `count` works have been performed, and returns their ids.
async fn worked(works: &mut UnboundedReceiver<String>, count: usize) -> Vec<String> {
    let all = async {
        let mut ids = Vec::new();
        while ids.len() < count {
            ids.push(works.recv().await.expect("the reaction ended"));
        }
        ids.sort();
        ids
    };
    timeout(Duration::from_secs(60), all).await.expect("the work is not performed")
}

async fn saved(store: &MemoryStore) -> Option<u64> {
    let checkpoint = store.load_checkpoint(&PartitionId::new("puppet@1", 0)).await.unwrap();
    checkpoint.map(|checkpoint| checkpoint.position.0)
}

#[tokio::test]
async fn a_checkpoint_stays_before_the_oldest_open_item() {
    let store = MemoryStore::new();
    for id in ["a", "stuck", "b", "stuck2", "c"] {
        append(&store, id, "Accepted").await;
    }
    let (reaction, mut works) = run(&store).await;
    assert_eq!(worked(&mut works, 5).await, ["a", "b", "c", "stuck", "stuck2"]);
    reaction.flush_and_stop().await;
    assert_eq!(saved(&store).await, Some(1), "it is saved beyond the open item at position 2");
    // The next owner finds the open work. When that is closed, the checkpoint moves on.
    let (reaction, mut works) = run(&store).await;
    assert_eq!(worked(&mut works, 4).await, ["b", "c", "stuck", "stuck2"]);
    append(&store, "stuck", "Committed").await;
    append(&store, "d", "Accepted").await;
    assert_eq!(worked(&mut works, 1).await, ["d"]);
    reaction.flush_and_stop().await;
    assert_eq!(saved(&store).await, Some(3), "it is not before the open item at position 4");
}

#[tokio::test]
async fn an_event_that_panics_is_not_passed_over() {
    let store = MemoryStore::new();
    append(&store, "a", "Accepted").await;
    append(&store, "stuck", "Panic").await;
    append(&store, "b", "Accepted").await;
    let (reaction, mut works) = run(&store).await;
    assert_eq!(worked(&mut works, 3).await, ["a", "b", "stuck"]);
    let standing = &reaction.partitions()[0];
    assert_eq!(standing.parked_keys, 1);
    let (_, error) = standing.last_error.as_ref().unwrap();
    assert!(error.contains("stuck") && error.contains("position 2"), "{error}");
    reaction.flush_and_stop().await;
    assert_eq!(saved(&store).await, Some(1), "it is saved beyond the event");
}

/// Returns a page of events of commands, starting at this position.
fn page(from: u64, events: &[(&str, &str, &str)]) -> Page {
    let event = |(position, (id, name, payload)): (u64, &(&str, &str, &str))| {
        Arc::new(RecordedEvent {
            position: GlobalPosition(position),
            stream: StreamId::new("command", id).unwrap(),
            version: StreamVersion(1),
            event_id: Uuid::now_v7(),
            event_type: (*name).to_owned(),
            schema_version: 1,
            payload: (*payload).to_owned(),
            metadata: "{}".to_owned(),
            recorded_at: OffsetDateTime::UNIX_EPOCH,
        })
    };
    let scanned_to = GlobalPosition(from + events.len() as u64 - 1);
    Page { events: (from..).zip(events).map(event).collect(), scanned_to }
}

const ADAS: &str = r#"{"client":"ada"}"#;
const WITH_CALLBACK: &str = r#"{"client":"ada","callback":"https://a"}"#;

fn open_commands(counts_callbacks: bool) -> Arc<OpenCommands> {
    OpenCommands::new(3, 2, counts_callbacks, GlobalPosition::ZERO)
}

fn refusal(commands: &Arc<OpenCommands>, id: &str, client: Option<&str>) -> Option<Full> {
    commands.enter(id, client, false).err()
}

#[test]
fn a_client_and_all_together_have_a_limit_of_open_commands() {
    let commands = open_commands(true);
    for (position, (id, client)) in (1..).zip([("1", Some("ada")), ("2", Some("ada")), ("3", None)])
    {
        commands
            .enter(id, client, false)
            .unwrap_or_else(|_| panic!("{id} is refused"))
            .accepted(GlobalPosition(position));
        if id == "2" {
            assert_eq!(refusal(&commands, "4", Some("ada")), Some(Full::Client));
            assert_eq!(refusal(&commands, "1", Some("ada")), None, "it is open already");
        }
    }
    assert_eq!(refusal(&commands, "4", Some("bob")), Some(Full::Total));
    commands.take_in(&page(1, &[("1", "Accepted", ADAS), ("2", "Accepted", ADAS)]));
    commands.take_in(&page(3, &[("3", "Accepted", "{}"), ("1", "Refused", "{}")]));
    assert_eq!(commands.count(), 2);
    assert_eq!(refusal(&commands, "4", Some("ada")), None);
    assert_eq!(commands.count(), 2, "what was not accepted does not count");
}

#[test]
fn a_command_counts_until_its_callback_has_ended() {
    let events = [
        ("1", "Accepted", WITH_CALLBACK),
        ("2", "Accepted", ADAS),
        ("1", "Committed", "{}"),
        ("2", "Committed", "{}"),
        ("1", "CallbackDue", ADAS),
        ("1", "CallbackAttempted", "{}"),
    ];
    let commands = open_commands(true);
    commands.take_in(&page(1, &events));
    assert_eq!(commands.count(), 1);
    commands.take_in(&page(7, &[("1", "CallbackGivenUp", "{}")]));
    assert_eq!(commands.count(), 0);
    // A process that sends no callbacks does not count commands that wait for one.
    let commands = open_commands(false);
    commands.take_in(&page(1, &events));
    assert_eq!(commands.count(), 0);
    // A process that starts long after the acceptance.
    let commands = open_commands(true);
    commands.take_in(&page(5, &[("1", "CallbackDue", ADAS), ("9", "Failed", "{}")]));
    assert_eq!(commands.count(), 1);
}

#[test]
fn a_command_that_is_sent_again_after_it_was_concluded_does_not_count() {
    let commands = open_commands(true);
    commands.take_in(&page(1, &[("1", "Accepted", ADAS), ("1", "Committed", "{}")]));
    for _ in 0..5 {
        let entered = commands.enter("1", Some("ada"), false);
        entered.unwrap_or_else(|_| panic!("it is refused")).accepted(GlobalPosition(2));
    }
    assert_eq!(commands.count(), 0);
    // Concluded, but the conclusion has not been read yet.
    let entered = commands.enter("2", Some("ada"), false);
    entered.unwrap_or_else(|_| panic!("it is refused")).accepted(GlobalPosition(4));
    commands.take_in(&page(3, &[("2", "Accepted", ADAS), ("2", "Committed", "{}")]));
    assert_eq!(commands.count(), 0);
}

/// Enters commands of this client until one is refused. Returns the number of accepted ones.
fn fill(commands: &Arc<OpenCommands>, client: Option<&str>) -> usize {
    let entered = (0..).take_while(|n| {
        let id = format!("{}-{n}", client.unwrap_or_default());
        let entered = commands.enter(&id, client, true);
        entered.map(|entered| entered.accepted(GlobalPosition(u64::MAX))).is_ok()
    });
    entered.count()
}

#[test]
fn a_few_clients_with_callbacks_that_stay_open_leave_room_to_all_others() {
    let commands = OpenCommands::new(100_000, 10_000, true, GlobalPosition::ZERO);
    for n in 0..30 {
        fill(&commands, Some(&format!("mallory{n}")));
    }
    for n in 0..10 {
        let room = fill(&commands, Some(&format!("ada{n}")));
        assert!(room > 100, "{room} commands are open to the next client");
    }
    assert!(fill(&commands, None) > 100, "commands without a client have no room");
    // Commands without a client cannot use all places either.
    let commands = OpenCommands::new(100_000, 10_000, true, GlobalPosition::ZERO);
    assert_eq!(fill(&commands, None), 90_000);
    assert_eq!(fill(&commands, Some("ada")), 1_000);
}

#[test]
fn a_command_without_a_client_counts_until_it_is_concluded() {
    let commands = OpenCommands::new(10, 10, true, GlobalPosition::ZERO);
    assert_eq!(fill(&commands, None), 9);
    assert_eq!(refusal(&commands, "next", None), Some(Full::Total));
    commands.take_in(&page(1, &[("-0", "Accepted", "{}"), ("-0", "CallbackGivenUp", "{}")]));
    assert_eq!(commands.count(), 8);
    assert_eq!(refusal(&commands, "next", None), None);
}
