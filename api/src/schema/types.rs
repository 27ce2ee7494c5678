//! The words of the schema table: types, fields, shapes and marks. Everything is `'static` and small: the table is
//! parsed once and its strings stay where the binary holds them.

use std::collections::HashMap;
use std::sync::OnceLock;

use serde_json::{Map, Value};

use super::table;

/// A type of the table; lives as long as the process.
pub type TypeRef = &'static Type;

/// A type's place in the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TypeId(pub(super) u16);

impl TypeId {
    /// The type itself.
    pub fn resolve(self) -> TypeRef {
        &Registry::global().types[usize::from(self.0)]
    }
}

/// What a value looks like in JSON and on the protobuf wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// A string.
    String,
    /// A 32-bit integer.
    Int32,
    /// A 64-bit integer.
    Int64,
    /// A boolean.
    Bool,
    /// A floating point number.
    Double,
    /// Bytes, base64 in JSON.
    Bytes,
    /// A time in whole seconds, RFC 3339.
    Time,
    /// A time with microseconds, RFC 3339.
    MicroTime,
    /// A duration as Go prints it (`1h30m`).
    Duration,
    /// An amount with a suffix.
    Quantity,
    /// A number or a string.
    IntOrString,
    /// Any JSON value.
    Raw,
    /// Any JSON value, an object by convention (an embedded document).
    RawObject,
    /// A JSON schema or a list of them.
    SchemaOrArray,
    /// A JSON schema or a boolean.
    SchemaOrBool,
    /// A JSON schema or a list of strings.
    SchemaOrStrings,
    /// A list.
    List(&'static Shape),
    /// A list that is a message of its own in protobuf.
    WrappedList(&'static Shape),
    /// An object with free keys.
    Map(&'static Shape),
    /// An object with declared fields.
    Struct(TypeId),
}

impl Shape {
    /// The type of a struct shape.
    pub fn as_struct(self) -> Option<TypeRef> {
        match self {
            Shape::Struct(id) => Some(id.resolve()),
            _ => None,
        }
    }

    /// What a list or map holds.
    pub fn element(self) -> Option<Shape> {
        match self {
            Shape::List(of) | Shape::WrappedList(of) | Shape::Map(of) => Some(*of),
            _ => None,
        }
    }

    /// Whether it is a list.
    pub fn is_list(self) -> bool {
        matches!(self, Shape::List(_) | Shape::WrappedList(_))
    }
}

/// How server-side apply treats a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ListType {
    /// No mark: atomic.
    #[default]
    Unmarked,
    /// Owned as a whole.
    Atomic,
    /// Each value is owned.
    Set,
    /// Each element, told apart by keys, is owned.
    Map(&'static [&'static str]),
}

/// How a strategic merge patch treats a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PatchMarks {
    /// As published (`merge`, `merge,retainKeys`), empty when unmarked.
    pub strategy: &'static str,
    /// The key that tells a list's elements apart; empty for lists of plain values.
    pub merge_key: &'static str,
}

impl PatchMarks {
    /// Lists are merged, not replaced.
    pub fn merges(self) -> bool {
        self.strategy.split(',').any(|s| s == "merge")
    }

    /// Objects are replaced, not merged.
    pub fn replaces(self) -> bool {
        self.strategy.split(',').any(|s| s == "replace")
    }

    /// Clients name the keys to keep.
    pub fn retains_keys(self) -> bool {
        self.strategy.split(',').any(|s| s == "retainKeys")
    }
}

/// A field of a type.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    /// Its name in JSON.
    pub name: &'static str,
    /// Its protobuf number; 0 when it is not on that wire or comes from an embedded type.
    pub number: u32,
    /// A pointer in Go: zero and absent differ.
    pub pointer: bool,
    /// Left out of JSON when empty.
    pub omitempty: bool,
    /// The published schema demands it.
    pub required: bool,
    /// What it holds.
    pub shape: Shape,
    /// Strategic merge patch marks.
    pub patch: PatchMarks,
    /// Server-side apply mark of a list.
    pub list: ListType,
    /// Server-side apply owns this object as a whole.
    pub atomic: bool,
}

impl Field {
    /// Whether Go leaves this value out when it writes the field: a plain zero, or a list or map of nothing, and null for these. Objects,
    /// amounts and times are never empty to it, and a pointer to zero is not.
    pub fn leaves_out(&self, value: &Value) -> bool {
        if self.pointer || !self.omitempty {
            return false;
        }
        match self.shape {
            Shape::String | Shape::Bytes => value.as_str() == Some(""),
            Shape::Int32 | Shape::Int64 | Shape::Double => value.as_f64() == Some(0.0),
            Shape::Bool => value.as_bool() == Some(false),
            Shape::List(_) | Shape::WrappedList(_) => {
                value.is_null() || value.as_array().is_some_and(Vec::is_empty)
            }
            Shape::Map(_) => value.is_null() || value.as_object().is_some_and(Map::is_empty),
            _ => false,
        }
    }
}

/// A type whose fields stand in the outer object in JSON, but in a message of their own in protobuf.
#[derive(Debug, Clone, Copy)]
pub struct Embed {
    /// Protobuf number of that message; 0 when it is not on that wire (apiVersion and kind).
    pub number: u32,
    /// The embedded type.
    pub of: TypeId,
}

/// A group, version and kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct GroupVersionKind {
    /// API group, empty for core.
    pub group: &'static str,
    /// Version.
    pub version: &'static str,
    /// Kind.
    pub kind: &'static str,
}

/// A type with declared fields.
#[derive(Debug)]
pub struct Type {
    /// Name in published schemas (`io.k8s.api.apps.v1.DeploymentSpec`).
    pub name: &'static str,
    /// Name as Go prints it (`v1.DeploymentSpec`), which clients see in error texts.
    pub go: &'static str,
    /// Server-side apply owns objects of it as a whole.
    pub atomic: bool,
    /// Its group, version and kind when it can stand alone.
    pub gvk: Option<GroupVersionKind>,
    /// Fields as JSON has them, embedded ones included, in declared order.
    pub fields: Box<[Field]>,
    /// Embedded types, for the protobuf wire.
    pub embeds: Box<[Embed]>,
    /// Indexes into `fields`, sorted by name.
    pub(super) by_name: Box<[u16]>,
    /// What stands on the protobuf wire, in order of its numbers.
    pub(super) parts: Box<[Part]>,
}

/// A part of a message.
#[derive(Debug, Clone, Copy)]
pub(super) enum Part {
    /// Index into `fields`.
    Field(u16),
    /// Index into `embeds`.
    Embed(u16),
}

/// What stands at a number of a message.
#[derive(Debug, Clone, Copy)]
pub enum Numbered<'a> {
    /// A field.
    Field(&'a Field),
    /// A type whose fields stand in the outer object in JSON.
    Embed(&'a Embed),
}

impl Type {
    /// The field of a JSON name; names are case-sensitive.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.by_name
            .binary_search_by(|&at| self.fields[usize::from(at)].name.cmp(name))
            .ok()
            .map(|found| &self.fields[usize::from(self.by_name[found])])
    }

    /// The field of a protobuf number.
    pub fn numbered(&self, number: u32) -> Option<&Field> {
        self.fields.iter().find(|f| f.number == number && number != 0)
    }

    /// What stands on the protobuf wire, in order of its numbers.
    pub fn parts(&self) -> impl Iterator<Item = Numbered<'_>> {
        self.parts.iter().map(|part| match *part {
            Part::Field(at) => Numbered::Field(&self.fields[usize::from(at)]),
            Part::Embed(at) => Numbered::Embed(&self.embeds[usize::from(at)]),
        })
    }

    /// Follows field names from this type, through lists and maps, to the last one's field.
    pub fn walk(&'static self, path: &[&str]) -> Option<&'static Field> {
        let (first, rest) = path.split_first()?;
        let field = self.field(first)?;
        if rest.is_empty() {
            return Some(field);
        }
        let mut shape = field.shape;
        while let Some(inner) = shape.element() {
            shape = inner;
        }
        shape.as_struct()?.walk(rest)
    }

    /// The name alone, without its Go package.
    pub fn short_name(&self) -> &'static str {
        self.go.rsplit('.').next().unwrap_or(self.go)
    }
}

/// All types.
#[derive(Debug)]
pub struct Registry {
    pub(super) types: Vec<Type>,
    pub(super) by_name: HashMap<&'static str, TypeId>,
    pub(super) by_kind: HashMap<GroupVersionKind, TypeId>,
}

/// Kinds that every group understands under its own apiVersion.
const EVERYWHERE: &[&str] = &[
    "APIGroup",
    "APIGroupList",
    "APIResourceList",
    "APIVersions",
    "CreateOptions",
    "DeleteOptions",
    "GetOptions",
    "ListOptions",
    "PatchOptions",
    "Status",
    "UpdateOptions",
];

impl Registry {
    /// The table of this build, parsed at first use.
    pub fn global() -> &'static Registry {
        static REGISTRY: OnceLock<Registry> = OnceLock::new();
        REGISTRY.get_or_init(table::load)
    }

    /// The type of a kind; the shared options and Status are found in every group.
    pub fn type_for(&self, group: &str, version: &str, kind: &str) -> Option<TypeRef> {
        // Keys borrow the table, so a lookup with any lifetime goes through a key that only lives here.
        let found = self.by_kind.get(&ShortKey { group, version, kind } as &dyn KindKey);
        let found = found.or_else(|| {
            let shared = EVERYWHERE.contains(&kind);
            let key = ShortKey { group: "meta.k8s.io", version: "v1", kind };
            if shared { self.by_kind.get(&key as &dyn KindKey) } else { None }
        });
        found.map(|id| id.resolve())
    }

    /// The type of a published schema name.
    pub fn named(&self, name: &str) -> Option<TypeRef> {
        self.by_name.get(name).map(|id| id.resolve())
    }

    /// Where the type of a published schema name stands.
    pub fn id_of(&self, name: &str) -> Option<TypeId> {
        self.by_name.get(name).copied()
    }

    /// Every type, in table order.
    pub fn types(&'static self) -> impl Iterator<Item = TypeRef> {
        self.types.iter()
    }
}

/// Lets the map of `'static` keys be asked with borrowed ones.
trait KindKey {
    fn parts(&self) -> (&str, &str, &str);
}

struct ShortKey<'a> {
    group: &'a str,
    version: &'a str,
    kind: &'a str,
}

impl KindKey for ShortKey<'_> {
    fn parts(&self) -> (&str, &str, &str) {
        (self.group, self.version, self.kind)
    }
}

impl KindKey for GroupVersionKind {
    fn parts(&self) -> (&str, &str, &str) {
        (self.group, self.version, self.kind)
    }
}

impl std::hash::Hash for dyn KindKey + '_ {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        let (group, version, kind) = self.parts();
        (group, version, kind).hash(state);
    }
}

impl PartialEq for dyn KindKey + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.parts() == other.parts()
    }
}

impl Eq for dyn KindKey + '_ {}

impl<'a> std::borrow::Borrow<dyn KindKey + 'a> for GroupVersionKind {
    fn borrow(&self) -> &(dyn KindKey + 'a) {
        self
    }
}
