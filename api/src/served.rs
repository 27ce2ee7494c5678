//! A kind as a request means it: a built-in one, whose types are in the table, or a custom one in one of its versions.

use std::{borrow::Cow, sync::Arc};

use kontiki_actors::{Document, Kind, Object, input::Part};
use serde_json::{Value, json};

use crate::{
    apply::Set,
    custom::{Scale, Version},
    editions::{self, Edition},
    resource::{Behaviour, Strategy, field::Errors},
    schema::{
        TypeRef,
        strict::{self, Checked, TypeError},
        type_for_api_version,
    },
    status::Status,
};

/// A kind, and the version of it if it has more than one.
#[derive(Clone, Debug)]
pub struct Served {
    /// The kind.
    pub kind: Kind,
    custom: Option<Arc<Version>>,
    /// The form that is meant, if it is not the one that is stored.
    edition: Option<&'static Edition>,
}

impl PartialEq for Served {
    fn eq(&self, other: &Served) -> bool {
        self.kind == other.kind && self.group() == other.group() && self.version() == other.version()
    }
}

impl Eq for Served {}

impl From<Kind> for Served {
    /// A built-in kind, in the form that is stored.
    fn from(kind: Kind) -> Served {
        Served { kind, custom: None, edition: None }
    }
}

/// How the objects of a kind are built.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Typed<'a> {
    /// By a type of the table.
    Table(TypeRef),
    /// By the schema of a definition.
    Custom(&'a Version),
}

impl Served {
    pub(crate) fn custom(version: Arc<Version>) -> Served {
        Served { kind: version.kind, custom: Some(version), edition: None }
    }

    /// The definition's version, if it is a custom kind.
    pub(crate) fn defined(&self) -> Option<&Version> {
        self.custom.as_deref()
    }

    /// The built-in kind at a URL, in the form that is meant there.
    pub(crate) fn by_resource(group: &str, version: &str, plural: &str) -> Option<Served> {
        let also = || {
            let edition = editions::by_resource(group, version, plural)?;
            Some(Served::of_edition(edition))
        };
        Kind::by_resource(group, version, plural).map(Served::from).or_else(also)
    }

    /// A further form of a built-in kind.
    pub(crate) fn of_edition(edition: &'static Edition) -> Served {
        Served { kind: edition.kind, custom: None, edition: Some(edition) }
    }

    /// An object of this version in another one. Versions of a custom kind differ in nothing but their name and what is completed.
    pub(crate) fn converted(&self, mut value: Value, to: &Served) -> Value {
        if let Some(edition) = self.edition {
            edition.take(&mut value);
        }
        match to.edition {
            Some(edition) => edition.show(&mut value),
            None => value["apiVersion"] = to.api_version().into(),
        }
        if let Some(version) = to.defined() {
            version.complete(&mut value);
        }
        value
    }

    /// The form that is meant, if it is not the one that is stored.
    pub(crate) fn edition(&self) -> Option<&'static Edition> {
        self.edition
    }

    /// Whether objects are shown as they are stored.
    pub(crate) fn as_stored(&self) -> bool {
        self.custom.is_none() && self.edition.is_none()
    }

    /// The document to be stored of one of this form.
    pub(crate) fn document(&self, mut value: Value) -> Document {
        if let Some(edition) = self.edition {
            edition.take(&mut value);
        }
        Document::from_value(value)
    }

    /// `apps`; empty for core.
    pub fn group(&self) -> &'static str {
        self.edition.map_or(self.kind.info().group, |edition| edition.group)
    }

    /// `v1`.
    pub fn version(&self) -> &str {
        match (self.defined(), self.edition) {
            (Some(version), _) => &version.name,
            (None, Some(edition)) => edition.version,
            (None, None) => self.kind.info().version,
        }
    }

    /// `v1`, `apps/v1`.
    pub fn api_version(&self) -> String {
        match self.edition {
            Some(edition) => edition.api_version(),
            None => self.kind.api_version_in(self.version()),
        }
    }

    /// `Deployment`.
    pub fn name(&self) -> &'static str {
        self.kind.info().kind
    }

    /// `DeploymentList`.
    pub(crate) fn list_name(&self) -> String {
        match self.defined() {
            Some(version) if !version.list_kind.is_empty() => version.list_kind.clone(),
            _ => format!("{}List", self.name()),
        }
    }

    /// How its objects are built.
    pub(crate) fn typed(&self) -> Result<Typed<'_>, Status> {
        if let Some(version) = self.defined() {
            return Ok(Typed::Custom(version));
        }
        let (api_version, kind) = (self.api_version(), self.name());
        type_for_api_version(&api_version, kind)
            .map(Typed::Table)
            .ok_or_else(|| Status::internal(format!("no schema of {kind} in {api_version}")))
    }

    /// Whether the status is written apart.
    pub(crate) fn has_status(&self) -> bool {
        self.defined().map_or_else(|| Strategy::of(self.kind).status, |version| version.status)
    }

    /// What a write of a part may change, as the turn has it: where custom resources keep their replicas, and whether their status is
    /// one, only their definition knows.
    pub(crate) fn part(&self, part: Part) -> Part {
        match part {
            Part::Main | Part::Scale if self.custom.is_some() && self.has_status() => Part::Main,
            Part::Main | Part::Scale if self.custom.is_some() => Part::Whole,
            part => part,
        }
    }

    /// Where it has its replicas, if it is a custom kind that has any.
    pub(crate) fn scale(&self) -> Option<&Scale> {
        self.defined()?.scale.as_ref()
    }

    /// The path of the replicas, as owners of fields know it.
    pub(crate) fn replicas(&self) -> Set {
        match self.scale() {
            Some(scale) => Set::of_fields(&scale.spec.iter().map(String::as_str).collect::<Vec<_>>()),
            None => Set::of_fields(&["spec", "replicas"]),
        }
    }

    /// Checks a custom resource against its schema.
    pub(crate) fn check(&self, object: &Value, old: Option<&Value>, name: &str) -> Result<(), Status> {
        let mut errors = Errors::default();
        if let Some(version) = self.defined() {
            version.check(object, old, &mut errors);
        }
        errors.into_result(self.kind, name)
    }

    /// Whether an update without resourceVersion is allowed.
    pub(crate) fn unconditional_update(&self) -> bool {
        self.custom.is_none() && Strategy::of(self.kind).unconditional_update
    }

    /// Whether field selectors may ask for a field, besides name and namespace.
    pub(crate) fn selectable(&self, field: &str) -> bool {
        match (self.defined(), self.edition) {
            (Some(version), _) => version.selectable.iter().any(|known| known == field),
            (None, Some(edition)) => edition.selectable.iter().any(|(known, _)| *known == field),
            (None, None) => Strategy::of(self.kind).selectable.contains(&field),
        }
    }

    /// What a person should know about an object that is accepted.
    pub(crate) fn warnings(&self, object: &Value) -> Vec<String> {
        if self.custom.is_some() {
            return Vec::new();
        }
        let strategy = Strategy::of(self.kind);
        let mut warnings = match self.edition {
            Some(edition) => {
                let mut stored = object.clone();
                edition.take(&mut stored);
                (strategy.warnings)(&stored)
            }
            None => (strategy.warnings)(object),
        };
        if let Behaviour::Partly(missing) | Behaviour::Data(missing) = strategy.behaviour {
            warnings.push(missing.to_owned());
        }
        warnings
    }

    /// What people are told who use this version, if it is on its way out.
    pub(crate) fn deprecation(&self) -> Option<&str> {
        self.defined()?.deprecation.as_deref()
    }

    /// An object as clients of this version see it.
    pub(crate) fn value(&self, object: &Object) -> Value {
        if let Some(edition) = self.edition {
            let mut value = object.to_value();
            edition.show(&mut value);
            return value;
        }
        let mut value = object.to_value_in(self.version());
        if let Some(version) = self.defined() {
            version.complete(&mut value);
        }
        value
    }

    /// Appends an object, at a revision, as clients of this version see it.
    pub(crate) fn write(&self, object: &Object, revision: u64, out: &mut Vec<u8>) {
        if self.edition.is_some() || self.defined().is_some_and(Version::completes) {
            let mut value = self.value(object);
            value["metadata"]["resourceVersion"] = revision.to_string().into();
            out.extend_from_slice(value.to_string().as_bytes());
        } else {
            object.document.write_json(self.kind, self.version(), revision, out);
        }
    }

    /// The columns of tables after the name, as tables define them.
    pub(crate) fn columns(&self) -> Vec<Cow<'_, Value>> {
        match self.defined() {
            Some(version) => {
                version.columns.iter().map(|column| Cow::Borrowed(column.definition())).collect()
            }
            None => {
                let columns = Strategy::of(self.kind).columns.iter();
                let define = |column: &crate::resource::Column| {
                    json!({"name": column.name, "type": column.r#type, "format": "", "description": "",
                        "priority": i32::from(column.wide)})
                };
                columns.map(|column| Cow::Owned(define(column))).collect()
            }
        }
    }

    /// The cells of these columns, for an object at a time in Unix milliseconds.
    pub(crate) fn cells(&self, object: &Object, now_ms: i64) -> Vec<Value> {
        match self.defined() {
            Some(version) => {
                let value = self.value(object);
                version.columns.iter().map(|column| column.cell(&value, now_ms)).collect()
            }
            // Of all forms the same, from what is stored.
            None => (Strategy::of(self.kind).cells)(&object.to_value(), now_ms),
        }
    }
}

impl Typed<'_> {
    /// Checks a document and brings it to its stored form.
    pub(crate) fn check(self, value: &mut Value) -> Result<Checked, TypeError> {
        match self {
            Typed::Table(of) => strict::check(of, value),
            Typed::Custom(version) => {
                let unknown = version.shape(value).map_err(TypeError)?;
                Ok(Checked { unknown, ..Checked::default() })
            }
        }
    }

    /// The same for a document that is to be applied, in which nulls mean something, and what is not said is said by nobody.
    pub(crate) fn check_applied(self, value: &mut Value) -> Result<Checked, TypeError> {
        match self {
            Typed::Table(of) => strict::check_applied(of, value),
            Typed::Custom(version) => {
                let unknown = version.shape_applied(value).map_err(TypeError)?;
                Ok(Checked { unknown, ..Checked::default() })
            }
        }
    }
}
