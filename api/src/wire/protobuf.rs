//! Decodes `application/vnd.kubernetes.protobuf` bodies into the JSON that the same client would have sent, by the
//! schema table, with no code per kind.
//!
//! Kubernetes' encoders write every plain field even when it is zero, and pointer fields only when set. JSON writers leave
//! plain zeros out where the type says `omitempty`. So: a plain `omitempty` zero is dropped, everything else that came is
//! kept, `replicas: 0` behind a pointer included.

use serde_json::{Map, Value};
use thiserror::Error;

use super::reading::{Content, fields, varint};
use super::scalars::{double, int_or_string, only, time};
use crate::schema::reader::Limits;
use crate::schema::{Registry, Shape, TypeRef, scalar, type_for_api_version};

/// What every body starts with.
pub const MAGIC: &[u8; 4] = b"k8s\0";
/// The media type.
pub const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";

/// Why a body was not decoded.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ProtobufError {
    /// Longer than the limit.
    #[error("request entity too large: limit is {limit}")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// Not a Kubernetes protobuf body at all.
    #[error("provided data does not appear to be a protobuf message, expected prefix 6b 38 73 00")]
    NoMagic,
    /// A message ends inside a field.
    #[error("unexpected end of protobuf data")]
    Truncated,
    /// Not well-formed.
    #[error("malformed protobuf data: {0}")]
    Malformed(&'static str),
    /// Nested too deeply, or too many values.
    #[error("protobuf data exceeds the {0} limit")]
    Bound(&'static str),
    /// A document inside it is no JSON.
    #[error("embedded JSON: {0}")]
    Embedded(String),
    /// The kind is not served, or not in protobuf (custom resources).
    #[error("no kind {kind:?} is registered for version {api_version:?}")]
    UnknownKind {
        /// The apiVersion of the body.
        api_version: String,
        /// The kind of the body.
        kind: String,
    },
    /// The envelope declares an encoding that is not supported.
    #[error("unsupported content in the protobuf envelope: {0:?}")]
    Encoding(String),
}

/// A decoded body.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoded {
    /// The apiVersion in effect.
    pub api_version: String,
    /// The kind in effect.
    pub kind: String,
    /// The object, with apiVersion and kind.
    pub value: Value,
}

/// The envelope around a message: which kind, and its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// As sent, may be empty.
    pub api_version: &'a str,
    /// As sent, may be empty.
    pub kind: &'a str,
    /// The message.
    pub raw: &'a [u8],
    content_type: &'a str,
}

/// Decodes a body. `default` is the apiVersion and kind of the URL, for bodies that do not say theirs.
pub fn decode(body: &[u8], default: Option<(&str, &str)>, limits: Limits) -> Result<Decoded, ProtobufError> {
    let envelope = open(body, limits)?;
    let (default_version, default_kind) = default.unwrap_or_default();
    let api_version = if envelope.api_version.is_empty() { default_version } else { envelope.api_version };
    let kind = if envelope.kind.is_empty() { default_kind } else { envelope.kind };
    let mut budget = Budget { depth: limits.depth, values: limits.values };
    let mut object = content(&envelope, api_version, kind, &mut budget)?;
    object.insert("apiVersion".to_owned(), api_version.into());
    object.insert("kind".to_owned(), kind.into());
    Ok(Decoded { api_version: api_version.to_owned(), kind: kind.to_owned(), value: Value::Object(object) })
}

/// Reads the envelope only.
pub fn open(body: &[u8], limits: Limits) -> Result<Envelope<'_>, ProtobufError> {
    if body.len() > limits.bytes {
        return Err(ProtobufError::TooLarge { limit: limits.bytes });
    }
    let unknown = body.strip_prefix(MAGIC).ok_or(ProtobufError::NoMagic)?;
    let mut envelope = Envelope { api_version: "", kind: "", raw: &[], content_type: "" };
    for field in fields(unknown) {
        match field? {
            (1, type_meta) => {
                for field in fields(type_meta.bytes()?) {
                    match field? {
                        (1, version) => envelope.api_version = version.text()?,
                        (2, kind) => envelope.kind = kind.text()?,
                        _ => {}
                    }
                }
            }
            (2, raw) => envelope.raw = raw.bytes()?,
            (3, encoding) if !encoding.bytes()?.is_empty() => {
                return Err(ProtobufError::Encoding(encoding.text()?.to_owned()));
            }
            (4, content_type) => envelope.content_type = content_type.text()?,
            _ => {}
        }
    }
    Ok(envelope)
}

/// Decodes one message of a type, without an envelope.
pub fn decode_message(
    of: TypeRef,
    message: &[u8],
    limits: Limits,
) -> Result<Map<String, Value>, ProtobufError> {
    if message.len() > limits.bytes {
        return Err(ProtobufError::TooLarge { limit: limits.bytes });
    }
    let mut budget = Budget { depth: limits.depth, values: limits.values };
    let mut object = Map::new();
    budget.message(of, message, &mut object)?;
    Ok(object)
}

fn content(
    envelope: &Envelope<'_>,
    api_version: &str,
    kind: &str,
    budget: &mut Budget,
) -> Result<Map<String, Value>, ProtobufError> {
    match envelope.content_type {
        "" | MEDIA_TYPE => {}
        // Kubernetes wraps objects that it has no message for this way.
        "application/json" => {
            return match budget.json(envelope.raw)? {
                Value::Object(object) => Ok(object),
                _ => Err(ProtobufError::Embedded("the document is not an object".to_owned())),
            };
        }
        other => return Err(ProtobufError::Encoding(other.to_owned())),
    }
    let of = type_for_api_version(api_version, kind).ok_or_else(|| ProtobufError::UnknownKind {
        api_version: api_version.to_owned(),
        kind: kind.to_owned(),
    })?;
    let mut object = Map::new();
    budget.message(of, envelope.raw, &mut object)?;
    Ok(object)
}

/// What decoding may still cost. Empty messages take two bytes on the wire and far more as values.
struct Budget {
    depth: usize,
    values: usize,
}

impl Budget {
    fn message(
        &mut self,
        of: TypeRef,
        message: &[u8],
        into: &mut Map<String, Value>,
    ) -> Result<(), ProtobufError> {
        self.enter()?;
        for field in fields(message) {
            let (number, content) = field?;
            if let Some(field) = of.numbered(number) {
                self.field(field.name, field.shape, content, into)?;
                if into.get(field.name).is_some_and(|v| v.is_null() || field.leaves_out(v)) {
                    into.remove(field.name);
                }
            } else if let Some(embed) = of.embeds.iter().find(|e| e.number == number) {
                // Its fields stand in the outer object.
                self.message(embed.of.resolve(), content.bytes()?, into)?;
            }
            // Anything else is a field of another release; Kubernetes ignores those too.
        }
        self.depth += 1;
        Ok(())
    }

    fn field(
        &mut self,
        name: &'static str,
        shape: Shape,
        content: Content<'_>,
        into: &mut Map<String, Value>,
    ) -> Result<(), ProtobufError> {
        match shape {
            Shape::List(of) => {
                let list = into.entry(name).or_insert_with(|| Value::Array(Vec::new()));
                let Value::Array(list) = list else {
                    return Err(ProtobufError::Malformed("a list beside another value"));
                };
                self.items(*of, content, list)
            }
            Shape::Map(of) => {
                let (key, value) = self.entry(*of, content)?;
                let map = into.entry(name).or_insert_with(|| Value::Object(Map::new()));
                let Value::Object(map) = map else {
                    return Err(ProtobufError::Malformed("a map beside another value"));
                };
                map.insert(key, value);
                Ok(())
            }
            Shape::Struct(of) => {
                // A message that came in parts is one message.
                let object = into.entry(name).or_insert_with(|| Value::Object(Map::new()));
                let Value::Object(object) = object else {
                    return Err(ProtobufError::Malformed("a message beside another value"));
                };
                self.spend()?;
                self.message(of.resolve(), content.bytes()?, object)
            }
            _ => {
                let value = self.value(shape, content)?;
                into.insert(name.to_owned(), value);
                Ok(())
            }
        }
    }

    fn items(&mut self, of: Shape, content: Content<'_>, list: &mut Vec<Value>) -> Result<(), ProtobufError> {
        if let (Shape::Int32 | Shape::Int64 | Shape::Bool, Content::Bytes(mut packed)) = (of, content) {
            while !packed.is_empty() {
                let number = varint(&mut packed)?;
                list.push(self.value(of, Content::Varint(number))?);
            }
            return Ok(());
        }
        list.push(self.value(of, content)?);
        Ok(())
    }

    fn entry(&mut self, of: Shape, content: Content<'_>) -> Result<(String, Value), ProtobufError> {
        let (mut key, mut value) = (String::new(), None);
        for field in fields(content.bytes()?) {
            match field? {
                (1, text) => key = text.text()?.to_owned(),
                (2, content) => value = Some(self.value(of, content)?),
                _ => {}
            }
        }
        let value = match value {
            Some(value) => value,
            None if matches!(of, Shape::Int32 | Shape::Int64 | Shape::Bool) => {
                self.value(of, Content::Varint(0))?
            }
            None => self.value(of, Content::Bytes(&[]))?,
        };
        Ok((key, value))
    }

    fn value(&mut self, shape: Shape, content: Content<'_>) -> Result<Value, ProtobufError> {
        self.spend()?;
        Ok(match shape {
            Shape::String => content.text()?.into(),
            // Kubernetes writes 32-bit numbers sign-extended to 64.
            Shape::Int32 => (content.number()? as i32).into(),
            Shape::Int64 => (content.number()? as i64).into(),
            Shape::Bool => (content.number()? != 0).into(),
            Shape::Double => double(content)?,
            Shape::Bytes => scalar::encode_bytes(content.bytes()?).into(),
            Shape::Time => time(content, |seconds, _| scalar::format_time(seconds))?,
            Shape::MicroTime => {
                time(content, |seconds, nanos| scalar::format_micro_time(seconds, nanos / 1000))?
            }
            Shape::Duration => {
                scalar::format_duration(only(content, 1)?.map_or(Ok(0), Content::number)? as i64).into()
            }
            Shape::Quantity => match only(content, 1)?.map_or(Ok(""), Content::text)? {
                "" => "0".into(),
                text => text.into(),
            },
            Shape::IntOrString => int_or_string(content)?,
            Shape::Raw | Shape::RawObject => match only(content, 1)? {
                Some(raw) => self.document(raw.bytes()?)?,
                None => Value::Null,
            },
            Shape::SchemaOrArray | Shape::SchemaOrBool | Shape::SchemaOrStrings => {
                self.schema_or(shape, content)?
            }
            Shape::WrappedList(of) => {
                let mut list = Vec::new();
                for field in fields(content.bytes()?) {
                    if let (1, item) = field? {
                        self.items(*of, item, &mut list)?;
                    }
                }
                Value::Array(list)
            }
            Shape::Struct(of) => {
                let mut object = Map::new();
                self.message(of.resolve(), content.bytes()?, &mut object)?;
                Value::Object(object)
            }
            Shape::List(_) | Shape::Map(_) => {
                return Err(ProtobufError::Malformed("a list or map inside a list or map"));
            }
        })
    }

    /// JSON text, or an object in an envelope of its own.
    fn document(&mut self, raw: &[u8]) -> Result<Value, ProtobufError> {
        if raw.is_empty() {
            return Ok(Value::Null);
        }
        if !raw.starts_with(MAGIC) {
            return self.json(raw);
        }
        self.enter()?;
        let envelope = open(raw, Limits { bytes: usize::MAX, ..Limits::default() })?;
        let mut object = content(&envelope, envelope.api_version, envelope.kind, self)?;
        self.depth += 1;
        object.insert("apiVersion".to_owned(), envelope.api_version.into());
        object.insert("kind".to_owned(), envelope.kind.into());
        Ok(Value::Object(object))
    }

    fn json(&mut self, raw: &[u8]) -> Result<Value, ProtobufError> {
        let limits = Limits { bytes: raw.len(), depth: self.depth, values: self.values };
        let document =
            crate::schema::reader::read(raw, limits).map_err(|e| ProtobufError::Embedded(e.to_string()))?;
        self.values -= document.values;
        Ok(document.value)
    }

    /// A JSON schema, or what may stand in its place.
    fn schema_or(&mut self, shape: Shape, content: Content<'_>) -> Result<Value, ProtobufError> {
        let schema = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps";
        let of = Registry::global()
            .named(schema)
            .ok_or(ProtobufError::Malformed("JSON schemas are not served"))?;
        let (mut object, mut list, mut allowed) = (None, Vec::new(), false);
        for field in fields(content.bytes()?) {
            let (number, content) = field?;
            match (shape, number) {
                (Shape::SchemaOrBool, 1) => allowed = content.number()? != 0,
                (Shape::SchemaOrBool, 2) | (Shape::SchemaOrArray | Shape::SchemaOrStrings, 1) => {
                    self.message(of, content.bytes()?, object.get_or_insert_with(Map::new))?;
                }
                (Shape::SchemaOrArray, 2) => {
                    let mut item = Map::new();
                    self.spend()?;
                    self.message(of, content.bytes()?, &mut item)?;
                    list.push(Value::Object(item));
                }
                (Shape::SchemaOrStrings, 2) => list.push(self.value(Shape::String, content)?),
                _ => {}
            }
        }
        Ok(match (object, shape) {
            (_, Shape::SchemaOrArray | Shape::SchemaOrStrings) if !list.is_empty() => Value::Array(list),
            (Some(object), _) => Value::Object(object),
            (None, Shape::SchemaOrBool) => Value::Bool(allowed),
            (None, _) => Value::Null,
        })
    }

    fn enter(&mut self) -> Result<(), ProtobufError> {
        self.depth = self.depth.checked_sub(1).ok_or(ProtobufError::Bound("depth"))?;
        Ok(())
    }

    fn spend(&mut self) -> Result<(), ProtobufError> {
        self.values = self.values.checked_sub(1).ok_or(ProtobufError::Bound("value count"))?;
        Ok(())
    }
}
