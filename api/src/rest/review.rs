//! Questions about oneself: who am I, and what may I do. Answered at once, never stored.

use http::Method;
use serde_json::{Value, json};

use super::{
    access::{Access, Attributes, On},
    body::FieldValidation,
    call::{Call, method_not_allowed},
    identity::User,
    negotiate::{Answer, negotiate},
    path::Review,
    reply::{Answered, Reply},
};
use crate::{backend::Freshness, resource::fields::text, status::Status};

/// Answers a POST of a question.
pub(crate) async fn answer(mut call: Call, review: Review) -> Answered {
    let kind = review.kind;
    let api_version = format!("{}/{}", review.group, review.version);
    if call.method != Method::POST {
        return Err(method_not_allowed(&call.method, kind));
    }
    let form = negotiate(&call.headers, Answer::Other)?;
    let bytes = call.body().await?;
    let validation = FieldValidation::of(&call.query)?;
    let limit = call.api.options.body_limit;
    let decoded = super::body::decode(&call.headers, &bytes, limit, &api_version, kind, validation)?;
    let mut value = decoded.value;
    value["status"] = match kind {
        "SelfSubjectReview" => json!({"userInfo": info(&call.user)}),
        "SelfSubjectAccessReview" => access(&call, &value["spec"]).await?,
        _ => rules(&call),
    };
    if value.get("metadata").is_none() {
        value["metadata"] = json!({"creationTimestamp": null});
    }
    Ok(Reply::in_media(201, form.media, value.to_string().into_bytes())?.warned(decoded.warnings))
}

/// A user as reviews show it.
fn info(user: &User) -> Value {
    let mut info = json!({"username": user.name, "groups": user.groups});
    if !user.uid.is_empty() {
        info["uid"] = user.uid.as_str().into();
    }
    if !user.extra.is_empty() {
        info["extra"] = json!(user.extra);
    }
    info
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
    let access = Access {
        verb: text(if resource.is_object() { resource } else { other }, "verb"),
        on: if resource.is_object() {
            On::Resource(Attributes {
                group: text(resource, "group"),
                resource: text(resource, "resource"),
                subresource: text(resource, "subresource"),
                namespace: text(resource, "namespace"),
                name: text(resource, "name"),
                on_node: None,
            })
        } else {
            On::Path(text(other, "path"))
        },
    };
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
