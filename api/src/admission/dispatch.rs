//! All webhooks of one write: those that change it one after the other, those that judge it all at once.

use std::{collections::BTreeSet, sync::Arc};

use futures_util::future::join_all;
use kontiki_actors::{Kind, ObjectKey, State};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    asked::Asked,
    client::Memory,
    conditions::Held,
    hook::Hook,
    matching::{selects, selects_either},
    review::{self, Said},
};
use crate::{
    patch as patches,
    resource::{self, fields::items},
    rest::{body::type_of, call::Call},
    served::{Served, Typed},
    status::Status,
};

/// Annotations of the audit, in Kubernetes' words.
const MUTATION: &str = "mutation.webhook.admission.k8s.io/";
const OPENED: &str = "failed-open.";
const VALIDATING: &str = "validating.webhook.admission.k8s.io/";
/// Who was changed is asked again at most once.
const ROUNDS: usize = 2;

/// The webhooks that have a say in a write.
pub(crate) struct Admission<'a> {
    call: &'a Call,
    asked: Asked,
    mutating: Vec<Matched>,
    validating: Vec<Matched>,
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

impl Matched {
    /// A value as the webhook wants it.
    fn converted(&self, asked: &Asked, value: &Value) -> Value {
        convert(&self.served, asked, value)
    }
}

/// Versions of a custom kind differ in nothing but their name and what is completed.
fn convert(served: &Served, asked: &Asked, value: &Value) -> Value {
    let mut value = value.clone();
    if value.is_object() && asked.is_object() && *served != asked.served {
        value["apiVersion"] = served.api_version().into();
        if let Some(version) = served.defined() {
            version.complete(&mut value);
        }
    }
    value
}

/// Why a webhook let a write not pass.
enum Refused {
    /// It could not be asked, in words.
    Failed(String),
    /// It said no, or what it said cannot be done.
    Status(Status),
}

impl<'a> Admission<'a> {
    /// The webhooks that are for this, by their rules and by its namespace; none at all mostly, and then nothing was done but to look. The
    /// state is what this controller holds.
    pub(crate) async fn of(
        call: &'a Call,
        state: &State,
        asked: Asked,
    ) -> Result<Option<Admission<'a>>, Status> {
        let Some(hooks) = call.api.webhooks.of(state) else { return Ok(None) };
        if asked.served.kind.info().group == "admissionregistration.k8s.io" {
            // Or nobody could get rid of a webhook that refuses everything.
            return Ok(None);
        }
        let mut labels = None;
        let mut admission = Admission { call, asked, mutating: Vec::new(), validating: Vec::new() };
        for (mutating, all) in [(true, &hooks.mutating), (false, &hooks.validating)] {
            for (at, hook) in all.iter().enumerate() {
                let asked = &admission.asked;
                let Some(served) = admission.version_for(hook, state) else { continue };
                let everywhere = asked.namespace.is_empty() || asked.has_own_labels();
                if !everywhere && !hook.namespaces.is_everything() {
                    if labels.is_none() {
                        labels = Some(labels_of(call, state, &asked.namespace).await?);
                    }
                    if !selects(&hook.namespaces, labels.as_ref().unwrap_or(&Value::Null)) {
                        continue;
                    }
                }
                let request = review::request(asked, &call.user, served.version());
                let matched = Matched { hook: hook.clone(), at, served, request };
                let list = if mutating { &mut admission.mutating } else { &mut admission.validating };
                list.push(matched);
            }
        }
        let any = !admission.mutating.is_empty() || !admission.validating.is_empty();
        Ok(any.then_some(admission))
    }

    /// The version in which a webhook wants what is written; none if it is not for it.
    fn version_for(&self, hook: &Hook, state: &State) -> Option<Served> {
        let asked = &self.asked;
        let rules = || hook.rules.iter().filter(|rule| rule.is_for(asked));
        if rules().any(|rule| rule.has_version(asked.served.version())) {
            return Some(asked.served.clone());
        }
        rules().next().filter(|_| hook.equivalent)?;
        // Built-in kinds have one version.
        let definition = state.definition_of(asked.served.kind)?;
        let spec = definition.document.spec_value();
        let versions: Vec<&str> =
            items(&spec, "versions").filter_map(|(_, version)| version["name"].as_str()).collect();
        rules()
            .flat_map(|rule| versions.iter().filter(|version| rule.has_version(version)))
            .find_map(|version| self.call.api.definitions.version(definition, version))
            .map(Served::custom)
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
                if round > 0 && !again.contains(&index) || !self.wants(matched, &object, old)? {
                    continue;
                }
                let key = format!("round_{round}_index_{}", matched.at);
                let changed = match self.ask(matched, true, &object, old).await {
                    Ok(said) => self.patched(matched, said, &object)?,
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

    /// Asks those that judge, all at once. The first refusal in their order counts.
    pub(crate) async fn validate(&self, object: &Value, old: &Value) -> Result<(), Status> {
        let mut wanted = Vec::new();
        for matched in &self.validating {
            if self.wants(matched, object, old)? {
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
            if !self.wants(matched, object, old)? {
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
    fn wants(&self, matched: &Matched, object: &Value, old: &Value) -> Result<bool, Status> {
        let (hook, asked) = (&matched.hook, &self.asked);
        if asked.has_own_labels() && !selects(&hook.namespaces, &object["metadata"]["labels"]) {
            return Ok(false);
        }
        if !selects_either(&hook.objects, object, old) {
            return Ok(false);
        }
        if hook.conditions.is_empty() {
            return Ok(true);
        }
        let (object, old) = (matched.converted(asked, object), matched.converted(asked, old));
        match hook.conditions.hold(&object, &old, &matched.request) {
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
        let state = call.own_view().await.map_err(Refused::Status)?;
        let target = hook.place.find(&state).map_err(failed)?;
        drop(state);
        let uid = Uuid::new_v4().to_string();
        let question = {
            let (object, old) = (matched.converted(asked, object), matched.converted(asked, old));
            review::encode(version, &uid, &matched.request, &object, &old)
        };
        let memory = Memory { places: &call.api.bodies, user: &call.user.name };
        let answer = call.api.webhooks.client.ask(hook, &target, question, memory).await.map_err(failed)?;
        let said = review::decode(version, &uid, mutating, &answer)
            .map_err(|why| Refused::Failed(format!("received invalid webhook response: {why}")))?;
        for (key, text) in &said.annotations {
            self.note(format!("{}/{key}", hook.name), || text.clone());
        }
        call.warn(said.warnings.iter().cloned());
        if said.allowed { Ok(said) } else { Err(Refused::Status(said.refusal(&hook.name))) }
    }

    /// What a webhook makes of an object; none if it leaves it as it is.
    fn patched(&self, matched: &Matched, said: Said, object: &Value) -> Result<Option<Value>, Status> {
        let Some(patch) = said.patch.filter(|patch| *patch != json!([])) else { return Ok(None) };
        let (hook, asked) = (&matched.hook, &self.asked);
        let refuse = |why: String| {
            let text =
                format!("admission webhook {:?} returned a patch that cannot be applied: {why}", hook.name);
            Status::internal(text)
        };
        let before = matched.converted(asked, object);
        let mut value = patches::json(&before, &patch).map_err(|error| refuse(error.to_string()))?;
        if value["apiVersion"] != before["apiVersion"] || value["kind"] != before["kind"] {
            return Err(refuse("it changes apiVersion or kind".into()));
        }
        // In the version that was asked for.
        if asked.is_object() {
            value["apiVersion"] = asked.api_version.as_str().into();
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

    fn note(&self, key: String, text: impl FnOnce() -> String) {
        if let Some(record) = &self.call.record {
            record.annotate(key, text());
        }
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
