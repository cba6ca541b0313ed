//! Tests that a command is accepted once, concluded once, and called back until the callback is
//! delivered.

use super::*;

fn acceptance(key: &str, body: &str, callback: Option<&str>) -> Acceptance {
    Acceptance {
        aggregate_type: "account".into(),
        aggregate_id: "42".into(),
        command: Value::from(1),
        key: Key::from(&CommandKey::new(key, body.as_bytes()).unwrap()),
        expected: ExpectedVersion::Any,
        callback: callback.map(str::to_owned),
        client: None,
        not_before: None,
    }
}

fn after(events: &[CommandEvent]) -> AcceptedCommand {
    let mut command = AcceptedCommand::default();
    events.iter().for_each(|event| command.apply(event));
    command
}

fn accepted(callback: Option<&str>) -> CommandEvent {
    CommandEvent::Accepted(acceptance("k", "a", callback))
}

fn committed() -> CommandEvent {
    CommandEvent::Committed { version: StreamVersion(1), position: GlobalPosition(1) }
}

fn failed() -> CommandEvent {
    CommandEvent::Failed { reason: "it did".into() }
}

fn attempted(attempt: u32) -> CommandEvent {
    let (reason, next_at) = ("no".to_owned(), OffsetDateTime::UNIX_EPOCH);
    CommandEvent::CallbackAttempted(Called { attempt, reason, next_at })
}

#[test]
fn the_same_request_is_accepted_once_and_another_one_not_at_all() {
    let accept = |body| Change::Accept(Box::new(acceptance("k", body, None)));
    let first = AcceptedCommand::default().handle(accept("a")).unwrap();
    assert_eq!(first, [accepted(None)]);
    assert_eq!(after(&first).handle(accept("a")), Ok(vec![]));
    assert_eq!(after(&first).handle(accept("b")), Err(NotAccepted::KeyReused));
}

#[test]
fn the_first_outcome_stands() {
    let unknown = AcceptedCommand::default().handle(Change::Conclude(committed()));
    assert_eq!(unknown, Err(NotAccepted::Unknown));
    let command = after(&[accepted(None)]);
    assert_eq!(command.handle(Change::Conclude(committed())), Ok(vec![committed()]));
    let command = after(&[accepted(None), committed()]);
    assert_eq!(command.handle(Change::Conclude(failed())), Ok(vec![]));
}

#[test]
fn who_asked_for_it_is_called_back_attempt_after_attempt_until_one_is_the_last() {
    let url = Some("https://example.com/");
    let outcome = after(&[accepted(url)]).handle(Change::Conclude(failed())).unwrap();
    let due = CommandEvent::CallbackDue { url: "https://example.com/".into(), client: None };
    assert_eq!(outcome, [failed(), due.clone()]);
    let mut events = vec![accepted(url), failed(), due];
    let called = |events: &[_], event: CommandEvent| after(events).handle(Change::Called(event));
    assert_eq!(called(&events, attempted(1)), Ok(vec![attempted(1)]));
    events.push(attempted(1));
    assert_eq!(called(&events, attempted(1)), Ok(vec![]), "told twice");
    let delivered = CommandEvent::CallbackDelivered { attempt: 2, status: 204 };
    assert_eq!(called(&events, delivered.clone()), Ok(vec![delivered.clone()]));
    events.push(delivered);
    assert_eq!(called(&events, attempted(3)), Ok(vec![]), "it has been told");
}

#[test]
fn a_key_is_read_as_it_was_written() {
    for body in ["", "a", "b", "other"] {
        let key = CommandKey::new("7:user:ada,k", body.as_bytes()).unwrap();
        assert_eq!(Key::from(&key).read(), Some(key));
    }
}

#[test]
fn a_refusal_that_was_stored_without_a_status_is_read() {
    let stored = r#"{"Refused":{"code":"frozen","detail":"it is frozen"}}"#;
    let refused: CommandEvent = serde_json::from_str(stored).unwrap();
    let (code, detail) = ("frozen".to_owned(), "it is frozen".to_owned());
    assert_eq!(refused, CommandEvent::Refused { code, detail, status: None });
    assert_eq!(serde_json::to_string(&refused).unwrap(), stored);
}
