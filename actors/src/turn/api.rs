//! A client's write in a turn: what only the state can decide. Decoding, defaulting and validation happened before.

use kontiki_hooks::{Defect, planted};
use serde_json::Value;

use super::Turn;
use crate::{
    input::{Outcome, Part, Rejection, Request},
    kind::Kind,
    object::{Document, Object, ObjectKey},
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

fn answer(object: &Object) -> Outcome {
    Outcome::Object {
        key: object.key.clone(),
        revision: object.revision,
        document: Some(object.document.clone()),
    }
}

impl Turn {
    pub(super) fn api(&mut self, request: &Request) -> Outcome {
        let result = match request {
            Request::Create { key, generate_name, document, .. } => {
                self.create_from_client(key, generate_name.as_deref(), document)
            }
            Request::Update { key, document, part, revision, uid, .. } => {
                self.update(key, document, *part, *revision, uid.as_deref())
            }
            Request::Delete { key, options, .. } => self.delete(key, options),
            Request::Bind { key, node, .. } => self.bind(key, node),
        };
        result.unwrap_or_else(Outcome::Rejected)
    }

    fn create_from_client(
        &mut self,
        key: &ObjectKey,
        generate_name: Option<&str>,
        document: &Document,
    ) -> Result<Outcome, Rejection> {
        let key = match generate_name {
            Some(prefix) if key.name.is_empty() => self.generate_key(key, prefix)?,
            _ => key.clone(),
        };
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
        let object = self.put(&key, document);
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
            candidate.name = format!("{}{}", &prefix[..end], self.context.name_suffix()).into();
            if self.state.get(&candidate).is_none() {
                return Ok(candidate);
            }
        }
        Err(Rejection::AlreadyExists(candidate))
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
        let new = match part {
            Part::Main => {
                let metadata = merge_metadata(&old, document)?;
                Document { status: old.document.status.clone(), ..document.with_metadata(metadata) }
            }
            Part::Status => Document { status: document.status.clone(), ..old.document.clone() },
            Part::Scale => {
                let mut spec = old.document.spec_value();
                let replicas = document.spec_value()["replicas"].clone();
                let mut metadata = old.document.metadata_value();
                if spec["replicas"] != replicas && old.meta.generation > 0 {
                    metadata["generation"] = (old.meta.generation + 1).into();
                }
                spec["replicas"] = replicas;
                old.document.with_spec(spec).with_metadata(metadata)
            }
            Part::Finalize => {
                let mut spec = old.document.spec_value();
                spec["finalizers"] = document.spec_value()["finalizers"].clone();
                old.document.with_spec(spec)
            }
        };
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
        self.assign(&pod, node);
        Ok(Outcome::Done)
    }

    /// Puts one of the cluster's first objects, if it is missing.
    pub(super) fn bootstrap(&mut self, key: &ObjectKey, document: &Document) {
        if self.state.get(key).is_none() {
            let mut metadata = document.metadata_value();
            complete_metadata(self, key.kind, &mut metadata);
            self.put(key, document.with_metadata(metadata));
        }
    }
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
        let added: Vec<&str> = after["finalizers"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .filter(|f| !old.meta.finalizers.iter().any(|have| have == f))
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
