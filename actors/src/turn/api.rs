//! A client's write in a turn: what only the state can decide. Decoding, defaulting and validation happened before.

use std::collections::BTreeSet;

use kontiki_hooks::{Defect, planted};
use serde_json::Value;

use super::Turn;
use crate::{
    addresses, flow,
    input::{Outcome, Part, Rejection, Request},
    kind::Kind,
    kinds::{definition, namespace, storage},
    limits, node_ports,
    object::{Document, Object, ObjectKey},
    pod_security, quota,
    rbac::upkeep,
    service_accounts,
};

/// How often a generated name is tried.
const NAME_TRIES: usize = 8;
/// A generated name's prefix is cut to this, so that the whole is a valid label.
const GENERATED_PREFIX_MAX: usize = 58;
/// Metadata that stays as it is, whatever an update says.
const KEPT: [&str; 7] = [
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "name",
    "namespace",
    "generateName",
];

/// Completes a new object's metadata: uid, creationTimestamp, generation.
pub(super) fn complete_metadata(turn: &mut Turn, kind: Kind, metadata: &mut Value) {
    let (uid, now) = (turn.context().uid(), turn.now());
    if let Some(map) = metadata.as_object_mut() {
        map.insert("uid".into(), uid.into());
        map.insert("creationTimestamp".into(), now.into());
        for gone in ["deletionTimestamp", "deletionGracePeriodSeconds", "resourceVersion"] {
            map.remove(gone);
        }
        if kind.info().generation {
            map.insert("generation".into(), 1.into());
        }
    }
}

/// What a write of an object is answered with.
pub(crate) fn answer(object: &Object) -> Outcome {
    Outcome::Object {
        key: object.key.clone(),
        revision: object.revision,
        document: Some(object.document.whole()),
    }
}

impl Turn {
    pub(super) fn api(&mut self, request: &Request) -> Outcome {
        let (at, needs) = (self.state.level(), request.level());
        if needs > at {
            return Outcome::Rejected(Rejection::Level { key: request.key().clone(), at, needs });
        }
        self.asked(None, request).unwrap_or_else(Outcome::Rejected)
    }

    fn asked(&mut self, user: Option<&str>, request: &Request) -> Result<Outcome, Rejection> {
        match request {
            Request::Create { key, generate_name, document, .. } => {
                self.create_from_client(user, key, generate_name.as_deref(), document)
            }
            Request::Update { key, document, part, revision, uid, .. } => {
                self.update(user, key, document, *part, *revision, uid.as_deref())
            }
            Request::Delete { key, options, .. } => self.delete(key, options),
            Request::Bind { key, node, .. } => self.bind(key, node),
            Request::Admit { key, revision, verdict } => self.admit(key, *revision, verdict),
            Request::By { request, .. } if user.is_some() => {
                let message = "a request says twice who asks".to_owned();
                Err(Rejection::Unsupported(request.key().clone(), message))
            }
            Request::By { user, request } => self.asked(Some(user), request),
        }
    }

    fn create_from_client(
        &mut self,
        user: Option<&str>,
        key: &ObjectKey,
        generate_name: Option<&str>,
        document: &Document,
    ) -> Result<Outcome, Rejection> {
        let key = match generate_name {
            Some(prefix) if key.name.is_empty() => self.generate_key(key, prefix)?,
            _ => key.clone(),
        };
        self.check_definition(&key)?;
        self.check_namespace(&key)?;
        if self.state.get(&key).is_some() {
            return Err(Rejection::AlreadyExists(key));
        }
        let mut metadata = document.metadata_value();
        metadata["name"] = key.name.as_str().into();
        if !key.namespace.is_empty() {
            metadata["namespace"] = key.namespace.as_str().into();
        }
        complete_metadata(self, key.kind, &mut metadata);
        let mut document = document.with_metadata(metadata);
        if key.kind == Kind::JOB {
            document = crate::kinds::job::select_own_pods(document);
        }
        if limits::concerns(&self.state, &key) {
            let mut value = document.to_value();
            limits::admit(&self.state, &key, &mut value)
                .map_err(|why| Rejection::Forbidden(key.clone(), why))?;
            document = Document::from_value(value);
        }
        let mut names_node = false;
        if key.kind == Kind::POD {
            let mut spec = document.spec_value();
            names_node = spec["nodeName"].is_string();
            service_accounts::admit(self, &key.namespace, &mut spec)
                .map_err(|why| Rejection::Forbidden(key.clone(), why))?;
            document = document.with_spec(spec);
        }
        document = addresses::assign(self, &key, None, document)?;
        document = node_ports::assign(self, &key, None, document)?;
        self.check_pod_security(user, &key, None, &document)?;
        quota::admit(self, &key, None, &document).map_err(|why| Rejection::Forbidden(key.clone(), why))?;
        let object = match names_node {
            true => self.put_on_its_node(&key, document),
            false => self.put(&key, document),
        };
        self.collect_later(&object);
        Ok(answer(&object))
    }

    fn generate_key(&mut self, key: &ObjectKey, prefix: &str) -> Result<ObjectKey, Rejection> {
        let mut end = prefix.len().min(GENERATED_PREFIX_MAX);
        while !prefix.is_char_boundary(end) {
            end -= 1;
        }
        let mut candidate = key.clone();
        for _ in 0..NAME_TRIES {
            let name = format!("{}{}", &prefix[..end], self.context.name_suffix());
            candidate = ObjectKey::new(key.kind, &key.namespace, &name);
            if self.state.get(&candidate).is_none() {
                return Ok(candidate);
            }
        }
        Err(Rejection::AlreadyExists(candidate))
    }

    /// New objects of a custom kind need a definition that stays; and there are not more definitions than the cluster takes.
    fn check_definition(&self, key: &ObjectKey) -> Result<(), Rejection> {
        if key.kind == Kind::CUSTOM_RESOURCE_DEFINITION {
            let count = self.state.list(key.kind, None).count();
            if count >= definition::LIMIT {
                let message = format!("there are {count} definitions, which is as many as a cluster takes");
                return Err(Rejection::Forbidden(key.clone(), message));
            }
        }
        if !key.kind.is_custom() {
            return Ok(());
        }
        match self.state.definition_of(key.kind) {
            None => {
                let name = key.kind.resource_name();
                Err(Rejection::NotFound(ObjectKey::new(Kind::CUSTOM_RESOURCE_DEFINITION, "", &name)))
            }
            Some(definition) if definition.meta.deleting() => {
                let message = "create not allowed while custom resource definition is terminating";
                Err(Rejection::Forbidden(key.clone(), message.into()))
            }
            Some(_) => Ok(()),
        }
    }

    /// Pods are held to what their namespace enforces; and what that is for the whole cluster must make sense.
    fn check_pod_security(
        &self,
        user: Option<&str>,
        key: &ObjectKey,
        old: Option<&Document>,
        new: &Document,
    ) -> Result<(), Rejection> {
        pod_security::admit_configuration(key, new)
            .map_err(|(field, why)| Rejection::Invalid(key.clone(), field, why))?;
        if key.kind != Kind::POD {
            return Ok(());
        }
        pod_security::admit(&self.state, key, user, old, || (new.metadata_value(), new.spec_value()))
            .map_err(|why| Rejection::Forbidden(key.clone(), why))
    }

    fn check_namespace(&self, key: &ObjectKey) -> Result<(), Rejection> {
        if key.namespace.is_empty() {
            return Ok(());
        }
        let namespace = ObjectKey::new(Kind::NAMESPACE, "", &key.namespace);
        match self.state.get(&namespace) {
            None => Err(Rejection::NotFound(namespace)),
            Some(object) if object.meta.deleting() => Err(Rejection::NamespaceTerminating(key.clone())),
            Some(_) => Ok(()),
        }
    }

    fn update(
        &mut self,
        user: Option<&str>,
        key: &ObjectKey,
        document: &Document,
        part: Part,
        revision: Option<u64>,
        uid: Option<&str>,
    ) -> Result<Outcome, Rejection> {
        let old = self.state.get(key).cloned().ok_or_else(|| Rejection::NotFound(key.clone()))?;
        if let Some(uid) = uid.filter(|uid| *uid != old.meta.uid) {
            let message = format!(
                "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
                old.meta.uid
            );
            return Err(Rejection::Conflict(key.clone(), message));
        }
        if revision.is_some_and(|r| r != old.revision) && !planted(Defect::RevisionNotCompared) {
            let message =
                "the object has been modified; please apply your changes to the latest version and try again";
            return Err(Rejection::Conflict(key.clone(), message.into()));
        }
        let mut new = match part {
            Part::Main => {
                let metadata = merge_metadata(&old, document)?;
                Document { status: old.document.whole().status, ..document.with_metadata(metadata) }
            }
            Part::Whole => document.with_metadata(merge_metadata(&old, document)?),
            Part::Status => {
                let metadata = merge_metadata(&old, document)?;
                Document { status: document.status.clone(), ..old.document.with_metadata(metadata) }
            }
            Part::Scale => {
                let mut spec = old.document.spec_value();
                let replicas = document.spec_value()["replicas"].clone();
                let mut metadata = old.document.metadata_value();
                if spec["replicas"] != replicas && old.meta.generation > 0 {
                    metadata["generation"] = (old.meta.generation + 1).into();
                }
                spec["replicas"] = replicas;
                with_owners(old.document.with_spec(spec).with_metadata(metadata), document)
            }
            Part::Finalize => {
                let mut spec = old.document.spec_value();
                spec["finalizers"] = document.spec_value()["finalizers"].clone();
                with_owners(old.document.with_spec(spec), document)
            }
        };
        if part == Part::Main {
            namespace::keep_root_ca(&old, &mut new);
            storage::admit_update(self, &old, &new)?;
            let before = old.document.whole();
            new = addresses::assign(self, key, Some(&before), new)?;
            new = node_ports::assign(self, key, Some(&before), new)?;
            self.check_pod_security(user, key, Some(&before), &new)?;
            let admitted = quota::admit(self, key, Some(&before), &new);
            admitted.map_err(|why| Rejection::Forbidden(key.clone(), why))?;
        }
        let object = self.put(key, new);
        if object.meta.deleting() {
            self.finish_deletion(key);
        }
        self.collect_later(&object);
        Ok(answer(&object))
    }

    fn bind(&mut self, key: &ObjectKey, node: &str) -> Result<Outcome, Rejection> {
        let pod = self.state.get(key).cloned().ok_or_else(|| Rejection::NotFound(key.clone()))?;
        let taken = pod.pod().and_then(|p| p.node.clone());
        if let Some(taken) = taken {
            return Err(Rejection::Conflict(
                key.clone(),
                format!("pod {} is already assigned to node {taken:?}", key.name),
            ));
        }
        if pod.meta.deleting() {
            return Err(Rejection::Conflict(key.clone(), format!("pod {} is being deleted", key.name)));
        }
        self.bind_to(&pod, node);
        Ok(Outcome::Done)
    }

    /// Puts one of the cluster's first objects, if it is missing and its level is there; roles and bindings are completed.
    pub(super) fn bootstrap(&mut self, key: &ObjectKey, document: &Document) {
        if !self.knows(key.kind) {
            return;
        }
        if let Some(old) = self.state.get(key).cloned() {
            if old.role().is_some() || old.binding().is_some() {
                upkeep::complete(self, &old, document);
            } else if flow::upkeep::keeps(key.kind) {
                flow::upkeep::complete(self, &old, document);
            } else if key.kind == Kind::ENDPOINTS {
                // Where the controllers are, which nobody else may say.
                self.put(key, Document { rest: document.rest.clone(), ..old.document.whole() });
            }
        } else {
            let mut metadata = document.metadata_value();
            complete_metadata(self, key.kind, &mut metadata);
            self.put(key, document.with_metadata(metadata));
        }
    }
}

/// A document with the owners of fields that an update of a part of it tells; the rest of its metadata stays.
fn with_owners(kept: Document, told: &Document) -> Document {
    const OWNERS: &str = "managedFields";
    if kept.metadata == told.metadata {
        return kept;
    }
    let (mut metadata, mut told) = (kept.metadata_value(), told.metadata_value());
    if metadata.get(OWNERS) == told.get(OWNERS) {
        return kept;
    }
    if let Some(map) = metadata.as_object_mut() {
        match told.get_mut(OWNERS) {
            Some(owners) => map.insert(OWNERS.into(), owners.take()),
            None => map.remove(OWNERS),
        };
    }
    kept.with_metadata(metadata)
}

/// The new metadata with what no update may change; refuses new finalizers on what is being deleted.
fn merge_metadata(old: &Object, document: &Document) -> Result<Value, Rejection> {
    let (before, mut after) = (old.document.metadata_value(), document.metadata_value());
    if let Some(map) = after.as_object_mut() {
        for field in KEPT {
            match before.get(field) {
                Some(value) => map.insert(field.into(), value.clone()),
                None => map.remove(field),
            };
        }
    }
    if old.meta.deleting() {
        let had: BTreeSet<&str> = old.meta.finalizers.iter().map(|f| f.as_str()).collect();
        let added: Vec<&str> = after["finalizers"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .filter(|f| !had.contains(f))
            .collect();
        if !added.is_empty() {
            let message = format!(
                "Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers {added:?}"
            );
            return Err(Rejection::Invalid(old.key.clone(), "metadata.finalizers".into(), message));
        }
    }
    Ok(after)
}
