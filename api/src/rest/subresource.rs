//! What stands below an object: status, scale, log, exec, proxy, ephemeralcontainers, eviction, binding, token, finalize.

use http::Method;
use kontiki_actors::{Kind, ObjectKey, Request, input::Part};

use super::{
    account_token, admitted, body,
    call::{Call, method_not_allowed},
    delete::Deletion,
    logs, patch,
    path::Target,
    proxy, read,
    reply::Answered,
    scale, stream, tracking,
    write::{Proposal, Write, check_preconditions, done, same_name, update},
};
use crate::{
    resource::{self, fields::text},
    status::Status,
};

/// The containers that are added to a pod that runs.
pub(crate) const EPHEMERAL: &str = "ephemeralcontainers";

/// Answers a request for a subresource.
pub(crate) async fn answer(call: Call, target: Target, subresource: &str) -> Answered {
    let writes = matches!(call.method, Method::PUT | Method::PATCH);
    if writes && target.served.kind == Kind::CERTIFICATE_SIGNING_REQUEST {
        may_speak_for_signer(&call, &target, subresource).await?;
    }
    if writes && subresource == EPHEMERAL {
        is_no_node(&call, &target)?;
    }
    match (subresource, call.method.clone()) {
        ("scale", _) => scale::answer(call, target).await,
        ("attach" | "exec" | "portforward", Method::GET | Method::POST) => {
            stream::answer(call, target, subresource).await
        }
        ("proxy", _) => proxy::answer(call, target).await,
        ("log", Method::GET) => logs::logs(call, target).await,
        ("status" | "approval" | EPHEMERAL, Method::GET) => read::get(call, target).await,
        ("status", Method::PUT) => put(call, target, Part::Status).await,
        ("approval", Method::PUT) => put(call, target, Part::Status).await,
        (EPHEMERAL, Method::PUT) => put(call, target, Part::Main).await,
        ("status" | "approval" | EPHEMERAL, Method::PATCH) => patch::patch(call, target).await,
        ("finalize", Method::PUT) => put(call, target, Part::Finalize).await,
        ("eviction", Method::POST) => evict(call, target).await,
        ("binding", Method::POST) => bind(call, target).await,
        ("token", Method::POST) => account_token::create(call, target).await,
        (_, method) => Err(method_not_allowed(&method, target.served.kind.info().kind)),
    }
}

/// Refuses whoever may not approve, or sign, for the signer that a request for a certificate names. That stays as it was made, so that it is
/// enough to look before.
async fn may_speak_for_signer(call: &Call, target: &Target, subresource: &str) -> Result<(), Status> {
    let verb = if subresource == "approval" { "approve" } else { "sign" };
    let (key, state) = (read::key(target)?, call.view().await?);
    let request = state.get(&key).ok_or_else(|| Status::not_found(key.kind, &key.name))?;
    let spec = request.document.spec_value();
    let signer = text(&spec, "signerName");
    let domain = format!("{}/*", signer.split('/').next().unwrap_or_default());
    if call.may_for_signer(verb, signer).await || call.may_for_signer(verb, &domain).await {
        return Ok(());
    }
    let why = format!("user not permitted to {verb} requests with signerName {signer:?}");
    Err(Status::forbidden(key.kind, &key.name, why))
}

/// What runs on a node is not for the node to choose: <https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#noderestriction>.
fn is_no_node(call: &Call, target: &Target) -> Result<(), Status> {
    let why = format!("unexpected pod subresource {EPHEMERAL:?}, only 'status' and 'eviction' are allowed");
    match call.user.node() {
        Some(_) => Err(Status::forbidden(target.served.kind, &read::key(target)?.name, why)),
        None => Ok(()),
    }
}

/// PUT of an object of which only a part may change.
async fn put(mut call: Call, target: Target, part: Part) -> Answered {
    let write = Write::of(&call)?;
    let key = read::key(&target)?;
    let subresource = target.subresource.as_deref().unwrap_or_default();
    let served = &target.served;
    let bytes = call.body().await?;
    let limit = call.api.options.body_limit;
    let decoded = body::decode_served(&call.headers, &bytes, limit, served, write.validation)?;
    same_name(&decoded.value, &key)?;
    let (object, warnings) = update(&call, &target, &key, part, write.dry_run, |old, stage| {
        let locked = check_preconditions(old, &decoded.value, true)?;
        let (mut value, before) = (decoded.value.clone(), served.value(old));
        match part {
            Part::Status => stage.status(served, &mut value, &before, subresource == "approval")?,
            Part::Main => stage.ephemeral(&mut value, &before)?,
            _ => value = admitted::finalized(&before, &value),
        }
        tracking::updated(&write, served, subresource, &before, &mut value, None)?;
        Ok(Proposal { value, locked, warnings: decoded.warnings.clone(), scale: None })
    })
    .await?;
    Ok(read::show(&call, served, 200, write.form, &object).await?.warned(warnings))
}

/// A polite deletion of a pod: refused while a disruption budget forbids it.
async fn evict(mut call: Call, target: Target) -> Answered {
    let write = Write::of(&call)?;
    let key = read::key(&target)?;
    let decoded = patch::put_body(&mut call, &write, "policy/v1", "Eviction").await?;
    let told = text(&decoded.value["metadata"], "name");
    if !told.is_empty() {
        same_name(&decoded.value, &key)?;
    }
    let dry_run = Deletion::of(&decoded.value["deleteOptions"], &call.query)?.dry_run || write.dry_run;
    let eviction = admitted::below(&call, &target, "policy/v1", "Eviction", dry_run, decoded.value).await?;
    let mut deletion = Deletion::of(&eviction["deleteOptions"], &call.query)?;
    deletion.options.eviction = true;
    let request = Request::Delete { key: key.clone(), options: deletion.options, dry_run };
    call.submit(request, 0).await?;
    Ok(done(201, write.form.media, key.kind, &key.name, "")?.warned(decoded.warnings))
}

/// Places a pod by hand.
async fn bind(mut call: Call, target: Target) -> Answered {
    let write = Write::of(&call)?;
    let bytes = call.body().await?;
    let limit = call.api.options.body_limit;
    let decoded = body::decode(&call.headers, &bytes, limit, "v1", "Binding", write.validation)?;
    let namespace =
        target.namespace.as_deref().ok_or_else(|| method_not_allowed(&Method::POST, "Binding"))?;
    let told = text(&decoded.value["metadata"], "name");
    let name = target.name.as_deref().unwrap_or(told);
    let node = &decoded.value["target"];
    let mut errors = resource::field::Errors::default();
    if name.is_empty() {
        errors.required("metadata.name", "");
    }
    errors.one_of("target.served.kind", &node["kind"], &["", "Node"]);
    if text(node, "name").is_empty() {
        errors.required("target.name", "");
    }
    if !errors.is_empty() {
        return Err(Status::invalid("", "Binding", name, errors.into_causes()));
    }
    let key = ObjectKey::new(Kind::POD, namespace, name);
    if !told.is_empty() {
        same_name(&decoded.value, &key)?;
    }
    let binding =
        admitted::below(&call, &target, "v1", "Binding", write.dry_run, decoded.value.clone()).await?;
    let node = text(&binding["target"], "name").into();
    let request = Request::Bind { key: key.clone(), node, dry_run: write.dry_run };
    call.submit(request, 0).await?;
    Ok(done(201, write.form.media, Kind::POD, name, "")?.warned(decoded.warnings))
}
