//! Request bodies: read within bounds, from any of the wire formats, checked against the type that the URL names.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, header::CONTENT_TYPE};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde_json::Value;

use super::query::Query;
use crate::{
    custom::Version,
    schema::{
        TypeRef,
        reader::{self, Limits, ReadError},
        strict::{self, Checked, DecodeError},
        type_for_api_version,
    },
    served::{Served, Typed},
    status::Status,
    wire::protobuf::{self, ProtobufError},
};

/// What clients may send.
pub(crate) const MEDIA_TYPES: &str =
    "application/json, application/yaml, application/vnd.kubernetes.protobuf";

/// What clients may send of custom resources.
const CUSTOM_MEDIA_TYPES: &str = "application/json, application/yaml";

/// So much of a refused body is still taken, and for so long.
const DISCARD_BYTES: usize = 64 << 20;
const DISCARD_TIME: Duration = Duration::from_secs(2);

/// How long a body is, as far as that is told: else, and at most, as long as it may be.
pub(crate) fn length(body: &Body, limit: usize) -> usize {
    let told = hyper::body::Body::size_hint(body).upper();
    told.and_then(|bytes| usize::try_from(bytes).ok()).map_or(limit, |bytes| bytes.min(limit))
}

/// Reads a whole body.
pub(crate) async fn read(body: &mut Body, limit: usize) -> Result<Bytes, Status> {
    match Limited::new(body, limit).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() || too_long(&*error) => Err(Status::too_large(limit)),
        Err(error) => Err(Status::bad_request(format!("the request body could not be read: {error}"))),
    }
}

/// Reads on and forgets. A client of HTTP/1 sends its whole body before it looks at the answer: without this, a refusal of a
/// large body would be a broken connection to it.
pub(crate) async fn discard(body: Body) {
    let mut body = Limited::new(body, DISCARD_BYTES);
    let reading = async { while let Some(Ok(_)) = body.frame().await {} };
    // Whoever takes longer, or sends more, gets the broken connection.
    let _ = tokio::time::timeout(DISCARD_TIME, reading).await;
}

fn too_long(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.is::<LengthLimitError>() {
            return true;
        }
        next = error.source();
    }
    false
}

/// What to do about fields that the type does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FieldValidation {
    Ignore,
    Warn,
    Strict,
}

impl FieldValidation {
    pub(crate) fn of(query: &Query, options: &str) -> Result<FieldValidation, Status> {
        match query.text("fieldValidation") {
            None | Some("Warn") => Ok(FieldValidation::Warn),
            Some("Ignore") => Ok(FieldValidation::Ignore),
            Some("Strict") => Ok(FieldValidation::Strict),
            Some(other) => {
                let message = format!(
                    "Unsupported value: {other:?}: supported values: \"Ignore\", \"Strict\", \"Warn\""
                );
                Err(Status::invalid_option(options, "fieldValidation", "FieldValueNotSupported", message))
            }
        }
    }
}

/// A decoded body and what was odd about it.
pub(crate) struct Decoded {
    pub(crate) value: Value,
    pub(crate) warnings: Vec<String>,
}

/// The media type of a body, without parameters; JSON when none is told.
pub(crate) fn media_type(headers: &HeaderMap) -> String {
    let value = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("application/json");
    let value = value.split(';').next().unwrap_or_default().trim();
    if value.is_empty() { "application/json".into() } else { value.to_ascii_lowercase() }
}

fn limits(limit: usize) -> Limits {
    Limits { bytes: limit, ..Limits::default() }
}

/// Decodes a body as an object of a kind.
pub(crate) fn decode_served(
    headers: &HeaderMap,
    bytes: &Bytes,
    limit: usize,
    served: &Served,
    validation: FieldValidation,
) -> Result<Decoded, Status> {
    let (api_version, kind) = (served.api_version(), served.name());
    match served.typed()? {
        Typed::Table(_) => decode(headers, bytes, limit, &api_version, kind, validation),
        Typed::Custom(version) => {
            decode_custom(headers, bytes, limit, version, (&api_version, kind), validation)
        }
    }
}

/// Decodes a body as a custom resource, completed by its schema.
fn decode_custom(
    headers: &HeaderMap,
    bytes: &Bytes,
    limit: usize,
    version: &Version,
    (api_version, kind): (&str, &str),
    validation: FieldValidation,
) -> Result<Decoded, Status> {
    if bytes.is_empty() {
        return Err(Status::bad_request("the request body is empty"));
    }
    let cannot = |error: &dyn std::fmt::Display| {
        Status::bad_request(format!(
            "{kind} in version {:?} cannot be handled as a {kind}: {error}",
            version.name
        ))
    };
    let (mut value, checked) = match media_type(headers).as_str() {
        "application/json" => {
            let document = reader::read(bytes, limits(limit)).map_err(|error| match error {
                ReadError::TooLarge { limit } => Status::too_large(limit),
                other => cannot(&other),
            })?;
            (document.value, Checked { duplicates: document.duplicates, ..Checked::default() })
        }
        "application/yaml" => {
            let (value, repeated) = yaml_telling(bytes)?;
            (value, Checked { repeated, ..Checked::default() })
        }
        _ => return Err(Status::unsupported_media(CUSTOM_MEDIA_TYPES)),
    };
    if !value.is_object() {
        return Err(cannot(&"it is no object"));
    }
    same_kind(&value, api_version, kind)?;
    if let Some(map) = value.as_object_mut() {
        map.insert("apiVersion".into(), api_version.into());
        map.insert("kind".into(), kind.into());
    }
    let unknown = version.shape(&mut value).map_err(|error| cannot(&error))?;
    let warnings = judge(&Checked { unknown, ..checked }, validation).map_err(|error| cannot(&error))?;
    Ok(Decoded { value, warnings })
}

/// Decodes a body as an object of a type.
pub(crate) fn decode(
    headers: &HeaderMap,
    bytes: &Bytes,
    limit: usize,
    api_version: &str,
    kind: &str,
    validation: FieldValidation,
) -> Result<Decoded, Status> {
    let of = type_of(api_version, kind)?;
    if bytes.is_empty() {
        return Err(Status::bad_request("the request body is empty"));
    }
    let cannot = |error: &dyn std::fmt::Display| {
        let version = api_version.rsplit('/').next().unwrap_or(api_version);
        Status::bad_request(format!("{kind} in version {version:?} cannot be handled as a {kind}: {error}"))
    };
    let (mut value, checked) = match media_type(headers).as_str() {
        "application/json" => strict::decode(of, bytes, limits(limit)).map_err(|e| match e {
            DecodeError::Read(ReadError::TooLarge { limit }) => Status::too_large(limit),
            other => cannot(&other),
        })?,
        "application/yaml" => {
            let (mut value, repeated) = yaml_telling(bytes)?;
            let checked = strict::check(of, &mut value).map_err(|e| cannot(&e))?;
            (value, Checked { repeated, ..checked })
        }
        "application/vnd.kubernetes.protobuf" => {
            let decoded =
                protobuf::decode(bytes, Some((api_version, kind)), limits(limit)).map_err(|e| match e {
                    ProtobufError::TooLarge { limit } => Status::too_large(limit),
                    other => Status::bad_request(other.to_string()),
                })?;
            let mut value = decoded.value;
            same_kind(&value, api_version, kind)?;
            let checked = strict::check(of, &mut value).map_err(|e| cannot(&e))?;
            (value, checked)
        }
        _ => return Err(Status::unsupported_media(MEDIA_TYPES)),
    };
    same_kind(&value, api_version, kind)?;
    let warnings = judge(&checked, validation).map_err(|e| cannot(&e))?;
    if let Some(map) = value.as_object_mut() {
        map.insert("apiVersion".into(), api_version.into());
        map.insert("kind".into(), kind.into());
    }
    Ok(Decoded { value, warnings })
}

/// What unknown and repeated fields come to: nothing, warnings or an error.
pub(crate) fn judge(checked: &Checked, validation: FieldValidation) -> Result<Vec<String>, String> {
    match (validation, checked.strict_error()) {
        (FieldValidation::Strict, Some(error)) => Err(error),
        (FieldValidation::Warn, Some(_)) => Ok(checked.problems()),
        _ => Ok(Vec::new()),
    }
}

/// A body that says what it is must be what the URL says.
fn same_kind(value: &Value, api_version: &str, kind: &str) -> Result<(), Status> {
    let told = |key: &str| value.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    if let Some(told) = told("kind").filter(|told| *told != kind) {
        return Err(Status::bad_request(format!(
            "the object provided is a {told}, not a {kind} as the URL says"
        )));
    }
    if let Some(told) = told("apiVersion").filter(|told| *told != api_version) {
        let message = format!(
            "the API version in the data ({told}) does not match the expected API version ({api_version})"
        );
        return Err(Status::bad_request(message));
    }
    Ok(())
}

/// Reads YAML.
pub(crate) fn yaml(bytes: &[u8]) -> Result<Value, Status> {
    Ok(yaml_telling(bytes)?.0)
}

/// Reads YAML, and tells which keys it repeats.
pub(crate) fn yaml_telling(bytes: &[u8]) -> Result<(Value, Vec<String>), Status> {
    let text = std::str::from_utf8(bytes).map_err(|_| Status::bad_request("the YAML body is not UTF-8"))?;
    reader::read_yaml_telling(text)
        .map_err(|error| Status::bad_request(format!("the YAML body cannot be read: {error}")))
}

/// Reads a JSON body of no particular type.
pub(crate) fn plain_json(bytes: &[u8], limit: usize) -> Result<Value, Status> {
    let document = reader::read(bytes, limits(limit)).map_err(|e| match e {
        ReadError::TooLarge { limit } => Status::too_large(limit),
        other => Status::bad_request(format!("error decoding the request body: {other}")),
    })?;
    Ok(document.value)
}

/// The type of an object by its value's own words or the URL's.
pub(crate) fn type_of(api_version: &str, kind: &str) -> Result<TypeRef, Status> {
    type_for_api_version(api_version, kind)
        .ok_or_else(|| Status::internal(format!("no schema of {kind} in {api_version}")))
}
