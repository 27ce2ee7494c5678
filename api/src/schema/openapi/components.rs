//! `components.schemas`: the types that a group version's resources reach, with the marks that clients merge by.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::ResourceDoc;
use super::descriptions::{Descriptions, TypeText, plain};
use crate::schema::{Field, ListType, Registry, Shape, TypeRef, type_for};

/// Which form of OpenAPI custom resources are told of for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Edition {
    V2,
    V3,
}

const REF: &str = "#/components/schemas/";
const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.";

/// Schemas by name.
pub(super) fn schemas(
    resources: &[&ResourceDoc],
    (group, version): (&str, &str),
    edition: Edition,
) -> Map<String, Value> {
    let mut reached = Reached::default();
    for (group, version, kind) in roots(resources) {
        if let Some(of) = type_for(&group, &version, &kind) {
            reached.add(of);
        }
    }
    // Custom resources refer to these even where no built-in kind does.
    for name in ["ObjectMeta", "ListMeta"] {
        if let Some(of) = Registry::global().named(&format!("{META}{name}")) {
            reached.add(of);
        }
    }
    let descriptions = Descriptions::unpack();
    let texts = descriptions.by_type();
    let silent = TypeText::default();
    let mut schemas = Map::new();
    for (name, of) in &reached.types {
        let schema = type_schema(of, texts.get(name).unwrap_or(&silent), (group, version));
        schemas.insert((*name).to_owned(), schema);
    }
    for (name, schema) in scalars(&reached.scalars) {
        schemas.insert(name, schema);
    }
    for resource in resources {
        if let Some(schema) = &resource.schema {
            schemas.insert(custom_name(resource), custom_schema(resource, &schema.read(), edition));
        }
    }
    schemas
}

/// The schema name of a resource's kind: the table's, or the group reversed for custom resources.
pub(super) fn schema_name(group: &str, version: &str, kind: &str) -> String {
    type_for(group, version, kind).map_or_else(|| reversed(group, version, kind), |of| of.name.to_owned())
}

/// A reference to a schema.
pub(super) fn reference(name: &str) -> Value {
    json!({ "$ref": format!("{REF}{name}") })
}

fn custom_name(resource: &ResourceDoc) -> String {
    reversed(&resource.group, &resource.version, &resource.kind)
}

fn reversed(group: &str, version: &str, kind: &str) -> String {
    let parts: Vec<&str> = group.rsplit('.').chain([version, kind]).filter(|part| !part.is_empty()).collect();
    parts.join(".")
}

fn roots(resources: &[&ResourceDoc]) -> BTreeSet<(String, String, String)> {
    let mut roots = BTreeSet::new();
    for kind in ["DeleteOptions", "Status", "WatchEvent", "APIResourceList"] {
        roots.insert(("meta.k8s.io".to_owned(), "v1".to_owned(), kind.to_owned()));
    }
    for resource in resources {
        let (group, version) = (&resource.group, &resource.version);
        for kind in [resource.kind.clone(), format!("{}List", resource.kind)] {
            roots.insert((group.clone(), version.clone(), kind));
        }
        for sub in &resource.subresources {
            roots.insert((sub.group.clone(), sub.version.clone(), sub.kind.clone()));
        }
    }
    roots
}

#[derive(Default)]
struct Reached {
    types: BTreeMap<&'static str, TypeRef>,
    scalars: BTreeSet<&'static str>,
}

impl Reached {
    fn add(&mut self, of: TypeRef) {
        // A list of its own instead of recursion: some types contain themselves.
        let mut open = vec![of];
        while let Some(of) = open.pop() {
            if self.types.insert(of.name, of).is_some() {
                continue;
            }
            for field in &of.fields {
                let mut shape = field.shape;
                while let Some(inner) = shape.element() {
                    shape = inner;
                }
                match shape {
                    Shape::Struct(id) => open.push(id.resolve()),
                    other => self.scalars.extend(scalar_name(other)),
                }
            }
        }
    }
}

/// Scalars that have a schema of their own.
fn scalar_name(shape: Shape) -> Option<&'static str> {
    Some(match shape {
        Shape::Time => "io.k8s.apimachinery.pkg.apis.meta.v1.Time",
        Shape::MicroTime => "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime",
        Shape::Quantity => "io.k8s.apimachinery.pkg.api.resource.Quantity",
        Shape::IntOrString => "io.k8s.apimachinery.pkg.util.intstr.IntOrString",
        Shape::RawObject => "io.k8s.apimachinery.pkg.runtime.RawExtension",
        Shape::Raw => "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON",
        Shape::SchemaOrArray => {
            "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrArray"
        }
        Shape::SchemaOrBool => {
            "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrBool"
        }
        Shape::SchemaOrStrings => {
            "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrStringArray"
        }
        _ => return None,
    })
}

fn scalars(names: &BTreeSet<&'static str>) -> Vec<(String, Value)> {
    let schema = |name: &str| match name.rsplit('.').next().unwrap_or_default() {
        "Time" | "MicroTime" => json!({ "type": "string", "format": "date-time" }),
        "Quantity" => json!({ "oneOf": [{ "type": "string" }, { "type": "number" }] }),
        "IntOrString" => {
            json!({ "format": "int-or-string", "oneOf": [{ "type": "integer" }, { "type": "string" }] })
        }
        "RawExtension" => json!({ "type": "object" }),
        // Anything.
        _ => json!({}),
    };
    names.iter().map(|name| ((*name).to_owned(), schema(name))).collect()
}

fn type_schema(of: TypeRef, text: &TypeText<'_>, document: (&str, &str)) -> Value {
    let mut schema = Map::new();
    if !text.about.is_empty() {
        schema.insert("description".to_owned(), plain(text.about).into());
    }
    schema.insert("type".to_owned(), "object".into());
    let required: Vec<&str> = of.fields.iter().filter(|f| f.required).map(|f| f.name).collect();
    if !required.is_empty() {
        schema.insert("required".to_owned(), required.into());
    }
    let properties: Map<String, Value> = of
        .fields
        .iter()
        .map(|field| (field.name.to_owned(), field_schema(field, text.fields.get(field.name).copied())))
        .collect();
    if !properties.is_empty() {
        schema.insert("properties".to_owned(), Value::Object(properties));
    }
    if of.atomic {
        schema.insert("x-kubernetes-map-type".to_owned(), "atomic".into());
    }
    if let Some(gvk) = of.gvk {
        let mut kinds = vec![json!({ "group": gvk.group, "version": gvk.version, "kind": gvk.kind })];
        // The shared kinds stand under every group version, core first.
        if of.name.starts_with(META) {
            kinds = vec![json!({ "group": "", "version": "v1", "kind": gvk.kind })];
            if document != ("", "v1") {
                kinds.push(json!({ "group": document.0, "version": document.1, "kind": gvk.kind }));
            }
        }
        schema.insert("x-kubernetes-group-version-kind".to_owned(), kinds.into());
    }
    Value::Object(schema)
}

fn field_schema(field: &Field, text: Option<&str>) -> Value {
    let mut schema = match shape_schema(field.shape) {
        Value::Object(schema) => schema,
        _ => Map::new(),
    };
    let mut marks = Map::new();
    if let Some(text) = text {
        marks.insert("description".to_owned(), plain(text).into());
    }
    match field.list {
        ListType::Unmarked => {}
        ListType::Atomic => drop(marks.insert("x-kubernetes-list-type".to_owned(), "atomic".into())),
        ListType::Set => drop(marks.insert("x-kubernetes-list-type".to_owned(), "set".into())),
        ListType::Map(keys) => {
            marks.insert("x-kubernetes-list-type".to_owned(), "map".into());
            marks.insert("x-kubernetes-list-map-keys".to_owned(), keys.into());
        }
    }
    if field.atomic {
        marks.insert("x-kubernetes-map-type".to_owned(), "atomic".into());
    }
    if !field.patch.strategy.is_empty() {
        marks.insert("x-kubernetes-patch-strategy".to_owned(), field.patch.strategy.into());
    }
    if !field.patch.merge_key.is_empty() {
        marks.insert("x-kubernetes-patch-merge-key".to_owned(), field.patch.merge_key.into());
    }
    // OpenAPI 3.0 ignores what stands beside $ref.
    if !marks.is_empty() && schema.contains_key("$ref") {
        schema = Map::from_iter([("allOf".to_owned(), json!([schema]))]);
    }
    schema.extend(marks);
    Value::Object(schema)
}

fn shape_schema(shape: Shape) -> Value {
    match shape {
        Shape::String | Shape::Duration => json!({ "type": "string" }),
        Shape::Int32 => json!({ "type": "integer", "format": "int32" }),
        Shape::Int64 => json!({ "type": "integer", "format": "int64" }),
        Shape::Bool => json!({ "type": "boolean" }),
        Shape::Double => json!({ "type": "number", "format": "double" }),
        Shape::Bytes => json!({ "type": "string", "format": "byte" }),
        Shape::List(of) | Shape::WrappedList(of) => json!({ "type": "array", "items": shape_schema(*of) }),
        Shape::Map(of) => json!({ "type": "object", "additionalProperties": shape_schema(*of) }),
        Shape::Struct(of) => reference(of.resolve().name),
        other => scalar_name(other).map_or_else(|| json!({}), reference),
    }
}

/// A custom resource's own schema, with what every object has. Where v2 would say which fields there are, although there may be others,
/// it says that it is an object, and no more: kubectl refuses what a v2 schema does not name.
fn custom_schema(resource: &ResourceDoc, told: &Value, edition: Edition) -> Value {
    let open: fn(&Value) -> bool = |told| told["x-kubernetes-preserve-unknown-fields"] == true;
    let mut schema = match edition {
        Edition::V2 if open(told) => json!({ "type": "object" }),
        Edition::V2 => {
            let mut told = told.clone();
            plain_v2(&mut told, open);
            told
        }
        Edition::V3 => told.clone(),
    };
    if !schema.is_object() {
        schema = json!({ "type": "object" });
    }
    schema["x-kubernetes-group-version-kind"] =
        json!([{ "group": resource.group, "version": resource.version, "kind": resource.kind }]);
    if told.is_object() && !(edition == Edition::V2 && open(told)) {
        add_embedded(&mut schema, edition == Edition::V2);
        schema["type"] = "object".into();
        add_properties(&mut schema);
    }
    schema
}

/// What Kubernetes says of the fields that every object has.
fn add_properties(schema: &mut Value) {
    const CONVENTIONS: &str =
        "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md";
    if !schema["properties"].is_object() {
        schema["properties"] = json!({});
    }
    let properties = &mut schema["properties"];
    properties["apiVersion"] = json!({
        "type": "string",
        "description": format!(
            "APIVersion defines the versioned schema of this representation of an object. Servers should convert recognized schemas \
             to the latest internal value, and may reject unrecognized values. More info: {CONVENTIONS}#resources"
        ),
    });
    properties["kind"] = json!({
        "type": "string",
        "description": format!(
            "Kind is a string value representing the REST resource this object represents. Servers may infer this from the endpoint \
             the client submits requests to. Cannot be updated. In CamelCase. More info: {CONVENTIONS}#types-kinds"
        ),
    });
    properties["metadata"] = json!({
        "description": format!("Standard object's metadata. More info: {CONVENTIONS}#metadata"),
        "allOf": [reference(&format!("{META}ObjectMeta"))],
    });
}

/// Calls for each schema directly within a schema.
fn each_within(schema: &mut Value, mut call: impl FnMut(&mut Value)) {
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        properties.values_mut().for_each(&mut call);
    }
    for key in ["items", "additionalProperties"] {
        if let Some(inner) = schema.get_mut(key).filter(|inner| inner.is_object()) {
            call(inner);
        }
    }
}

/// Tells of what is a whole object within a custom resource that it has what every object has.
fn add_embedded(schema: &mut Value, v2: bool) {
    each_within(schema, |inner| add_embedded(inner, v2));
    let is = |mark: &str| schema.get(mark) == Some(&Value::Bool(true));
    if !is("x-kubernetes-embedded-resource") || v2 && is("x-kubernetes-preserve-unknown-fields") {
        return;
    }
    add_properties(schema);
    let mut required = schema["required"].as_array().cloned().unwrap_or_default();
    for name in ["kind", "apiVersion"] {
        if !required.iter().any(|known| known == name) {
            required.push(name.into());
        }
    }
    schema["required"] = required.into();
}

/// Takes out of a custom schema what v2 cannot say, or what kubectl would misunderstand in it: alternatives, nullable types, and fields
/// where there may be others. As Kubernetes' `ToStructuralOpenAPIV2` does.
fn plain_v2(schema: &mut Value, open: fn(&Value) -> bool) {
    let is_null = |schema: &Value| schema["nullable"] == true;
    let (nullable, any) = (is_null(schema), open(schema));
    let mut may_be_null = Vec::new();
    for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
        if is_null(inner) {
            may_be_null.push(name.clone());
        }
    }
    let drop_required = is_null(&schema["additionalProperties"]);
    let Some(map) = schema.as_object_mut() else { return };
    for key in ["allOf", "oneOf", "anyOf", "not", "nullable"] {
        map.remove(key);
    }
    if nullable || any {
        map.remove("items");
        map.remove("properties");
    }
    let list_of_anything = map.get("type").is_some_and(|told| told == "array") && !map.contains_key("items");
    if nullable || list_of_anything || any && map.get("type").is_some_and(|told| told == "object") {
        map.remove("type");
    }
    if let Some(Value::Array(required)) = map.get_mut("required") {
        required.retain(|name| !may_be_null.iter().any(|null| name == null.as_str()));
        if required.is_empty() || drop_required {
            map.remove("required");
        }
    }
    each_within(schema, |inner| plain_v2(inner, open));
}

/// The schema of patch bodies.
pub(super) fn patch_schema() -> Value {
    json!({ "type": "object" })
}
