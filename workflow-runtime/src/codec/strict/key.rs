//! Serializes the key of a map, which JSON allows to be a string only.

use std::fmt;

use serde::ser::{Impossible, Serialize, Serializer};

use super::{Refused, Writer, finite};

/// Accepts the keys that `serde_json` both writes and reads back, and refuses the others.
pub(super) struct KeyWriter<'a> {
    writer: &'a mut Writer,
    verbatim: bool,
}

impl<'a> KeyWriter<'a> {
    /// A writer for a map's key: numbers and booleans are put in quotes.
    pub(super) fn quoted(writer: &'a mut Writer) -> Self {
        KeyWriter { writer, verbatim: false }
    }

    /// A writer for text that is already JSON: it is written unchanged.
    pub(super) fn verbatim(writer: &'a mut Writer) -> Self {
        KeyWriter { writer, verbatim: true }
    }

    fn in_quotes<T: Serialize>(self, value: T) -> Result<(), Refused> {
        self.writer.out.push(b'"');
        self.writer.scalar(&value)?;
        self.writer.out.push(b'"');
        Ok(())
    }
}

fn refuse<T>(what: &str) -> Result<T, Refused> {
    Err(Refused::because(format!(
        "{what} cannot be the key of a map in JSON (a string, a number, a bool or a unit variant can)"
    )))
}

macro_rules! quoted {
    ($($method:ident: $type:ty),* $(,)?) => {
        $(fn $method(self, value: $type) -> Result<(), Refused> {
            self.in_quotes(value)
        })*
    };
}

impl Serializer for KeyWriter<'_> {
    type Ok = ();
    type Error = Refused;
    type SerializeSeq = Impossible<(), Refused>;
    type SerializeTuple = Impossible<(), Refused>;
    type SerializeTupleStruct = Impossible<(), Refused>;
    type SerializeTupleVariant = Impossible<(), Refused>;
    type SerializeMap = Impossible<(), Refused>;
    type SerializeStruct = Impossible<(), Refused>;
    type SerializeStructVariant = Impossible<(), Refused>;

    quoted! {
        serialize_bool: bool,
        serialize_i8: i8,
        serialize_i16: i16,
        serialize_i32: i32,
        serialize_i64: i64,
        serialize_i128: i128,
        serialize_u8: u8,
        serialize_u16: u16,
        serialize_u32: u32,
        serialize_u64: u64,
        serialize_u128: u128,
    }

    fn serialize_f32(self, value: f32) -> Result<(), Refused> {
        finite(f64::from(value))?;
        self.in_quotes(value)
    }

    fn serialize_f64(self, value: f64) -> Result<(), Refused> {
        finite(value)?;
        self.in_quotes(value)
    }

    fn serialize_char(self, value: char) -> Result<(), Refused> {
        self.writer.scalar(&value)
    }

    fn serialize_str(self, value: &str) -> Result<(), Refused> {
        if self.verbatim {
            self.writer.out.extend_from_slice(value.as_bytes());
            return Ok(());
        }
        self.writer.scalar(value)
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<(), Refused> {
        self.writer.scalar(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<(), Refused> {
        value.serialize(self)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Refused> {
        value.serialize(self)
    }

    fn collect_str<T: fmt::Display + ?Sized>(self, value: &T) -> Result<(), Refused> {
        self.writer.displayed(value)
    }

    fn serialize_bytes(self, _: &[u8]) -> Result<(), Refused> {
        refuse("a byte string")
    }

    fn serialize_none(self) -> Result<(), Refused> {
        refuse("`None`")
    }

    fn serialize_unit(self) -> Result<(), Refused> {
        refuse("`()`")
    }

    fn serialize_unit_struct(self, name: &'static str) -> Result<(), Refused> {
        refuse(&format!("the struct `{name}`"))
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        _: u32,
        variant: &'static str,
        _: &T,
    ) -> Result<(), Refused> {
        refuse(&format!("the variant `{name}::{variant}`, which holds data,"))
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Self::SerializeSeq, Refused> {
        refuse("a sequence")
    }

    fn serialize_tuple(self, length: usize) -> Result<Self::SerializeTuple, Refused> {
        refuse(&format!("a tuple of {length}"))
    }

    fn serialize_tuple_struct(self, name: &'static str, _: usize) -> Result<Self::SerializeTupleStruct, Refused> {
        refuse(&format!("the struct `{name}`"))
    }

    fn serialize_tuple_variant(
        self,
        name: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, Refused> {
        refuse(&format!("the variant `{name}::{variant}`, which holds data,"))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self::SerializeMap, Refused> {
        refuse("a map")
    }

    fn serialize_struct(self, name: &'static str, _: usize) -> Result<Self::SerializeStruct, Refused> {
        refuse(&format!("the struct `{name}`"))
    }

    fn serialize_struct_variant(
        self,
        name: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, Refused> {
        refuse(&format!("the variant `{name}::{variant}`, which holds data,"))
    }
}
