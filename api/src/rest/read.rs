//! GET of one object, and how one object is shown.

use std::sync::Arc;

use kontiki_actors::{Object, ObjectKey};

use super::{
    call::{Call, now_ms},
    negotiate::{Answer, Form, Shape, negotiate},
    path::Target,
    query::revision,
    reply::{Answered, Reply},
    table,
};
use crate::{backend::Freshness, conversion, served::Served, status::Status};

/// Answers a GET.
pub(crate) async fn get(call: Call, target: Target) -> Answered {
    let form = negotiate(&call.headers, Answer::Object)?;
    let object = find(&call, &key(&target)?).await?;
    show(&call, &target.served, 200, form, &object).await
}

/// The object at a key, as new as the request asks for.
pub(crate) async fn find(call: &Call, key: &ObjectKey) -> Result<Arc<Object>, Status> {
    let freshness = match revision(call.query.text("resourceVersion"))? {
        None => Freshness::Linearizable,
        Some(0) => Freshness::Any,
        Some(revision) => Freshness::AtLeast(revision),
    };
    let state = call.api.backend.view(freshness).await?;
    state.get(key).cloned().ok_or_else(|| Status::not_found(key.kind, &key.name))
}

/// The key that a URL names.
pub(crate) fn key(target: &Target) -> Result<ObjectKey, Status> {
    let name = target.name.as_deref().ok_or_else(Status::no_resource)?;
    Ok(ObjectKey::new(target.served.kind, target.namespace.as_deref().unwrap_or_default(), name))
}

/// Shows one object in the form that was agreed on.
pub(crate) async fn show(
    call: &Call,
    served: &Served,
    code: u16,
    form: Form,
    object: &Arc<Object>,
) -> Answered {
    // Its labels and annotations, too, may be others in another version.
    let object = &conversion::shown_one(call.asker(), served, object.clone()).await?;
    let mut out = Vec::with_capacity(object.document.len() + 256);
    match form.shape {
        Shape::Plain => served.write(object, object.revision, &mut out),
        Shape::Metadata { version, .. } => write_metadata(object, object.revision, version, &mut out),
        Shape::Table(version) => {
            let include = table::Include::of(&call.query)?;
            let metadata = serde_json::json!({"resourceVersion": object.revision.to_string()});
            let objects = std::slice::from_ref(object);
            table::write(served, objects, include, version, &metadata, now_ms(), &mut out);
        }
    }
    Reply::in_media(code, form.media, out)
}

/// Appends an object's metadata as an object of its own.
pub(crate) fn write_metadata(object: &Object, revision: u64, version: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"kind\":\"PartialObjectMetadata\",\"apiVersion\":\"meta.k8s.io/");
    out.extend_from_slice(version.as_bytes());
    out.extend_from_slice(b"\",\"metadata\":");
    object.document.write_metadata(revision, out);
    out.push(b'}');
}
