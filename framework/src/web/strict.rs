//! A serde deserializer that refuses input that serde's derived code accepts silently.
//!
//! Derived code reads a struct from an array, field by field, and ignores unknown fields.
//! [`Strict`] wraps any deserializer and refuses both, at every depth, where a struct or a struct
//! variant is expected. All other input is passed on unchanged.

use std::fmt;

use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, SeqAccess, Unexpected,
    VariantAccess, Visitor,
};

/// Names of a struct's fields; `None` if no struct is expected.
type Fields = Option<&'static [&'static str]>;

/// A deserializer `D` with the stricter rules.
pub(super) struct Strict<D> {
    inner: D,
    /// Fields of the struct that contains this value. serde reads the value of an unknown field
    /// with `deserialize_ignored_any`.
    within: Fields,
}

impl<D> Strict<D> {
    /// Wraps `inner`.
    pub(super) fn new(inner: D) -> Self {
        Self { inner, within: None }
    }
}

/// Forwards methods that take a visitor, possibly after other arguments.
macro_rules! pass_on {
    ($($method:ident($($name:ident: $of:ty),*);)+) => {$(
        fn $method<V: Visitor<'de>>(self, $($name: $of,)* visitor: V) -> Result<V::Value, D::Error> {
            self.inner.$method($($name,)* Inside { visitor, fields: None })
        }
    )+};
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Strict<D> {
    type Error = D::Error;

    pass_on! {
        deserialize_any(); deserialize_bool();
        deserialize_i8(); deserialize_i16(); deserialize_i32(); deserialize_i64();
        deserialize_i128(); deserialize_u8(); deserialize_u16(); deserialize_u32();
        deserialize_u64(); deserialize_u128(); deserialize_f32(); deserialize_f64();
        deserialize_char(); deserialize_str(); deserialize_string(); deserialize_bytes();
        deserialize_byte_buf(); deserialize_option(); deserialize_unit(); deserialize_seq();
        deserialize_map(); deserialize_identifier();
        deserialize_unit_struct(name: &'static str);
        deserialize_newtype_struct(name: &'static str);
        deserialize_tuple(len: usize);
        deserialize_tuple_struct(name: &'static str, len: usize);
        deserialize_enum(name: &'static str, variants: &'static [&'static str]);
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.inner.deserialize_struct(name, fields, Inside { visitor, fields: Some(fields) })
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        // Derived code calls this for the value of an unknown field, so the field is refused here.
        match self.within {
            None => self.inner.deserialize_ignored_any(visitor),
            Some([]) => Err(D::Error::custom("unknown field, there are no fields")),
            Some(fields) => {
                let fields = fields.join("`, `");
                Err(D::Error::custom(format!("unknown field, expected one of `{fields}`")))
            }
        }
    }

    // Forwarded, because types such as UUIDs choose their form by it.
    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

/// A visitor that passes strict deserializers to the visitor it wraps.
struct Inside<V> {
    visitor: V,
    /// Fields of the struct that is expected here.
    fields: Fields,
}

macro_rules! values {
    ($($method:ident: $of:ty),+ $(,)?) => {$(
        fn $method<E: Error>(self, value: $of) -> Result<V::Value, E> {
            self.visitor.$method(value)
        }
    )+};
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Inside<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.visitor.expecting(f)
    }

    values! {
        visit_bool: bool, visit_i64: i64, visit_i128: i128, visit_u64: u64, visit_u128: u128,
        visit_f64: f64, visit_char: char, visit_str: &str, visit_borrowed_str: &'de str,
        visit_string: String, visit_bytes: &[u8], visit_borrowed_bytes: &'de [u8],
        visit_byte_buf: Vec<u8>,
    }

    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.visitor.visit_none()
    }

    fn visit_unit<E: Error>(self) -> Result<V::Value, E> {
        self.visitor.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<V::Value, D::Error> {
        self.visitor.visit_some(Strict::new(inner))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<V::Value, D::Error> {
        self.visitor.visit_newtype_struct(Strict::new(inner))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, elements: A) -> Result<V::Value, A::Error> {
        // Derived code would read the fields of a struct from an array by position.
        match self.fields {
            Some(_) => Err(A::Error::invalid_type(Unexpected::Seq, &"an object")),
            None => self.visitor.visit_seq(Parts { inner: elements, within: None }),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<V::Value, A::Error> {
        self.visitor.visit_map(Parts { inner: members, within: self.fields })
    }

    fn visit_enum<A: EnumAccess<'de>>(self, variant: A) -> Result<V::Value, A::Error> {
        self.visitor.visit_enum(Parts { inner: variant, within: None })
    }
}

/// Access to the parts of a sequence, map or enum. Each part is read strictly.
struct Parts<A> {
    inner: A,
    within: Fields,
}

impl<A> Parts<A> {
    fn seed<S>(&self, seed: S) -> Seed<S> {
        Seed { seed, within: self.within }
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Parts<A> {
    type Error = A::Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        let seed = self.seed(seed);
        self.inner.next_element_seed(seed)
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Parts<A> {
    type Error = A::Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        self.inner.next_key_seed(seed)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        let seed = self.seed(seed);
        self.inner.next_value_seed(seed)
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

impl<'de, A: EnumAccess<'de>> EnumAccess<'de> for Parts<A> {
    type Error = A::Error;
    type Variant = Parts<A::Variant>;

    fn variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<(S::Value, Self::Variant), A::Error> {
        let (value, inner) = self.inner.variant_seed(seed)?;
        Ok((value, Parts { inner, within: None }))
    }
}

impl<'de, A: VariantAccess<'de>> VariantAccess<'de> for Parts<A> {
    type Error = A::Error;

    fn unit_variant(self) -> Result<(), A::Error> {
        self.inner.unit_variant()
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, A::Error> {
        let seed = self.seed(seed);
        self.inner.newtype_variant_seed(seed)
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, A::Error> {
        self.inner.tuple_variant(len, Inside { visitor, fields: None })
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        self.inner.struct_variant(fields, Inside { visitor, fields: Some(fields) })
    }
}

/// A seed whose value is read strictly.
struct Seed<S> {
    seed: S,
    within: Fields,
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Seed<S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, inner: D) -> Result<S::Value, D::Error> {
        self.seed.deserialize(Strict { inner, within: self.within })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;
    use serde_json::value::RawValue;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Order {
        id: u64,
        lines: Vec<Line>,
        note: Option<Box<Line>>,
        by: BTreeMap<String, Line>,
        how: How,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Line {
        amount: i64,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    enum How {
        Now,
        On { day: u8 },
        Between(u8, u8),
        As(Line),
    }

    fn read(json: &str) -> Result<Order, String> {
        let mut inner = serde_json::Deserializer::from_str(json);
        Order::deserialize(Strict::new(&mut inner)).map_err(|error| error.to_string())
    }

    fn order(line: &str, how: &str) -> String {
        format!(
            r#"{{"id": 1, "lines": [{line}], "note": {line}, "by": {{"a": {line}}}, "how": {how}}}"#
        )
    }

    #[test]
    fn what_is_meant_is_read_as_without_the_rules() {
        for how in [
            "\"Now\"",
            "{\"On\": {\"day\": 1}}",
            "{\"Between\": [1, 2]}",
            "{\"As\": {\"amount\": 1}}",
        ] {
            let json = order("{\"amount\": 5}", how);
            assert_eq!(read(&json), Ok(serde_json::from_str(&json).unwrap()), "{json}");
        }
    }

    #[test]
    fn an_array_is_no_struct_at_any_depth() {
        let good = order("{\"amount\": 5}", "\"Now\"");
        let line = "{\"amount\": 5}";
        for json in [
            "[1, [], null, {}, \"Now\"]".to_owned(),
            order("[5]", "\"Now\""),
            good.replacen(line, "[5]", 1),
            good.replace(&format!("\"note\": {line}"), "\"note\": [5]"),
            good.replace(&format!("\"a\": {line}"), "\"a\": [5]"),
            order(line, "{\"On\": [1]}"),
            order(line, "{\"As\": [1]}"),
        ] {
            assert!(serde_json::from_str::<Order>(&json).is_ok(), "serde accepts {json}");
            let refused = read(&json).unwrap_err();
            assert!(refused.contains("expected an object"), "{json}: {refused}");
        }
    }

    #[test]
    fn an_unknown_field_is_refused_at_any_depth() {
        let line = "{\"amount\": 5}";
        let more = "{\"amount\": 5, \"currency\": \"EUR\"}";
        for json in [
            order(more, "\"Now\""),
            order(line, "{\"On\": {\"day\": 1, \"hour\": 2}}"),
            order(line, &format!("{{\"As\": {more}}}")),
            order(line, "\"Now\"").replacen('{', "{\"of\": null, ", 1),
        ] {
            assert!(serde_json::from_str::<Order>(&json).is_ok(), "serde accepts {json}");
            assert!(read(&json).unwrap_err().contains("unknown field"), "{json}");
        }
    }

    #[test]
    fn a_value_that_is_kept_as_it_was_written_stays_so() {
        let mut json = serde_json::Deserializer::from_str("[1, {\"a\":  2.50}]");
        let raw = Box::<RawValue>::deserialize(Strict::new(&mut json)).unwrap();
        assert_eq!(raw.get(), "[1, {\"a\":  2.50}]");
    }
}
