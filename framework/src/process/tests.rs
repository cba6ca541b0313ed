//! Keys and depths of what an instance puts out.

use std::collections::BTreeMap;

use super::instance::{caused_by, caused_key};
use super::*;
use crate::event::{GlobalPosition, Metadata, RecordedEvent, StreamId, StreamVersion};

fn metadata(entries: &[(&str, &str)]) -> Metadata {
    let extra = entries.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Metadata { extra: extra.collect::<BTreeMap<_, _>>(), ..Metadata::default() }
}

fn event(metadata: &Metadata) -> RecordedEvent {
    RecordedEvent {
        position: GlobalPosition(7),
        stream: StreamId::new("account", "ada").unwrap(),
        version: StreamVersion(1),
        event_id: uuid::Uuid::from_u128(5),
        event_type: "Credited".to_owned(),
        schema_version: 1,
        payload: "{}".to_owned(),
        metadata: serde_json::to_string(metadata).unwrap(),
        recorded_at: time::OffsetDateTime::UNIX_EPOCH,
    }
}

#[test]
fn an_event_belongs_to_the_instance_whose_command_caused_it() {
    let caused = |process: &str| metadata(&[("process", process)]);
    assert_eq!(caused_key("fee", &caused("fee/000a/001/42")).as_deref(), Some("42"));
    // A key may contain the separator.
    assert_eq!(caused_key("fee", &caused("fee/000a/001/4/2")).as_deref(), Some("4/2"));
    for other in ["fees/000a/001/42", "fe/e/001/42", "fee/000a/001", "fee", ""] {
        assert_eq!(caused_key("fee", &caused(other)), None, "{other}");
    }
    assert_eq!(caused_key("fee", &Metadata::default()), None);
}

#[test]
fn commands_that_go_in_a_circle_end() {
    let next = caused_by(&event(&Metadata::default()));
    assert_eq!(next.extra["process_depth"], "1");
    assert_eq!(next.causation_id.as_deref(), Some("00000000-0000-0000-0000-000000000005"));
    let next = caused_by(&event(&metadata(&[("process_depth", "99")])));
    assert_eq!(next.extra["process_depth"], "100");
    let circle = event(&metadata(&[("process_depth", "100")]));
    let ended = crate::catch_panic::guarded(|| drop(caused_by(&circle)));
    assert!(ended.unwrap_err().contains("they go in a circle"));
}

#[test]
fn a_stream_of_inputs_belongs_to_one_process_manager() {
    let stream = input::stream("fee", "42").unwrap();
    assert_eq!(stream.to_string(), "process-fee:42");
    assert_eq!(input::key_of("fee", &stream), Some("42"));
    assert_eq!((input::key_of("fe", &stream), input::key_of("fees", &stream)), (None, None));
    assert!(input::stream("fee", "a b").is_err());
}
