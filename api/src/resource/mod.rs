//! What is special about each kind: defaults, preparation, validation, printing. One generic road in `rest/`, and here
//! a strategy per kind that it asks. A passive kind needs none: [`Strategy::PASSIVE`] serves it.
//!
//! Decisions that need the turn's order (uids, times, conflicts, deletions) are not here.

pub mod admission;
pub mod api_service;
pub mod autoscaler;
pub mod budget;
pub mod certificate;
pub mod config;
mod custom;
pub mod definition;
pub mod duration;
pub mod event;
pub mod field;
pub mod fields;
pub mod flow;
pub mod ingress;
pub mod metadata;
pub mod names;
pub mod namespace;
pub mod network;
pub mod node;
pub mod passive;
pub mod pod;
pub mod policy;
pub mod quota;
pub mod rbac;
mod required;
pub mod service;
pub mod storage;
pub mod volumes;
pub mod workload;
mod zeros;

use field::Errors;
use kontiki_actors::{Kind, State};
use names::NameRule;
use serde_json::{Map, Value, json};

use crate::{
    schema::{TypeRef, type_for},
    served::Served,
    status::Status,
};

/// A column of `kubectl get`.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// Its head.
    pub name: &'static str,
    /// `string`, `integer`.
    pub r#type: &'static str,
    /// Only with `-o wide`.
    pub wide: bool,
}

impl Column {
    /// A text.
    pub const fn text(name: &'static str) -> Column {
        Column { name, r#type: "string", wide: false }
    }

    /// A number.
    pub const fn number(name: &'static str) -> Column {
        Column { name, r#type: "integer", wide: false }
    }

    /// A text only with `-o wide`.
    pub const fn wide(name: &'static str) -> Column {
        Column { name, r#type: "string", wide: true }
    }
}

/// How much of what Kubernetes does with the objects of a kind happens here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// All of it; or there is nothing to be done but to keep them.
    Full,
    /// Most of it, and this is missing: words for people, given as a warning with each write.
    Partly(&'static str),
    /// They are kept, and this is missing: words for people, given as a warning with each write.
    Data(&'static str),
}

/// Completes a new object by what the cluster holds, or refuses it.
pub type Admit = fn(&mut Value, &State) -> Result<(), Status>;

/// What is special about a kind.
#[derive(Debug)]
pub struct Strategy {
    /// How its objects may be named.
    pub name: NameRule,
    /// Completes a document with defaults; done again on every write.
    pub default: fn(&mut Value),
    /// Prepares a new object: what it begins with.
    pub prepare_create: fn(&mut Value),
    /// Completes a new object by what the cluster holds, or refuses it. None: an object of this kind stands for itself.
    pub admit: Option<Admit>,
    /// Prepares an update of anything but the status.
    pub prepare_update: fn(&mut Value, &Value),
    /// Checks an object.
    pub validate: fn(&Value, &mut Errors),
    /// Checks what only holds of a new object.
    pub validate_create: fn(&Value, &mut Errors),
    /// Checks an update: (new, old).
    pub validate_update: fn(&Value, &Value, &mut Errors),
    /// What a person should know about this object, though it is accepted.
    pub warnings: fn(&Value) -> Vec<String>,
    /// Whether what its published schema demands is checked, too: see [`required`].
    pub schema_required: bool,
    /// What happens with its objects.
    pub behaviour: Behaviour,
    /// Columns after NAME.
    pub columns: &'static [Column],
    /// The cells of these columns, for an object at a time in Unix milliseconds.
    pub cells: fn(&Value, i64) -> Vec<Value>,
    /// Fields that a field selector may ask for, besides name and namespace.
    pub selectable: &'static [&'static str],
    /// Whether it has a `status` subresource.
    pub status: bool,
    /// Whether it has a `scale` subresource.
    pub scale: bool,
    /// Whether an update without resourceVersion is allowed.
    pub unconditional_update: bool,
    /// Whether PUT creates what is missing.
    pub create_on_update: bool,
    /// Whether DELETE answers with the object.
    pub returns_deleted: bool,
    /// Whether empty objects and lists mean something else than absent ones.
    pub exact: bool,
}

impl Strategy {
    /// A kind that is stored, listed and watched, and nothing more.
    pub const PASSIVE: Strategy = Strategy {
        name: NameRule::Subdomain,
        default: |_| {},
        prepare_create: |_| {},
        admit: None,
        prepare_update: |_, _| {},
        validate: |_, _| {},
        validate_create: |_, _| {},
        validate_update: |_, _, _| {},
        warnings: |_| Vec::new(),
        schema_required: false,
        behaviour: Behaviour::Full,
        columns: &[Column::text("Age")],
        cells: |object, now| vec![age(object, now)],
        selectable: &[],
        status: false,
        scale: false,
        unconditional_update: true,
        create_on_update: false,
        returns_deleted: false,
        exact: false,
    };

    /// The strategy of a kind.
    pub fn of(kind: Kind) -> &'static Strategy {
        match kind {
            Kind::NAMESPACE => &namespace::STRATEGY,
            Kind::NODE => &node::STRATEGY,
            Kind::POD => &pod::STRATEGY,
            Kind::EVENT => &event::STRATEGY,
            Kind::CONFIG_MAP => &config::CONFIG_MAP,
            Kind::SECRET => &config::SECRET,
            Kind::SERVICE => &service::STRATEGY,
            Kind::DEPLOYMENT => &workload::deployment::STRATEGY,
            Kind::REPLICA_SET => &workload::replica_set::STRATEGY,
            Kind::STATEFUL_SET => &workload::stateful_set::STRATEGY,
            Kind::DAEMON_SET => &workload::daemon_set::STRATEGY,
            Kind::REPLICATION_CONTROLLER => &workload::replication_controller::STRATEGY,
            Kind::JOB => &workload::job::STRATEGY,
            Kind::CRON_JOB => &workload::cron_job::STRATEGY,
            Kind::HORIZONTAL_POD_AUTOSCALER => &autoscaler::STRATEGY,
            Kind::ROLE => &rbac::ROLE_STRATEGY,
            Kind::CLUSTER_ROLE => &rbac::CLUSTER_ROLE,
            Kind::ROLE_BINDING => &rbac::ROLE_BINDING,
            Kind::CLUSTER_ROLE_BINDING => &rbac::CLUSTER_ROLE_BINDING,
            Kind::POD_DISRUPTION_BUDGET => &budget::STRATEGY,
            Kind::LIMIT_RANGE => &quota::LIMIT_RANGE,
            Kind::RESOURCE_QUOTA => &quota::RESOURCE_QUOTA,
            Kind::PERSISTENT_VOLUME => &volumes::VOLUME,
            Kind::PERSISTENT_VOLUME_CLAIM => &volumes::CLAIM,
            Kind::STORAGE_CLASS => &volumes::CLASS,
            Kind::INGRESS => &ingress::STRATEGY,
            Kind::INGRESS_CLASS => &network::INGRESS_CLASS,
            Kind::SERVICE_CIDR => &network::SERVICE_CIDR,
            Kind::IP_ADDRESS => &network::IP_ADDRESS,
            Kind::VOLUME_ATTACHMENT => &storage::VOLUME_ATTACHMENT,
            Kind::CSI_DRIVER => &storage::CSI_DRIVER,
            Kind::CSI_NODE => &storage::CSI_NODE,
            Kind::CSI_STORAGE_CAPACITY => &storage::CSI_STORAGE_CAPACITY,
            Kind::CERTIFICATE_SIGNING_REQUEST => &certificate::STRATEGY,
            Kind::API_SERVICE => &api_service::STRATEGY,
            Kind::MUTATING_WEBHOOK_CONFIGURATION => &admission::MUTATING,
            Kind::VALIDATING_WEBHOOK_CONFIGURATION => &admission::VALIDATING,
            Kind::VALIDATING_ADMISSION_POLICY => &policy::POLICY,
            Kind::VALIDATING_ADMISSION_POLICY_BINDING => &policy::POLICY_BINDING,
            Kind::CUSTOM_RESOURCE_DEFINITION => &definition::STRATEGY,
            Kind::FLOW_SCHEMA => &flow::FLOW_SCHEMA,
            Kind::PRIORITY_LEVEL_CONFIGURATION => &flow::PRIORITY_LEVEL,
            other => passive::strategy(other),
        }
    }
}

/// Completes a document with the defaults of its kind.
pub fn default(kind: Kind, object: &mut Value) {
    (Strategy::of(kind).default)(object);
}

/// Makes a client's document a new object: cleared, completed, admitted by what the cluster holds (if its kind is), checked.
pub fn prepare_create(
    served: &Served,
    object: &mut Value,
    namespace: &str,
    cluster: Option<&State>,
) -> Result<(), Status> {
    if let Some(version) = served.defined() {
        return custom::create(version, object, namespace);
    }
    let kind = served.kind;
    let strategy = Strategy::of(kind);
    if let Some(edition) = served.edition() {
        edition.take(object);
    }
    metadata::prepare_create(object, kind, namespace);
    if strategy.status {
        object["status"] = json!({});
    }
    (strategy.prepare_create)(object);
    default(kind, object);
    if let Some((admit, cluster)) = strategy.admit.zip(cluster) {
        admit(object, cluster)?;
    }
    if kind.info().generation {
        metadata::metadata_of(object).insert("generation".into(), 1.into());
    }
    let mut errors = Errors::default();
    validate(kind, object, &mut errors);
    (strategy.validate_create)(object, &mut errors);
    if let Some(edition) = served.edition() {
        (edition.validate)(object, None, &mut errors);
    }
    refused(served, errors, display_name(object))?;
    if let Some(edition) = served.edition() {
        edition.show(object);
    }
    Ok(())
}

/// Makes a client's document an update of an object: what may not change is put back, defaults, generation, checked.
pub fn prepare_update(served: &Served, object: &mut Value, old: &Value) -> Result<(), Status> {
    if let Some(version) = served.defined() {
        return custom::update(version, object, old);
    }
    in_stored_form(served, object, old, |object, old| update(served, object, old))
}

/// The refusal, if there is an error, in the words of the form that was asked for.
fn refused(served: &Served, errors: Errors, name: &str) -> Result<(), Status> {
    if errors.is_empty() {
        return Ok(());
    }
    Err(Status::invalid(served.group(), served.name(), name, errors.into_causes()))
}

/// Does something with an object and what it was before as they are stored, whatever form they have here.
fn in_stored_form(
    served: &Served,
    object: &mut Value,
    old: &Value,
    change: impl FnOnce(&mut Value, &Value) -> Result<(), Status>,
) -> Result<(), Status> {
    let Some(edition) = served.edition() else { return change(object, old) };
    let mut old = old.clone();
    edition.take(&mut old);
    edition.take(object);
    change(object, &old)?;
    edition.show(object);
    Ok(())
}

fn update(served: &Served, object: &mut Value, old: &Value) -> Result<(), Status> {
    let kind = served.kind;
    let strategy = Strategy::of(kind);
    metadata::prepare_update(object, old);
    if strategy.status {
        restore(object, old, "status");
    }
    // Objects that were stored before a default existed, or with zeros, must not count as changed by that.
    let mut before = plain(kind, old);
    (strategy.prepare_update)(object, &before);
    default(kind, object);
    default(kind, &mut before);
    let same = if strategy.exact { PartialEq::eq } else { fields::same };
    let same_spec = same(&object["spec"], &before["spec"]);
    if same_spec {
        // Equal in meaning: no rule is to see a difference.
        restore(object, &before, "spec");
    }
    if kind.info().generation {
        let annotations = |o: &Value| o["metadata"]["annotations"].clone();
        let told = kind == Kind::DEPLOYMENT && !fields::same(&annotations(object), &annotations(&before));
        if !asks_same(object, &before, same) || told {
            let next = fields::number(&old["metadata"], "generation") + 1;
            metadata::metadata_of(object).insert("generation".into(), next.into());
        }
    }
    let mut errors = Errors::default();
    validate(kind, object, &mut errors);
    metadata::validate_update(object, old, &mut errors);
    (strategy.validate_update)(object, &before, &mut errors);
    if let Some(edition) = served.edition() {
        (edition.validate)(object, Some(&before), &mut errors);
    }
    refused(served, errors, display_name(old))?;
    // Kept byte for byte, so that nothing is written, and no actor sees another template.
    if same_spec {
        restore(object, old, "spec");
    } else if before["spec"]["template"].is_object()
        && object["spec"]["template"] == before["spec"]["template"]
    {
        restore(&mut object["spec"], &old["spec"], "template");
    }
    Ok(())
}

/// A stored object as it would be stored today: without what Kubernetes' types leave out.
fn plain(kind: Kind, old: &Value) -> Value {
    let mut plain = old.clone();
    match Served::from(kind).typed().map(|typed| typed.check(&mut plain)) {
        Ok(Ok(_)) => plain,
        // Not of its type: compared as it is.
        _ => old.clone(),
    }
}

/// Whether two versions of an object ask for the same: all of it but metadata and status.
fn asks_same(a: &Value, b: &Value, same: fn(&Value, &Value) -> bool) -> bool {
    let keys = |value: &Value| value.as_object().into_iter().flat_map(Map::keys).cloned().collect::<Vec<_>>();
    let asked = |key: &String| key != "metadata" && key != "status";
    keys(a).iter().chain(&keys(b)).filter(|key| asked(key)).all(|key| same(&a[key], &b[key]))
}

/// Makes a client's document an update of a pod's ephemeral containers: everything else is put back, what is new is completed and checked.
pub fn prepare_ephemeral(object: &mut Value, old: &Value) -> Result<(), Status> {
    let kind = Kind::POD;
    let mut errors = Errors::default();
    if pod::only_added(object, old, &mut errors) && kind.info().generation {
        let next = fields::number(&old["metadata"], "generation") + 1;
        metadata::metadata_of(object).insert("generation".into(), next.into());
    }
    validate(kind, object, &mut errors);
    errors.into_result(kind, display_name(old))
}

/// What a write of the status of a built-in kind may change of the metadata: all that a client may change at all, but for these. They are
/// what the `PrepareForUpdate` of Kubernetes' status strategies puts back.
pub fn kept_by_status(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::POD => &["ownerReferences"],
        Kind::DEPLOYMENT => &["labels"],
        Kind::API_SERVICE
        | Kind::FLOW_SCHEMA
        | Kind::PRIORITY_LEVEL_CONFIGURATION
        | Kind::SERVICE_CIDR
        | Kind::VALIDATING_ADMISSION_POLICY
        | Kind::VOLUME_ATTACHMENT => &["annotations", "finalizers", "labels", "ownerReferences"],
        _ => &[],
    }
}

/// Makes a client's document an update of an object's status, or of the verdict on a request: what is neither that nor metadata is put
/// back, of custom kinds the metadata too.
pub fn prepare_status(
    served: &Served,
    object: &mut Value,
    old: &Value,
    approval: bool,
) -> Result<(), Status> {
    if let Some(version) = served.defined() {
        return custom::status(version, object, old);
    }
    in_stored_form(served, object, old, |object, old| update_status(served.kind, object, old, approval))
}

fn update_status(kind: Kind, object: &mut Value, old: &Value, approval: bool) -> Result<(), Status> {
    let status = object.get("status").cloned().unwrap_or_else(|| json!({}));
    let told = object["metadata"].take();
    *object = old.clone();
    if told.is_object() {
        object["metadata"] = told;
        for key in kept_by_status(kind) {
            restore(&mut object["metadata"], &old["metadata"], key);
        }
        metadata::prepare_update(object, old);
    }
    let mut errors = Errors::default();
    match kind {
        // Its label with its own name is a default.
        Kind::NAMESPACE => {
            default(kind, object);
            object["status"] = status;
        }
        Kind::CERTIFICATE_SIGNING_REQUEST => {
            object["status"] = certificate::status(&status, &old["status"], approval);
            certificate::conditions(&object["status"], &mut errors);
            certificate::verdicts_stay(&object["status"], &old["status"], &mut errors);
        }
        Kind::NODE => {
            object["status"] = status;
            node::prepare_status(object);
        }
        Kind::VALIDATING_ADMISSION_POLICY => {
            policy::status(&status, &mut errors);
            object["status"] = status;
        }
        _ => object["status"] = status,
    }
    match (&mut object["status"], status_of(kind)) {
        (Value::Object(status), Some(of)) => zeros::complete(of, status),
        (Value::Object(_), None) => {}
        (other, _) => errors.invalid("status", other, "must be an object"),
    }
    if !metadata::same(object, old) {
        let strategy = Strategy::of(kind);
        metadata::validate(object, kind.info().namespaced, strategy.name, &mut errors);
        metadata::validate_update(object, old, &mut errors);
    }
    errors.into_result(kind, display_name(old))
}

/// The type of a kind's status.
fn status_of(kind: Kind) -> Option<TypeRef> {
    let info = kind.info();
    type_for(info.group, info.version, info.kind)?.field("status")?.shape.as_struct()
}

/// Checks an object as a whole.
fn validate(kind: Kind, object: &Value, errors: &mut Errors) {
    let strategy = Strategy::of(kind);
    metadata::validate(object, kind.info().namespaced, strategy.name, errors);
    if strategy.schema_required {
        required::check(kind, object, errors);
    }
    (strategy.validate)(object, errors);
}

fn restore(object: &mut Value, old: &Value, key: &str) {
    match old.get(key) {
        Some(value) => object[key] = value.clone(),
        None => {
            if let Some(map) = object.as_object_mut() {
                map.remove(key);
            }
        }
    }
}

fn display_name(object: &Value) -> &str {
    let metadata = &object["metadata"];
    let name = fields::text(metadata, "name");
    if name.is_empty() { fields::text(metadata, "generateName") } else { name }
}

/// The cell AGE.
pub fn age(object: &Value, now_ms: i64) -> Value {
    duration::age(fields::text(&object["metadata"], "creationTimestamp"), now_ms).into()
}

/// A text cell, `<none>` when empty.
pub fn or_none(text: &str) -> Value {
    if text.is_empty() { "<none>".into() } else { text.into() }
}

/// A label selector as text: `a=b,c in (d,e)`. The oldest kinds have a plain map of labels.
pub fn selector_text(selector: &Value) -> String {
    if let Some(map) = selector.as_object().filter(|map| map.values().all(Value::is_string)) {
        return map_text(Some(map));
    }
    let mut parts: Vec<String> = selector["matchLabels"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    for (_, term) in fields::items(selector, "matchExpressions") {
        let key = fields::text(term, "key");
        let values: Vec<&str> = fields::items(term, "values").filter_map(|(_, v)| v.as_str()).collect();
        parts.push(match fields::text(term, "operator") {
            "In" => format!("{key} in ({})", values.join(",")),
            "NotIn" => format!("{key} notin ({})", values.join(",")),
            "DoesNotExist" => format!("!{key}"),
            _ => key.to_owned(),
        });
    }
    parts.join(",")
}

/// A map as text: `a=b,c=d`.
pub fn map_text(map: Option<&Map<String, Value>>) -> String {
    let parts: Vec<String> = map
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    parts.join(",")
}
