//! Codes of an aggregate's refusals, read from the code that serde derives.
//!
//! A derived `Deserialize` of an enum names all its variants before it reads any input, so the
//! names can be listed without a value of each.

use std::fmt;

use serde::de::{DeserializeOwned, Deserializer, Error, Visitor};

use crate::command::code_of;

/// Returns the codes of all refusals of this type; empty if it is not an enum.
pub(super) fn codes<E: DeserializeOwned>() -> Vec<String> {
    match E::deserialize(Variants) {
        Err(Listed(variants)) => variants.iter().map(|name| code_of(name).into_owned()).collect(),
        Ok(_) => Vec::new(),
    }
}

/// A deserializer that stops as soon as it has the names of the variants.
struct Variants;

struct Listed(&'static [&'static str]);

impl<'de> Deserializer<'de> for Variants {
    type Error = Listed;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Listed> {
        Err(Listed(&[]))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Listed> {
        Err(Listed(variants))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

impl Error for Listed {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self(&[])
    }
}

impl std::error::Error for Listed {}

impl fmt::Debug for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::codes;

    #[derive(Deserialize)]
    #[expect(dead_code, reason = "only the names of the variants are read")]
    enum Refusal {
        InsufficientFunds {
            available: i64,
        },
        #[serde(rename = "forbidden")]
        NotForOthers,
    }

    #[test]
    fn the_codes_of_an_enum_are_the_names_of_its_variants() {
        assert_eq!(codes::<Refusal>(), ["insufficient_funds", "forbidden"]);
        assert_eq!(codes::<u8>(), [""; 0]);
    }
}
