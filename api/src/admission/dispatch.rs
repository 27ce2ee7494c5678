//! All webhooks and policies of one write: webhooks that change it one after the other, then policies, then webhooks that judge it, all at
//! once.

use std::{
    collections::BTreeSet,
    sync::{Arc, OnceLock},
};

use futures_util::future::join_all;
use kontiki_actors::{Kind, ObjectKey, State};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    asked::Asked,
    client::Memory,
    conditions::{self, Held},
    hook::Hook,
    matching::Scope,
    policies::{self, Wanted},
    review::{self, Said},
    shown::{Asker, Shown},
};
use crate::{
    conversion, patch as patches, resource,
    rest::{body::type_of, call::Call},
    served::{Served, Typed},
    status::Status,
};

/// Annotations of the audit, in Kubernetes' words.
const MUTATION: &str = "mutation.webhook.admission.k8s.io/";
const PATCH: &str = "patch.webhook.admission.k8s.io/";
const OPENED: &str = "failed-open.";
const VALIDATING: &str = "validating.webhook.admission.k8s.io/";
/// Who was changed is asked again at most once.
const ROUNDS: usize = 2;

/// The webhooks and policies that have a say in a write.
pub(crate) struct Admission<'a> {
    call: &'a Call,
    asked: Asked,
    mutating: Vec<Matched>,
    validating: Vec<Matched>,
    policies: Vec<Wanted>,
}

/// A webhook whose rules and namespaces are those of a write.
struct Matched {
    hook: Arc<Hook>,
    /// Its place among all of its kind.
    at: usize,
    /// The version in which it wants the resource.
    served: Served,
    /// The question but for the objects.
    request: Value,
}

/// Why a webhook let a write not pass.
enum Refused {
    /// It could not be asked, in words.
    Failed(String),
    /// It said no, or what it said cannot be done.
    Status(Status),
}

impl<'a> Admission<'a> {
    /// The webhooks and policies that are for this, by their rules and by its namespace; none at all mostly, and then nothing was done but to
    /// look. The state is what this controller holds.
    pub(crate) async fn of(
        call: &'a Call,
        state: &State,
        asked: Asked,
    ) -> Result<Option<Admission<'a>>, Status> {
        let kind = asked.served.kind;
        // Or nobody could get rid of what refuses everything. Policies may guard the configurations of webhooks, though.
        let configures = kind.info().group == "admissionregistration.k8s.io";
        let hooks = if configures { None } else { call.api.webhooks.of(state) };
        let is_policy =
            matches!(kind, Kind::VALIDATING_ADMISSION_POLICY | Kind::VALIDATING_ADMISSION_POLICY_BINDING);
        let bound = if is_policy { None } else { call.api.policies.of(state) };
        if hooks.is_none() && bound.is_none() {
            return Ok(None);
        }
        let mut meant = Meant { call, state, asked: &asked, others: OnceLock::new(), labels: None };
        let (mut mutating, mut validating, mut policies) = (Vec::new(), Vec::new(), Vec::new());
        let hooks = hooks.unwrap_or_default();
        for (list, all) in [(&mut mutating, &hooks.mutating), (&mut validating, &hooks.validating)] {
            for (at, hook) in all.iter().enumerate() {
                if let Some(served) = meant.by(&hook.scope).await? {
                    let request = review::request(&asked, &call.user, &served);
                    list.push(Matched { hook: hook.clone(), at, served, request });
                }
            }
        }
        for bound in bound.iter().flat_map(|bound| bound.iter()) {
            let Some(served) = meant.by(&bound.policy.scope).await? else { continue };
            let mut bindings = Vec::new();
            for binding in &bound.bindings {
                let is_meant = match &binding.scope {
                    Some(scope) => meant.by(scope).await?.is_some(),
                    None => true,
                };
                bindings.extend(is_meant.then(|| binding.clone()));
            }
            if !bindings.is_empty() {
                let request = review::request(&asked, &call.user, &served);
                policies.push(Wanted { policy: bound.policy.clone(), bindings, served, request });
            }
        }
        let any = !mutating.is_empty() || !validating.is_empty() || !policies.is_empty();
        Ok(any.then_some(Admission { call, asked, mutating, validating, policies }))
    }

    /// Whether there are webhooks that may change what is written.
    pub(crate) fn mutates(&self) -> bool {
        !self.mutating.is_empty()
    }

    /// Asks those that may change an object, one after the other, and those again that want it when others changed it. What they make of
    /// it is of its type and completed, and still the object that it was; it is not checked otherwise.
    pub(crate) async fn mutate(&self, mut object: Value, old: &Value) -> Result<Value, Status> {
        let (mut invoked, mut again) = (BTreeSet::new(), BTreeSet::new());
        for round in 0..ROUNDS {
            for (index, matched) in self.mutating.iter().enumerate() {
                if round > 0 && !again.contains(&index) || !self.wants(matched, &object, old).await? {
                    continue;
                }
                let key = format!("round_{round}_index_{}", matched.at);
                let changed = match self.ask(matched, true, &object, old).await {
                    Ok(said) => {
                        self.note_patch(format!("{PATCH}{key}"), matched, said.patch.as_ref());
                        self.patched(matched, said, &object).await?
                    }
                    Err(refused) => {
                        self.passed_over(matched, refused, &format!("{OPENED}{MUTATION}{key}"))?;
                        None
                    }
                };
                self.note(format!("{MUTATION}{key}"), || {
                    let mutated = changed.is_some();
                    json!({"configuration": matched.hook.configuration, "webhook": matched.hook.name, "mutated": mutated})
                        .to_string()
                });
                if let Some(changed) = changed {
                    object = changed;
                    again.append(&mut invoked);
                }
                if matched.hook.again {
                    invoked.insert(index);
                }
            }
            if again.is_empty() {
                break;
            }
        }
        Ok(object)
    }

    /// Asks those that judge: policies, then webhooks, all at once. The first refusal in their order counts.
    pub(crate) async fn validate(&self, object: &Value, old: &Value) -> Result<(), Status> {
        policies::ask(self.call, &self.asked, &self.policies, object, old).await?;
        let mut wanted = Vec::new();
        for matched in &self.validating {
            if self.wants(matched, object, old).await? {
                wanted.push(matched);
            }
        }
        let asking = wanted.iter().map(|matched| self.ask(matched, false, object, old));
        let answers = join_all(asking).await;
        for (matched, answer) in wanted.into_iter().zip(answers) {
            if let Err(refused) = answer {
                let key = format!("{OPENED}{VALIDATING}round_0_index_{}", matched.at);
                self.passed_over(matched, refused, &key)?;
            }
        }
        Ok(())
    }

    /// Asks all of them about what they cannot change.
    pub(crate) async fn admit(&self, object: &Value, old: &Value) -> Result<(), Status> {
        for matched in &self.mutating {
            if !self.wants(matched, object, old).await? {
                continue;
            }
            match self.ask(matched, true, object, old).await {
                Ok(said) if said.patch.as_ref().is_none_or(|patch| *patch == json!([])) => {}
                Ok(_) => {
                    return Err(Status::internal(format!(
                        "admission webhook {:?} attempted to modify the object, which is not supported for this operation",
                        matched.hook.name
                    )));
                }
                Err(refused) => {
                    let key = format!("{OPENED}{MUTATION}round_0_index_{}", matched.at);
                    self.passed_over(matched, refused, &key)?;
                }
            }
        }
        self.validate(object, old).await
    }

    /// Whether the objects and the conditions of a webhook are such that it is asked.
    async fn wants(&self, matched: &Matched, object: &Value, old: &Value) -> Result<bool, Status> {
        let (hook, asked) = (&matched.hook, &self.asked);
        if !hook.scope.has_object(asked, object, old) {
            return Ok(false);
        }
        if hook.conditions.is_empty() {
            return Ok(true);
        }
        let state = if hook.conditions.ask() { Some(self.call.view().await?) } else { None };
        let judge = Asker { call: self.call, asked, state };
        let object = asked.shown(self.call, object, &matched.served).await?;
        let old = asked.shown(self.call, old, &matched.served).await?;
        let shown = Shown {
            object: &object,
            old: &old,
            request: &matched.request,
            namespace: &Value::Null,
            params: &Value::Null,
            judge: &judge,
        };
        match hook.conditions.hold(&shown, &mut { conditions::ALL }) {
            Held::Yes => Ok(true),
            Held::No => Ok(false),
            Held::Unknown(_) if hook.ignored => Ok(false),
            Held::Unknown(why) => Err(Status::forbidden(asked.served.kind, &asked.name, why)),
        }
    }

    async fn ask(
        &self,
        matched: &Matched,
        mutating: bool,
        object: &Value,
        old: &Value,
    ) -> Result<Said, Refused> {
        let (hook, call, asked) = (&*matched.hook, self.call, &self.asked);
        if asked.dry_run && !hook.dry_run {
            let why = format!("admission webhook {:?} does not support dry run", hook.name);
            return Err(Refused::Status(Status::bad_request(why)));
        }
        let version = hook.version.ok_or_else(|| {
            let why = "webhook does not accept known AdmissionReview versions (v1, v1beta1)";
            Refused::Failed(format!("could not create admission objects: {why}"))
        })?;
        let failed = |why: String| Refused::Failed(format!("failed to call webhook: {why}"));
        let uid = Uuid::new_v4().to_string();
        let question = {
            let object = asked.shown(call, object, &matched.served).await.map_err(Refused::Status)?;
            let old = asked.shown(call, old, &matched.served).await.map_err(Refused::Status)?;
            review::encode(version, &uid, &matched.request, &object, &old)
        };
        let memory = Memory { places: &call.api.bodies, user: &call.user.name };
        let state = call.own_view().await.map_err(Refused::Status)?;
        let answer = call.api.webhooks.ask(&hook.endpoint, state, question, memory).await.map_err(failed)?;
        let said = review::decode(version, &uid, mutating, &answer)
            .map_err(|why| Refused::Failed(format!("received invalid webhook response: {why}")))?;
        for (key, text) in &said.annotations {
            self.note(format!("{}/{key}", hook.name), || text.clone());
        }
        call.warn(said.warnings.iter().cloned());
        if said.allowed { Ok(said) } else { Err(Refused::Status(said.refusal(&hook.name))) }
    }

    /// What a webhook makes of an object; none if it leaves it as it is.
    async fn patched(&self, matched: &Matched, said: Said, object: &Value) -> Result<Option<Value>, Status> {
        let Some(patch) = said.patch.filter(|patch| *patch != json!([])) else { return Ok(None) };
        let (hook, asked) = (&matched.hook, &self.asked);
        let refuse = |why: String| {
            let text =
                format!("admission webhook {:?} returned a patch that cannot be applied: {why}", hook.name);
            Status::internal(text)
        };
        let before = asked.shown(self.call, object, &matched.served).await?;
        let mut value = patches::json(&before, &patch).map_err(|error| refuse(error.to_string()))?;
        if value["apiVersion"] != before["apiVersion"] || value["kind"] != before["kind"] {
            return Err(refuse("it changes apiVersion or kind".into()));
        }
        // In the version that was asked for.
        if asked.is_object() {
            if matched.served != asked.served {
                let typed = matched.served.typed()?;
                typed.check(&mut value).map_err(|error| refuse(error.to_string()))?;
                value = conversion::value(self.call.asker(), &matched.served, &asked.served, value).await?;
            }
            asked.served.typed()?.check(&mut value).map_err(|error| refuse(error.to_string()))?;
            if asked.served.defined().is_none() {
                resource::default(asked.served.kind, &mut value);
            }
        } else {
            let typed = Typed::Table(type_of(&asked.api_version, &asked.kind)?);
            typed.check(&mut value).map_err(|error| refuse(error.to_string()))?;
        }
        // Who owns which field is not for webhooks to say.
        let owners = object["metadata"].get("managedFields").cloned();
        if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("managedFields");
            metadata.extend(owners.map(|owners| ("managedFields".to_owned(), owners)));
        }
        Ok((value != *object).then_some(value))
    }

    /// Goes on without a webhook that could not be asked, if its configuration says so.
    fn passed_over(&self, matched: &Matched, refused: Refused, key: &str) -> Result<(), Status> {
        let hook = &matched.hook;
        match refused {
            Refused::Status(status) => Err(status),
            Refused::Failed(why) if hook.ignored => {
                let (webhook, configuration) = (&hook.name, &hook.configuration);
                tracing::warn!(webhook, configuration, why, "a webhook cannot be asked, going on without it");
                self.note(key.to_owned(), || hook.name.clone());
                Ok(())
            }
            Refused::Failed(why) => {
                let (webhook, configuration) = (&hook.name, &hook.configuration);
                tracing::warn!(
                    webhook,
                    configuration,
                    why,
                    "a webhook cannot be asked, refusing the request"
                );
                Err(Status::internal(format!("failed calling webhook {:?}: {why}", hook.name)))
            }
        }
    }

    /// What a webhook wants to be another way is contents.
    fn note_patch(&self, key: String, matched: &Matched, patch: Option<&Value>) {
        let patch = patch.filter(|patch| **patch != json!([]));
        if let Some((record, patch)) = self.call.record.as_ref().zip(patch) {
            let (configuration, webhook) = (&matched.hook.configuration, &matched.hook.name);
            let text = || {
                json!({"configuration": configuration, "webhook": webhook, "patch": patch, "patchType": "JSONPatch"})
                    .to_string()
            };
            record.annotate_contents(key, text);
        }
    }

    fn note(&self, key: String, text: impl FnOnce() -> String) {
        if let Some(record) = &self.call.record {
            record.annotate(key, text());
        }
    }
}

/// Who is meant by a write.
struct Meant<'m> {
    call: &'m Call,
    state: &'m State,
    asked: &'m Asked,
    /// The other versions of what is written, and the labels of the namespace that it is in, once somebody wants them.
    others: OnceLock<Vec<Served>>,
    labels: Option<Value>,
}

impl Meant<'_> {
    /// The version in which what is written is wanted; none if rules or the namespace are not those of a scope.
    async fn by(&mut self, scope: &Scope) -> Result<Option<Served>, Status> {
        let (call, state, asked) = (self.call, self.state, self.asked);
        let others = || self.others.get_or_init(|| asked.others(state, &call.api.definitions)).as_slice();
        let Some(served) = scope.version(asked, others) else { return Ok(None) };
        if scope.looks_at_namespace(asked) {
            let labels = match self.labels.take() {
                Some(labels) => labels,
                None => labels_of(call, state, &asked.namespace).await?,
            };
            if !scope.has_namespace(self.labels.insert(labels)) {
                return Ok(None);
            }
        }
        Ok(Some(served))
    }
}

/// The labels of a namespace, if need be of one that this controller does not know of yet.
async fn labels_of(call: &Call, state: &State, namespace: &str) -> Result<Value, Status> {
    let key = ObjectKey::new(Kind::NAMESPACE, "", namespace);
    let newer;
    let found = match state.get(&key) {
        Some(found) => found,
        None => {
            newer = call.view().await?;
            newer.get(&key).ok_or_else(|| Status::not_found(Kind::NAMESPACE, namespace))?
        }
    };
    Ok(found.document.metadata_value()["labels"].clone())
}
