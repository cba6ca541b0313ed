//! Compares two values of one type by everything that they pass to serde, including what JSON
//! loses.
//!
//! JSON writes NaN, `None` and `Some(None)` alike, so two JSON texts can be equal although the
//! values are not. This serializer writes them differently. It is for types without `PartialEq`.
//! The entries of a map and the elements of a sequence may come in another order, as in
//! [`super::same`].

use serde::Serialize;
use serde::ser::{self, Serializer};

use super::CodecError;

/// Checks that the two values are equal.
///
/// # Errors
/// A value cannot be serialised.
pub(crate) fn is_same<T: Serialize>(one: &T, other: &T) -> Result<bool, CodecError> {
    Ok(one.serialize(Exact)? == other.serialize(Exact)?)
}

/// Serializer to a text that is different for each value of the type.
struct Exact;

/// Sequence, map, struct or variant of which only some parts have been serialised.
struct Parts {
    name: &'static str,
    parts: Vec<String>,
    key: String,
}

impl Parts {
    fn new(name: &'static str) -> Self {
        Self { name, parts: Vec::new(), key: String::new() }
    }

    fn element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), CodecError> {
        self.parts.push(value.serialize(Exact)?);
        Ok(())
    }

    fn entry<T: Serialize + ?Sized>(&mut self, key: &str, value: &T) -> Result<(), CodecError> {
        self.parts.push(format!("{key:?}:{}", value.serialize(Exact)?));
        Ok(())
    }

    fn text(mut self) -> String {
        // A decoded `HashMap` or `HashSet` iterates in another order than the original.
        self.parts.sort_unstable();
        format!("{}({})", self.name, self.parts.join(","))
    }
}

macro_rules! plain {
    ($($method:ident($type:ty))*) => {$(
        fn $method(self, value: $type) -> Result<String, CodecError> {
            Ok(value.to_string())
        }
    )*};
}

impl Serializer for Exact {
    type Ok = String;
    type Error = CodecError;
    type SerializeSeq = Parts;
    type SerializeTuple = Parts;
    type SerializeTupleStruct = Parts;
    type SerializeTupleVariant = Parts;
    type SerializeMap = Parts;
    type SerializeStruct = Parts;
    type SerializeStructVariant = Parts;

    plain! {
        serialize_bool(bool)
        serialize_i8(i8) serialize_i16(i16) serialize_i32(i32) serialize_i64(i64) serialize_i128(i128)
        serialize_u8(u8) serialize_u16(u16) serialize_u32(u32) serialize_u64(u64) serialize_u128(u128)
    }

    fn serialize_f32(self, value: f32) -> Result<String, CodecError> {
        // Exact, because every f32 is also an f64.
        self.serialize_f64(value.into())
    }

    fn serialize_f64(self, value: f64) -> Result<String, CodecError> {
        // `Debug` writes the shortest text that no other float has, and NaN as `NaN`.
        Ok(format!("{value:?}"))
    }

    fn serialize_char(self, value: char) -> Result<String, CodecError> {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, value: &str) -> Result<String, CodecError> {
        Ok(format!("{value:?}"))
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<String, CodecError> {
        value.serialize(self)
    }

    fn serialize_none(self) -> Result<String, CodecError> {
        Ok("None".to_owned())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<String, CodecError> {
        Ok(format!("Some({})", value.serialize(self)?))
    }

    fn serialize_unit(self) -> Result<String, CodecError> {
        Ok("()".to_owned())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<String, CodecError> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<String, CodecError> {
        self.serialize_str(variant)
    }

    // Both values have the same type, so the names of structs distinguish nothing.
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<String, CodecError> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<String, CodecError> {
        Ok(format!("{variant}({})", value.serialize(self)?))
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Parts, CodecError> {
        Ok(Parts::new(""))
    }

    fn serialize_tuple(self, _: usize) -> Result<Parts, CodecError> {
        Ok(Parts::new(""))
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Parts, CodecError> {
        Ok(Parts::new(""))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Parts, CodecError> {
        Ok(Parts::new(variant))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Parts, CodecError> {
        Ok(Parts::new(""))
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Parts, CodecError> {
        Ok(Parts::new(""))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Parts, CodecError> {
        Ok(Parts::new(variant))
    }
}

macro_rules! elements {
    ($($trait:ident::$method:ident)*) => {$(
        impl ser::$trait for Parts {
            type Ok = String;
            type Error = CodecError;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), CodecError> {
                self.element(value)
            }

            fn end(self) -> Result<String, CodecError> {
                Ok(self.text())
            }
        }
    )*};
}

macro_rules! fields {
    ($($trait:ident)*) => {$(
        impl ser::$trait for Parts {
            type Ok = String;
            type Error = CodecError;

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                key: &'static str,
                value: &T,
            ) -> Result<(), CodecError> {
                self.entry(key, value)
            }

            fn end(self) -> Result<String, CodecError> {
                Ok(self.text())
            }
        }
    )*};
}

elements! {
    SerializeSeq::serialize_element
    SerializeTuple::serialize_element
    SerializeTupleStruct::serialize_field
    SerializeTupleVariant::serialize_field
}

fields! { SerializeStruct SerializeStructVariant }

impl ser::SerializeMap for Parts {
    type Ok = String;
    type Error = CodecError;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), CodecError> {
        self.key = key.serialize(Exact)?;
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), CodecError> {
        let key = std::mem::take(&mut self.key);
        self.entry(&key, value)
    }

    fn end(self) -> Result<String, CodecError> {
        Ok(self.text())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashSet};

    use super::*;

    fn differ<T: Serialize>(values: &[T]) {
        for (n, one) in values.iter().enumerate() {
            for (m, other) in values.iter().enumerate() {
                assert_eq!(is_same(one, other).unwrap(), n == m, "{n} and {m}");
            }
        }
    }

    #[test]
    fn values_that_json_writes_alike_are_told_apart() {
        differ(&[None, Some(f64::NAN), Some(f64::INFINITY), Some(1.0), Some(-0.0), Some(0.0)]);
        differ(&[None, Some(None), Some(Some(1))]);
        differ(&[None, Some(())]);
        differ(&[0.1_f64 + 0.2, 0.3]);
        differ(&["a", "b", "A", "\"a\""]);
        differ(&[vec!["a,b"], vec!["a", "b"], vec!["a"], vec![]]);
        differ(&[Ok(1), Err(1), Ok(2)]);
        differ(&[BTreeMap::from([(1, 2)]), BTreeMap::from([(2, 1)]), BTreeMap::new()]);
    }

    #[test]
    fn a_set_that_comes_in_another_order_is_the_same() {
        let one: HashSet<_> = (0..100).collect();
        let other: HashSet<_> = (0..100).rev().collect();
        assert!(is_same(&one, &other).unwrap());
    }
}
