//! Finds the names of an enum's variants without a value of the enum.
//!
//! The probe is a `Deserializer` that only records which method serde calls. Derived code of an
//! externally tagged enum calls `deserialize_enum` with the names. Any other method means that the
//! type is stored in another shape.

use std::cell::Cell;

use serde::de::{self, DeserializeOwned, Visitor};
use serde::forward_to_deserialize_any;

use super::CodecError;

/// Returns the names of the variants as serde reads them.
///
/// # Errors
/// [`CodecError::NotAnEnum`] if the type is not an externally tagged enum.
pub(super) fn variants<E: DeserializeOwned>() -> Result<&'static [&'static str], CodecError> {
    let found = Cell::new(None);
    let refused = E::deserialize(Probe { found: &found }).err();
    match (found.get(), refused) {
        (Some(names), _) => Ok(names),
        (None, Some(error @ CodecError::NotAnEnum(_))) => Err(error),
        // A handwritten `Deserialize` that calls nothing: `round_trip` checks each of its events
        // instead.
        (None, _) => Ok(&[]),
    }
}

struct Probe<'a> {
    found: &'a Cell<Option<&'static [&'static str]>>,
}

impl<'de> de::Deserializer<'de> for Probe<'_> {
    type Error = CodecError;

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, CodecError> {
        self.found.set(Some(variants));
        Err(CodecError::Malformed("the probe ends after the names of the variants".to_owned()))
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, CodecError> {
        Err(CodecError::NotAnEnum("another shape"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}
