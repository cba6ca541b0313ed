//! Encodes events as JSON texts and decodes them, named by their serde variants.
//!
//! Encoding splits an externally tagged enum into the name of its variant and its body. Decoding
//! passes name and body to the enum's `Deserialize` without a `Value` in between. The schema
//! version is 1 + the number of upcasters of that event type. No stored text makes this code panic.
//! The caller isolates panics of user code (serde impls, `PartialEq`, upcasters).
//!
//! See `docs/decisions.md`, "How is an event kept from coming back as another one?"

mod exact;
mod numbers;
mod probe;
#[cfg(test)]
mod round_trip_tests;
mod same;
mod split;
#[cfg(test)]
mod tests;
mod variant;

use std::collections::HashMap;
use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

pub(crate) use self::exact::is_same;
pub(crate) use self::same::is_same_json;
pub(crate) use self::split::variant_name;
use super::{RecordedEvent, invalid_event_type};
use crate::box_error::BoxError;
use crate::catch_panic::guarded;

/// Error of an event that cannot be encoded or decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CodecError {
    /// The event type is not an enum with serde's default (external) tagging. Remove the other
    /// tagging.
    #[error("an event must be an externally tagged enum (serde's default), not {0}")]
    NotAnEnum(&'static str),
    /// The enum has no variant of the stored name. Keep the variant, pin the old name with
    /// `#[serde(rename = "…")]`, or deploy the release that wrote the event.
    #[error("unknown event type {0:?}")]
    UnknownEventType(String),
    /// A newer release of the program wrote the event. Deploy that release, or register its
    /// upcasters.
    #[error(
        "event type {event_type:?} has schema version {found}; this program knows up to {known}"
    )]
    NewerSchema {
        /// Stored name of the event.
        event_type: String,
        /// Schema version that the event was written in.
        found: u32,
        /// Newest schema version that this program can read.
        known: u32,
    },
    /// The body does not match the fields of the variant, or an upcaster failed. Register an
    /// upcaster that turns the stored body into the current one.
    #[error("{0}")]
    Malformed(String),
    /// No store can keep an event type of this name. Rename the variant, or pin another name with
    /// `#[serde(rename = "…")]`.
    #[error("{0}")]
    InvalidEventType(String),
    /// The stored form of the event cannot be decoded, so the event must not be stored. Change the
    /// serde attributes or the type of the field that the reason names.
    #[error("the event {event_type} cannot be decoded from its stored form {payload}: {reason}")]
    Undecodable {
        /// Name of the variant.
        event_type: &'static str,
        /// Beginning of the stored body.
        payload: String,
        /// The error of the decoder.
        reason: String,
    },
    /// The stored form of the event decodes to another event, so the event must not be stored. The
    /// usual causes are `Some(None)`, an optional NaN, `#[serde(skip)]`, and a `with` module that
    /// rounds.
    #[error(
        "the event {event_type} is not equal to itself after encoding and decoding; its stored form \
         is {payload}. A field is skipped, rounded, NaN, or an Option inside an Option"
    )]
    Unequal {
        /// Name of the variant.
        event_type: &'static str,
        /// Beginning of the stored body.
        payload: String,
    },
}

impl serde::ser::Error for CodecError {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Self::Malformed(message.to_string())
    }
}

impl serde::de::Error for CodecError {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Self::Malformed(message.to_string())
    }

    fn unknown_variant(variant: &str, _expected: &'static [&'static str]) -> Self {
        Self::UnknownEventType(variant.to_owned())
    }
}

impl From<serde_json::Error> for CodecError {
    fn from(error: serde_json::Error) -> Self {
        Self::Malformed(error.to_string())
    }
}

/// One step of a schema migration: turns the body of an event of one schema version into the next.
///
/// ```
/// use actum::Upcaster;
/// use serde_json::json;
///
/// // Until version 1, `Credited` had no currency.
/// let with_currency = Upcaster::new("Credited", |mut body| {
///     body["currency"] = json!("EUR");
///     Ok(body)
/// });
/// ```
pub struct Upcaster {
    event_type: &'static str,
    step: Step,
}

type Step = fn(Value) -> Result<Value, BoxError>;

impl Upcaster {
    /// Creates a step for `event_type`. The first one registered leads from version 1 to 2, the
    /// second from 2 to 3, and so on.
    ///
    /// A [`Value`] can only hold 64-bit integers and 64-bit floats. A number that needs more (a
    /// `u128`, a decimal with 20 digits) arrives as a marked string and is stored back as the same
    /// number. You may move it to another field, but do not calculate with it.
    pub fn new(event_type: &'static str, step: fn(Value) -> Result<Value, BoxError>) -> Self {
        Self { event_type, step }
    }
}

/// An event split into name and body, ready to be stored.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Encoded {
    /// Name of the event: the serde name of its variant.
    pub event_type: &'static str,
    /// Schema version in which this program writes the event.
    pub schema_version: u32,
    /// Body of the event as a JSON text.
    pub payload: String,
}

/// Encodes and decodes the events of one aggregate type.
pub(crate) struct EventCodec<E> {
    upcasters: HashMap<&'static str, Vec<Step>>,
    event: PhantomData<fn() -> E>,
}

impl<E: Serialize + DeserializeOwned> EventCodec<E> {
    /// Creates a codec with these upcasters, oldest step first for each event type.
    pub fn new(upcasters: Vec<Upcaster>) -> Self {
        let mut by_type: HashMap<_, Vec<_>> = HashMap::new();
        for upcaster in upcasters {
            by_type.entry(upcaster.event_type).or_default().push(upcaster.step);
        }
        Self { upcasters: by_type, event: PhantomData }
    }

    /// Checks, without an event, that the type is an externally tagged enum and that every store
    /// can keep the names of its variants.
    ///
    /// # Errors
    /// [`CodecError::NotAnEnum`] or [`CodecError::InvalidEventType`]. A variant whose serialised
    /// name differs from its deserialised one is only found by [`EventCodec::round_trip`].
    pub fn check(&self) -> Result<(), CodecError> {
        probe::variants::<E>()?.iter().try_for_each(|name| check_name(name))
    }

    /// Encodes an event for the store.
    ///
    /// # Errors
    /// [`CodecError::NotAnEnum`] or [`CodecError::InvalidEventType`]; [`CodecError::Malformed`] if
    /// a field cannot be written as JSON, for example a map whose keys are not strings.
    pub fn encode(&self, event: &E) -> Result<Encoded, CodecError> {
        let (event_type, payload) = split::split(event)?;
        check_name(event_type)?;
        let schema_version = self.schema_version(event_type);
        Ok(Encoded { event_type, schema_version, payload })
    }

    /// Encodes an event and decodes it again. Store the encoded event and fold the decoded one:
    /// then the state in memory is the one that every other process will fold from the log.
    ///
    /// # Errors
    /// The errors of [`EventCodec::encode`]; [`CodecError::Undecodable`] or [`CodecError::Unequal`]
    /// if the stored form does not decode to an equal event.
    pub fn round_trip(&self, event: &E) -> Result<(Encoded, E), CodecError>
    where
        E: PartialEq,
    {
        let encoded = self.encode(event)?;
        let Encoded { event_type, payload, .. } = &encoded;
        let beginning = || match payload.char_indices().nth(SHOWN) {
            Some((end, _)) => format!("{}…", &payload[..end]),
            None => payload.clone(),
        };
        match variant::read::<E>(event_type, payload) {
            Ok(decoded) if decoded == *event => Ok((encoded, decoded)),
            Ok(_) => Err(CodecError::Unequal { event_type, payload: beginning() }),
            Err(error) => {
                let reason = error.to_string();
                Err(CodecError::Undecodable { event_type, payload: beginning(), reason })
            }
        }
    }

    /// Decodes a stored event, after the upcasters that its schema version needs.
    ///
    /// # Errors
    /// [`CodecError::UnknownEventType`], [`CodecError::NewerSchema`] or [`CodecError::Malformed`].
    pub fn decode(&self, recorded: &RecordedEvent) -> Result<E, CodecError> {
        self.decode_parts(&recorded.event_type, recorded.schema_version, &recorded.payload)
    }

    /// Decodes an event from its stored parts; see [`EventCodec::decode`].
    ///
    /// # Errors
    /// Those of [`EventCodec::decode`].
    pub fn decode_parts(
        &self,
        event_type: &str,
        schema_version: u32,
        payload: &str,
    ) -> Result<E, CodecError> {
        let known = self.schema_version(event_type);
        if schema_version == known {
            // Version 0 is never written, so it is refused like a version that this program does
            // not know.
            return variant::read(event_type, payload);
        }
        if schema_version > known || schema_version == 0 {
            let event_type = event_type.to_owned();
            return Err(CodecError::NewerSchema { event_type, found: schema_version, known });
        }
        let (payload, marked) = numbers::mark(payload);
        let mut body: Value = serde_json::from_str(&payload)?;
        // `known > 1` here, so the event type has upcasters, one for each version below `known`.
        for step in self.upcasters[event_type].iter().skip(schema_version as usize - 1) {
            body = step(body).map_err(|error| CodecError::Malformed(error.to_string()))?;
        }
        variant::read(event_type, &marked.restore(body.to_string()))
    }

    /// Returns an event type that has upcasters but is no variant of the enum. None of its events
    /// could be decoded, whatever the upcasters return, so the name is probably misspelt.
    pub(crate) fn orphaned_upcaster(&self) -> Option<&'static str> {
        let is_orphaned = |event_type: &&&'static str| {
            // `null` is not a valid body of most variants, but only an unknown variant fails with
            // `UnknownEventType`.
            let read = guarded(|| variant::read::<E>(event_type, "null").map(drop));
            matches!(read, Ok(Err(CodecError::UnknownEventType(_))))
        };
        self.upcasters.keys().filter(is_orphaned).min().copied()
    }

    fn schema_version(&self, event_type: &str) -> u32 {
        1 + self.upcasters.get(event_type).map_or(0, Vec::len) as u32
    }
}

/// Maximum number of characters of a body that an error message shows.
const SHOWN: usize = 200;

fn check_name(name: &str) -> Result<(), CodecError> {
    invalid_event_type(name).map_or(Ok(()), |reason| Err(CodecError::InvalidEventType(reason)))
}
