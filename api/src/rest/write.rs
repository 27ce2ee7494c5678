//! POST and PUT, and the loop that all updates share: read, prepare, submit if it still stands as read.

use std::sync::Arc;

use kontiki_actors::{Kind, Object, ObjectKey, Request, State, input::Part};
use serde_json::Value;

use super::{
    admitted::{self, Stage},
    body::{self, Decoded, FieldValidation},
    call::{Call, method_not_allowed},
    identity::User,
    negotiate::{Answer, Form, Media, negotiate},
    path::Target,
    pod_security::Review,
    query::{options_of, revision},
    rbac::escalation,
    read,
    reply::{Answered, Reply},
    restriction, tracking,
};
use crate::{
    conversion,
    resource::{self, Strategy, fields::text},
    status::Status,
};

/// How often an update that nobody locked is tried again when others were faster.
pub(crate) const TRIES: usize = 8;

/// What a writing request says besides its body.
pub(crate) struct Write {
    pub(crate) form: Form,
    pub(crate) validation: FieldValidation,
    pub(crate) dry_run: bool,
    /// The field manager.
    pub(crate) manager: String,
    /// When, as owners of fields note it.
    pub(crate) now: String,
}

impl Write {
    pub(crate) fn of(call: &Call) -> Result<Write, Status> {
        let options = options_of(&call.method);
        call.query.check_field_manager(options)?;
        Ok(Write {
            form: negotiate(&call.headers, Answer::Object)?,
            validation: FieldValidation::of(&call.query, options)?,
            dry_run: call.query.dry_run(options)?,
            manager: match call.query.text("fieldManager") {
                Some(manager) => manager.to_owned(),
                None => tracking::manager_of(&call.headers),
            },
            now: kontiki_actors::object::rfc3339((call.api.options.clock)()),
        })
    }
}

/// An update that was worked out on an object as it stood.
pub(crate) struct Proposal {
    /// The whole object as it is to be, prepared and checked.
    pub(crate) value: Value,
    /// Whether the client wants this on the revision it knows, and on no other.
    pub(crate) locked: bool,
    /// For the client.
    pub(crate) warnings: Vec<String>,
    /// The scale as it is to be, where it is the scale that is written.
    pub(crate) scale: Option<Value>,
}

/// Answers a POST to a collection.
pub(crate) async fn create(mut call: Call, target: Target) -> Answered {
    let write = Write::of(&call)?;
    let info = target.served.kind.info();
    if info.namespaced && target.namespace.is_none() {
        return Err(method_not_allowed(&call.method, info.kind));
    }
    let bytes = call.body().await?;
    let limit = call.api.options.body_limit;
    if target.served.kind.is_custom() {
        stays(&call, &target).await?;
    }
    let decoded = body::decode_served(&call.headers, &bytes, limit, &target.served, write.validation)?;
    create_object(&call, &target, &write, decoded).await
}

async fn create_object(call: &Call, target: &Target, write: &Write, decoded: Decoded) -> Answered {
    let Decoded { mut value, mut warnings } = decoded;
    same_namespace(&value, target)?;
    if !text(&value["metadata"], "resourceVersion").is_empty() {
        return Err(Status::bad_request("resourceVersion should not be set on objects to be created"));
    }
    if let Some(record) = &call.record {
        record.names(text(&value["metadata"], "name"));
    }
    let given = tracking::take_given(&mut value);
    let (name, served) = (text(&value["metadata"], "name"), &target.served);
    let admission = admitted::of_creation(call, target, name, write.dry_run, &call.own_view().await?).await?;
    match admission.as_ref().filter(|admission| admission.mutates()) {
        None => {
            prepare_create(call, target, &mut value).await?;
            tracking::created(write, served, &mut value, given.as_ref())?;
        }
        // What webhooks change is nobody's: owners are told before.
        Some(admission) => {
            admitted::begin(target, &mut value);
            tracking::created(write, served, &mut value, given.as_ref())?;
            value = admitted::create(admission, target, value).await?;
            let owners = tracking::take_given(&mut value);
            prepare_create(call, target, &mut value).await?;
            admitted::own(&mut value, owners);
        }
    }
    warnings.extend(served.warnings(&value));
    let review = review_new(call, target, &value).await?;
    warnings.extend(review.warnings.iter().cloned());
    if let Some(admission) = &admission {
        admission.validate(&value, &Value::Null).await?;
    }
    let request = review.request(creation(call, target, write, value).await?);
    let object = call.submit(request, 0).await?.object().ok_or_else(no_answer)?;
    Ok(read::show(call, &target.served, 201, write.form, &object).await?.warned(warnings))
}

/// Looks at a new object on what this controller holds; but not if that knows nothing of its namespace yet.
async fn review_new(call: &Call, target: &Target, value: &Value) -> Result<Review, Status> {
    let kind = target.served.kind;
    if !Review::concerns(kind) {
        return Ok(Review::default());
    }
    let name = text(&value["metadata"], "name");
    let key = ObjectKey::new(kind, target.namespace.as_deref().unwrap_or_default(), name);
    let mut state = call.own_view().await?;
    if !key.namespace.is_empty() && state.get(&ObjectKey::new(Kind::NAMESPACE, "", &key.namespace)).is_none()
    {
        state = call.view().await?;
    }
    Ok(Review::of(call, &key, None, value, &state))
}

/// New objects of a custom kind are not made while its definition goes.
async fn stays(call: &Call, target: &Target) -> Result<(), Status> {
    let definition = call.own_view().await?.definition_of(target.served.kind).cloned();
    if definition.is_none_or(|definition| !definition.meta.deleting()) {
        return Ok(());
    }
    let message = "create not allowed while custom resource definition is terminating";
    Err(Status::new(405, "MethodNotAllowed", message).about(target.served.kind, ""))
}

/// Nothing is asked of a quorum before the log is: the turn decides on the newest state anyway, so that for admission what this
/// controller holds will do. But it refuses nothing that it would not refuse with every acknowledged write in sight.
pub(crate) async fn prepare_create(call: &Call, target: &Target, value: &mut Value) -> Result<(), Status> {
    if escalation::concerns(target.served.kind) {
        return prepare_new(call, target, value, Some(&call.view().await?));
    }
    if target.served.kind.is_custom() || Strategy::of(target.served.kind).admit.is_none() {
        return prepare_new(call, target, value, None);
    }
    let asked = value.clone();
    let own = call.own_view().await?;
    if prepare_new(call, target, value, Some(&own)).is_err() {
        *value = asked;
        prepare_new(call, target, value, Some(&call.view().await?))?;
    }
    Ok(())
}

/// Makes a client's document a new object; `cluster` as [`resource::prepare_create`] has it.
pub(crate) fn prepare_new(
    call: &Call,
    target: &Target,
    value: &mut Value,
    cluster: Option<&State>,
) -> Result<(), Status> {
    let kind = target.served.kind;
    if kind == Kind::CERTIFICATE_SIGNING_REQUEST {
        let User { name, uid, groups, extra } = &call.user;
        resource::certificate::asked_by(value, name, uid, groups, extra);
    }
    let namespace = target.namespace.as_deref().unwrap_or_default();
    resource::prepare_create(&target.served, value, namespace, cluster)?;
    let key = ObjectKey::new(kind, namespace, text(&value["metadata"], "name"));
    restriction::check(&call.user, &key, value, None)?;
    if escalation::concerns(kind) {
        let cluster = cluster.ok_or_else(|| Status::internal("rights were not looked at"))?;
        escalation::check(&*call.api.options.authorizer, &call.user, &key, value, None, cluster)?;
    }
    Ok(())
}

/// Asks for a new object that is prepared.
pub(crate) async fn creation(
    call: &Call,
    target: &Target,
    write: &Write,
    value: Value,
) -> Result<Request, Status> {
    let metadata = &value["metadata"];
    let (name, prefix) = (text(metadata, "name"), text(metadata, "generateName"));
    Ok(Request::Create {
        key: ObjectKey::new(target.served.kind, target.namespace.as_deref().unwrap_or_default(), name),
        generate_name: name.is_empty().then(|| prefix.into()),
        document: conversion::stored(call.asker(), &target.served, value).await?,
        dry_run: write.dry_run,
    })
}

pub(crate) fn no_answer() -> Status {
    Status::internal("the write was done, but its answer carries no object")
}

/// Answers a PUT of an object.
pub(crate) async fn replace(mut call: Call, target: Target) -> Answered {
    let write = Write::of(&call)?;
    let key = read::key(&target)?;
    let served = &target.served;
    let bytes = call.body().await?;
    let limit = call.api.options.body_limit;
    let decoded = body::decode_served(&call.headers, &bytes, limit, served, write.validation)?;
    same_namespace(&decoded.value, &target)?;
    same_name(&decoded.value, &key)?;
    let strategy = Strategy::of(served.kind);
    let given = revision(decoded.value["metadata"]["resourceVersion"].as_str())?;
    if strategy.create_on_update && given.is_none() && call.view().await?.get(&key).is_none() {
        call.may_create(&target).await?;
        return create_object(&call, &target, &write, decoded).await;
    }
    let (object, warnings) = update(&call, &target, &key, Part::Main, write.dry_run, |old, stage| {
        let mut value = decoded.value.clone();
        let locked = check_preconditions(old, &value, served.unconditional_update())?;
        let (given, before) = (tracking::take_given(&mut value), served.value(old));
        stage.update(served, &mut value, &before)?;
        tracking::updated(&write, served, "", &before, &mut value, given.as_ref())?;
        let mut warnings = decoded.warnings.clone();
        warnings.extend(served.warnings(&value));
        Ok(Proposal { value, locked, warnings, scale: None })
    })
    .await?;
    Ok(read::show(&call, served, 200, write.form, &object).await?.warned(warnings))
}

/// Checks what an update says about the object that it is for. Tells whether it names a revision.
pub(crate) fn check_preconditions(old: &Object, new: &Value, unconditional: bool) -> Result<bool, Status> {
    let metadata = &new["metadata"];
    let (kind, name) = (old.key.kind, old.key.name.as_str());
    let uid = text(metadata, "uid");
    if !uid.is_empty() && uid != old.meta.uid {
        let why =
            format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {}", old.meta.uid);
        return Err(Status::conflict(kind, name, why));
    }
    match revision(metadata["resourceVersion"].as_str())? {
        None | Some(0) if !unconditional => {
            let info = kind.info();
            let cause = crate::status::Cause {
                reason: "FieldValueInvalid".into(),
                message: "Invalid value: 0x0: must be specified for an update".into(),
                field: "metadata.resourceVersion".into(),
            };
            Err(Status::invalid(info.group, info.kind, name, vec![cause]))
        }
        None | Some(0) => Ok(false),
        Some(given) if given == old.revision => Ok(true),
        Some(_) => Err(Status::modified(kind, name)),
    }
}

/// Updates an object: what is proposed on it as it stands is submitted for exactly that revision; when others were
/// faster and the client did not lock, it is proposed again. The first proposal is made on what this controller holds, which is the
/// newest nearly always, and of no consequence otherwise: the turn compares revisions. No refusal is told from it, and no webhook is asked
/// about it.
pub(crate) async fn update(
    call: &Call,
    target: &Target,
    key: &ObjectKey,
    part: Part,
    dry_run: bool,
    mut propose: impl FnMut(&Arc<Object>, Stage) -> Result<Proposal, Status>,
) -> Result<(Arc<Object>, Vec<String>), Status> {
    let served = &target.served;
    // What gives rights is looked at in a view with every acknowledged write.
    let (mut attempt, mut own) = (0, !escalation::concerns(key.kind));
    loop {
        let mut state = if own { call.own_view().await? } else { call.view().await? };
        let admission = admitted::of_update(call, target, dry_run, &state).await?;
        if own && admission.is_some() {
            own = false;
            continue;
        }
        let stage = Stage::of(admission.as_ref());
        let mut old = state.get(key).cloned().ok_or_else(|| Status::not_found(key.kind, &key.name));
        if let (Ok(stored), true) = (&mut old, served.converter().is_some()) {
            // No state is held while others think.
            drop(state);
            *stored = conversion::shown_one(call.asker(), served, stored.clone()).await?;
            state = call.own_view().await?;
        }
        let proposed = old.and_then(|old| {
            let proposal = propose(&old, stage)?;
            if stage == Stage::Whole {
                restriction::check(&call.user, key, &proposal.value, Some(&*old))?;
            }
            Ok((proposal, old))
        });
        if std::mem::take(&mut own) && proposed.is_err() {
            continue;
        }
        let (mut proposal, old) = proposed?;
        if let Some(admission) = admission.as_ref().filter(|_| stage == Stage::Draft) {
            // Webhooks take their time: no state is held so long.
            drop(state);
            admitted::update(admission, target, part, &old, &mut proposal).await?;
            restriction::check(&call.user, key, &proposal.value, Some(&*old))?;
            state = call.view().await?;
        }
        if part == Part::Main {
            let authorizer = &*call.api.options.authorizer;
            escalation::check(authorizer, &call.user, key, &proposal.value, Some(&*old), &state)?;
        }
        let mut review = Review::default();
        if part == Part::Main && Review::concerns(key.kind) {
            review = Review::of(call, key, Some(&old), &proposal.value, &state);
        }
        drop(state);
        if let Some(admission) = &admission {
            admitted::judge_update(admission, served, &old, &proposal).await?;
        }
        let request = review.request(Request::Update {
            key: key.clone(),
            document: conversion::stored(call.asker(), served, proposal.value).await?,
            part: served.part(part),
            revision: Some(old.revision),
            uid: Some(old.meta.uid.clone()),
            dry_run,
        });
        match call.submit(request, attempt).await {
            Ok(written) => {
                let object = written.object().ok_or_else(no_answer)?;
                return Ok((object, [proposal.warnings, review.warnings].concat()));
            }
            Err(status) if status.reason == "Conflict" && !proposal.locked && attempt + 1 < TRIES => {
                attempt += 1
            }
            Err(status) => return Err(status),
        }
    }
}

/// The namespace in a body must be that of the URL.
pub(crate) fn same_namespace(value: &Value, target: &Target) -> Result<(), Status> {
    let told = text(&value["metadata"], "namespace");
    if told.is_empty() || !target.served.kind.info().namespaced || target.namespace.as_deref() == Some(told) {
        return Ok(());
    }
    let message = "the namespace of the provided object does not match the namespace sent on the request";
    Err(Status::bad_request(message))
}

/// The name in a body must be that of the URL.
pub(crate) fn same_name(value: &Value, key: &ObjectKey) -> Result<(), Status> {
    let told = text(&value["metadata"], "name");
    if told == key.name {
        return Ok(());
    }
    let message =
        format!("the name of the object ({told}) does not match the name on the URL ({})", key.name);
    Err(Status::bad_request(message))
}

/// A success without an object.
pub(crate) fn done(code: u16, media: Media, kind: Kind, name: &str, uid: &str) -> Answered {
    let mut value = Status::success(kind, name, uid);
    value["code"] = code.into();
    Reply::in_media(code, media, value.to_string().into_bytes())
}
