//! The question that a webhook is asked, an AdmissionReview, and what its answer says.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::asked::Asked;
use crate::{
    resource::fields::{items, text},
    rest::User,
    schema::reader::{self, Limits},
    served::Served,
    status::{Cause, Status},
};

/// How much of what a webhook says is taken: warnings, annotations for the audit, causes of a refusal, and characters of each.
const WARNINGS: usize = 32;
const ANNOTATIONS: usize = 32;
const CAUSES: usize = 64;
const TEXT: usize = 4096;

/// The form of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    V1,
    V1beta1,
}

impl Version {
    pub(super) fn of(name: &str) -> Option<Version> {
        match name {
            "v1" => Some(Version::V1),
            "v1beta1" => Some(Version::V1beta1),
            _ => None,
        }
    }

    fn api_version(self) -> &'static str {
        match self {
            Version::V1 => "admission.k8s.io/v1",
            Version::V1beta1 => "admission.k8s.io/v1beta1",
        }
    }
}

/// All of a question but its uid and the objects. `version` is the version of the resource that the webhook wants. What is empty is left out.
pub(super) fn request(asked: &Asked, user: &User, version: &Served) -> Value {
    let plural = asked.served.kind.info().plural;
    let split = |api_version: &str| {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        json!({"group": group, "version": version, "kind": asked.kind})
    };
    let told = split(&asked.api_version);
    let mut kind = told.clone();
    if asked.is_object() {
        kind["group"] = version.group().into();
        kind["version"] = version.version().into();
    }
    let resource = |of: &Served| json!({"group": of.group(), "version": of.version(), "resource": plural});
    let extra: Map<String, Value> =
        user.extra.iter().map(|(key, values)| (key.clone(), json!(values))).collect();
    let mut request = json!({
        "kind": kind, "resource": resource(version), "subResource": asked.subresource,
        "requestKind": told, "requestResource": resource(&asked.served),
        "requestSubResource": asked.subresource,
        "name": asked.name, "namespace": asked.namespace, "operation": asked.operation.name(),
        "userInfo": {"username": user.name, "uid": user.uid, "groups": user.groups, "extra": extra},
        "dryRun": asked.dry_run, "options": asked.options,
    });
    let told = |value: &Value| match value {
        Value::String(text) => !text.is_empty(),
        Value::Object(map) => !map.is_empty(),
        Value::Array(list) => !list.is_empty(),
        _ => true,
    };
    if let Some(request) = request.as_object_mut() {
        request.retain(|_, value| value.as_str() != Some(""));
    }
    if let Some(user) = request["userInfo"].as_object_mut() {
        user.retain(|_, value| told(value));
    }
    request
}

#[derive(Serialize)]
struct Review<'a> {
    kind: &'static str,
    #[serde(rename = "apiVersion")]
    api_version: &'static str,
    request: Question<'a>,
}

#[derive(Serialize)]
struct Question<'a> {
    uid: &'a str,
    #[serde(flatten)]
    request: Map<String, Value>,
    object: &'a Value,
    #[serde(rename = "oldObject")]
    old: &'a Value,
}

/// The bytes of a question.
pub(super) fn encode(version: Version, uid: &str, request: &Value, object: &Value, old: &Value) -> Vec<u8> {
    let request = request.as_object().cloned().unwrap_or_default();
    let question = Question { uid, request, object, old };
    let review = Review { kind: "AdmissionReview", api_version: version.api_version(), request: question };
    serde_json::to_vec(&review).unwrap_or_default()
}

/// What a webhook says.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) allowed: bool,
    /// A JSON patch.
    pub(super) patch: Option<Value>,
    pub(super) warnings: Vec<String>,
    /// By names without the webhook's.
    pub(super) annotations: Vec<(String, String)>,
    status: Value,
}

/// Reads an answer.
///
/// # Errors
/// It is none to this question.
pub(super) fn decode(version: Version, uid: &str, mutating: bool, bytes: &[u8]) -> Result<Said, String> {
    let limits = Limits { bytes: bytes.len(), ..Limits::default() };
    let review = reader::read(bytes, limits).map_err(|error| error.to_string())?.value;
    let response = &review["response"];
    if !response.is_object() {
        return Err("webhook response was absent".into());
    }
    if version == Version::V1 {
        let told = text(response, "uid");
        if told != uid {
            return Err(format!("expected response.uid={uid:?}, got {:?}", cut(told)));
        }
        let (api_version, kind) = (text(&review, "apiVersion"), text(&review, "kind"));
        if (api_version, kind) != ("admission.k8s.io/v1", "AdmissionReview") {
            let (api_version, kind) = (cut(api_version), cut(kind));
            return Err(format!(
                "expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got {api_version}, Kind={kind}"
            ));
        }
    }
    let (patch, kind) = (text(response, "patch"), response["patchType"].as_str());
    if !mutating && version == Version::V1 {
        if !patch.is_empty() {
            return Err("validating webhook may not return response.patch".into());
        }
        if kind.is_some() {
            return Err("validating webhook may not return response.patchType".into());
        }
    }
    let patch = match (patch, kind) {
        _ if !mutating => None,
        ("", Some(_)) if version == Version::V1 => {
            return Err("webhook returned response.patchType but not response.patch".into());
        }
        ("", _) => None,
        (_, None) if version == Version::V1 => {
            return Err("webhook returned response.patch but not response.patchType".into());
        }
        (_, Some(kind)) if version == Version::V1 && kind != "JSONPatch" => {
            return Err(format!("webhook returned invalid response.patchType of {:?}", cut(kind)));
        }
        (patch, _) => Some(read_patch(patch)?),
    };
    let allowed = match &response["allowed"] {
        Value::Bool(allowed) => *allowed,
        Value::Null => false,
        _ => return Err("response.allowed is no truth value".into()),
    };
    let warnings = items(response, "warnings").filter_map(|(_, warning)| warning.as_str());
    let annotations = response["auditAnnotations"].as_object().into_iter().flatten();
    let annotations = annotations.filter_map(|(key, value)| Some((key.clone(), cut(value.as_str()?))));
    Ok(Said {
        allowed,
        patch,
        warnings: warnings.take(WARNINGS).map(cut).collect(),
        annotations: annotations.filter(|(key, _)| is_word(key)).take(ANNOTATIONS).collect(),
        status: response["status"].clone(),
    })
}

fn read_patch(patch: &str) -> Result<Value, String> {
    let bytes = STANDARD.decode(patch).map_err(|error| format!("response.patch is not base64: {error}"))?;
    let limits = Limits { bytes: bytes.len(), ..Limits::default() };
    reader::read(&bytes, limits).map(|read| read.value).map_err(|error| format!("response.patch: {error}"))
}

/// The last part of an annotation's name.
fn is_word(key: &str) -> bool {
    (1..=63).contains(&key.len())
        && key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

fn cut(text: &str) -> String {
    text.chars().take(TEXT).collect()
}

impl Said {
    /// The refusal of a webhook of this name.
    pub(super) fn refusal(&self, webhook: &str) -> Status {
        let told = &self.status;
        let by = format!("admission webhook {webhook:?} denied the request");
        let message = match (text(told, "message"), text(told, "reason")) {
            ("", "") => format!("{by} without explanation"),
            ("", said) | (said, _) => format!("{by}: {}", cut(said)),
        };
        let code = match told["code"].as_u64().unwrap_or(0) {
            0..400 => 400,
            code @ 400..600 => u16::try_from(code).unwrap_or(500),
            _ => 500,
        };
        let mut status = Status::new(code, reason(text(told, "reason")), message);
        let details = &told["details"];
        status.name = cut(text(details, "name"));
        status.group = cut(text(details, "group"));
        status.kind = cut(text(details, "kind"));
        status.retry_after_s = details["retryAfterSeconds"].as_u64().and_then(|s| u32::try_from(s).ok());
        status.causes = items(details, "causes")
            .take(CAUSES)
            .map(|(_, cause)| Cause {
                reason: cut(text(cause, "reason")),
                message: cut(text(cause, "message")),
                field: cut(text(cause, "field")),
            })
            .collect();
        status
    }
}

/// A reason that programs know; empty for others.
fn reason(told: &str) -> &'static str {
    const KNOWN: [&str; 16] = [
        "Unauthorized",
        "Forbidden",
        "NotFound",
        "AlreadyExists",
        "Conflict",
        "Gone",
        "Invalid",
        "ServerTimeout",
        "Timeout",
        "TooManyRequests",
        "BadRequest",
        "MethodNotAllowed",
        "NotAcceptable",
        "RequestEntityTooLarge",
        "InternalError",
        "ServiceUnavailable",
    ];
    KNOWN.into_iter().find(|known| *known == told).unwrap_or_default()
}
