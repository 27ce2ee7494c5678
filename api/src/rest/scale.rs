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
    tracking,
    write::{Proposal, Write, check_preconditions, same_name, update},
};
use crate::{
    conversion,
    custom::{at, set},
    resource::{field::Errors, fields::number, selector_text},
    served::Served,
    status::Status,
};

/// Answers requests for a scale.
pub(crate) async fn answer(mut call: Call, target: Target) -> Answered {
    let key = read::key(&target)?;
    match call.method {
        Method::GET => {
            let form = negotiate(&call.headers, Answer::Other)?;
            let object = read::find(&call, &key).await?;
            show(&call, &target.served, 200, form, &object).await
        }
        Method::PUT => {
            let write = Write::of(&call)?;
            let decoded = patch::put_body(&mut call, &write, "autoscaling/v1", "Scale").await?;
            same_name(&decoded.value, &key)?;
            let served = &target.served;
            let (object, warnings) = update(&call, &target, &key, Part::Scale, write.dry_run, |old, _| {
                let locked = check_preconditions(old, &decoded.value, true)?;
                let mut value = applied(served, old, &decoded.value)?;
                tracking::rescaled(&write, served, old, &decoded.value, &mut value)?;
                let scale = Some(decoded.value.clone());
                Ok(Proposal { value, locked, warnings: decoded.warnings.clone(), scale })
            })
            .await?;
            Ok(show(&call, served, 200, write.form, &object).await?.warned(warnings))
        }
        Method::PATCH => patch::patch(call, target).await,
        ref method => Err(method_not_allowed(method, "Scale")),
    }
}

/// The scale of an object.
pub(crate) fn of(served: &Served, object: &Object) -> Value {
    let (replicas, current, selector) = told(served, object);
    let metadata = object.document.metadata_value();
    let mut own = json!({"name": object.key.name, "resourceVersion": object.revision.to_string()});
    for key in ["namespace", "uid", "creationTimestamp"] {
        if let Some(value) = metadata.get(key) {
            own[key] = value.clone();
        }
    }
    json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": own,
        "spec": {"replicas": replicas},
        // As text: that is what autoscalers read.
        "status": {"replicas": current, "selector": selector},
    })
}

/// How many replicas an object asks for and has, and which pods these are.
fn told(served: &Served, object: &Object) -> (i64, i64, String) {
    if let Some(scale) = served.scale() {
        let value = served.value(object);
        let count = |path| at(&value, path).as_i64().unwrap_or(0);
        let selector = scale.selector.as_ref().and_then(|path| at(&value, path).as_str());
        return (count(&scale.spec), count(&scale.status), selector.unwrap_or_default().to_owned());
    }
    let (spec, status) = (object.document.spec_value(), object.document.status_value());
    (number(&spec, "replicas"), number(&status, "replicas"), selector_text(&spec["selector"]))
}

/// An object with the replicas of a scale.
pub(crate) fn applied(served: &Served, old: &Object, scale: &Value) -> Result<Value, Status> {
    let replicas = scale["spec"].get("replicas").cloned().unwrap_or_else(|| 0.into());
    let mut errors = Errors::default();
    errors.non_negative("spec.replicas", &replicas);
    if !errors.is_empty() {
        return Err(Status::invalid("autoscaling", "Scale", &old.key.name, errors.into_causes()));
    }
    let mut value = served.value(old);
    match served.scale() {
        Some(scale) => {
            if *at(&value, &scale.spec) != replicas {
                // The turn counts the changes of built-in kinds; of these it does not know what changed.
                value["metadata"]["generation"] = (old.meta.generation + 1).into();
                set(&mut value, &scale.spec, replicas);
            }
            served.check(&value, Some(&served.value(old)), &old.key.name)?;
        }
        None => value["spec"]["replicas"] = replicas,
    }
    Ok(value)
}

/// Shows an object's scale.
pub(crate) async fn show(
    call: &Call,
    served: &Served,
    code: u16,
    form: Form,
    object: &Arc<Object>,
) -> Answered {
    if form.shape != Shape::Plain {
        return Err(Status::not_acceptable("application/json, application/yaml"));
    }
    let object = conversion::shown_one(call.asker(), served, object.clone()).await?;
    Reply::in_media(code, form.media, of(served, &object).to_string().into_bytes())
}
