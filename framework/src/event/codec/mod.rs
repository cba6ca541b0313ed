//! Encodes events as JSON texts and decodes them, named by their serde variants.
//!
//! Encoding splits an externally tagged enum into the name of its variant and its body; decoding
//! passes (name, body) to the enum without building a value in between. The schema version is 1 +
//! the number of upcasters of that event. No stored text makes this code panic. The caller isolates
//! panics of user code (serde impls, `PartialEq`, upcasters).

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
use super::{RecordedEvent, invalid_event_type};
use crate::box_error::BoxError;
use crate::catch_panic::guarded;

/// Why an event could not be written or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// The event type is no plain enum with serde's default tagging.
    #[error("an event must be an externally tagged enum (serde's default), not {0}")]
    NotAnEnum(&'static str),
    /// No variant of the enum has the stored name.
    #[error("unknown event type {0:?}")]
    UnknownEventType(String),
    /// Written by a newer release of the program.
    #[error(
        "event type {event_type:?} has schema version {found}; this program knows up to {known}"
    )]
    NewerSchema {
        /// The stored name.
        event_type: String,
        /// The version it was written in.
        found: u32,
        /// The newest this program knows.
        known: u32,
    },
    /// The body does not fit the variant, or an upcaster refused it.
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

/// One step that turns the body of an older schema version of one event type into the next.
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
    /// A step for `event_type`. The first one registered leads from version 1 to 2, and so on.
    ///
    /// [`Value`] holds integers of 64 bits and floats of 64 bits. A number that needs more (a
    /// `u128`, a decimal with 20 digits) arrives as a marked string and leaves as the same number:
    /// move it, but do not calculate with it.
    pub fn new(event_type: &'static str, step: fn(Value) -> Result<Value, BoxError>) -> Self {
        Self { event_type, step }
    }
}

/// An event split in name and body, ready to be stored.
#[derive(Debug, PartialEq, Eq)]
pub struct Encoded {
    /// The variant's serde name.
    pub event_type: &'static str,
    /// The schema version written today.
    pub schema_version: u32,
    /// The body as a JSON text.
    pub payload: String,
}

/// Writes and reads the events of one aggregate.
pub struct EventCodec<E> {
    upcasters: HashMap<&'static str, Vec<Step>>,
    event: PhantomData<fn() -> E>,
}

impl<E: Serialize + DeserializeOwned> EventCodec<E> {
    /// A codec with these upcasters, oldest step first for each event type.
    pub fn new(upcasters: Vec<Upcaster>) -> Self {
        let mut by_type: HashMap<_, Vec<_>> = HashMap::new();
        for upcaster in upcasters {
            by_type.entry(upcaster.event_type).or_default().push(upcaster.step);
        }
        Self { upcasters: by_type, event: PhantomData }
    }

    /// Checks, without an event, that the type is an externally tagged enum whose variants have
    /// names that every store can keep.
    ///
    /// # Errors
    /// [`CodecError::NotAnEnum`] or [`CodecError::InvalidEventType`]. A variant that serde writes
    /// under another name than it reads is found only by [`EventCodec::round_trip`].
    pub fn check(&self) -> Result<(), CodecError> {
        probe::variants::<E>()?.iter().try_for_each(|name| check_name(name))
    }

    /// Splits an event for the store.
    ///
    /// # Errors
    /// It is no externally tagged enum variant, its name cannot be stored, or a field cannot be
    /// JSON (a map key that is no string, say).
    pub fn encode(&self, event: &E) -> Result<Encoded, CodecError> {
        let (event_type, payload) = split::split(event)?;
        check_name(event_type)?;
        let schema_version = self.schema_version(event_type);
        Ok(Encoded { event_type, schema_version, payload })
    }

    /// Encodes an event and decodes it again. Store the first, fold the second: then the state in
    /// memory is what any other process will fold from the log.
    ///
    /// # Errors
    /// As [`EventCodec::encode`]; [`CodecError::Undecodable`] and [`CodecError::Unequal`] if the
    /// stored form does not come back as the same event.
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

    /// Reads a stored event.
    ///
    /// # Errors
    /// [`CodecError`] says which of name, schema version and body does not fit.
    pub fn decode(&self, recorded: &RecordedEvent) -> Result<E, CodecError> {
        self.decode_parts(&recorded.event_type, recorded.schema_version, &recorded.payload)
    }

    /// Reads an event from its stored parts; see [`EventCodec::decode`].
    ///
    /// # Errors
    /// As [`EventCodec::decode`].
    pub fn decode_parts(
        &self,
        event_type: &str,
        schema_version: u32,
        payload: &str,
    ) -> Result<E, CodecError> {
        let known = self.schema_version(event_type);
        if schema_version == known {
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

    /// An event type that has upcasters and is no variant of the enum: whatever they make of an
    /// event, it cannot be decoded.
    pub(crate) fn orphaned_upcaster(&self) -> Option<&'static str> {
        let is_orphaned = |event_type: &&&'static str| {
            // `null` fits few variants, but only an unknown one is refused by its name.
            let read = guarded(|| variant::read::<E>(event_type, "null").map(drop));
            matches!(read, Ok(Err(CodecError::UnknownEventType(_))))
        };
        self.upcasters.keys().filter(is_orphaned).min().copied()
    }

    fn schema_version(&self, event_type: &str) -> u32 {
        1 + self.upcasters.get(event_type).map_or(0, Vec::len) as u32
    }
}

/// Number of characters of a body that an error shows.
const SHOWN: usize = 200;

fn check_name(name: &str) -> Result<(), CodecError> {
    invalid_event_type(name).map_or(Ok(()), |reason| Err(CodecError::InvalidEventType(reason)))
}
