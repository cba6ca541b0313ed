//! What every scenario asks of a type that is to be stored: it comes back as it was.

use std::fmt::Debug;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::codec::{Encoded, EventCodec};

/// The event as the store would get it, after it was read back from that.
#[track_caller]
pub(super) fn encoded<E>(codec: &EventCodec<E>, event: &E) -> Encoded
where
    E: Serialize + DeserializeOwned + Debug + PartialEq,
{
    let stored = match codec.encode(event) {
        Ok(stored) => stored,
        Err(error) => panic!("{event:?} cannot be stored: {error}"),
    };
    let Encoded { event_type, schema_version, payload } = &stored;
    match codec.decode_parts(event_type, *schema_version, payload) {
        Ok(read) if read == *event => stored,
        Ok(read) => panic!("{event:?} is read back as {read:?} from {payload}"),
        Err(error) => {
            panic!("{event:?}, stored as {event_type} {payload}, cannot be read: {error}")
        }
    }
}

/// Whether two JSON texts say the same: a map need not keep its order on the way.
pub(super) fn is_same(one: &str, other: &str) -> bool {
    let value = |json| serde_json::from_str::<serde_json::Value>(json).ok();
    one == other || value(one).is_some_and(|one| value(other) == Some(one))
}
