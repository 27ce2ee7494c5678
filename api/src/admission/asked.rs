//! What is written, as webhooks are asked about it.

use std::borrow::Cow;

use kontiki_actors::State;
use serde_json::{Value, json};

use crate::{
    custom::Definitions,
    editions,
    resource::fields::items,
    rest::{path::Target, query::Query},
    served::Served,
};

/// What is done to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Create,
    Update,
    Delete,
    Connect,
}

impl Operation {
    /// As rules and questions name it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Operation::Create => "CREATE",
            Operation::Update => "UPDATE",
            Operation::Delete => "DELETE",
            Operation::Connect => "CONNECT",
        }
    }
}

/// What a request writes: all that is known of it but the objects.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) operation: Operation,
    pub(crate) served: Served,
    pub(crate) subresource: String,
    /// The apiVersion and kind of what is written, which below an object is not the object's.
    pub(crate) api_version: String,
    pub(crate) kind: String,
    /// Where the request is, as Kubernetes has it: in a namespace, and for a namespace in itself.
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) dry_run: bool,
    /// The options of the request.
    pub(crate) options: Value,
}

impl Asked {
    /// An operation on a target.
    pub(crate) fn of(operation: Operation, target: &Target, dry_run: bool) -> Asked {
        let (served, subresource) = (&target.served, target.subresource.clone().unwrap_or_default());
        let (api_version, kind) = match subresource.as_str() {
            "scale" => ("autoscaling/v1".to_owned(), "Scale".to_owned()),
            _ => (served.api_version(), served.name().to_owned()),
        };
        let asked = Asked {
            operation,
            served: served.clone(),
            subresource,
            api_version,
            kind,
            namespace: target.namespace.clone().unwrap_or_default(),
            name: String::new(),
            dry_run,
            options: Value::Null,
        };
        asked.named(target.name.as_deref().unwrap_or_default())
    }

    /// The same about the object of this name.
    pub(crate) fn named(mut self, name: &str) -> Asked {
        name.clone_into(&mut self.name);
        if self.is_namespace() {
            name.clone_into(&mut self.namespace);
        }
        self
    }

    /// The same about something below the object that is of another kind.
    pub(crate) fn writing(mut self, api_version: &str, kind: &str) -> Asked {
        api_version.clone_into(&mut self.api_version);
        kind.clone_into(&mut self.kind);
        self
    }

    /// The same with the options of a request that creates or updates, as its query has them.
    pub(crate) fn with_query(mut self, query: &Query) -> Asked {
        let kind = match self.operation {
            Operation::Create => "CreateOptions",
            _ => "UpdateOptions",
        };
        self.options = json!({"kind": kind, "apiVersion": "meta.k8s.io/v1"});
        for key in ["fieldManager", "fieldValidation"] {
            if let Some(text) = query.text(key) {
                self.options[key] = text.into();
            }
        }
        if self.dry_run {
            self.options["dryRun"] = json!(["All"]);
        }
        self
    }

    /// The same with these options of a deletion, as the request has them.
    pub(crate) fn with_deletion(mut self, options: Value) -> Asked {
        self.options = options;
        self
    }

    /// Whether it is about a namespace, or something below one.
    pub(super) fn is_namespace(&self) -> bool {
        let info = self.served.kind.info();
        info.group.is_empty() && info.plural == "namespaces"
    }

    /// Whether the labels of the namespace are those of the object that is written.
    pub(super) fn has_own_labels(&self) -> bool {
        let writes = matches!(self.operation, Operation::Create | Operation::Update);
        self.is_namespace() && self.subresource.is_empty() && writes
    }

    /// The other versions, and groups, in which the resource is served.
    pub(super) fn others(&self, state: &State, definitions: &Definitions) -> Vec<Served> {
        let kind = self.served.kind;
        if !kind.is_custom() {
            let all = [Served::from(kind)].into_iter().chain(editions::of(kind));
            return all.filter(|other| *other != self.served).collect();
        }
        let Some(definition) = state.definition_of(kind) else { return Vec::new() };
        let spec = definition.document.spec_value();
        items(&spec, "versions")
            .filter_map(|(_, version)| definitions.version(definition, version["name"].as_str()?))
            .map(Served::custom)
            .filter(|other| *other != self.served)
            .collect()
    }

    /// A value of the request in another version, if it is an object that has any.
    pub(super) fn shown<'v>(&self, value: &'v Value, version: &Served) -> Cow<'v, Value> {
        if !value.is_object() || !self.is_object() || *version == self.served {
            return Cow::Borrowed(value);
        }
        Cow::Owned(self.served.converted(value.clone(), version))
    }

    /// Whether what is written is the object itself, in a version of its kind, and not something below it.
    pub(super) fn is_object(&self) -> bool {
        self.kind == self.served.name() && self.api_version == self.served.api_version()
    }
}
