//! Decodes an enum value from the name of its variant and a JSON body.
//!
//! The `Deserializer` implements `deserialize_enum` only. serde_json parses the body in place,
//! because a `serde_json::Value` in between would cost an allocation per field and round large
//! numbers.

use serde::de::{self, DeserializeOwned, DeserializeSeed, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;

use super::CodecError;

/// Decodes the variant `name` with the fields in `body`.
pub(super) fn read<E: DeserializeOwned>(name: &str, body: &str) -> Result<E, CodecError> {
    E::deserialize(Variant { name, body })
}

struct Variant<'de> {
    name: &'de str,
    body: &'de str,
}

impl<'de> de::Deserializer<'de> for Variant<'de> {
    type Error = CodecError;

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, CodecError> {
        visitor.visit_enum(self)
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, CodecError> {
        Err(CodecError::NotAnEnum("another shape"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

impl<'de> de::EnumAccess<'de> for Variant<'de> {
    type Error = CodecError;
    type Variant = Body<'de>;

    fn variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<(S::Value, Self::Variant), CodecError> {
        let name: de::value::StrDeserializer<'_, CodecError> = self.name.into_deserializer();
        Ok((seed.deserialize(name)?, Body(self.body)))
    }
}

struct Body<'de>(&'de str);

impl<'de> Body<'de> {
    /// Decodes the whole body. Trailing characters are an error.
    fn whole<T>(
        self,
        read: impl FnOnce(
            &mut serde_json::Deserializer<serde_json::de::StrRead<'de>>,
        ) -> Result<T, serde_json::Error>,
    ) -> Result<T, CodecError> {
        let mut json = serde_json::Deserializer::from_str(self.0);
        let value = read(&mut json)?;
        // serde_json stops after the first value, so trailing characters would be ignored.
        json.end()?;
        Ok(value)
    }
}

impl<'de> de::VariantAccess<'de> for Body<'de> {
    type Error = CodecError;

    fn unit_variant(self) -> Result<(), CodecError> {
        self.whole(|json| de::Deserialize::deserialize(json))
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<S::Value, CodecError> {
        self.whole(|json| seed.deserialize(json))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, CodecError> {
        self.whole(|json| de::Deserializer::deserialize_seq(json, visitor))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, CodecError> {
        // The name is empty because serde_json ignores it.
        self.whole(|json| de::Deserializer::deserialize_struct(json, "", fields, visitor))
    }
}
