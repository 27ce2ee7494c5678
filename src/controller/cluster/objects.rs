//! What this service keeps, it keeps as objects in `kube-system`, written by the same road as everybody's.

use base64::{Engine, engine::general_purpose::STANDARD};
use kontiki_actors::input::{DeleteOptions, Part};
use kontiki_actors::{Document, Kind, Object, ObjectKey, Outcome, Rejection, Request, State};
use kontiki_api::{Backend, Freshness, Unavailable};
use serde_json::Value;
use tonic::Status;

/// Where these objects live.
pub(super) const NAMESPACE: &str = "kube-system";

/// The name of an object of this service.
pub(super) fn key(kind: Kind, name: &str) -> ObjectKey {
    ObjectKey::new(kind, NAMESPACE, name)
}

/// A view with everything that was acknowledged before.
pub(super) async fn view(backend: &dyn Backend) -> Result<State, Status> {
    backend.view(Freshness::Linearizable).await.map_err(|e| unavailable(&e))
}

/// Makes an object; a name that is taken is left as it is and told apart.
pub(super) async fn create(
    backend: &dyn Backend,
    key: ObjectKey,
    object: Value,
) -> Result<Result<(), Rejection>, Status> {
    let document = Document::from_value(object);
    write(backend, Request::Create { key, generate_name: None, document, dry_run: false }).await
}

/// Replaces an object, if it is still as it was read.
pub(super) async fn update(
    backend: &dyn Backend,
    old: &Object,
    new: Value,
) -> Result<Result<(), Rejection>, Status> {
    let request = Request::Update {
        key: old.key.clone(),
        document: Document::from_value(new),
        part: Part::Main,
        revision: Some(old.revision),
        uid: Some(old.meta.uid.clone()),
        dry_run: false,
    };
    write(backend, request).await
}

/// Deletes an object, if it is still as it was read.
pub(super) async fn delete(backend: &dyn Backend, old: &Object) -> Result<Result<(), Rejection>, Status> {
    let options = DeleteOptions {
        uid: Some(old.meta.uid.clone()),
        revision: Some(old.revision),
        ..DeleteOptions::default()
    };
    write(backend, Request::Delete { key: old.key.clone(), options, dry_run: false }).await
}

async fn write(backend: &dyn Backend, request: Request) -> Result<Result<(), Rejection>, Status> {
    let id = uuid::Uuid::new_v4().to_string();
    match backend.submit(request, id.as_str().into(), None).await {
        Ok(Outcome::Rejected(rejection)) => Ok(Err(rejection)),
        Ok(_) => Ok(Ok(())),
        Err(error) => Err(unavailable(&error)),
    }
}

fn unavailable(error: &Unavailable) -> Status {
    Status::unavailable(error.to_string())
}

/// One field of a Secret's data.
pub(super) fn secret_field(object: &Value, field: &str) -> Option<String> {
    let bytes = STANDARD.decode(object["data"][field].as_str()?).ok()?;
    String::from_utf8(bytes).ok()
}

/// As a Secret's data holds it.
pub(super) fn encoded(text: &str) -> String {
    STANDARD.encode(text)
}
