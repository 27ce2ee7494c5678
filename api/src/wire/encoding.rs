//! Encodes answers as `application/vnd.kubernetes.protobuf`, from the JSON that they were written in, by the schema table, with no
//! code per kind. The bytes are those of Kubernetes' own encoders: fields in order of their numbers, plain fields also when they are
//! zero, pointers only when they are set, maps in order of their keys.
//! <https://github.com/kubernetes/kubernetes/blob/v1.33.4/staging/src/k8s.io/apimachinery/pkg/runtime/serializer/protobuf/protobuf.go>

use std::fmt;

use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use thiserror::Error;

use super::protobuf::MAGIC;
use crate::schema::{Field, Numbered, Registry, Shape, TypeRef, scalar, type_for_api_version};

/// Why something has no message.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EncodeError {
    /// The kind is not in the table: a custom one, or one that is only ever shown as JSON.
    #[error("{kind:?} of {api_version:?} has no protobuf message")]
    UnknownKind {
        /// As the object says.
        api_version: String,
        /// As the object says.
        kind: String,
    },
    /// A field holds what its type has not.
    #[error("field {field:?} cannot be said in protobuf: {value}")]
    Value {
        /// Name of the field.
        field: &'static str,
        /// What it holds.
        value: String,
    },
    /// It is no JSON object.
    #[error("{0}")]
    Json(String),
}

const SCHEMA: &str = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps";
/// Where lists have their items.
const ITEMS: &str = "items";

/// Encodes an object or a list, as JSON shows it, with its envelope. Of a list there is one item at a time in memory besides the bytes.
pub fn encode(json: &[u8]) -> Result<Vec<u8>, EncodeError> {
    let mut reader = serde_json::Deserializer::from_slice(json);
    let shown =
        Shown::default().deserialize(&mut reader).map_err(|error| EncodeError::Json(error.to_string()))?;
    let Shown { object, items } = shown;
    let of = type_of(&object)?;
    let mut out = Vec::with_capacity(items.len() + json.len() / 2);
    envelope(&object, &mut out, |out| {
        message(of, Some(&object), out)?;
        // They have the highest number in every list.
        out.extend_from_slice(&items);
        Ok(())
    })?;
    Ok(out)
}

/// Appends the frame of an event of a watch: its length, and the event with the object as [`encode`] has it. Nothing is appended where
/// the object has no message.
pub fn frame(kind: &str, json: &[u8], out: &mut Vec<u8>) -> Result<(), EncodeError> {
    frame_of(kind, &encode(json)?, out);
    Ok(())
}

/// The same for an object that is encoded.
pub fn frame_of(kind: &str, object: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    bytes(1, kind.as_bytes(), out);
    tag(2, 2, out);
    let (_, digits) = digits(object.len() as u64);
    varint((1 + digits + object.len()) as u64, out);
    bytes(1, object, out);
    // What is stored is never near to four gigabytes.
    let length = (out.len() - start - 4) as u32;
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

fn type_of(object: &Map<String, Value>) -> Result<TypeRef, EncodeError> {
    let text = |key: &str| object.get(key).and_then(Value::as_str).unwrap_or_default();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    let unknown = || EncodeError::UnknownKind { api_version: api_version.to_owned(), kind: kind.to_owned() };
    // Tables are of rows with whatever is in their cells.
    type_for_api_version(api_version, kind).filter(|_| kind != "Table").ok_or_else(unknown)
}

/// The envelope: which kind, and its message.
fn envelope(
    object: &Map<String, Value>,
    out: &mut Vec<u8>,
    write: impl FnOnce(&mut Vec<u8>) -> Result<(), EncodeError>,
) -> Result<(), EncodeError> {
    out.extend_from_slice(MAGIC);
    nested(1, out, |out| {
        for (number, key) in [(1, "apiVersion"), (2, "kind")] {
            bytes(number, object.get(key).and_then(Value::as_str).unwrap_or_default().as_bytes(), out);
        }
        Ok(())
    })?;
    nested(2, out, write)?;
    // The encoding and the type of what is in it: that of the envelope.
    bytes(3, b"", out);
    bytes(4, b"", out);
    Ok(())
}

/// Appends a message.
fn message(of: TypeRef, object: Option<&Map<String, Value>>, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    for part in of.parts() {
        match part {
            Numbered::Field(of) => {
                let value = object.and_then(|object| object.get(of.name)).filter(|value| !value.is_null());
                field(of, value, out)?;
            }
            Numbered::Embed(embed) => {
                nested(embed.number, out, |out| message(embed.of.resolve(), object, out))?
            }
        }
    }
    Ok(())
}

fn field(of: &Field, value: Option<&Value>, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    let wrong = |value: &Value| EncodeError::Value { field: of.name, value: value.to_string() };
    match (of.shape, value) {
        // Bytes that are not there are a null pointer in Go, too.
        (Shape::List(_) | Shape::Map(_) | Shape::Bytes, None) => Ok(()),
        (_, None) if of.pointer => Ok(()),
        (Shape::List(shape), Some(value)) => value
            .as_array()
            .ok_or_else(|| wrong(value))?
            .iter()
            .try_for_each(|item| single(of, of.number, *shape, item, out)),
        (Shape::Map(shape), Some(value)) => {
            let map = value.as_object().ok_or_else(|| wrong(value))?;
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by_key(|(key, _)| *key);
            entries.into_iter().try_for_each(|(key, value)| {
                nested(of.number, out, |out| {
                    bytes(1, key.as_bytes(), out);
                    single(of, 2, *shape, value, out)
                })
            })
        }
        (shape, value) => single(of, of.number, shape, value.unwrap_or(&Value::Null), out),
    }
}

/// Appends one value; null is the zero of its type.
fn single(
    of: &Field,
    number: u32,
    shape: Shape,
    value: &Value,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    let wrong = || EncodeError::Value { field: of.name, value: value.to_string() };
    let zero = value.is_null();
    let text = |zero: &'static str| if value.is_null() { Some(zero) } else { value.as_str() };
    match shape {
        Shape::String => bytes(number, text("").ok_or_else(wrong)?.as_bytes(), out),
        Shape::Int32 | Shape::Int64 => {
            let whole = if zero { Some(0) } else { integer(value) };
            let whole = whole.filter(|whole| shape == Shape::Int64 || i32::try_from(*whole).is_ok());
            // 32-bit numbers are sign-extended to 64.
            varint_field(number, whole.ok_or_else(wrong)? as u64, out);
        }
        Shape::Bool => {
            let set = if zero { Some(false) } else { value.as_bool() };
            varint_field(number, u64::from(set.ok_or_else(wrong)?), out);
        }
        Shape::Double => {
            let real = if zero { Some(0.0) } else { value.as_f64() };
            tag(number, 1, out);
            out.extend_from_slice(&real.ok_or_else(wrong)?.to_le_bytes());
        }
        Shape::Bytes => {
            let decoded = scalar::decode_bytes(text("").ok_or_else(wrong)?);
            bytes(number, &decoded.map_err(|_| wrong())?, out);
        }
        Shape::Time | Shape::MicroTime => {
            let time = match text("").ok_or_else(wrong)? {
                "" => None,
                text => Some(scalar::seconds_and_nanos(text).map_err(|_| wrong())?),
            };
            nested(number, out, |out| {
                let Some((seconds, nanos)) = time.filter(|time| *time != GO_ZERO) else { return Ok(()) };
                varint_field(1, seconds as u64, out);
                varint_field(2, if shape == Shape::Time { 0 } else { u64::from(nanos / 1000 * 1000) }, out);
                Ok(())
            })?;
        }
        Shape::Duration => {
            let nanos = scalar::parse_duration(text("0s").ok_or_else(wrong)?).map_err(|_| wrong())?;
            nested(number, out, |out| {
                varint_field(1, nanos as u64, out);
                Ok(())
            })?;
        }
        Shape::Quantity => {
            let told =
                if value.is_number() { value.to_string() } else { text("0").ok_or_else(wrong)?.to_owned() };
            nested(number, out, |out| {
                bytes(1, told.as_bytes(), out);
                Ok(())
            })?;
        }
        Shape::IntOrString => {
            let whole = if zero { Some(0) } else { integer(value) };
            let word = value.as_str();
            let whole = match word {
                Some(_) => 0,
                None => whole.filter(|whole| i32::try_from(*whole).is_ok()).ok_or_else(wrong)?,
            };
            nested(number, out, |out| {
                varint_field(1, u64::from(word.is_some()), out);
                varint_field(2, whole as u64, out);
                bytes(3, word.unwrap_or_default().as_bytes(), out);
                Ok(())
            })?;
        }
        Shape::Raw | Shape::RawObject => nested(number, out, |out| {
            if !zero {
                bytes(1, value.to_string().as_bytes(), out);
            }
            Ok(())
        })?,
        Shape::SchemaOrArray | Shape::SchemaOrBool | Shape::SchemaOrStrings => {
            nested(number, out, |out| schema_or(of, shape, value, out))?;
        }
        Shape::WrappedList(shape) => {
            let items = if zero { Some(&[][..]) } else { value.as_array().map(Vec::as_slice) };
            let items = items.ok_or_else(wrong)?;
            nested(number, out, |out| items.iter().try_for_each(|item| single(of, 1, *shape, item, out)))?;
        }
        Shape::Struct(id) => {
            let object = value.as_object();
            if object.is_none() && !zero {
                return Err(wrong());
            }
            nested(number, out, |out| message(id.resolve(), object, out))?;
        }
        // No type of the table has a list or map within one.
        Shape::List(_) | Shape::Map(_) => return Err(wrong()),
    }
    Ok(())
}

/// Go's zero time, the beginning of the year 1: an empty message.
const GO_ZERO: (i64, u32) = (-62_135_596_800, 0);

/// A JSON schema, or what may stand in its place.
fn schema_or(of: &Field, shape: Shape, value: &Value, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    let wrong = || EncodeError::Value { field: of.name, value: value.to_string() };
    let schema = Registry::global().named(SCHEMA).ok_or_else(wrong)?;
    let at = if shape == Shape::SchemaOrBool { 2 } else { 1 };
    match (shape, value) {
        (Shape::SchemaOrBool, Value::Bool(allowed)) => varint_field(1, u64::from(*allowed), out),
        (_, Value::Object(object)) => {
            if shape == Shape::SchemaOrBool {
                varint_field(1, 1, out);
            }
            nested(at, out, |out| message(schema, Some(object), out))?;
        }
        (Shape::SchemaOrArray, Value::Array(schemas)) => {
            for inner in schemas {
                let object = inner.as_object().ok_or_else(wrong)?;
                nested(2, out, |out| message(schema, Some(object), out))?;
            }
        }
        (Shape::SchemaOrStrings, Value::Array(words)) => {
            words.iter().try_for_each(|word| single(of, 2, Shape::String, word, out))?;
        }
        (_, Value::Null) => {}
        _ => return Err(wrong()),
    }
    Ok(())
}

/// A whole number, however it is written.
fn integer(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| {
        value.as_f64().filter(|real| real.fract() == 0.0 && real.abs() < 1e15).map(|real| real as i64)
    })
}

fn tag(number: u32, wire_type: u64, out: &mut Vec<u8>) {
    varint(u64::from(number) << 3 | wire_type, out);
}

fn varint(value: u64, out: &mut Vec<u8>) {
    let (digits, length) = digits(value);
    out.extend_from_slice(&digits[..length]);
}

/// The bytes of a varint, and how many they are.
fn digits(mut value: u64) -> ([u8; 10], usize) {
    let (mut digits, mut length) = ([0; 10], 0);
    loop {
        digits[length] = (value & 0x7f) as u8;
        value >>= 7;
        length += 1;
        if value == 0 {
            return (digits, length);
        }
        digits[length - 1] |= 0x80;
    }
}

fn varint_field(number: u32, value: u64, out: &mut Vec<u8>) {
    tag(number, 0, out);
    varint(value, out);
}

fn bytes(number: u32, content: &[u8], out: &mut Vec<u8>) {
    tag(number, 2, out);
    varint(content.len() as u64, out);
    out.extend_from_slice(content);
}

/// Appends a message within a message. Its length is known when it is written, and then put before it.
fn nested(
    number: u32,
    out: &mut Vec<u8>,
    write: impl FnOnce(&mut Vec<u8>) -> Result<(), EncodeError>,
) -> Result<(), EncodeError> {
    tag(number, 2, out);
    let start = out.len();
    write(out)?;
    let (digits, length) = digits((out.len() - start) as u64);
    out.splice(start..start, digits[..length].iter().copied());
    Ok(())
}

/// What JSON shows: an object, or a list whose items are encoded while it is read.
#[derive(Default)]
struct Shown {
    object: Map<String, Value>,
    items: Vec<u8>,
}

impl<'de> DeserializeSeed<'de> for Shown {
    type Value = Shown;

    fn deserialize<D: serde::Deserializer<'de>>(self, reader: D) -> Result<Shown, D::Error> {
        reader.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Shown {
    type Value = Shown;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Shown, A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            // What a list is of stands before its items, in all that is written here.
            let list =
                if key == ITEMS { type_of(&self.object).ok().and_then(|of| of.field(ITEMS)) } else { None };
            match list.filter(|list| list.number > 0) {
                Some(list) => map.next_value_seed(Items { list, out: &mut self.items })?,
                None => drop(self.object.insert(key, map.next_value()?)),
            }
        }
        Ok(self)
    }
}

/// The items of a list, encoded one by one.
struct Items<'a> {
    list: &'static Field,
    out: &'a mut Vec<u8>,
}

impl<'de> DeserializeSeed<'de> for Items<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Items<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let Some(shape) = self.list.shape.element() else {
            while items.next_element::<IgnoredAny>()?.is_some() {}
            return Ok(());
        };
        while let Some(item) = items.next_element::<Value>()? {
            single(self.list, self.list.number, shape, &item, self.out).map_err(A::Error::custom)?;
        }
        Ok(())
    }
}
