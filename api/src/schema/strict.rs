//! Checks a JSON value against a type, as decoding into Kubernetes' Go types does: unknown fields are collected and
//! dropped, a value of the wrong type is refused, nulls and what Go leaves out vanish, and scalars with several spellings
//! (quantities, times) take their stored form.

use serde_json::{Map, Value};
use thiserror::Error;

use super::reader::{Document, Limits, MAX_DEPTH, MAX_REPORTS, Path, ReadError, read, too_deep};
use super::{Registry, Shape, TypeRef, scalar};
use crate::quantity::Quantity;

/// A list that says something when it is empty: nobody is to own anything of the object.
const OWNERS: &str = "managedFields";

/// What was odd, but did not stop the value from being understood.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Checked {
    /// Paths of fields that the type does not have; they are gone from the value.
    pub unknown: Vec<String>,
    /// Paths of keys that the text repeated.
    pub duplicates: Vec<String>,
    /// The same of YAML, with lines, as [`read_yaml_telling`](super::reader::read_yaml_telling) tells them.
    pub repeated: Vec<String>,
}

impl Checked {
    /// Nothing was odd.
    pub fn is_clean(&self) -> bool {
        self.unknown.is_empty() && self.duplicates.is_empty() && self.repeated.is_empty()
    }

    /// One text per problem, as in a `Warning` header: `unknown field "spec.replicaz"`.
    pub fn problems(&self) -> Vec<String> {
        self.repeated.iter().cloned().chain(self.of_fields()).take(MAX_REPORTS).collect()
    }

    fn of_fields(&self) -> impl Iterator<Item = String> {
        let unknown = self.unknown.iter().map(|path| format!("unknown field {path:?}"));
        unknown.chain(self.duplicates.iter().map(|path| format!("duplicate field {path:?}")))
    }

    /// All problems in one text, as strict validation answers: `strict decoding error: unknown field ...`.
    pub fn strict_error(&self) -> Option<String> {
        if self.is_clean() {
            None
        } else {
            let repeated = (!self.repeated.is_empty()).then(|| yaml_error(&self.repeated));
            let problems: Vec<String> =
                repeated.into_iter().chain(self.of_fields()).take(MAX_REPORTS).collect();
            Some(format!("strict decoding error: {}", problems.join(", ")))
        }
    }
}

/// What Kubernetes' parser says of YAML that repeats keys.
pub fn yaml_error(repeated: &[String]) -> String {
    format!("yaml: unmarshal errors:\n  {}", repeated.join("\n  "))
}

/// A value that the type cannot hold. The text is what clients see after
/// `Deployment in version "v1" cannot be handled as a Deployment: `.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct TypeError(pub String);

/// Why a body was not accepted as an object of its type.
#[derive(Debug, Error)]
pub enum DecodeError {
    /// The text could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// It was read, but does not fit the type.
    #[error(transparent)]
    Type(#[from] TypeError),
}

/// Reads and checks a JSON body in one go.
pub fn decode(kind: TypeRef, bytes: &[u8], limits: Limits) -> Result<(Value, Checked), DecodeError> {
    let Document { mut value, duplicates, .. } = read(bytes, limits)?;
    let checked = check(kind, &mut value)?;
    Ok((value, Checked { duplicates, ..checked }))
}

/// Checks a value against a type and brings it to its stored form. `duplicates` stays empty: only the reader of the
/// text can know them.
pub fn check(kind: TypeRef, value: &mut Value) -> Result<Checked, TypeError> {
    check_object(kind, value, false)
}

/// The same for a document that is to be applied, in which nulls and zeros mean something: they stay.
pub fn check_applied(kind: TypeRef, value: &mut Value) -> Result<Checked, TypeError> {
    check_object(kind, value, true)
}

fn check_object(kind: TypeRef, value: &mut Value, nulls: bool) -> Result<Checked, TypeError> {
    let mut walk = Walk::new(nulls);
    match value {
        Value::Object(object) => walk.object(kind, object)?,
        other => return Err(walk.mismatch(other, kind.go)),
    }
    Ok(Checked { unknown: walk.unknown, ..Checked::default() })
}

/// Checks a value against any shape, such as that of one field.
pub fn check_shape(shape: Shape, value: &mut Value) -> Result<Checked, TypeError> {
    let mut walk = Walk::new(false);
    walk.value(shape, value)?;
    Ok(Checked { unknown: walk.unknown, ..Checked::default() })
}

struct Walk {
    /// For unknown fields: with list indexes.
    path: Path,
    /// For type errors: field names only, as Go prints them.
    fields: Vec<&'static str>,
    /// The innermost struct.
    inside: Option<TypeRef>,
    unknown: Vec<String>,
    depth: usize,
    /// Whether nulls, and zeros that Go leaves out, stay.
    nulls: bool,
}

impl Walk {
    fn new(nulls: bool) -> Walk {
        Walk {
            path: Path::default(),
            fields: Vec::new(),
            inside: None,
            unknown: Vec::new(),
            depth: MAX_DEPTH,
            nulls,
        }
    }

    fn object(&mut self, of: TypeRef, object: &mut Map<String, Value>) -> Result<(), TypeError> {
        self.deeper()?;
        let outer = self.inside.replace(of);
        let mut gone = Vec::new();
        for (key, value) in object.iter_mut() {
            let Some(field) = of.field(key) else {
                self.path.key(key);
                if self.unknown.len() < MAX_REPORTS {
                    self.unknown.push(self.path.to_string());
                }
                self.path.leave();
                gone.push(key.clone());
                continue;
            };
            if value.is_null() {
                if !self.nulls {
                    gone.push(key.clone());
                }
                continue;
            }
            self.path.key(key);
            self.fields.push(field.name);
            self.value(field.shape, value)?;
            self.fields.pop();
            self.path.leave();
            // A client with Kubernetes' types would write it back without, which must be no change.
            if !self.nulls && field.leaves_out(value) && field.name != OWNERS {
                gone.push(key.clone());
            }
        }
        for key in gone {
            object.remove(&key);
        }
        self.inside = outer;
        self.depth += 1;
        Ok(())
    }

    fn deeper(&mut self) -> Result<(), TypeError> {
        self.depth = self.depth.checked_sub(1).ok_or_else(|| TypeError(too_deep()))?;
        Ok(())
    }

    fn value(&mut self, shape: Shape, value: &mut Value) -> Result<(), TypeError> {
        match shape {
            Shape::Struct(of) => match value {
                Value::Object(object) => self.object(of.resolve(), object),
                other => Err(self.mismatch(other, of.resolve().go)),
            },
            Shape::List(of) | Shape::WrappedList(of) => self.list(shape, *of, value),
            Shape::Map(of) => self.map(shape, *of, value),
            Shape::Raw | Shape::RawObject => Ok(()),
            Shape::String if value.is_string() => Ok(()),
            Shape::Bool if value.is_boolean() => Ok(()),
            Shape::Double if value.is_number() => Ok(()),
            Shape::Int64 if value.is_i64() => Ok(()),
            Shape::Int32 if is_int32(value) => Ok(()),
            Shape::String | Shape::Bool | Shape::Double | Shape::Int64 | Shape::Int32 => {
                Err(self.mismatch(value, &go_type(shape)))
            }
            Shape::IntOrString => match value {
                Value::String(_) => Ok(()),
                number if is_int32(number) => Ok(()),
                other => Err(self.mismatch(other, "int32")),
            },
            Shape::Bytes => self.bytes(value),
            Shape::Time => self.normalize(value, scalar::normal_time),
            Shape::MicroTime => self.normalize(value, scalar::normal_micro_time),
            Shape::Duration => scalar::check_duration(self.text_of(value)?).map_err(TypeError),
            Shape::Quantity => quantity(value),
            Shape::SchemaOrBool if value.is_boolean() => Ok(()),
            Shape::SchemaOrStrings if value.is_array() => {
                self.list(Shape::List(&Shape::String), Shape::String, value)
            }
            Shape::SchemaOrArray if value.is_array() => self.list(shape, schema_shape(), value),
            Shape::SchemaOrBool | Shape::SchemaOrStrings | Shape::SchemaOrArray if value.is_object() => {
                self.value(schema_shape(), value)
            }
            Shape::SchemaOrBool => Err(TypeError("boolean or JSON schema expected".to_owned())),
            Shape::SchemaOrStrings | Shape::SchemaOrArray => Err(self.mismatch(value, "v1.JSONSchemaProps")),
        }
    }

    fn list(&mut self, shape: Shape, of: Shape, value: &mut Value) -> Result<(), TypeError> {
        let Value::Array(items) = value else { return Err(self.mismatch(value, &go_type(shape))) };
        self.deeper()?;
        for (at, item) in items.iter_mut().enumerate() {
            self.path.index(at);
            self.element(of, item)?;
            self.path.leave();
        }
        self.depth += 1;
        Ok(())
    }

    fn map(&mut self, shape: Shape, of: Shape, value: &mut Value) -> Result<(), TypeError> {
        let Value::Object(entries) = value else { return Err(self.mismatch(value, &go_type(shape))) };
        self.deeper()?;
        for (key, item) in entries.iter_mut() {
            self.path.key(key);
            self.element(of, item)?;
            self.path.leave();
        }
        self.depth += 1;
        Ok(())
    }

    /// Elements cannot be absent: null leaves the zero value there.
    fn element(&mut self, of: Shape, item: &mut Value) -> Result<(), TypeError> {
        if item.is_null() {
            if !self.nulls {
                *item = zero(of);
            }
            return Ok(());
        }
        self.value(of, item)
    }

    fn bytes(&mut self, value: &mut Value) -> Result<(), TypeError> {
        let Value::String(text) = value else { return Err(self.mismatch(value, "[]uint8")) };
        if let Some(clean) = scalar::check_bytes(text).map_err(TypeError)? {
            *text = clean;
        }
        Ok(())
    }

    fn text_of<'v>(&self, value: &'v Value) -> Result<&'v str, TypeError> {
        value.as_str().ok_or_else(|| self.mismatch(value, "string"))
    }

    fn normalize(
        &self,
        value: &mut Value,
        normal: fn(&str) -> Result<String, String>,
    ) -> Result<(), TypeError> {
        *value = Value::String(normal(self.text_of(value)?).map_err(TypeError)?);
        Ok(())
    }

    fn mismatch(&self, value: &Value, expected: &str) -> TypeError {
        // Where a number was awaited, the text shows the one that came.
        let kind = match value {
            Value::Number(number) if matches!(expected, "int32" | "int64" | "float64") => {
                format!("number {number}")
            }
            other => kind_of(other),
        };
        TypeError(match self.inside.filter(|_| !self.fields.is_empty()) {
            Some(inside) => format!(
                "json: cannot unmarshal {kind} into Go struct field {}.{} of type {expected}",
                inside.short_name(),
                self.fields.join(".")
            ),
            None => format!("json: cannot unmarshal {kind} into Go value of type {expected}"),
        })
    }
}

fn is_int32(value: &Value) -> bool {
    value.as_i64().is_some_and(|n| i32::try_from(n).is_ok())
}

fn kind_of(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) => "bool".to_owned(),
        Value::Number(_) => "number".to_owned(),
        Value::String(_) => "string".to_owned(),
        Value::Array(_) => "array".to_owned(),
        Value::Object(_) => "object".to_owned(),
    }
}

fn quantity(value: &mut Value) -> Result<(), TypeError> {
    let parsed = match &*value {
        Value::String(text) => text.parse::<Quantity>(),
        Value::Number(number) => number.to_string().parse(),
        _ => Err(crate::quantity::QuantityError::Format),
    };
    *value = Value::String(parsed.map_err(|e| TypeError(e.to_string()))?.to_string());
    Ok(())
}

fn schema_shape() -> Shape {
    let schema = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps";
    Registry::global().by_name.get(schema).map_or(Shape::RawObject, |id| Shape::Struct(*id))
}

/// What null means where a value must be.
fn zero(shape: Shape) -> Value {
    match shape {
        Shape::String => Value::String(String::new()),
        Shape::Int32 | Shape::Int64 | Shape::Double | Shape::IntOrString => Value::from(0),
        Shape::Bool => Value::Bool(false),
        Shape::Bytes => Value::String(String::new()),
        Shape::Quantity => Value::String("0".to_owned()),
        Shape::Struct(_) => Value::Object(Map::new()),
        Shape::List(_) | Shape::WrappedList(_) => Value::Array(Vec::new()),
        Shape::Map(_) => Value::Object(Map::new()),
        _ => Value::Null,
    }
}

/// The type as Go prints it.
fn go_type(shape: Shape) -> String {
    match shape {
        Shape::String => "string".to_owned(),
        Shape::Int32 => "int32".to_owned(),
        Shape::Int64 => "int64".to_owned(),
        Shape::Bool => "bool".to_owned(),
        Shape::Double => "float64".to_owned(),
        Shape::Bytes => "[]uint8".to_owned(),
        Shape::Time => "v1.Time".to_owned(),
        Shape::MicroTime => "v1.MicroTime".to_owned(),
        Shape::Duration => "v1.Duration".to_owned(),
        Shape::Quantity => "resource.Quantity".to_owned(),
        Shape::IntOrString => "intstr.IntOrString".to_owned(),
        Shape::Raw => "v1.JSON".to_owned(),
        Shape::RawObject => "runtime.RawExtension".to_owned(),
        Shape::SchemaOrArray => "v1.JSONSchemaPropsOrArray".to_owned(),
        Shape::SchemaOrBool => "v1.JSONSchemaPropsOrBool".to_owned(),
        Shape::SchemaOrStrings => "v1.JSONSchemaPropsOrStringArray".to_owned(),
        Shape::List(of) | Shape::WrappedList(of) => format!("[]{}", go_type(*of)),
        Shape::Map(of) => format!("map[string]{}", go_type(*of)),
        Shape::Struct(of) => of.resolve().go.to_owned(),
    }
}
