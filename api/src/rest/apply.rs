//! PATCH of the kind apply: the object as a client wants it, as far as it cares. What is missing is made, what others own is refused.

use std::sync::Arc;

use kontiki_actors::{Object, ObjectKey, Request, State, input::Part};
use serde_json::{Value, json};

use super::{
    admitted::{self, Stage},
    body::{FieldValidation, type_of, yaml_telling},
    call::Call,
    patch::part_of,
    path::Target,
    pod_security::Review,
    rbac::escalation,
    read,
    reply::Answered,
    restriction, scale,
    subresource::EPHEMERAL,
    tracking,
    write::{
        Proposal, TRIES, Write, check_preconditions, creation, no_answer, prepare_new, same_name,
        same_namespace,
    },
};
use crate::{
    admission::Admission,
    apply::{ApplyError, message},
    conversion,
    resource::fields::text,
    schema::{
        reader::{self, Limits, ReadError},
        strict::yaml_error,
    },
    served::Typed,
    status::{Cause, Status},
};

/// What is applied, and how.
struct Applied<'a> {
    target: &'a Target,
    write: &'a Write,
    config: Value,
    force: bool,
    part: Part,
    /// Whether the client wants this on the revision it knows, and on no other.
    locked: bool,
}

/// Answers a PATCH with `application/apply-patch+yaml`.
pub(crate) async fn apply(mut call: Call, target: Target, write: Write) -> Answered {
    if call.query.text("fieldManager").is_none() {
        let why = "Required value: is required for apply patch";
        return Err(Status::invalid_option("PatchOptions", "fieldManager", "FieldValueRequired", why));
    }
    let key = read::key(&target)?;
    let part = part_of(target.subresource.as_deref().unwrap_or_default());
    let bytes = call.body().await?;
    let (mut config, warnings) = decode(&bytes, call.api.options.body_limit, write.validation)?;
    let (api_version, kind) = what(&target, part);
    check(&target, part, &mut config, &key, &api_version, kind)?;
    same_name(&config, &key)?;
    same_namespace(&config, &target)?;
    let locked = !text(&config["metadata"], "resourceVersion").is_empty();
    let force = call.query.switch("force");
    let applied = Applied { target: &target, write: &write, config, force, part, locked };
    let (code, object, more) = submit(&call, &key, &applied).await?;
    let reply = match part {
        Part::Scale => scale::show(&call, &target.served, code, write.form, &object).await?,
        _ => read::show(&call, &target.served, code, write.form, &object).await?,
    };
    Ok(reply.warned([warnings, more].concat()))
}

/// The apiVersion and kind of what is applied.
fn what(target: &Target, part: Part) -> (String, &'static str) {
    match part {
        Part::Scale => ("autoscaling/v1".into(), "Scale"),
        _ => (target.served.api_version(), target.served.name()),
    }
}

/// Reads a document: JSON where it looks like it, else YAML. A key that stands twice is told.
fn decode(bytes: &[u8], limit: usize, validation: FieldValidation) -> Result<(Value, Vec<String>), Status> {
    let json = bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
    if !json {
        let (value, repeated) = yaml_telling(bytes)?;
        return match validation {
            FieldValidation::Strict if !repeated.is_empty() => {
                let why = yaml_error(&repeated);
                Err(Status::bad_request(format!(
                    "error strict decoding YAML: error converting YAML to JSON: {why}"
                )))
            }
            FieldValidation::Ignore => Ok((value, Vec::new())),
            _ => Ok((value, repeated)),
        };
    }
    let document = reader::read(bytes, Limits { bytes: limit, ..Limits::default() });
    let document = document.map_err(|error| match error {
        ReadError::TooLarge { limit } => Status::too_large(limit),
        other => Status::bad_request(format!("error decoding YAML: {other}")),
    })?;
    let repeated = document.duplicates.iter().map(|path| format!("key {path:?} already set in map"));
    let repeated: Vec<String> = repeated.collect();
    match validation {
        FieldValidation::Strict if !repeated.is_empty() => {
            Err(Status::bad_request(format!("error strict decoding YAML: {}", repeated.join(", "))))
        }
        FieldValidation::Ignore => Ok((document.value, Vec::new())),
        _ => Ok((document.value, repeated)),
    }
}

/// Checks that a document is of the type that the URL names. Fields that it does not have are always refused: nobody can own them.
fn check(
    target: &Target,
    part: Part,
    config: &mut Value,
    key: &ObjectKey,
    api_version: &str,
    kind: &str,
) -> Result<(), Status> {
    let (told_version, told_kind) = (text(config, "apiVersion"), text(config, "kind"));
    if (told_version, told_kind) != (api_version, kind) {
        let (group, version) = told_version.split_once('/').unwrap_or(("", told_version));
        let message = format!("invalid object type: {group}/{version}, Kind={told_kind}");
        return Err(Status::bad_request(message));
    }
    let owners = &config["metadata"]["managedFields"];
    if !owners.is_null() && *owners != json!([]) {
        return Err(Status::bad_request("metadata.managedFields must be nil"));
    }
    tracking::take_given(config);
    let checked =
        typed(target, part)?.check_applied(config).map_err(|error| unfit(key, api_version, kind, &error))?;
    match checked.unknown.first() {
        Some(path) => Err(unfit(key, api_version, kind, &format!(".{path}: field not declared in schema"))),
        None => Ok(()),
    }
}

/// The type of what is applied.
fn typed(target: &Target, part: Part) -> Result<Typed<'_>, Status> {
    match part {
        Part::Scale => Ok(Typed::Table(type_of("autoscaling/v1", "Scale")?)),
        _ => target.served.typed(),
    }
}

fn unfit(key: &ObjectKey, api_version: &str, kind: &str, why: &dyn std::fmt::Display) -> Status {
    let version = if api_version.contains('/') { api_version.to_owned() } else { format!("/{api_version}") };
    let (namespace, name) = (&key.namespace, &key.name);
    Status::bad_request(format!(
        "failed to create typed patch object ({namespace}/{name}; {version}, Kind={kind}): {why}"
    ))
}

/// Submits what is applied to the object as it stands, and again when others were faster.
async fn submit(
    call: &Call,
    key: &ObjectKey,
    applied: &Applied<'_>,
) -> Result<(u16, Arc<Object>, Vec<String>), Status> {
    let mut attempt = 0;
    loop {
        let mut state = call.view().await?;
        let mut old = state.get(key).cloned();
        if let Some(stored) = old.take_if(|_| applied.target.served.converter().is_some()) {
            // No state is held while others think.
            drop(state);
            old = Some(conversion::shown_one(call.asker(), &applied.target.served, stored).await?);
            state = call.view().await?;
        }
        let mut review = Review::default();
        let (target, dry_run) = (applied.target, applied.write.dry_run);
        let admission = match &old {
            Some(_) => admitted::of_update(call, target, dry_run, &state).await?,
            None => admitted::of_creation(call, target, &key.name, dry_run, &state).await?,
        };
        let stage = Stage::of(admission.as_ref());
        let (code, request, mut warnings) = match &old {
            Some(old) => {
                let mut proposal = propose(old, applied, stage)?;
                if let Some(admission) = admission.as_ref().filter(|_| stage == Stage::Draft) {
                    drop(state);
                    admitted::update(admission, target, applied.part, old, &mut proposal).await?;
                    state = call.view().await?;
                }
                let value = &proposal.value;
                restriction::check(&call.user, key, value, Some(&**old))?;
                if applied.part == Part::Main {
                    let authorizer = &*call.api.options.authorizer;
                    escalation::check(authorizer, &call.user, key, value, Some(&**old), &state)?;
                    review = Review::of(call, key, Some(old), value, &state);
                }
                drop(state);
                if let Some(admission) = &admission {
                    admitted::judge_update(admission, &target.served, old, &proposal).await?;
                }
                let Proposal { value, warnings, .. } = proposal;
                let request = Request::Update {
                    key: key.clone(),
                    document: conversion::stored(call.asker(), &target.served, value).await?,
                    part: target.served.part(applied.part),
                    revision: Some(old.revision),
                    uid: Some(old.meta.uid.clone()),
                    dry_run,
                };
                (200, request, warnings)
            }
            None => {
                let (value, warnings) = make(call, key, applied, &state, admission.as_ref()).await?;
                review = Review::of(call, key, None, &value, &state);
                drop(state);
                if let Some(admission) = &admission {
                    admission.validate(&value, &Value::Null).await?;
                }
                (201, creation(call, target, applied.write, value).await?, warnings)
            }
        };
        warnings.append(&mut review.warnings);
        match call.submit(review.request(request), attempt).await {
            Ok(written) => return Ok((code, written.object().ok_or_else(no_answer)?, warnings)),
            Err(status) if attempt + 1 < TRIES && overtaken(&status, old.is_some(), applied.locked) => {
                attempt += 1;
            }
            Err(status) => return Err(status),
        }
    }
}

/// Whether a refusal only says that others wrote in between.
fn overtaken(status: &Status, existed: bool, locked: bool) -> bool {
    match status.reason {
        "Conflict" => !locked,
        "AlreadyExists" => !existed,
        "NotFound" => existed,
        _ => false,
    }
}

fn propose(old: &Arc<Object>, applied: &Applied<'_>, stage: Stage) -> Result<Proposal, Status> {
    let Applied { target, write, config, force, part, locked } = applied;
    check_preconditions(old, config, true)?;
    let served = &target.served;
    let (before, api_version) = (served.value(old), served.api_version());
    let mut warnings = Vec::new();
    if *part == Part::Scale {
        let of = type_of("autoscaling/v1", "Scale")?;
        let writer = tracking::scale_writer(write, served, &api_version);
        let (mut scale, owners) = writer
            .applied(of, &before, &scale::of(served, old), config, *force)
            .map_err(|error| refuse(error, &old.key, "autoscaling/v1", "Scale"))?;
        plain(target, *part, &mut scale)?;
        let mut value = scale::applied(served, old, &scale)?;
        tracking::settle(&before, &mut value, &owners);
        return Ok(Proposal { value, locked: *locked, warnings, scale: Some(scale) });
    }
    let subresource = target.subresource.as_deref().unwrap_or_default();
    let (mut value, owners) = tracking::writer(write, served, &api_version, subresource)?
        .applied(&before, config, *force)
        .map_err(|error| refuse(error, &old.key, &api_version, served.name()))?;
    plain(target, *part, &mut value)?;
    if *part == Part::Status {
        stage.status(served, &mut value, &before, subresource == "approval")?;
    } else if subresource == EPHEMERAL {
        stage.ephemeral(&mut value, &before)?;
    } else {
        stage.update(served, &mut value, &before)?;
        warnings.extend(served.warnings(&value));
    }
    tracking::settle(&before, &mut value, &owners);
    Ok(Proposal { value, locked: *locked, warnings, scale: None })
}

/// The object that is not there yet.
async fn make(
    call: &Call,
    key: &ObjectKey,
    applied: &Applied<'_>,
    state: &State,
    admission: Option<&Admission<'_>>,
) -> Result<(Value, Vec<String>), Status> {
    let Applied { target, write, config, force, part, locked } = applied;
    let (kind, metadata) = (target.served.kind, &config["metadata"]);
    if *part != Part::Main || target.subresource.is_some() {
        return Err(Status::not_found(kind, &key.name));
    }
    call.may_create(target).await?;
    let uid = text(metadata, "uid");
    if !uid.is_empty() {
        let why = format!(
            "uid mismatch: the provided object specified uid {uid}, and no existing object was found"
        );
        return Err(Status::conflict(kind, &key.name, why));
    }
    if *locked {
        return Err(Status::modified(kind, &key.name));
    }
    let served = &target.served;
    let api_version = served.api_version();
    let (mut value, owners) = tracking::writer(write, served, &api_version, "")?
        .applied(&json!({}), config, *force)
        .map_err(|error| refuse(error, key, &api_version, served.name()))?;
    plain(target, *part, &mut value)?;
    match admission.filter(|admission| admission.mutates()) {
        None => {
            prepare_new(call, target, &mut value, Some(state))?;
            owners.store(&mut value);
        }
        Some(admission) => {
            admitted::begin(target, &mut value);
            owners.store(&mut value);
            value = admitted::create(admission, target, value).await?;
            let owners = tracking::take_given(&mut value);
            prepare_new(call, target, &mut value, Some(&call.view().await?))?;
            admitted::own(&mut value, owners);
        }
    }
    let warnings = served.warnings(&value);
    Ok((value, warnings))
}

/// A document in its stored form: what was null is gone.
fn plain(target: &Target, part: Part, value: &mut Value) -> Result<(), Status> {
    typed(target, part)?.check(value).map_err(Status::internal)?;
    Ok(())
}

fn refuse(error: ApplyError, key: &ObjectKey, api_version: &str, kind: &str) -> Status {
    match error {
        ApplyError::Unfit(why) => unfit(key, api_version, kind, &why),
        ApplyError::Conflicts(conflicts) => {
            let mut status = Status::new(409, "Conflict", message(&conflicts));
            let cause = |conflict: &crate::apply::Conflict| Cause {
                reason: "FieldManagerConflict".into(),
                message: conflict.cause(),
                field: conflict.field(),
            };
            status.causes = conflicts.iter().map(cause).collect();
            status
        }
    }
}
