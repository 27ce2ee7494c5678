//! Questions that are answered at once and never stored: who am I, what may I do, what may somebody else do, whose token is this.

use std::collections::BTreeMap;

use http::Method;
use serde_json::{Value, json};

use super::{
    access::{Access, Attributes, On},
    account_token,
    body::{Decoded, FieldValidation, decode},
    call::{Call, method_not_allowed},
    identity::{Held, User},
    negotiate::{Answer, negotiate},
    path::Review,
    reply::{Answered, Reply},
};
use crate::{
    resource::{field::Errors, fields::text},
    status::Status,
    token::{Believed, ISSUER},
};

/// Answers a POST of a question.
pub(crate) async fn answer(mut call: Call, review: Review) -> Answered {
    let Review { group, version, kind, namespace, .. } = review;
    if call.method != Method::POST {
        return Err(method_not_allowed(&call.method, kind));
    }
    let form = negotiate(&call.headers, Answer::Other)?;
    let bytes = call.body().await?;
    let validation = FieldValidation::of(&call.query, "CreateOptions")?;
    let limit = call.api.options.body_limit;
    let api_version = format!("{group}/{version}");
    let Decoded { mut value, warnings } =
        decode(&call.headers, &bytes, limit, &api_version, kind, validation)?;
    let (spec, mut errors) = (&value["spec"], Errors::default());
    let status = match kind {
        "SelfSubjectReview" => json!({"userInfo": info(&call.user)}),
        "SelfSubjectRulesReview" => rules(&call, text(spec, "namespace")).await?,
        "TokenReview" => token(&call, spec).await?,
        _ => {
            let user = subject(kind, spec, &call, &mut errors);
            let access = asked(spec, &mut errors);
            let here = match kind {
                "LocalSubjectAccessReview" => Some(namespace.as_deref().unwrap_or_default()),
                _ => None,
            };
            check_place(&value, here, &mut errors)?;
            if !errors.is_empty() {
                return Err(Status::invalid(group, kind, "", errors.into_causes()));
            }
            let state = call.view().await?;
            let authorizer = &call.api.options.authorizer;
            let reason = authorizer.reason(&user, &access, &state);
            let mut status = json!({"allowed": authorizer.allows(&user, &access, &state)});
            if !reason.is_empty() {
                status["reason"] = reason.into();
            }
            status
        }
    };
    value["status"] = status;
    if value.get("metadata").is_none() {
        value["metadata"] = json!({"creationTimestamp": null});
    }
    if let Some(namespace) = namespace {
        value["metadata"]["namespace"] = namespace.into();
    }
    Ok(Reply::in_media(201, form.media, value.to_string().into_bytes())?.warned(warnings))
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

/// Whose rights are asked about: one's own, or those of the user that the question names, with the groups that it names and no others.
fn subject(kind: &str, spec: &Value, call: &Call, errors: &mut Errors) -> User {
    if kind == "SelfSubjectAccessReview" {
        return call.user.clone();
    }
    let (name, groups) = (text(spec, "user"), texts(&spec["groups"]));
    if name.is_empty() && groups.is_empty() {
        errors.invalid_text("spec.user", "", "at least one of user or group must be specified");
    }
    let extra = spec["extra"].as_object().into_iter().flatten();
    let extra: BTreeMap<String, Vec<String>> =
        extra.map(|(key, values)| (key.clone(), texts(values))).collect();
    User { name: name.to_owned(), uid: text(spec, "uid").to_owned(), groups, extra }
}

/// What a question is about.
fn asked<'a>(spec: &'a Value, errors: &mut Errors) -> Access<'a> {
    let (resource, other) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
    match (resource.is_object(), other.is_object()) {
        (true, true) => {
            let why = "cannot be specified in combination with resourceAttributes";
            errors.invalid("spec.nonResourceAttributes", other, why);
        }
        (false, false) => {
            let why = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
            errors.invalid("spec.resourceAttributes", &Value::Null, why);
        }
        _ => {}
    }
    if !resource.is_object() {
        return Access { verb: text(other, "verb"), on: On::Path(text(other, "path")) };
    }
    let attributes = Attributes {
        group: text(resource, "group"),
        resource: text(resource, "resource"),
        subresource: text(resource, "subresource"),
        namespace: text(resource, "namespace"),
        name: text(resource, "name"),
        // Selectors in questions are not read: the answer is that for the whole collection.
        on_node: None,
    };
    Access { verb: text(resource, "verb"), on: On::Resource(attributes) }
}

/// A question has no metadata; one that belongs to a namespace is about this namespace and nothing else.
fn check_place(value: &Value, here: Option<&str>, errors: &mut Errors) -> Result<(), Status> {
    let metadata = &value["metadata"];
    let told = |(key, value): (&String, &Value)| {
        let empty = value.is_null() || value == "" || value == &json!({}) || value == &json!([]);
        !empty && key != "managedFields" && !(here.is_some() && key == "namespace")
    };
    let more = metadata.as_object().is_some_and(|map| map.iter().any(told));
    let Some(here) = here else {
        if more {
            errors.invalid("metadata", metadata, "must be empty");
        }
        return Ok(());
    };
    if here.is_empty() {
        return Err(Status::bad_request("namespace is required on this type: "));
    }
    let namespace = text(metadata, "namespace");
    if !namespace.is_empty() && namespace != here {
        let message = "the namespace of the provided object does not match the namespace sent on the request";
        return Err(Status::bad_request(message));
    }
    if more {
        errors.invalid("metadata", metadata, "must be empty except for namespace");
    }
    let (resource, other) = (&value["spec"]["resourceAttributes"], &value["spec"]["nonResourceAttributes"]);
    let about = text(resource, "namespace");
    if resource.is_object() && about != here {
        errors.invalid_text("spec.resourceAttributes.namespace", about, "must match metadata.namespace");
    }
    if other.is_object() {
        errors.invalid("spec.nonResourceAttributes", other, "disallowed on this kind of request");
    }
    Ok(())
}

/// Whose token it is, and for which of the audiences asked for, or if none is, for the API itself.
async fn token(call: &Call, spec: &Value) -> Result<Value, Status> {
    let token = text(spec, "token");
    if token.is_empty() {
        return Err(Status::bad_request("token is required for TokenReview in authentication"));
    }
    let mut audiences = texts(&spec["audiences"]);
    if audiences.is_empty() {
        audiences.push(ISSUER.to_owned());
    }
    Ok(match account_token::believed(&call.api, token, &audiences).await? {
        Ok(Believed { user, audiences, .. }) => {
            json!({"authenticated": true, "user": info(&user), "audiences": audiences})
        }
        Err(refusal) => json!({"authenticated": false, "user": {}, "error": refusal.to_string()}),
    })
}

fn texts(value: &Value) -> Vec<String> {
    let list = value.as_array().into_iter().flatten();
    list.filter_map(Value::as_str).map(str::to_owned).collect()
}

/// What one may do in a namespace, as far as it can be listed.
async fn rules(call: &Call, namespace: &str) -> Result<Value, Status> {
    if namespace.is_empty() {
        return Err(Status::bad_request("no namespace on request"));
    }
    let state = call.view().await?;
    let Held { rules, incomplete, error } = call.api.options.authorizer.held(&call.user, namespace, &state);
    let (on_paths, on_resources): (Vec<_>, Vec<_>) = rules.iter().partition(|rule| !rule.paths.is_empty());
    let mut status =
        json!({"resourceRules": on_resources, "nonResourceRules": on_paths, "incomplete": incomplete});
    if !error.is_empty() {
        status["evaluationError"] = error.into();
    }
    Ok(status)
}
