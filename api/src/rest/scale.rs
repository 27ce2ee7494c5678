//! The scale of what has replicas, as `autoscaling/v1` Scale.

use std::sync::Arc;

use http::Method;
use kontiki_actors::{Object, input::Part};
use serde_json::{Value, json};

use super::{
    call::{Call, method_not_allowed},
    negotiate::{Answer, Form, Shape, negotiate},
    patch,
    path::Target,
    read,
    reply::{Answered, Reply},
    write::{Proposal, Write, check_preconditions, same_name, update},
};
use crate::{
    resource::{field::Errors, fields::number, selector_text},
    status::Status,
};

/// Answers requests for a scale.
pub(crate) async fn answer(mut call: Call, target: Target) -> Answered {
    let key = read::key(&target)?;
    match call.method {
        Method::GET => {
            let form = negotiate(&call.headers, Answer::Other)?;
            let object = read::find(&call, &key).await?;
            show(200, form, &object)
        }
        Method::PUT => {
            let write = Write::of(&call)?;
            let decoded = patch::put_body(&mut call, &write, "autoscaling/v1", "Scale").await?;
            same_name(&decoded.value, &key)?;
            let (object, warnings) = update(&call, &key, Part::Scale, write.dry_run, |old| {
                let locked = check_preconditions(old, &decoded.value, true)?;
                let value = applied(old, &decoded.value)?;
                Ok(Proposal { value, locked, warnings: decoded.warnings.clone() })
            })
            .await?;
            Ok(show(200, write.form, &object)?.warned(warnings))
        }
        Method::PATCH => patch::patch(call, target).await,
        ref method => Err(method_not_allowed(method, "Scale")),
    }
}

/// The scale of an object.
pub(crate) fn of(object: &Object) -> Value {
    let (spec, status) = (object.document.spec_value(), object.document.status_value());
    let metadata = object.document.metadata_value();
    let mut own = json!({"name": object.key.name, "resourceVersion": object.revision.to_string()});
    for key in ["namespace", "uid", "creationTimestamp"] {
        if let Some(value) = metadata.get(key) {
            own[key] = value.clone();
        }
    }
    json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": own,
        "spec": {"replicas": number(&spec, "replicas")},
        // As text: that is what autoscalers read.
        "status": {"replicas": number(&status, "replicas"), "selector": selector_text(&spec["selector"])},
    })
}

/// An object with the replicas of a scale.
pub(crate) fn applied(old: &Object, scale: &Value) -> Result<Value, Status> {
    let replicas = scale["spec"].get("replicas").cloned().unwrap_or_else(|| 0.into());
    let mut errors = Errors::default();
    errors.non_negative("spec.replicas", &replicas);
    if !errors.is_empty() {
        return Err(Status::invalid("autoscaling", "Scale", &old.key.name, errors.into_causes()));
    }
    let mut value = old.to_value();
    value["spec"]["replicas"] = replicas;
    Ok(value)
}

/// Shows an object's scale.
pub(crate) fn show(code: u16, form: Form, object: &Arc<Object>) -> Answered {
    if form.shape != Shape::Plain {
        return Err(Status::not_acceptable("application/json, application/yaml"));
    }
    Reply::in_media(code, form.media, of(object).to_string().into_bytes())
}
