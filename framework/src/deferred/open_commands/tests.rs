//! Tests of the count of open commands: its limits, and what opens and ends a command.

use time::OffsetDateTime;
use uuid::Uuid;

use super::*;
use crate::event::{StreamId, StreamVersion};

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

/// A stored item of open work with this body.
fn stored(id: &str, body: &str) -> OpenWork {
    OpenWork {
        id: id.to_owned(),
        key: id.to_owned(),
        position: GlobalPosition(1),
        due_at: OffsetDateTime::UNIX_EPOCH,
        attempts: 0,
        reason: None,
        command_key: None,
        body: body.to_owned(),
    }
}

#[test]
fn stored_work_counts_before_any_event_is_read() {
    let commands = OpenCommands::new(9, 2, true, GlobalPosition(10));
    let adas = r#"{"destination":{"client":"ada"},"has_callback":true}"#;
    commands.add(&stored("1", adas));
    commands.add(&stored("2", r#"{"destination":{"client":"ada"}}"#));
    commands.add(&stored("3", "of a later release"));
    // The executor has stored the command as open, and the callbacks have too.
    commands.add(&stored("1", adas));
    assert_eq!(commands.count(), 3);
    assert_eq!(refusal(&commands, "4", Some("ada")), Some(Full::Client));
    // The work is newer than the position, so its events may come once more.
    let again = [("2", "Accepted", ADAS), ("1", "Committed", "{}"), ("2", "Committed", "{}")];
    commands.take_in(&page(11, &again));
    assert_eq!(commands.count(), 2, "the first waits for its callback");
    commands.take_in(&page(14, &[("1", "CallbackDelivered", "{}"), ("3", "Failed", "{}")]));
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
