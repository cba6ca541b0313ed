//! Checks, for every scenario, that a value survives encoding and decoding.

use std::fmt::Debug;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::event::StreamId;
use crate::event::codec::{Encoded, EventCodec};
use crate::store::contract::MAX_PAYLOAD_BYTES;

/// Returns the event in its stored form and as every reader of the log decodes it.
#[track_caller]
pub(super) fn encoded<E>(codec: &EventCodec<E>, event: &E) -> (Encoded, E)
where
    E: Serialize + DeserializeOwned + Debug + PartialEq,
{
    match codec.round_trip(event) {
        Ok((stored, _)) if stored.payload.len() > MAX_PAYLOAD_BYTES => {
            let bytes = stored.payload.len();
            panic!(
                "{} cannot be stored: its payload has {bytes} bytes; at most {MAX_PAYLOAD_BYTES} are allowed",
                stored.event_type
            )
        }
        Ok(stored) => stored,
        Err(error) => panic!("{event:?} cannot be stored: {error}"),
    }
}

/// Returns the stream of an aggregate. Panics if the type or the id cannot be stored.
#[track_caller]
pub(super) fn stream(aggregate_type: &str, id: &str) -> StreamId {
    match StreamId::new(aggregate_type, id) {
        Ok(stream) => stream,
        Err(error) => panic!("{aggregate_type:?}, {id:?} cannot be stored: {error}"),
    }
}

/// Checks that two JSON texts are equal, in any order of their maps.
pub(super) fn is_same(one: &str, other: &str) -> bool {
    let value = |json| serde_json::from_str::<serde_json::Value>(json).ok();
    one == other || value(one).is_some_and(|one| value(other) == Some(one))
}
