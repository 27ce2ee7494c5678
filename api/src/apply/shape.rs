//! How the parts of an object are owned, told from the schema table, or from the schema of a definition: whole, by field, or by element.

use serde_json::Value;

use super::element::Element;
use crate::{
    custom::{
        metadata_shape,
        schema::{Additional, ListKind, Schema, Type},
    },
    schema::{Field, ListType, Shape, TypeRef},
};

/// What an object is built by.
#[derive(Clone, Copy, Debug)]
pub struct Of<'a>(pub(super) Owning<'a>);

impl From<TypeRef> for Of<'_> {
    fn from(of: TypeRef) -> Of<'static> {
        Of(Owning::Struct(of))
    }
}

impl<'a> From<&'a Schema> for Of<'a> {
    /// A custom resource.
    fn from(schema: &'a Schema) -> Of<'a> {
        Of(Owning::Resource(schema))
    }
}

/// How a value is owned.
#[derive(Clone, Copy, Debug)]
pub(super) enum Owning<'a> {
    /// As a whole: plain values, and what is marked atomic.
    Whole,
    /// By declared field.
    Struct(TypeRef),
    /// By free key.
    Map(Shape),
    /// A list, by the values in it.
    Set,
    /// A list, by the keys of its elements.
    Keyed(Shape, &'static [&'static str]),
    /// A custom resource as a whole: its metadata is that of every object.
    Resource(&'a Schema),
    /// By what a schema declares: an object by field or free key, a list by the keys of its elements.
    Custom(&'a Schema),
    /// As it comes, where nothing is declared: objects by field, all else whole.
    Unknown,
}

/// An element of a list that cannot be told from the others.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum KeyError {
    #[error("associative list with keys may not have non-map elements")]
    NoObject,
    #[error(
        "associative list with keys has an element that omits key field {0:?} (and doesn't have default value)"
    )]
    Missing(String),
    #[error("associative list without keys has an element that's a map type")]
    Object,
    #[error("not supported: associative list with lists as elements")]
    List,
    #[error("associative list without keys has an element that's an explicit null")]
    Null,
}

impl<'a> Owning<'a> {
    /// Of what a schema says.
    fn of_schema(schema: &'a Schema) -> Owning<'a> {
        match (schema.of, &schema.list) {
            (Some(Type::Array), ListKind::Set) => Owning::Set,
            (Some(Type::Array), ListKind::Map(_)) => Owning::Custom(schema),
            (Some(Type::Object), _) if schema.atomic => Owning::Whole,
            (Some(Type::Object), _) => Owning::Custom(schema),
            (None, _) if schema.preserve => Owning::Unknown,
            _ => Owning::Whole,
        }
    }

    pub(super) fn of_field(field: &Field) -> Owning<'a> {
        match (field.shape, field.list) {
            _ if field.atomic => Owning::Whole,
            (Shape::List(_) | Shape::WrappedList(_), ListType::Set) => Owning::Set,
            (Shape::List(of) | Shape::WrappedList(of), ListType::Map(keys)) => Owning::Keyed(*of, keys),
            (shape, _) => Owning::of_shape(shape),
        }
    }

    /// Of what stands in a list or a map, which has no marks of its own.
    pub(super) fn of_shape(shape: Shape) -> Owning<'a> {
        match shape {
            Shape::Struct(of) if of.resolve().atomic => Owning::Whole,
            Shape::Struct(of) => Owning::Struct(of.resolve()),
            Shape::Map(of) => Owning::Map(*of),
            // Also embedded documents, of which nothing is known.
            _ => Owning::Whole,
        }
    }

    /// How a field of an object that is owned like this is owned.
    pub(super) fn field(self, name: &str) -> Owning<'a> {
        match self {
            // The one field whose objects are owned by field though those of its type are owned whole.
            Owning::Struct(of) if (of.short_name(), name) == ("PersistentVolumeSpec", "claimRef") => {
                of.field(name).and_then(|field| field.shape.as_struct()).map_or(Owning::Whole, Owning::Struct)
            }
            Owning::Struct(of) => of.field(name).map_or(Owning::Whole, Owning::of_field),
            Owning::Map(of) => Owning::of_shape(of),
            Owning::Resource(_) if name == "metadata" => Owning::of_shape(metadata_shape()),
            Owning::Resource(schema) | Owning::Custom(schema) => {
                match (schema.properties.get(name), &schema.additional) {
                    (Some(below), _) => Owning::of_schema(below),
                    (None, Additional::Schema(below)) => Owning::of_schema(below),
                    (None, _) if schema.preserve => Owning::Unknown,
                    _ => Owning::Whole,
                }
            }
            Owning::Unknown => Owning::Unknown,
            _ => Owning::Whole,
        }
    }

    /// How an element of a list that is owned like this is owned.
    pub(super) fn element(self) -> Owning<'a> {
        match self {
            Owning::Custom(schema) => schema.items.as_deref().map_or(Owning::Whole, Owning::of_schema),
            Owning::Keyed(of, _) => Owning::of_shape(of),
            _ => Owning::Whole,
        }
    }

    /// Whether the schema declares a field of this name.
    pub(super) fn declares(self, name: &str) -> bool {
        match self {
            Owning::Struct(of) => of.field(name).is_some(),
            Owning::Resource(_) if matches!(name, "metadata" | "apiVersion" | "kind") => true,
            Owning::Resource(schema) | Owning::Custom(schema) => schema.properties.contains_key(name),
            _ => false,
        }
    }

    /// What is owned like this, of a value: of what is not declared, the value tells.
    pub(super) fn seen(self, old: Option<&Value>, new: Option<&Value>) -> Owning<'a> {
        let object = |value: Option<&Value>| value.is_none_or(Value::is_object);
        match self {
            Owning::Unknown if !(object(old) && object(new)) => Owning::Whole,
            owning => owning,
        }
    }

    /// Whether it is a list whose elements are told apart.
    pub(super) fn is_list(self) -> bool {
        match self {
            Owning::Set | Owning::Keyed(..) => true,
            Owning::Custom(schema) => schema.of == Some(Type::Array),
            _ => false,
        }
    }

    /// What tells an element of this list from the others.
    pub(super) fn step(self, item: &Value) -> Result<Element, KeyError> {
        match (self, item) {
            (Owning::Keyed(of, keys), Value::Object(fields)) => {
                let value = |key: &'static str| {
                    let given = fields.get(key).cloned();
                    given.or_else(|| default_key(of, key)).ok_or_else(|| KeyError::Missing(key.to_owned()))
                };
                let fields = keys.iter().map(|key| Ok(((*key).into(), value(key)?)));
                Ok(Element::key(fields.collect::<Result<_, KeyError>>()?))
            }
            (Owning::Custom(schema), Value::Object(fields)) => {
                let ListKind::Map(keys) = &schema.list else { return Err(KeyError::NoObject) };
                let declared = schema.items.as_deref().map(|items| &items.properties);
                let value = |key: &String| {
                    let default = || declared?.get(key)?.default.clone();
                    let given = fields.get(key).cloned().or_else(default);
                    Ok((key.as_str().into(), given.ok_or_else(|| KeyError::Missing(key.clone()))?))
                };
                Ok(Element::key(keys.iter().map(value).collect::<Result<_, KeyError>>()?))
            }
            (Owning::Keyed(..) | Owning::Custom(_), _) => Err(KeyError::NoObject),
            (_, Value::Object(_)) => Err(KeyError::Object),
            (_, Value::Array(_)) => Err(KeyError::List),
            (_, Value::Null) => Err(KeyError::Null),
            (_, value) => Ok(Element::Value(value.clone())),
        }
    }
}

/// What a key is when an element does not say: published defaults, and the zeros of what must be there.
fn default_key(of: Shape, key: &str) -> Option<Value> {
    let of = of.as_struct()?;
    let field = of.field(key)?;
    match (of.short_name(), key) {
        ("ContainerPort" | "ServicePort", "protocol") => Some("TCP".into()),
        ("LocalObjectReference", "name") => Some("".into()),
        _ if field.pointer || field.omitempty => None,
        _ => match field.shape {
            Shape::String => Some("".into()),
            Shape::Int32 | Shape::Int64 => Some(0.into()),
            _ => None,
        },
    }
}
