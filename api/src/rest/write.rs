//! POST and PUT, and the loop that all updates share: read, prepare, submit if it still stands as read.

use std::sync::Arc;

use kontiki_actors::{Document, Kind, Object, ObjectKey, Request, input::Part};
use serde_json::Value;

use super::{
    body::{self, Decoded, FieldValidation},
    call::{Call, method_not_allowed},
    identity::User,
    negotiate::{Answer, Form, negotiate},
    path::Target,
    query::{options_of, revision},
    read,
    reply::{Answered, Reply},
};
use crate::{
    resource::{self, Strategy, fields::text},
    status::Status,
};

/// How often an update that nobody locked is tried again when others were faster.
const TRIES: usize = 8;

/// What a writing request says besides its body.
pub(crate) struct Write {
    pub(crate) form: Form,
    pub(crate) validation: FieldValidation,
    pub(crate) dry_run: bool,
}

impl Write {
    pub(crate) fn of(call: &Call) -> Result<Write, Status> {
        let options = options_of(&call.method);
        call.query.check_field_manager(options)?;
        Ok(Write {
            form: negotiate(&call.headers, Answer::Object)?,
            validation: FieldValidation::of(&call.query, options)?,
            dry_run: call.query.dry_run(options)?,
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
}

/// Answers a POST to a collection.
pub(crate) async fn create(mut call: Call, target: Target) -> Answered {
    let write = Write::of(&call)?;
    let info = target.kind.info();
    if info.namespaced && target.namespace.is_none() {
        return Err(method_not_allowed(&call.method, info.kind));
    }
    let bytes = call.body().await?;
    let limit = call.api.options.body_limit;
    let api_version = target.kind.api_version();
    let decoded = body::decode(&call.headers, &bytes, limit, &api_version, info.kind, write.validation)?;
    create_object(&call, &target, &write, decoded).await
}

async fn create_object(call: &Call, target: &Target, write: &Write, decoded: Decoded) -> Answered {
    let Decoded { mut value, mut warnings } = decoded;
    let kind = target.kind;
    let namespace = target.namespace.as_deref().unwrap_or_default();
    same_namespace(&value, target)?;
    if !text(&value["metadata"], "resourceVersion").is_empty() {
        return Err(Status::bad_request("resourceVersion should not be set on objects to be created"));
    }
    if kind == Kind::CERTIFICATE_SIGNING_REQUEST {
        let User { name, uid, groups, extra } = &call.user;
        resource::certificate::asked_by(&mut value, name, uid, groups, extra);
    }
    let state = call.view().await?;
    resource::prepare_create(kind, &mut value, namespace, &state)?;
    drop(state);
    warnings.extend(resource::warnings(kind, &value));
    let metadata = &value["metadata"];
    let (name, prefix) = (text(metadata, "name"), text(metadata, "generateName"));
    let request = Request::Create {
        key: ObjectKey::new(kind, namespace, name),
        generate_name: name.is_empty().then(|| prefix.into()),
        document: Document::from_value(value),
        dry_run: write.dry_run,
    };
    let object = call.submit(request, 0).await?.object().ok_or_else(no_answer)?;
    Ok(read::show(call, 201, write.form, &object)?.warned(warnings))
}

fn no_answer() -> Status {
    Status::internal("the write was done, but its answer carries no object")
}

/// Answers a PUT of an object.
pub(crate) async fn replace(mut call: Call, target: Target) -> Answered {
    let write = Write::of(&call)?;
    let key = read::key(&target)?;
    let kind = target.kind;
    let bytes = call.body().await?;
    let limit = call.api.options.body_limit;
    let decoded =
        body::decode(&call.headers, &bytes, limit, &kind.api_version(), kind.info().kind, write.validation)?;
    same_namespace(&decoded.value, &target)?;
    same_name(&decoded.value, &key)?;
    let strategy = Strategy::of(kind);
    let given = revision(decoded.value["metadata"]["resourceVersion"].as_str())?;
    if strategy.create_on_update && given.is_none() && call.view().await?.get(&key).is_none() {
        return create_object(&call, &target, &write, decoded).await;
    }
    let (object, warnings) = update(&call, &key, Part::Main, write.dry_run, |old| {
        let mut value = decoded.value.clone();
        let locked = check_preconditions(old, &value, strategy.unconditional_update)?;
        resource::prepare_update(kind, &mut value, &old.to_value())?;
        let mut warnings = decoded.warnings.clone();
        warnings.extend(resource::warnings(kind, &value));
        Ok(Proposal { value, locked, warnings })
    })
    .await?;
    Ok(read::show(&call, 200, write.form, &object)?.warned(warnings))
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
/// faster and the client did not lock, it is proposed again.
pub(crate) async fn update(
    call: &Call,
    key: &ObjectKey,
    part: Part,
    dry_run: bool,
    mut propose: impl FnMut(&Arc<Object>) -> Result<Proposal, Status>,
) -> Result<(Arc<Object>, Vec<String>), Status> {
    let mut attempt = 0;
    loop {
        let state = call.view().await?;
        let old = state.get(key).cloned().ok_or_else(|| Status::not_found(key.kind, &key.name))?;
        drop(state);
        let proposal = propose(&old)?;
        let request = Request::Update {
            key: key.clone(),
            document: Document::from_value(proposal.value),
            part,
            revision: Some(old.revision),
            uid: Some(old.meta.uid.clone()),
            dry_run,
        };
        match call.submit(request, attempt).await {
            Ok(written) => {
                let object = written.object().ok_or_else(no_answer)?;
                return Ok((object, proposal.warnings));
            }
            Err(status) if status.reason == "Conflict" && !proposal.locked && attempt + 1 < TRIES => {
                attempt += 1
            }
            Err(status) => return Err(status),
        }
    }
}

/// The namespace in a body must be that of the URL.
fn same_namespace(value: &Value, target: &Target) -> Result<(), Status> {
    let told = text(&value["metadata"], "namespace");
    if told.is_empty() || !target.kind.info().namespaced || target.namespace.as_deref() == Some(told) {
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
pub(crate) fn done(code: u16, kind: kontiki_actors::Kind, name: &str, uid: &str) -> Reply {
    let mut value = Status::success(kind, name, uid);
    value["code"] = code.into();
    Reply::json(code, &value)
}
