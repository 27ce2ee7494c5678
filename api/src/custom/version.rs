//! A version of a custom kind, as requests use it.

use std::{collections::HashMap, sync::Arc};

use kontiki_actors::{DefinitionDigest, Kind, Object};
use serde_json::{Value, json};

use super::{
    columns::Column,
    default::{any, default},
    jsonpath::JsonPath,
    pattern::Patterns,
    prune::{prune, prune_nulls},
    rules,
    schema::Schema,
    validate::{NOWHERE, validate},
};
use crate::{
    conversion::Converter,
    resource::{
        field::Errors,
        fields::{items, text},
    },
    schema::{Registry, Shape, strict},
};

/// Where a custom resource has its replicas.
#[derive(Debug)]
pub(crate) struct Scale {
    pub(crate) spec: Vec<String>,
    pub(crate) status: Vec<String>,
    pub(crate) selector: Option<Vec<String>>,
}

/// A version of a custom kind.
#[derive(Debug)]
pub(crate) struct Version {
    pub(crate) kind: Kind,
    /// `v1`.
    pub(crate) name: String,
    pub(crate) list_kind: String,
    /// The generation of the definition.
    pub(crate) generation: i64,
    /// The version that documents are stored in, where they say so.
    pub(crate) stored: Option<String>,
    /// Makes objects of one version those of another; without one, a version is a name only.
    pub(crate) converter: Option<Arc<Converter>>,
    pub(crate) schema: Arc<Schema>,
    /// Whether the schema has defaults.
    completes: bool,
    /// Whether it has rules.
    ruled: bool,
    /// Whether the status is written apart.
    pub(crate) status: bool,
    pub(crate) scale: Option<Scale>,
    pub(crate) columns: Vec<Column>,
    /// What field selectors may ask for, besides name and namespace.
    pub(crate) selectable: Vec<String>,
    /// What people are told who use it.
    pub(crate) deprecation: Option<String>,
}

impl Version {
    /// The versions of a definition that clients may use, by name. `versioned`: documents may say in which version they are.
    pub(super) fn all(definition: &Object, versioned: bool) -> HashMap<String, Arc<Version>> {
        let Some(digest) = definition.definition() else { return HashMap::new() };
        let spec = definition.document.spec_value();
        let mut patterns = Patterns::default();
        // Objects may be stored in versions that clients do not get.
        let read = items(&spec, "versions").filter(|(_, told)| digest.converts() || told["served"] == true);
        let read: Vec<(&Value, Arc<Schema>)> = read
            .map(|(_, told)| {
                let schema = Schema::read_with(&told["schema"]["openAPIV3Schema"], &mut patterns);
                (told, Arc::new(schema))
            })
            .collect();
        let schemas = || read.iter().map(|(told, schema)| (text(told, "name"), schema.clone()));
        let converter = digest.converts().then(|| {
            let told = &spec["conversion"]["webhook"];
            Arc::new(Converter::read(definition, digest, told, schemas()))
        });
        // A kind of one version has nothing to tell apart.
        let says = converter.is_some() || versioned && digest.versions.len() > 1;
        let stored = digest.storage().filter(|_| says);
        read.iter()
            .filter(|(told, _)| told["served"] == true)
            .map(|(told, schema)| {
                let mut version = Version::read(digest, told, schema.clone());
                version.generation = definition.meta.generation;
                version.stored = stored.map(str::to_owned);
                version.converter.clone_from(&converter);
                (version.name.clone(), Arc::new(version))
            })
            .collect()
    }

    fn read(digest: &DefinitionDigest, told: &Value, schema: Arc<Schema>) -> Version {
        let kind = digest.kind();
        let subresources = &told["subresources"];
        let path = |text: &str| -> Option<Vec<String>> {
            let path = JsonPath::parse(text).ok()?;
            Some(path.names()?.into_iter().map(str::to_owned).collect())
        };
        let scale = subresources.get("scale").filter(|scale| scale.is_object()).and_then(|scale| {
            Some(Scale {
                spec: path(text(scale, "specReplicasPath"))?,
                status: path(text(scale, "statusReplicasPath"))?,
                selector: path(text(scale, "labelSelectorPath")),
            })
        });
        let name = text(told, "name").to_owned();
        let deprecation = (told["deprecated"] == true).then(|| match text(told, "deprecationWarning") {
            "" => format!("{} {} is deprecated", kind.api_version_in(&name), kind.info().kind),
            told => told.to_owned(),
        });
        let selectable = items(told, "selectableFields").map(|(_, field)| text(field, "jsonPath"));
        Version {
            kind,
            list_kind: digest.status.accepted_names.list_kind.to_string(),
            generation: 0,
            stored: None,
            converter: None,
            completes: any(&schema),
            ruled: rules::any(&schema),
            schema,
            status: subresources.get("status").is_some_and(Value::is_object),
            scale,
            columns: Column::all(told),
            selectable: selectable.map(|path| path.trim_start_matches('.').to_owned()).collect(),
            deprecation,
            name,
        }
    }

    /// Brings a document to the form in which it is stored: only what is declared, complete. Tells the paths of what is gone.
    ///
    /// # Errors
    /// When its metadata is none.
    pub(crate) fn shape(&self, object: &mut Value) -> Result<Vec<String>, String> {
        let unknown = self.shape_applied(object)?;
        prune_nulls(&self.schema, object);
        self.complete(object);
        Ok(unknown)
    }

    /// The same for a document that is to be applied: it is not completed, and its nulls stay.
    pub(crate) fn shape_applied(&self, object: &mut Value) -> Result<Vec<String>, String> {
        let mut unknown = Vec::new();
        if let Some(metadata) = object.get_mut("metadata").filter(|metadata| !metadata.is_null()) {
            let checked =
                strict::check_shape(metadata_shape(), metadata).map_err(|error| error.to_string())?;
            unknown.extend(checked.unknown.into_iter().map(|path| format!("metadata.{path}")));
        }
        unknown.extend(prune(&self.schema, object));
        Ok(unknown)
    }

    /// Completes an object that is shown or written.
    pub(crate) fn complete(&self, object: &mut Value) {
        if self.completes {
            default(&self.schema, object);
        }
    }

    /// Whether an object as it is stored may lack what it is shown with.
    pub(crate) fn completes(&self) -> bool {
        self.completes
    }

    /// Checks an object, also against what it was before.
    pub(crate) fn check(&self, object: &Value, old: Option<&Value>, errors: &mut Errors) {
        validate(&self.schema, "", object, old, errors);
        self.enforce(object, old, errors);
    }

    /// Runs the rules, if the object is such that they can be.
    fn enforce(&self, object: &Value, old: Option<&Value>, errors: &mut Errors) {
        const SKIPPED: &str = "some validation rules were not checked because the object was invalid; correct the existing errors to \
                               complete validation";
        if self.ruled && errors.blocking() {
            errors.invalid_text(NOWHERE, "null", SKIPPED);
        } else if self.ruled {
            rules::enforce(&self.schema, object, old, errors);
        }
    }

    /// Checks the status of an object that is otherwise as it was.
    pub(crate) fn check_status(&self, object: &Value, old: &Value, errors: &mut Errors) {
        if let (Some(schema), Some(status)) = (self.schema.properties.get("status"), object.get("status")) {
            validate(schema, "status", status, old.get("status"), errors);
        }
        self.enforce(object, Some(old), errors);
    }
}

/// The metadata of every object.
pub(crate) fn metadata_shape() -> Shape {
    let id = Registry::global().id_of("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta");
    id.map_or(Shape::RawObject, Shape::Struct)
}

/// The value at a path of names, `null` where there is none.
pub(crate) fn at<'a>(value: &'a Value, path: &[String]) -> &'a Value {
    const NULL: &Value = &Value::Null;
    path.iter().fold(value, |value, name| value.get(name).unwrap_or(NULL))
}

/// Sets the value at a path of names, with the objects that lead to it.
pub(crate) fn set(value: &mut Value, path: &[String], new: Value) {
    let Some((last, way)) = path.split_last() else { return };
    let mut place = value;
    for name in way {
        if !place[name].is_object() {
            place[name] = json!({});
        }
        place = &mut place[name];
    }
    place[last] = new;
}
