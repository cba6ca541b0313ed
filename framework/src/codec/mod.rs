//! Events to texts and back, named by their serde variants.
//!
//! Writing splits an externally tagged enum into its variant's name and its body; reading hands
//! (name, body) to the enum without building a value in between. Schema version = 1 + the number
//! of upcasters of that event. Nothing here panics on any stored text.

mod split;
mod variant;

use std::collections::HashMap;
use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::BoxError;
use crate::event::RecordedEvent;

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
pub struct Upcaster {
    event_type: &'static str,
    step: Step,
}

type Step = fn(Value) -> Result<Value, BoxError>;

impl Upcaster {
    /// A step for `event_type`. The first one registered leads from version 1 to 2, and so on.
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

    /// Splits an event for the store.
    ///
    /// # Errors
    /// It is no externally tagged enum variant, or a field cannot be JSON (a map key that is no
    /// string, say).
    pub fn encode(&self, event: &E) -> Result<Encoded, CodecError> {
        let (event_type, payload) = split::split(event)?;
        let schema_version = self.schema_version(event_type);
        Ok(Encoded { event_type, schema_version, payload })
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
        let mut body: Value = serde_json::from_str(payload)?;
        // `known > 1` here, so the event type has upcasters, one for each version below `known`.
        for step in self.upcasters[event_type].iter().skip(schema_version as usize - 1) {
            body = step(body).map_err(|error| CodecError::Malformed(error.to_string()))?;
        }
        variant::read(event_type, &body.to_string())
    }

    fn schema_version(&self, event_type: &str) -> u32 {
        1 + self.upcasters.get(event_type).map_or(0, Vec::len) as u32
    }
}
