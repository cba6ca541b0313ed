//! Splits a serialisable enum value into the name of its variant and a JSON body.
//!
//! The `Serializer` accepts enum variants only, because the name becomes the event type, and leaves
//! the fields to serde_json. The body of a unit variant is `null`.

use serde::Serialize;
use serde::ser::{self, Impossible, SerializeStruct, SerializeTuple};
use serde_json::ser::CompactFormatter;

use super::CodecError;

type Json<'a> = serde_json::Serializer<&'a mut Vec<u8>>;
type JsonCompound<'a, 'b> = serde_json::ser::Compound<'a, &'b mut Vec<u8>, CompactFormatter>;

/// Returns the name of the variant and its body as a JSON text.
pub(super) fn split<E: Serialize>(event: &E) -> Result<(&'static str, String), CodecError> {
    let mut body = Vec::with_capacity(128);
    let mut json = serde_json::Serializer::new(&mut body);
    let name = event.serialize(Split { json: &mut json })?;
    let body = String::from_utf8(body).map_err(<CodecError as ser::Error>::custom)?;
    Ok((name, body))
}

/// Name of the variant that an enum value has, as serde writes it; `None` if the value is no enum.
pub(crate) fn variant_name<E: Serialize>(value: &E) -> Option<&'static str> {
    split(value).ok().map(|(name, _)| name)
}

struct Split<'a, 'b> {
    json: &'a mut Json<'b>,
}

/// A variant with fields of which only some have been serialised.
struct Fields<C> {
    name: &'static str,
    fields: C,
}

macro_rules! refuse {
    ($($method:ident($($arg:ident: $type:ty),*) is $what:literal;)*) => {$(
        fn $method(self, $($arg: $type),*) -> Result<Self::Ok, CodecError> {
            $(let _ = $arg;)*
            Err(CodecError::NotAnEnum($what))
        }
    )*};
}

impl<'a, 'b> ser::Serializer for Split<'a, 'b> {
    type Ok = &'static str;
    type Error = CodecError;
    type SerializeSeq = Impossible<&'static str, CodecError>;
    type SerializeTuple = Impossible<&'static str, CodecError>;
    type SerializeTupleStruct = Impossible<&'static str, CodecError>;
    type SerializeMap = Impossible<&'static str, CodecError>;
    type SerializeStruct = Impossible<&'static str, CodecError>;
    type SerializeTupleVariant = Fields<JsonCompound<'a, 'b>>;
    type SerializeStructVariant = Fields<JsonCompound<'a, 'b>>;

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<Self::Ok, CodecError> {
        ().serialize(self.json)?;
        Ok(variant)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<Self::Ok, CodecError> {
        value.serialize(self.json)?;
        Ok(variant)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Self::SerializeTupleVariant, CodecError> {
        let fields = ser::Serializer::serialize_tuple(self.json, len)?;
        Ok(Fields { name: variant, fields })
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Self::SerializeStructVariant, CodecError> {
        let fields = ser::Serializer::serialize_struct(self.json, variant, len)?;
        Ok(Fields { name: variant, fields })
    }

    // An untagged or internally tagged enum calls these methods too. It is refused, because serde
    // passes no variant name that could become the event type.
    refuse! {
        serialize_bool(v: bool) is "a bool";
        serialize_i8(v: i8) is "a number";
        serialize_i16(v: i16) is "a number";
        serialize_i32(v: i32) is "a number";
        serialize_i64(v: i64) is "a number";
        serialize_u8(v: u8) is "a number";
        serialize_u16(v: u16) is "a number";
        serialize_u32(v: u32) is "a number";
        serialize_u64(v: u64) is "a number";
        serialize_f32(v: f32) is "a number";
        serialize_f64(v: f64) is "a number";
        serialize_char(v: char) is "a character";
        serialize_str(v: &str) is "a string";
        serialize_bytes(v: &[u8]) is "bytes";
        serialize_none() is "an option";
        serialize_unit() is "a unit";
        serialize_unit_struct(name: &'static str) is "a struct";
    }

    fn serialize_some<T: Serialize + ?Sized>(self, _: &T) -> Result<Self::Ok, CodecError> {
        Err(CodecError::NotAnEnum("an option"))
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: &T,
    ) -> Result<Self::Ok, CodecError> {
        Err(CodecError::NotAnEnum("a struct"))
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Self::SerializeSeq, CodecError> {
        Err(CodecError::NotAnEnum("a sequence"))
    }

    fn serialize_tuple(self, _: usize) -> Result<Self::SerializeTuple, CodecError> {
        Err(CodecError::NotAnEnum("a tuple"))
    }

    fn serialize_tuple_struct(
        self,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleStruct, CodecError> {
        Err(CodecError::NotAnEnum("a struct"))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self::SerializeMap, CodecError> {
        Err(CodecError::NotAnEnum("a map or an internally tagged enum"))
    }

    fn serialize_struct(
        self,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStruct, CodecError> {
        Err(CodecError::NotAnEnum("a struct or an internally tagged enum"))
    }
}

impl<C> ser::SerializeTupleVariant for Fields<C>
where
    C: SerializeTuple<Ok = (), Error = serde_json::Error>,
{
    type Ok = &'static str;
    type Error = CodecError;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), CodecError> {
        Ok(self.fields.serialize_element(value)?)
    }

    fn end(self) -> Result<Self::Ok, CodecError> {
        self.fields.end()?;
        Ok(self.name)
    }
}

impl<C> ser::SerializeStructVariant for Fields<C>
where
    C: SerializeStruct<Ok = (), Error = serde_json::Error>,
{
    type Ok = &'static str;
    type Error = CodecError;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<(), CodecError> {
        Ok(self.fields.serialize_field(key, value)?)
    }

    fn end(self) -> Result<Self::Ok, CodecError> {
        self.fields.end()?;
        Ok(self.name)
    }
}
