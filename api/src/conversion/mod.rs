//! Versions of a custom kind that are more than names: objects are stored in one version, and whoever reads or writes them in another has
//! them converted by the webhook of their definition (ADR 23).
//! <https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definition-versioning/>
//!
//! ```text
//!   shown    on the way out: objects as they are stored become those of the version that was asked for, and are handled as all others
//!            from there on: selected, patched, applied to, printed
//!   stored   on the way in: what is to be stored, prepared and checked, becomes a document of the version that objects are stored in
//!   value    between two versions, for those who have a say in a write
//!
//!   converter.rs  the webhook of a definition      review.rs  what it is asked, and says
//!   turns.rs      by how many at once              shared.rs  what many watches show
//! ```
//!
//! A document says in which version it is, so that nothing is converted twice, and what was stored before the version for that changed is
//! still known for what it is. Kinds without a webhook pass through untouched.

mod converter;
mod review;
mod shared;
mod turns;

use std::sync::Arc;

pub(crate) use converter::Converter;
use kontiki_actors::{Document, Object};
use serde_json::Value;

use crate::{rest::Api, served::Served, status::Status};

/// Who has something converted: what is long counts for him.
#[derive(Clone, Copy)]
pub(crate) struct Asker<'a> {
    pub(crate) api: &'a Api,
    pub(crate) user: &'a str,
}

/// Objects in the version that is asked for, in the same order.
///
/// # Errors
/// In Kubernetes' words, when the webhook does not answer, or not with what it was asked for.
pub(crate) async fn shown(
    asker: Asker<'_>,
    served: &Served,
    objects: Vec<Arc<Object>>,
) -> Result<Vec<Arc<Object>>, Status> {
    match served.converter() {
        None => Ok(objects),
        Some(converter) => converter.objects(asker, served.version(), objects).await,
    }
}

/// The same of one object.
///
/// # Errors
/// As [`shown`].
pub(crate) async fn shown_one(
    asker: Asker<'_>,
    served: &Served,
    object: Arc<Object>,
) -> Result<Arc<Object>, Status> {
    match served.converter() {
        None => Ok(object),
        Some(converter) => converter.object(asker, served.version(), object).await,
    }
}

/// The same for a watch: what others show at the same time is converted for all of them.
///
/// # Errors
/// As [`shown`].
pub(crate) async fn watched(
    asker: Asker<'_>,
    served: &Served,
    objects: Vec<Arc<Object>>,
) -> Result<Vec<Arc<Object>>, Status> {
    match served.converter() {
        None => Ok(objects),
        Some(converter) => converter.watched(asker, served.version(), objects).await,
    }
}

/// The document to be stored of an object of the version that is asked for.
///
/// # Errors
/// As [`shown`]; or what the webhook makes of it is too large.
pub(crate) async fn stored(asker: Asker<'_>, served: &Served, value: Value) -> Result<Document, Status> {
    let Some(converter) = served.converter() else { return Ok(served.document(value)) };
    let value = converter.value(asker, served.version(), converter.storage(), value).await?;
    let document = served.document(value);
    let limit = asker.api.options.body_limit;
    if document.len() > limit { Err(Status::too_large(limit)) } else { Ok(document) }
}

/// An object of one version of a kind in another.
///
/// # Errors
/// As [`shown`].
pub(crate) async fn value(
    asker: Asker<'_>,
    from: &Served,
    to: &Served,
    value: Value,
) -> Result<Value, Status> {
    let Some(converter) = from.converter() else { return Ok(from.converted(value, to)) };
    let mut value = converter.value(asker, from.version(), to.version(), value).await?;
    if let Some(version) = to.defined() {
        version.complete(&mut value);
    }
    Ok(value)
}
