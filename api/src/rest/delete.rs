//! DELETE of an object and of a collection.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::Method;
use kontiki_actors::{
    Kind, Object, ObjectKey, Request,
    input::{DeleteOptions, Propagation},
};
use serde_json::{Value, json};

use super::{
    body::{MEDIA_TYPES, media_type, plain_json, yaml},
    call::{Call, Written, method_not_allowed},
    list,
    negotiate::{Answer, negotiate},
    path::Target,
    query::{Query, dry_run, revision},
    read,
    reply::Answered,
    selection::Selection,
    write::{TRIES, done},
};
use crate::{
    admission::{Admission, Asked, Operation},
    conversion,
    resource::{Strategy, fields::text},
    schema::{reader::Limits, strict, type_for},
    status::Status,
    wire::protobuf,
};

/// Deletions of a collection that are under way at once.
const TOGETHER: usize = 16;

/// How to delete, and whether to do it.
pub(crate) struct Deletion {
    pub(crate) options: DeleteOptions,
    pub(crate) dry_run: bool,
    /// Whether the client said in the old way that dependents are to go too: it is then told when not all is done yet.
    cascades: bool,
    /// What the client said, as webhooks are told it.
    told: Value,
}

const ORPHANED: &str = "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or set \
     propagationPolicy=Orphan to suppress this warning";
/// The kind of the options, as refusals name it.
const OPTIONS: &str = "DeleteOptions";

impl Deletion {
    /// From the options in a body, completed by the query.
    pub(crate) fn of(body: &Value, query: &Query) -> Result<Deletion, Status> {
        let invalid = |field: &str, message: String| {
            Status::invalid_option(OPTIONS, field, "FieldValueNotSupported", message)
        };
        let policy = body["propagationPolicy"].as_str().or_else(|| query.text("propagationPolicy"));
        let orphan = match (&body["orphanDependents"], query.text("orphanDependents")) {
            (Value::Bool(orphan), _) => Some(*orphan),
            (_, Some(_)) => Some(query.switch("orphanDependents")),
            _ => None,
        };
        let propagation = match (policy, orphan) {
            (Some(_), Some(_)) => {
                let message = "Invalid value: orphanDependents and propagationPolicy cannot be both set";
                return Err(invalid("propagationPolicy", message.into()));
            }
            (Some("Background"), _) | (None, Some(false)) => Some(Propagation::Background),
            (Some("Foreground"), _) => Some(Propagation::Foreground),
            (Some("Orphan"), _) | (None, Some(true)) => Some(Propagation::Orphan),
            (Some(other), _) => {
                let supported = "supported values: \"Background\", \"Foreground\", \"Orphan\"";
                return Err(invalid(
                    "propagationPolicy",
                    format!("Unsupported value: {other:?}: {supported}"),
                ));
            }
            (None, None) => None,
        };
        let grace_s = match body["gracePeriodSeconds"].as_i64() {
            Some(seconds) => Some(seconds),
            None => query.number("gracePeriodSeconds")?,
        };
        let stages: Vec<&str> =
            body["dryRun"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let dry_run = dry_run(stages.into_iter(), OPTIONS)? || query.dry_run(OPTIONS)?;
        let conditions = &body["preconditions"];
        let uid = text(conditions, "uid");
        let options = DeleteOptions {
            // A negative grace has always meant: as soon as possible.
            grace_s: grace_s.map(|seconds| if seconds < 0 { 1 } else { seconds }),
            propagation,
            uid: (!uid.is_empty()).then(|| uid.into()),
            revision: revision(conditions["resourceVersion"].as_str())?,
            eviction: false,
        };
        let told = told(body, &options, policy, orphan, dry_run);
        Ok(Deletion { options, dry_run, cascades: orphan == Some(false), told })
    }

    /// What becomes of dependents when the client does not say: the oldest workloads leave their pods behind, and who deletes a job is
    /// told.
    fn complete(&mut self, kind: Kind) -> Vec<String> {
        let orphans = matches!(kind, Kind::JOB | Kind::REPLICATION_CONTROLLER);
        if !orphans || self.options.propagation.is_some() {
            return Vec::new();
        }
        self.options.propagation = Some(Propagation::Orphan);
        if kind == Kind::JOB { vec![ORPHANED.into()] } else { Vec::new() }
    }
}

/// Decodes DeleteOptions; they come under any group's version, or not at all.
fn decode(call: &Call, bytes: &Bytes) -> Result<Value, Status> {
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    let limit = call.api.options.body_limit;
    let mut value = match media_type(&call.headers).as_str() {
        "application/json" => plain_json(bytes, limit)?,
        "application/yaml" => yaml(bytes)?,
        "application/vnd.kubernetes.protobuf" => {
            let limits = Limits { bytes: limit, ..Limits::default() };
            let decoded = protobuf::decode(bytes, Some(("v1", "DeleteOptions")), limits);
            decoded.map_err(|error| Status::bad_request(error.to_string()))?.value
        }
        _ => return Err(Status::unsupported_media(MEDIA_TYPES)),
    };
    if !matches!(value.get("kind").and_then(Value::as_str), None | Some("" | "DeleteOptions")) {
        return Err(Status::bad_request("the body of a DELETE must be DeleteOptions"));
    }
    let of = type_for("meta.k8s.io", "v1", "DeleteOptions")
        .ok_or_else(|| Status::internal("no schema of DeleteOptions"))?;
    strict::check(of, &mut value).map_err(|error| Status::bad_request(error.to_string()))?;
    Ok(value)
}

/// The options of a deletion, wherever they stood.
fn told(
    body: &Value,
    options: &DeleteOptions,
    policy: Option<&str>,
    orphan: Option<bool>,
    dry_run: bool,
) -> Value {
    let mut told = json!({"kind": OPTIONS, "apiVersion": "meta.k8s.io/v1"});
    if let Some(seconds) = options.grace_s {
        told["gracePeriodSeconds"] = seconds.into();
    }
    if let Some(policy) = policy {
        told["propagationPolicy"] = policy.into();
    }
    if let Some(orphan) = orphan {
        told["orphanDependents"] = orphan.into();
    }
    if body["preconditions"].is_object() {
        told["preconditions"] = body["preconditions"].clone();
    }
    if dry_run {
        told["dryRun"] = json!(["All"]);
    }
    told
}

/// Deletes an object, past the webhooks that have a say in it: exactly as they were shown it, and shown again if others write to it
/// meanwhile. Of a collection, `at` tells which this is.
///
/// The inner error is that of the cluster, the outer one that of a webhook, or of what it takes to ask one.
async fn remove(
    call: &Call,
    target: &Target,
    key: &ObjectKey,
    deletion: &Deletion,
    at: usize,
) -> Result<Result<Written, Status>, Status> {
    // Ids of requests: no two of a call have the same.
    let first = at * TRIES;
    for attempt in first.. {
        let mut options = deletion.options.clone();
        let asked = Asked::of(Operation::Delete, target, deletion.dry_run);
        let asked = asked.with_deletion(deletion.told.clone());
        let mut again = attempt + 1 < first + TRIES;
        // A state is not held while webhooks are asked.
        let admission = Admission::of(call, &call.own_view().await?, asked).await?;
        match admission {
            None => again = false,
            Some(admission) => {
                let Some(old) = call.view().await?.get(key).cloned() else {
                    return Ok(Err(Status::not_found(key.kind, &key.name)));
                };
                // What the client does not mean is refused by the turn.
                let meant = options.uid.as_ref().is_none_or(|uid| *uid == old.meta.uid)
                    && options.revision.is_none_or(|revision| revision == old.revision);
                if meant {
                    let shown = conversion::shown_one(call.asker(), &target.served, old.clone()).await?;
                    admission.admit(&Value::Null, &target.served.value(&shown)).await?;
                    options.uid = Some(old.meta.uid.clone());
                    options.revision = Some(old.revision);
                }
                again &= meant && deletion.options.revision.is_none();
            }
        }
        let request = Request::Delete { key: key.clone(), options, dry_run: deletion.dry_run };
        match call.submit(request, attempt).await {
            Err(status) if status.reason == "Conflict" && again => {}
            result => return Ok(result),
        }
    }
    Err(Status::internal("nothing was tried"))
}

/// Answers a DELETE of an object.
pub(crate) async fn delete(mut call: Call, target: Target) -> Answered {
    let form = negotiate(&call.headers, Answer::Object)?;
    let key = read::key(&target)?;
    let bytes = call.body().await?;
    let mut deletion = Deletion::of(&decode(&call, &bytes)?, &call.query)?;
    let warnings = deletion.complete(key.kind);
    let served = &target.served;
    let written = remove(&call, &target, &key, &deletion, 0).await??;
    let gone = matches!(written, Written::Deleted(_));
    let reply = match written {
        Written::Deleted(object) if !Strategy::of(key.kind).returns_deleted => {
            done(200, form.media, key.kind, &key.name, &object.meta.uid)?
        }
        Written::Deleted(object) | Written::Object(object) => {
            let code = if deletion.cascades && !gone { 202 } else { 200 };
            match read::show(&call, served, code, form, &object).await {
                // What is done is done, and needs no webhook: only showing it does.
                Err(_) if served.converter().is_some() => {
                    done(code, form.media, key.kind, &key.name, &object.meta.uid)?
                }
                shown => shown?,
            }
        }
        Written::Done => done(200, form.media, key.kind, &key.name, "")?,
    };
    Ok(reply.warned(warnings))
}

/// Answers a DELETE of a collection: every selected object, each by itself.
pub(crate) async fn collection(mut call: Call, target: Target) -> Answered {
    if target.served.kind == Kind::NAMESPACE {
        return Err(method_not_allowed(&Method::DELETE, target.served.kind.info().kind));
    }
    let form = negotiate(&call.headers, Answer::List)?;
    let selection = Selection::of(&target, &call.query)?;
    let bytes = call.body().await?;
    let mut deletion = Deletion::of(&decode(&call, &bytes)?, &call.query)?;
    let warnings = deletion.complete(target.served.kind);
    let page = list::page(&call, &target.served, &selection).await?;
    let revision = page.objects.iter().map(|o| o.revision).max().unwrap_or_default();
    let call = &call;
    let (deletion, target) = (&deletion, &target);
    let results: Vec<Result<Option<Arc<Object>>, Status>> =
        stream::iter(page.objects.into_iter().enumerate())
            .map(|(at, object)| async move {
                // The very object that was selected, not one that took its name since.
                let options =
                    DeleteOptions { uid: Some(object.meta.uid.clone()), ..deletion.options.clone() };
                let deletion = Deletion { options, told: deletion.told.clone(), ..*deletion };
                match remove(call, target, &object.key, &deletion, at).await? {
                    Ok(written) => Ok(Some(written.object().unwrap_or(object))),
                    Err(status) if matches!(status.code, 404 | 409) => Ok(None),
                    Err(status) => Err(status),
                }
            })
            .buffered(TOGETHER)
            .collect()
            .await;
    let deleted: Result<Vec<Option<Arc<Object>>>, Status> = results.into_iter().collect();
    let deleted = list::Page::of(deleted?.into_iter().flatten().collect(), revision);
    let reply = match list::show(call, form, &target.served, deleted).await {
        // As with one object.
        Err(_) if target.served.converter().is_some() => done(200, form.media, target.served.kind, "", "")?,
        shown => shown?,
    };
    Ok(reply.warned(warnings))
}
