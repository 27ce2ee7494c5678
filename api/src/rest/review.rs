//! Questions about oneself: who am I, and what may I do. Answered at once, never stored.

use http::Method;
use kontiki_actors::Kind;
use serde_json::{Value, json};

use super::{
    body::FieldValidation,
    call::{Call, method_not_allowed},
    identity::Access,
    negotiate::{Answer, negotiate},
    path::Target,
    reply::{Answered, Reply},
};
use crate::{backend::Freshness, resource::fields::text, status::Status};

const VERBS: [&str; 8] = ["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"];

/// Answers a POST of a question.
pub(crate) async fn answer(mut call: Call, plural: &str) -> Answered {
    let (api_version, kind) = match plural {
        "selfsubjectreviews" => ("authentication.k8s.io/v1", "SelfSubjectReview"),
        "selfsubjectaccessreviews" => ("authorization.k8s.io/v1", "SelfSubjectAccessReview"),
        _ => ("authorization.k8s.io/v1", "SelfSubjectRulesReview"),
    };
    if call.method != Method::POST {
        return Err(method_not_allowed(&call.method, kind));
    }
    let form = negotiate(&call.headers, Answer::Other)?;
    let bytes = call.body().await?;
    let validation = FieldValidation::of(&call.query)?;
    let limit = call.api.options.body_limit;
    let decoded = super::body::decode(&call.headers, &bytes, limit, api_version, kind, validation)?;
    let mut value = decoded.value;
    value["status"] = match kind {
        "SelfSubjectReview" => json!({"userInfo": {"username": call.user.name, "groups": call.user.groups}}),
        "SelfSubjectAccessReview" => access(&call, &value["spec"]).await?,
        _ => rules(&call),
    };
    if value.get("metadata").is_none() {
        value["metadata"] = json!({"creationTimestamp": null});
    }
    Ok(Reply::in_media(201, form.media, value.to_string().into_bytes())?.warned(decoded.warnings))
}

async fn access(call: &Call, spec: &Value) -> Result<Value, Status> {
    let (resource, other) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
    if resource.is_object() == other.is_object() {
        let message = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
        return Err(Status::invalid(
            "authorization.k8s.io",
            "SelfSubjectAccessReview",
            "",
            vec![crate::status::Cause {
                reason: "FieldValueInvalid".into(),
                message: message.into(),
                field: "spec.resourceAttributes".into(),
            }],
        ));
    }
    let attributes = if resource.is_object() { resource } else { other };
    let verb = VERBS.iter().find(|verb| **verb == text(attributes, "verb")).copied().unwrap_or("*");
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let target = kontiki_actors::KINDS
        .iter()
        .find(|info| info.plural == text(resource, "resource") && info.group == text(resource, "group"))
        .and_then(|info| Kind::from_code(info.code))
        .map(|kind| Target {
            kind,
            namespace: some(text(resource, "namespace")),
            name: some(text(resource, "name")),
            subresource: some(text(resource, "subresource")),
        });
    let access = Access { verb, path: text(other, "path").to_owned(), target, on_node: None };
    let state = call.api.backend.view(Freshness::Any).await?;
    Ok(json!({"allowed": call.api.options.authorizer.allows(&call.user, &access, &state)}))
}

fn rules(call: &Call) -> Value {
    if call.user.in_group("system:masters") {
        json!({
            "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}],
            "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
            "incomplete": false,
        })
    } else {
        json!({"resourceRules": [], "nonResourceRules": [], "incomplete": true})
    }
}
