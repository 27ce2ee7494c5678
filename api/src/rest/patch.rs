//! PATCH: JSON patch, merge patch and strategic merge patch of an object, its status or its scale. What is applied goes to
//! [`super::apply`].

use std::sync::Arc;

use kontiki_actors::{Kind, Object, input::Part};
use serde_json::Value;

use super::{
    admitted::Stage,
    apply,
    body::{self, judge, media_type, plain_json, type_of},
    call::Call,
    path::Target,
    read,
    reply::Answered,
    scale,
    subresource::EPHEMERAL,
    tracking,
    write::{Proposal, Write, check_preconditions, same_name, update},
};
use crate::{
    patch::{self as patches, PatchError},
    served::{Served, Typed},
    status::{Cause, Status},
};

const MEDIA_TYPES: &str = "application/json-patch+json, application/merge-patch+json, \
     application/strategic-merge-patch+json, application/apply-patch+yaml";

/// What Kubernetes takes of patches of custom resources: no schema of theirs says how a strategic one is meant.
const CUSTOM_MEDIA_TYPES: &str =
    "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml";

/// What a patch is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kindred {
    Json,
    Merge,
    Strategic,
}

/// Answers a PATCH.
pub(crate) async fn patch(mut call: Call, target: Target) -> Answered {
    let write = Write::of(&call)?;
    let key = read::key(&target)?;
    let kindred = match media_type(&call.headers).as_str() {
        "application/json-patch+json" => Kindred::Json,
        "application/merge-patch+json" => Kindred::Merge,
        "application/strategic-merge-patch+json" => Kindred::Strategic,
        "application/apply-patch+yaml" => return apply::apply(call, target, write).await,
        _ => return Err(Status::unsupported_media(MEDIA_TYPES)),
    };
    let bytes = call.body().await?;
    let patch = plain_json(&bytes, call.api.options.body_limit)?;
    if call.query.switch("force") {
        let message = "Forbidden: may not be specified for non-apply patch";
        return Err(Status::invalid_option("PatchOptions", "force", "FieldValueForbidden", message));
    }
    let subresource = target.subresource.as_deref().unwrap_or_default();
    let part = part_of(subresource);
    let served = &target.served;
    let propose =
        |old: &Arc<Object>, stage| propose(served, old, part, subresource, kindred, &patch, &write, stage);
    let (object, warnings) = update(&call, &target, &key, part, write.dry_run, propose).await?;
    let reply = match part {
        Part::Scale => scale::show(&call, served, 200, write.form, &object).await?,
        _ => read::show(&call, served, 200, write.form, &object).await?,
    };
    Ok(reply.warned(warnings))
}

/// What a patch of an object, or of something below it, may change.
pub(crate) fn part_of(subresource: &str) -> Part {
    match subresource {
        "" | EPHEMERAL => Part::Main,
        "status" | "approval" => Part::Status,
        _ => Part::Scale,
    }
}

fn propose(
    served: &Served,
    old: &Object,
    part: Part,
    subresource: &str,
    kindred: Kindred,
    patch: &Value,
    write: &Write,
    stage: Stage,
) -> Result<Proposal, Status> {
    let kind = old.key.kind;
    let (before, api_version, name) = match part {
        Part::Scale => (scale::of(served, old), "autoscaling/v1".to_owned(), "Scale"),
        _ => (served.value(old), served.api_version(), served.name()),
    };
    let typed = match part {
        Part::Scale => Typed::Table(type_of(&api_version, name)?),
        _ => served.typed()?,
    };
    let patched = match kindred {
        Kindred::Json => patches::json(&before, patch),
        Kindred::Merge => patches::merge(&before, patch),
        Kindred::Strategic => match typed {
            Typed::Table(of) => patches::strategic(&before, patch, of),
            Typed::Custom(_) => return Err(Status::unsupported_media(CUSTOM_MEDIA_TYPES)),
        },
    };
    let mut value = patched.map_err(refuse)?;
    if value.get("kind").and_then(Value::as_str) != Some(name)
        || value.get("apiVersion").and_then(Value::as_str) != Some(api_version.as_str())
    {
        return Err(Status::bad_request("a patch may not change apiVersion and kind"));
    }
    let checked = typed.check(&mut value).map_err(|e| invalid(kind, &old.key.name, &e.to_string()))?;
    let mut warnings = judge(&checked, write.validation).map_err(|e| invalid(kind, &old.key.name, &e))?;
    same_name(&value, &old.key)?;
    // A patch that leaves the resourceVersion alone has the one that was read, which locks nothing.
    check_preconditions(old, &value, true)?;
    let locked = patch_names_revision(kindred, patch);
    let mut written = None;
    match part {
        Part::Scale => {
            let scale = value;
            value = scale::applied(served, old, &scale)?;
            tracking::rescaled(write, served, old, &scale, &mut value)?;
            written = Some(scale);
        }
        Part::Status => {
            stage.status(served, &mut value, &before, subresource == "approval")?;
            tracking::updated(write, served, subresource, &before, &mut value, None)?;
        }
        _ if subresource == EPHEMERAL => {
            stage.ephemeral(&mut value, &before)?;
            tracking::updated(write, served, subresource, &before, &mut value, None)?;
        }
        _ => {
            let given = tracking::take_given(&mut value);
            stage.update(served, &mut value, &before)?;
            tracking::updated(write, served, "", &before, &mut value, given.as_ref())?;
            warnings.extend(served.warnings(&value));
        }
    }
    Ok(Proposal { value, locked, warnings, scale: written })
}

fn patch_names_revision(kindred: Kindred, patch: &Value) -> bool {
    match kindred {
        Kindred::Json => {
            let operations = patch.as_array().map(Vec::as_slice).unwrap_or_default();
            operations.iter().any(|op| op["path"] == "/metadata/resourceVersion")
        }
        _ => patch["metadata"]["resourceVersion"].is_string(),
    }
}

fn invalid(kind: Kind, name: &str, message: &str) -> Status {
    let cause =
        Cause { reason: "FieldValueInvalid".into(), message: message.to_owned(), field: "patch".into() };
    Status::invalid(kind.info().group, kind.info().kind, name, vec![cause])
}

fn refuse(error: PatchError) -> Status {
    match error {
        PatchError::Malformed(message) => Status::bad_request(message),
        PatchError::TooLarge(message) => Status::new(413, "RequestEntityTooLarge", message),
        PatchError::Unprocessable(message) => {
            let text = format!("the server rejected our request due to an error in our request: {message}");
            // It says nothing of an object: kubectl shows the message only of a failure that names none.
            Status::new(422, "Invalid", text)
        }
    }
}

/// The body of a PUT to a subresource, decoded as what it is.
pub(crate) async fn put_body(
    call: &mut Call,
    write: &Write,
    api_version: &str,
    kind: &str,
) -> Result<body::Decoded, Status> {
    let bytes = call.body().await?;
    body::decode(&call.headers, &bytes, call.api.options.body_limit, api_version, kind, write.validation)
}
