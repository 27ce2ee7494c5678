//! All policies that have a say in a write, one after the other, and what becomes of it.

use std::{collections::BTreeMap, sync::Arc};

use kontiki_actors::{Kind, Object, ObjectKey, State};
use serde_json::{Value, json};

use super::{
    super::{
        asked::Asked,
        shown::{Asker, Shown},
    },
    binding::{Binding, ParamRef},
    params,
    policy::{INVALID, Policy, Refusal},
};
use crate::{resource::fields::text, rest::call::Call, served::Served, status::Status};

/// What all policies of one write may cost together. Kubernetes gives as much to each of them.
const ALL: u64 = 10_000_000;
/// What is computed before others on the same thread have a turn.
const AT_ONCE: u64 = 500_000;
/// Bytes of a parameter that cost 1 to be read.
const READ: u64 = 8;
/// Failed validations that the audit is told of one write, and texts of one annotation.
const FAILURES: usize = 16;
const TEXTS: usize = 16;
const FAILURE: &str = "validation.policy.admission.k8s.io/validation_failure";

/// A policy whose rules and namespaces, and those of some bindings, are those of a write.
pub(in crate::admission) struct Wanted {
    pub(in crate::admission) policy: Arc<Policy>,
    pub(in crate::admission) bindings: Vec<Arc<Binding>>,
    /// The version in which it wants the resource.
    pub(in crate::admission) served: Served,
    /// The request as it sees it.
    pub(in crate::admission) request: Value,
}

/// What came of the policies of a write so far.
struct Session<'a> {
    call: &'a Call,
    asked: &'a Asked,
    left: u64,
    /// What was left when others had a turn.
    turn: u64,
    /// The first refusal, and its reason.
    refused: Option<(String, &'static str)>,
    failures: Vec<Value>,
}

/// Asks policies about a write; the first refusal in their order counts.
///
/// # Errors
/// The refusal, or what it takes to evaluate them is not there.
pub(in crate::admission) async fn ask(
    call: &Call,
    asked: &Asked,
    policies: &[Wanted],
    object: &Value,
    old: &Value,
) -> Result<(), Status> {
    let meant = |wanted: &&Wanted| wanted.policy.scope.has_object(asked, object, old);
    let mut wanted = policies.iter().filter(meant).peekable();
    if wanted.peek().is_none() {
        return Ok(());
    }
    let state = call.own_view().await?;
    let namespace = namespace_of(call, asked, &state).await?;
    let mut session = Session { call, asked, left: ALL, turn: ALL, refused: None, failures: Vec::new() };
    for wanted in wanted {
        session.policy(wanted, object, old, &namespace, &state).await?;
    }
    session.end(object)
}

/// The namespace that a write is in, as expressions see it; null for what is in none, and for namespaces.
async fn namespace_of(call: &Call, asked: &Asked, state: &State) -> Result<Value, Status> {
    if asked.namespace.is_empty() || asked.is_namespace() {
        return Ok(Value::Null);
    }
    let key = ObjectKey::new(Kind::NAMESPACE, "", &asked.namespace);
    let found = match state.get(&key) {
        Some(found) => Some(found.clone()),
        None => call.view().await?.get(&key).cloned(),
    };
    let found = found.ok_or_else(|| Status::not_found(Kind::NAMESPACE, &asked.namespace))?;
    let mut value = found.to_value();
    if let Some(map) = value.as_object_mut() {
        map.retain(|key, _| matches!(key.as_str(), "metadata" | "spec" | "status"));
    }
    if let Some(metadata) = value["metadata"].as_object_mut() {
        metadata.remove("managedFields");
        metadata.remove("ownerReferences");
    }
    Ok(value)
}

impl Session<'_> {
    async fn policy(
        &mut self,
        wanted: &Wanted,
        object: &Value,
        old: &Value,
        namespace: &Value,
        state: &State,
    ) -> Result<(), Status> {
        let Wanted { policy, bindings, served, request } = wanted;
        let asked = self.asked;
        let meant = |binding: &&Arc<Binding>| {
            binding.scope.as_ref().is_none_or(|scope| scope.has_object(asked, object, old))
        };
        let mut bindings = bindings.iter().filter(meant).peekable();
        if bindings.peek().is_none() {
            return Ok(());
        }
        let kind = match self.kind(policy, state).await? {
            Ok(kind) => kind,
            Err(why) => {
                self.misconfigured(policy, None, &why);
                return Ok(());
            }
        };
        let state_of_rights = if policy.asks { Some(self.call.view().await?) } else { None };
        let asker = Asker { call: self.call, asked, state: state_of_rights };
        let (object, old) = (asked.shown(object, served), asked.shown(old, served));
        let mut annotations: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for binding in bindings {
            let found: Vec<Option<Arc<Object>>> = match (&kind, &binding.params) {
                (Some(kind), Some(wanted)) => match self.params(kind, wanted, state).await? {
                    Ok(found) => found.into_iter().map(Some).collect(),
                    Err(why) => {
                        self.misconfigured(policy, Some(binding), &why);
                        continue;
                    }
                },
                _ => vec![None],
            };
            for found in found {
                let params =
                    found.zip(kind.as_ref()).map_or(Value::Null, |(found, kind)| self.read(kind, &found));
                let verdict = {
                    let (object, old, params) = (&*object, &*old, &params);
                    let shown = Shown { object, old, request, namespace, params, judge: &asker };
                    policy.judge(&shown, &mut self.left)
                };
                for refusal in verdict.refusals {
                    self.refuses(policy, binding, refusal);
                }
                for why in verdict.broken {
                    self.deny(policy, Some(binding), &why, INVALID);
                }
                for (key, text) in verdict.annotations {
                    let texts = annotations.entry(key).or_default();
                    if texts.len() < TEXTS && !texts.contains(&text) {
                        texts.push(text);
                    }
                }
                if self.turn - self.left >= AT_ONCE {
                    self.turn = self.left;
                    tokio::task::yield_now().await;
                }
            }
        }
        for (key, texts) in annotations {
            self.note(format!("{}/{key}", policy.name), texts.join(", "));
        }
        Ok(())
    }

    /// The kind of a policy's parameters, if it has any. The inner error is that there is no such kind.
    async fn kind(&self, policy: &Policy, state: &State) -> Result<Result<Option<Served>, String>, Status> {
        let Some((api_version, kind)) = &policy.param_kind else { return Ok(Ok(None)) };
        let definitions = &self.call.api.definitions;
        let mut found = params::kind_of(api_version, kind, state, definitions);
        if found.is_none() {
            found = params::kind_of(api_version, kind, &self.call.view().await?, definitions);
        }
        Ok(found.map(Some).ok_or_else(|| {
            let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
            format!("failed to find resource referenced by paramKind: '{group}/{version}, Kind={kind}'")
        }))
    }

    /// The parameters of a binding. The inner error is that there are none that could be; nothing is refused for it that would not be with
    /// every acknowledged write in sight.
    async fn params(
        &mut self,
        kind: &Served,
        wanted: &ParamRef,
        state: &State,
    ) -> Result<Result<Vec<Arc<Object>>, String>, Status> {
        let namespace = &self.asked.namespace;
        match params::collect(kind, wanted, namespace, state, &mut self.left) {
            Err(_) if self.left > 0 => {
                let newer = self.call.view().await?;
                Ok(params::collect(kind, wanted, namespace, &newer, &mut self.left))
            }
            found => Ok(found),
        }
    }

    /// A parameter as expressions see it.
    fn read(&mut self, kind: &Served, params: &Object) -> Value {
        self.left = self.left.saturating_sub(params.document.len() as u64 / READ);
        kind.value(params)
    }

    /// A validation does not hold: what becomes of it is for the binding to say.
    fn refuses(&mut self, policy: &Policy, binding: &Binding, refusal: Refusal) {
        let Refusal { at, message, reason } = refusal;
        for action in &binding.actions {
            match action.as_str() {
                "Deny" => self.deny(policy, Some(binding), &message, reason),
                "Warn" => {
                    let (policy, binding) = (&policy.name, &binding.name);
                    self.call.warn(std::iter::once(format!(
                        "Validation failed for ValidatingAdmissionPolicy '{policy}' with binding '{binding}': {message}"
                    )));
                }
                "Audit" if self.failures.len() < FAILURES => self.failures.push(json!({
                    "message": message, "policy": policy.name, "binding": binding.name, "expressionIndex": at,
                    "validationActions": binding.actions,
                })),
                _ => {}
            }
        }
    }

    /// A policy or binding is such that nothing can be evaluated.
    fn misconfigured(&mut self, policy: &Policy, binding: Option<&Binding>, why: &str) {
        if policy.ignored {
            return;
        }
        let of = if binding.is_some() { "binding" } else { "policy" };
        self.deny(policy, binding, &format!("failed to configure {of}: {why}"), INVALID);
    }

    fn deny(&mut self, policy: &Policy, binding: Option<&Binding>, message: &str, reason: &'static str) {
        let by = binding.map_or_else(String::new, |binding| format!(" with binding '{}'", binding.name));
        let name = &policy.name;
        self.refused.get_or_insert_with(|| {
            (format!("ValidatingAdmissionPolicy '{name}'{by} denied request: {message}"), reason)
        });
    }

    fn note(&self, key: String, text: String) {
        if let Some(record) = &self.call.record {
            record.annotate(key, text);
        }
    }

    /// Tells the audit, and the refusal if there is one.
    fn end(self, object: &Value) -> Result<(), Status> {
        if !self.failures.is_empty() {
            self.note(FAILURE.into(), json!(self.failures).to_string());
        }
        let Some((message, reason)) = self.refused else { return Ok(()) };
        let (asked, metadata) = (self.asked, &object["metadata"]);
        let names = [&*asked.name, text(metadata, "name"), text(metadata, "generateName"), "Unknown"];
        let name = names.into_iter().find(|name| !name.is_empty()).unwrap_or_default();
        let mut status = Status::forbidden(asked.served.kind, name, &message).caused("", "", &message);
        status.reason = reason;
        status.code = match reason {
            "Unauthorized" => 401,
            "Forbidden" => 403,
            "RequestEntityTooLarge" => 413,
            _ => 422,
        };
        Err(status)
    }
}
