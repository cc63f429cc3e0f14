//! The JSON of `serde_json`, without the values that it would change.

mod key;
#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::fmt::{self, Write as _};
use std::sync::Arc;

use serde::ser::{self, Serialize, Serializer};
use serde_json::value::RawValue;

use self::key::KeyWriter;
use crate::limits::BUFFER_BYTES_MAX;

/// The nesting depth of arrays and objects that `serde_json` reads back: it counts 128 down and refuses at 0, so that a
/// deep value does not overflow its stack. An enum's variant with data is an object of its own.
const DEPTH_MAX: usize = 127;

/// The names by which `serde_json` requests its own serializer to write a text verbatim.
const VERBATIM: [&str; 2] = [RAW, "$serde_json::private::Number"];

/// That of a [`RawValue`], which is a structure of this name with one field of the same name.
pub(super) const RAW: &str = "$serde_json::private::RawValue";

/// Why a value cannot be stored, and where inside it.
#[derive(Debug)]
pub(super) struct Refused {
    path: String,
    reason: String,
}

impl Refused {
    fn because(reason: impl Into<String>) -> Self {
        Refused { path: String::new(), reason: reason.into() }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "at {}: ", self.path)?;
        }
        f.write_str(&self.reason)
    }
}

impl std::error::Error for Refused {}

impl ser::Error for Refused {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Refused::because(message.to_string())
    }
}

thread_local! {
    /// The buffers of an earlier value.
    static WRITER: Cell<Option<Writer>> = const { Cell::new(None) };
}

/// The value as JSON.
pub(super) fn to_json<T: Serialize + ?Sized>(value: &T) -> Result<Arc<str>, Refused> {
    // Taken: the value may encode others while it is encoded.
    let mut writer = WRITER.try_with(Cell::take).ok().flatten().unwrap_or_default();
    // When an error propagates, the path is not popped, so it still shows where the error occurred. The error itself
    // has no path: a `Serialize` impl creates it without access to the writer.
    let text = value
        .serialize(&mut writer)
        .and_then(|()| writer.text().map(Arc::from))
        .map_err(|refused| Refused { path: writer.rendered_path(), ..refused });
    if writer.out.capacity() <= BUFFER_BYTES_MAX {
        writer.clear();
        let _ = WRITER.try_with(|kept| kept.set(Some(writer)));
    }
    text
}

/// One step of the path into a value; there is one for each open array or object.
#[derive(Clone, Copy)]
enum Segment {
    Index(usize),
    Name(&'static str),
    /// A map's key, as the range of its JSON in the output.
    Key(usize, usize),
    /// A map, before its first key.
    Map,
}

#[derive(Default)]
struct Writer {
    out: Vec<u8>,
    path: Vec<Segment>,
    /// A buffer for values that only implement `Display` and must be escaped: kept, so that it is allocated once.
    scratch: String,
    /// Whether it contains text that a value has passed as JSON. All other text is JSON, since this module has written it.
    is_verbatim: bool,
}

impl Writer {
    fn clear(&mut self) {
        self.out.clear();
        self.path.clear();
        self.is_verbatim = false;
    }

    fn text(&self) -> Result<&str, Refused> {
        let text = str::from_utf8(&self.out).map_err(|_| Refused::because("its JSON is no UTF-8"))?;
        if self.is_verbatim {
            serde_json::from_str::<&RawValue>(text)
                .map_err(|error| Refused::because(format!("it did not encode as JSON: {error}")))?;
        }
        Ok(text)
    }

    fn rendered_path(&self) -> String {
        let mut path = String::new();
        for segment in &self.path {
            // Writing into a string does not fail.
            let _ = match segment {
                Segment::Index(index) => write!(path, "[{index}]"),
                Segment::Name(name) => write!(path, ".{name}"),
                Segment::Key(start, end) => {
                    write!(path, "[{}]", String::from_utf8_lossy(self.out.get(*start..*end).unwrap_or_default()))
                }
                Segment::Map => Ok(()),
            };
        }
        path
    }

    fn open(&mut self, bracket: u8, segment: Segment) -> Result<(), Refused> {
        if self.path.len() >= DEPTH_MAX {
            return Err(Refused::because(format!(
                "it is nested more than {DEPTH_MAX} levels deep, and deeper JSON is not read back"
            )));
        }
        self.path.push(segment);
        self.out.push(bracket);
        Ok(())
    }

    fn close(&mut self, bracket: u8) {
        self.path.pop();
        self.out.push(bracket);
    }

    fn here(&mut self, segment: Segment) {
        if let Some(last) = self.path.last_mut() {
            *last = segment;
        }
    }

    /// Scalars are written by `serde_json` itself.
    fn scalar<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refused> {
        value.serialize(&mut serde_json::Serializer::new(&mut self.out)).map_err(ser::Error::custom)
    }

    fn displayed<T: fmt::Display + ?Sized>(&mut self, value: &T) -> Result<(), Refused> {
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        let written = write!(scratch, "{value}").map_err(|_| Refused::because("its Display failed"));
        let outcome = written.and_then(|()| self.scalar(scratch.as_str()));
        self.scratch = scratch;
        outcome
    }

    fn open_variant(&mut self, variant: &'static str) -> Result<(), Refused> {
        self.open(b'{', Segment::Name(variant))?;
        self.scalar(variant)?;
        self.out.push(b':');
        Ok(())
    }
}

fn finite(value: f64) -> Result<(), Refused> {
    let name = match value {
        value if value.is_nan() => "NaN",
        f64::INFINITY => "infinity",
        f64::NEG_INFINITY => "-infinity",
        _ => return Ok(()),
    };
    Err(Refused::because(format!("{name} is no JSON number (it would come back as null)")))
}

macro_rules! scalars {
    ($($method:ident: $type:ty),* $(,)?) => {
        $(fn $method(self, value: $type) -> Result<(), Refused> {
            self.scalar(&value)
        })*
    };
}

impl<'a> Serializer for &'a mut Writer {
    type Ok = ();
    type Error = Refused;
    type SerializeSeq = Compound<'a>;
    type SerializeTuple = Compound<'a>;
    type SerializeTupleStruct = Compound<'a>;
    type SerializeTupleVariant = Compound<'a>;
    type SerializeMap = Compound<'a>;
    type SerializeStruct = Compound<'a>;
    type SerializeStructVariant = Compound<'a>;

    scalars! {
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
        serialize_char: char,
        serialize_str: &str,
    }

    fn serialize_f32(self, value: f32) -> Result<(), Refused> {
        finite(f64::from(value))?;
        self.scalar(&value)
    }

    fn serialize_f64(self, value: f64) -> Result<(), Refused> {
        finite(value)?;
        self.scalar(&value)
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<(), Refused> {
        if self.path.len() >= DEPTH_MAX {
            // To the decoder this is an array like any other; `open` reports the depth error.
            return self.open(b'[', Segment::Index(0));
        }
        self.scalar(value)
    }

    fn serialize_none(self) -> Result<(), Refused> {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Refused> {
        let start = self.out.len();
        value.serialize(&mut *self)?;
        // Applies to any inner value: `()`, a unit struct, `None`, or one of them in a newtype or in a `serde_json::Value`.
        if self.out.get(start..) == Some(b"null") {
            return Err(Refused::because("`Some` of a value that is null in JSON (it would come back as None)"));
        }
        Ok(())
    }

    fn serialize_unit(self) -> Result<(), Refused> {
        self.out.extend_from_slice(b"null");
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Refused> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<(), Refused> {
        self.scalar(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<(), Refused> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Refused> {
        self.open_variant(variant)?;
        value.serialize(&mut *self)?;
        self.close(b'}');
        Ok(())
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Compound<'a>, Refused> {
        self.open(b'[', Segment::Index(0))?;
        Ok(Compound { writer: self, elements: 0, form: Form::Array, awaits_value: false })
    }

    fn serialize_tuple(self, length: usize) -> Result<Compound<'a>, Refused> {
        self.serialize_seq(Some(length))
    }

    fn serialize_tuple_struct(self, _: &'static str, length: usize) -> Result<Compound<'a>, Refused> {
        self.serialize_seq(Some(length))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Compound<'a>, Refused> {
        self.open_variant(variant)?;
        self.open(b'[', Segment::Index(0))?;
        Ok(Compound { writer: self, elements: 0, form: Form::ArrayVariant, awaits_value: false })
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Compound<'a>, Refused> {
        self.open(b'{', Segment::Map)?;
        Ok(Compound { writer: self, elements: 0, form: Form::Object, awaits_value: false })
    }

    fn serialize_struct(self, name: &'static str, _: usize) -> Result<Compound<'a>, Refused> {
        if VERBATIM.contains(&name) {
            self.is_verbatim = true;
            return Ok(Compound { writer: self, elements: 0, form: Form::Verbatim, awaits_value: false });
        }
        self.serialize_map(None)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Compound<'a>, Refused> {
        self.open_variant(variant)?;
        self.open(b'{', Segment::Map)?;
        Ok(Compound { writer: self, elements: 0, form: Form::ObjectVariant, awaits_value: false })
    }

    fn collect_str<T: fmt::Display + ?Sized>(self, value: &T) -> Result<(), Refused> {
        self.displayed(value)
    }
}

#[derive(Clone, Copy)]
enum Form {
    Array,
    ArrayVariant,
    Object,
    ObjectVariant,
    Verbatim,
}

/// An open array or object.
struct Compound<'a> {
    writer: &'a mut Writer,
    elements: usize,
    form: Form,
    /// Whether it is a map whose last key has no value yet.
    awaits_value: bool,
}

impl Compound<'_> {
    fn comma(&mut self) {
        if self.elements > 0 {
            self.writer.out.push(b',');
        }
        self.elements += 1;
    }

    fn element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refused> {
        self.writer.here(Segment::Index(self.elements));
        self.comma();
        value.serialize(&mut *self.writer)
    }

    fn field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Refused> {
        if let Form::Verbatim = self.form {
            return value.serialize(KeyWriter::verbatim(self.writer));
        }
        self.writer.here(Segment::Name(name));
        self.comma();
        self.writer.scalar(name)?;
        self.writer.out.push(b':');
        value.serialize(&mut *self.writer)
    }

    /// Checks that a value follows each key of a map.
    fn alternate(&mut self, is_value: bool) -> Result<(), Refused> {
        if self.awaits_value != is_value {
            return Err(Refused::because("its `Serialize` writes a map whose keys and values do not alternate"));
        }
        self.awaits_value = false;
        Ok(())
    }

    fn finish(self) -> Result<(), Refused> {
        match self.form {
            Form::Array => self.writer.close(b']'),
            Form::Object => self.writer.close(b'}'),
            Form::ArrayVariant => {
                self.writer.close(b']');
                self.writer.close(b'}');
            }
            Form::ObjectVariant => {
                self.writer.close(b'}');
                self.writer.close(b'}');
            }
            Form::Verbatim => {}
        }
        Ok(())
    }
}

macro_rules! arrays {
    ($($part:ident :: $method:ident),* $(,)?) => {
        $(impl ser::$part for Compound<'_> {
            type Ok = ();
            type Error = Refused;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refused> {
                self.element(value)
            }

            fn end(self) -> Result<(), Refused> {
                self.finish()
            }
        })*
    };
}

arrays! {
    SerializeSeq::serialize_element,
    SerializeTuple::serialize_element,
    SerializeTupleStruct::serialize_field,
    SerializeTupleVariant::serialize_field,
}

macro_rules! objects {
    ($($part:ident),* $(,)?) => {
        $(impl ser::$part for Compound<'_> {
            type Ok = ();
            type Error = Refused;

            fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Refused> {
                self.field(name, value)
            }

            fn end(self) -> Result<(), Refused> {
                self.finish()
            }
        })*
    };
}

objects!(SerializeStruct, SerializeStructVariant);

impl ser::SerializeMap for Compound<'_> {
    type Ok = ();
    type Error = Refused;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Refused> {
        self.alternate(false)?;
        self.writer.here(Segment::Map);
        self.comma();
        let start = self.writer.out.len();
        key.serialize(KeyWriter::quoted(self.writer))?;
        let end = self.writer.out.len();
        self.writer.here(Segment::Key(start, end));
        self.awaits_value = true;
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refused> {
        self.alternate(true)?;
        self.writer.out.push(b':');
        value.serialize(&mut *self.writer)
    }

    fn end(mut self) -> Result<(), Refused> {
        self.alternate(false)?;
        self.finish()
    }
}
