//! Storage classes, read when they are needed: there are few.

use compact_str::CompactString;
use serde_json::Value;

use crate::{
    kind::Kind,
    object::{Object, ObjectKey, storage::LOCAL_PATH},
    state::State,
};

const IS_DEFAULT: [&str; 2] =
    ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];

/// What a class says.
#[derive(Clone, Debug)]
pub struct Class {
    /// Who makes its volumes.
    pub provisioner: CompactString,
    /// What becomes of a volume whose claim is gone.
    pub policy: CompactString,
    /// Volumes are bound once a pod that uses them has a node.
    pub waits_for_consumer: bool,
    /// Claims may ask for more later.
    pub may_grow: bool,
    /// Terms of which one must hold for a node; none: all nodes.
    topologies: Vec<Vec<(CompactString, Vec<CompactString>)>>,
    mount_options: Value,
}

impl Class {
    /// The class of this name.
    pub fn named(state: &State, name: &str) -> Option<Class> {
        let class = state.get(&ObjectKey::new(Kind::STORAGE_CLASS, "", name))?.document.rest_value();
        let text = |value: &Value| CompactString::from(value.as_str().unwrap_or_default());
        let expression =
            |e: &Value| (text(&e["key"]), e["values"].as_array().into_iter().flatten().map(text).collect());
        let term =
            |t: &Value| t["matchLabelExpressions"].as_array().into_iter().flatten().map(expression).collect();
        Some(Class {
            provisioner: text(&class["provisioner"]),
            policy: class["reclaimPolicy"].as_str().unwrap_or("Delete").into(),
            waits_for_consumer: class["volumeBindingMode"] == "WaitForFirstConsumer",
            may_grow: class["allowVolumeExpansion"] == true,
            topologies: class["allowedTopologies"].as_array().into_iter().flatten().map(term).collect(),
            mount_options: class["mountOptions"].clone(),
        })
    }

    /// Whether the cluster makes its volumes itself.
    pub fn is_local_path(&self) -> bool {
        self.provisioner == LOCAL_PATH
    }

    /// Whether its volumes may be on this node.
    pub fn allows(&self, node: &Object) -> bool {
        let holds = |(key, values): &(CompactString, Vec<CompactString>)| {
            node.meta.labels.get(key).is_some_and(|value| values.contains(value))
        };
        self.topologies.is_empty() || self.topologies.iter().any(|term| term.iter().all(holds))
    }

    /// What the cluster cannot do for it, if anything: folders are not mounted with options.
    pub(super) fn refusal(&self) -> Option<&'static str> {
        let options = self.mount_options.as_array().is_some_and(|options| !options.is_empty());
        options.then_some("folders of nodes take no mountOptions: leave them out of the class")
    }
}

/// The name of the default class: of several the newest, then the first by name, as in Kubernetes.
pub(super) fn default(state: &State) -> Option<CompactString> {
    let is_default = |class: &Object| {
        let says = |name: &str| class.meta.annotations.get(name).is_some_and(|value| value == "true");
        !class.meta.deleting() && IS_DEFAULT.iter().any(|name| says(name))
    };
    let classes = state.list(Kind::STORAGE_CLASS, None).filter(|class| is_default(class));
    let best = classes.min_by_key(|class| (std::cmp::Reverse(class.meta.created_ms), class.key.name.clone()));
    best.map(|class| class.key.name.clone())
}
