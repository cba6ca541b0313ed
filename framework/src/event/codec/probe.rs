//! Finds the names of an enum's variants without a value of it.
//!
//! A `Deserializer` that only records what it is asked for. serde's derived code asks for an enum and
//! passes the names; any other request says that the type is stored in another shape.

use std::cell::Cell;

use serde::de::{self, DeserializeOwned, Visitor};
use serde::forward_to_deserialize_any;

use super::CodecError;

/// The variants' names as serde reads them.
///
/// # Errors
/// [`CodecError::NotAnEnum`] if the type is no externally tagged enum.
pub(super) fn variants<E: DeserializeOwned>() -> Result<&'static [&'static str], CodecError> {
    let found = Cell::new(None);
    let refused = E::deserialize(Probe { found: &found }).err();
    match (found.get(), refused) {
        (Some(names), _) => Ok(names),
        (None, Some(error @ CodecError::NotAnEnum(_))) => Err(error),
        // A deserializer written by hand that asks for nothing: `round_trip` judges its events.
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
        Err(CodecError::Malformed("only the names of the variants were wanted".to_owned()))
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, CodecError> {
        Err(CodecError::NotAnEnum("another shape"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}
