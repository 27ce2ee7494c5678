//! DELETE of an object and of a collection.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::Method;
use kontiki_actors::{
    Kind, Object, ObjectKey, Request,
    input::{DeleteOptions, Propagation},
};
use serde_json::Value;

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
    write::done,
};
use crate::{
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
        Ok(Deletion { options, dry_run, cascades: orphan == Some(false) })
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

/// Answers a DELETE of an object.
pub(crate) async fn delete(mut call: Call, target: Target) -> Answered {
    let form = negotiate(&call.headers, Answer::Object)?;
    let key = read::key(&target)?;
    let bytes = call.body().await?;
    let mut deletion = Deletion::of(&decode(&call, &bytes)?, &call.query)?;
    let warnings = deletion.complete(key.kind);
    let request = Request::Delete { key: key.clone(), options: deletion.options, dry_run: deletion.dry_run };
    let served = &target.served;
    let reply = match call.submit(request, 0).await? {
        Written::Deleted(object) if !Strategy::of(key.kind).returns_deleted => {
            done(200, key.kind, &key.name, &object.meta.uid)
        }
        Written::Object(object) if deletion.cascades => read::show(&call, served, 202, form, &object)?,
        Written::Deleted(object) | Written::Object(object) => read::show(&call, served, 200, form, &object)?,
        Written::Done => done(200, key.kind, &key.name, ""),
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
    let page = list::page(&call, &selection).await?;
    let revision = page.objects.iter().map(|o| o.revision).max().unwrap_or_default();
    let call = &call;
    let deletion = &deletion;
    let results: Vec<Result<Option<Arc<Object>>, Status>> =
        stream::iter(page.objects.into_iter().enumerate())
            .map(|(at, object)| async move {
                // The very object that was selected, not one that took its name since.
                let options =
                    DeleteOptions { uid: Some(object.meta.uid.clone()), ..deletion.options.clone() };
                let key: ObjectKey = object.key.clone();
                let request = Request::Delete { key, options, dry_run: deletion.dry_run };
                match call.submit(request, at).await {
                    Ok(written) => Ok(Some(written.object().unwrap_or(object))),
                    Err(status) if matches!(status.code, 404 | 409) => Ok(None),
                    Err(status) => Err(status),
                }
            })
            .buffered(TOGETHER)
            .collect()
            .await;
    let deleted: Result<Vec<Option<Arc<Object>>>, Status> = results.into_iter().collect();
    let deleted = deleted?.into_iter().flatten().collect();
    Ok(list::show(call, form, &target.served, &list::Page::of(deleted, revision))?.warned(warnings))
}
