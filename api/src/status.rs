//! The Kubernetes Status: every refusal of this API in one type, with its HTTP code, reason and details, and the total
//! functions from the cluster's own errors to it.

use kontiki_actors::{Kind, ObjectKey, Rejection};
use serde_json::{Map, Value, json};

use crate::{
    backend::{LogsError, Unavailable},
    feed::Expired,
};

/// One cause of a failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// `FieldValueRequired` and so on.
    pub reason: String,
    /// For people.
    pub message: String,
    /// Which field, or empty.
    pub field: String,
}

/// What a request was refused with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code} {reason}: {message}")]
pub struct Status {
    /// HTTP status code.
    pub code: u16,
    /// A word for programs.
    pub reason: &'static str,
    /// A sentence for people.
    pub message: String,
    /// Name of the object.
    pub name: String,
    /// Its API group.
    pub group: String,
    /// Its resource, or its kind where the object's content is at fault.
    pub kind: String,
    /// Why, in detail.
    pub causes: Vec<Cause>,
    /// When to try again.
    pub retry_after_s: Option<u32>,
    /// Lets an expired list go on, inconsistently.
    pub continue_token: Option<String>,
}

impl Status {
    /// A failure with a code, a reason and a message.
    pub fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Status {
        Status {
            code,
            reason,
            message: message.into(),
            name: String::new(),
            group: String::new(),
            kind: String::new(),
            causes: Vec::new(),
            retry_after_s: None,
            continue_token: None,
        }
    }

    /// This failure, about an object of a resource.
    pub fn about(mut self, kind: Kind, name: &str) -> Status {
        let info = kind.info();
        self.name = name.to_owned();
        self.group = info.group.to_owned();
        self.kind = info.plural.to_owned();
        self
    }

    /// This failure with a cause.
    pub fn caused(mut self, reason: &str, field: &str, message: impl Into<String>) -> Status {
        self.causes.push(Cause {
            reason: reason.to_owned(),
            message: message.into(),
            field: field.to_owned(),
        });
        self
    }

    /// This failure with a hint when to try again.
    pub fn retry(mut self, seconds: u32) -> Status {
        self.retry_after_s = Some(seconds);
        self
    }

    /// 400.
    pub fn bad_request(message: impl Into<String>) -> Status {
        Status::new(400, "BadRequest", message)
    }

    /// 401.
    pub fn unauthorized() -> Status {
        Status::new(401, "Unauthorized", "Unauthorized")
    }

    /// 404 for a path that is none.
    pub fn no_resource() -> Status {
        Status::new(404, "NotFound", "the server could not find the requested resource")
    }

    /// 404 for an object.
    pub fn not_found(kind: Kind, name: &str) -> Status {
        Status::new(404, "NotFound", format!("{} {name:?} not found", kind.resource_name())).about(kind, name)
    }

    /// 403 about an object.
    pub fn forbidden(kind: Kind, name: &str, why: impl std::fmt::Display) -> Status {
        Status::new(403, "Forbidden", format!("{} {name:?} is forbidden: {why}", kind.resource_name()))
            .about(kind, name)
    }

    /// 405.
    pub fn method_not_allowed(what: &str, on: &str) -> Status {
        Status::new(405, "MethodNotAllowed", format!("{what} is not supported on resources of kind {on:?}"))
    }

    /// 406.
    pub fn not_acceptable(types: &str) -> Status {
        Status::new(406, "NotAcceptable", format!("only the following media types are accepted: {types}"))
    }

    /// 409, the object changed since it was read.
    pub fn conflict(kind: Kind, name: &str, why: impl std::fmt::Display) -> Status {
        let resource = kind.resource_name();
        Status::new(409, "Conflict", format!("Operation cannot be fulfilled on {resource} {name:?}: {why}"))
            .about(kind, name)
    }

    /// 409, the object changed since the client read it.
    pub fn modified(kind: Kind, name: &str) -> Status {
        const WHY: &str =
            "the object has been modified; please apply your changes to the latest version and try again";
        Status::conflict(kind, name, WHY)
    }

    /// 409, the name is taken.
    pub fn already_exists(kind: Kind, name: &str) -> Status {
        Status::new(409, "AlreadyExists", format!("{} {name:?} already exists", kind.resource_name()))
            .about(kind, name)
    }

    /// 413.
    pub fn too_large(limit: usize) -> Status {
        Status::new(413, "RequestEntityTooLarge", format!("Request entity too large: limit is {limit}"))
    }

    /// 415.
    pub fn unsupported_media(types: &str) -> Status {
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: {types}"
        );
        Status::new(415, "UnsupportedMediaType", message)
    }

    /// 422 for an object: its kind and group, and what is wrong.
    pub fn invalid(group: &str, kind: &str, name: &str, causes: Vec<Cause>) -> Status {
        let texts: Vec<String> =
            causes
                .iter()
                .map(|c| {
                    if c.field.is_empty() { c.message.clone() } else { format!("{}: {}", c.field, c.message) }
                })
                .collect();
        let what = match texts.as_slice() {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let dotted = if group.is_empty() { kind.to_owned() } else { format!("{kind}.{group}") };
        let mut status = Status::new(422, "Invalid", format!("{dotted} {name:?} is invalid: {what}"));
        status.name = name.to_owned();
        status.group = group.to_owned();
        status.kind = kind.to_owned();
        status.causes = causes;
        status
    }

    /// 422 for options of a request.
    pub fn invalid_option(options: &str, field: &str, reason: &str, message: impl Into<String>) -> Status {
        let cause = Cause { reason: reason.to_owned(), message: message.into(), field: field.to_owned() };
        Status::invalid("meta.k8s.io", options, "", vec![cause])
    }

    /// 500.
    pub fn internal(message: impl std::fmt::Display) -> Status {
        Status::new(500, "InternalError", format!("Internal error occurred: {message}"))
    }

    /// The body.
    pub fn to_value(&self) -> Value {
        let mut details = Map::new();
        for (key, text) in [("name", &self.name), ("group", &self.group), ("kind", &self.kind)] {
            if !text.is_empty() {
                details.insert(key.into(), text.as_str().into());
            }
        }
        if !self.causes.is_empty() {
            let causes = self.causes.iter().map(|c| {
                let mut cause = Map::new();
                for (key, text) in [("reason", &c.reason), ("message", &c.message), ("field", &c.field)] {
                    if !text.is_empty() {
                        cause.insert(key.into(), text.as_str().into());
                    }
                }
                Value::Object(cause)
            });
            details.insert("causes".into(), causes.collect());
        }
        if let Some(seconds) = self.retry_after_s {
            details.insert("retryAfterSeconds".into(), seconds.into());
        }
        let mut metadata = Map::new();
        if let Some(token) = &self.continue_token {
            metadata.insert("continue".into(), token.as_str().into());
        }
        let mut body = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": metadata, "status": "Failure",
            "message": self.message, "reason": self.reason, "code": self.code,
        });
        if !details.is_empty() {
            body["details"] = Value::Object(details);
        }
        body
    }

    /// The body of a success that has no object to show.
    pub fn success(kind: Kind, name: &str, uid: &str) -> Value {
        let info = kind.info();
        let mut details = json!({"name": name, "kind": info.plural});
        if !info.group.is_empty() {
            details["group"] = info.group.into();
        }
        if !uid.is_empty() {
            details["uid"] = uid.into();
        }
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details})
    }
}

impl From<Unavailable> for Status {
    fn from(error: Unavailable) -> Status {
        let message = error.to_string();
        match error {
            Unavailable::NoQuorum { .. } | Unavailable::ShuttingDown => {
                let text = format!("the server is currently unable to handle the request: {message}");
                Status::new(503, "ServiceUnavailable", text).retry(1)
            }
            Unavailable::Timeout { .. } => {
                Status::new(504, "Timeout", format!("Timeout: {message}")).retry(1)
            }
            Unavailable::Behind { wanted, current } => {
                let text = format!("Too large resource version: {wanted}, current: {current}");
                Status::new(504, "Timeout", format!("Timeout: {text}"))
                    .caused("ResourceVersionTooLarge", "", "Too large resource version")
                    .retry(1)
            }
            // It may take as long as the upgrade: no word on when to come again, or clients would wait.
            Unavailable::Level { .. } => Status::new(503, "ServiceUnavailable", message),
            Unavailable::TooLarge { .. } => Status::new(413, "RequestEntityTooLarge", message),
            Unavailable::Defect { .. } => Status::internal(message),
            Unavailable::Overloaded => Status::new(429, "TooManyRequests", message).retry(1),
        }
    }
}

impl From<Expired> for Status {
    fn from(error: Expired) -> Status {
        Status::new(410, "Expired", error.to_string())
    }
}

impl From<LogsError> for Status {
    fn from(error: LogsError) -> Status {
        match error {
            LogsError::NotFound(message) | LogsError::Refused(message) => Status::bad_request(message),
            LogsError::Unreachable(message) => {
                let text = format!("the server is currently unable to handle the request: {message}");
                Status::new(503, "ServiceUnavailable", text).retry(1)
            }
        }
    }
}

impl From<Rejection> for Status {
    fn from(rejection: Rejection) -> Status {
        match rejection {
            Rejection::NotFound(key) => Status::not_found(key.kind, &key.name),
            Rejection::AlreadyExists(key) => Status::already_exists(key.kind, &key.name),
            Rejection::Conflict(key, why) => Status::conflict(key.kind, &key.name, why),
            Rejection::Forbidden(key, why) => Status::forbidden(key.kind, &key.name, why),
            Rejection::NamespaceTerminating(key) => namespace_terminating(&key),
            Rejection::Invalid(key, field, message) => {
                let info = key.kind.info();
                let cause = Cause { reason: "FieldValueInvalid".into(), message, field };
                Status::invalid(info.group, info.kind, &key.name, vec![cause])
            }
            Rejection::TooManyRequests(key, why) => {
                let message = "Cannot evict pod as it would violate the pod's disruption budget.";
                let status = Status::new(429, "TooManyRequests", message).about(key.kind, &key.name);
                // No Retry-After, as in Kubernetes: with one, client-go would ask again and again before it tells anybody.
                status.caused("DisruptionBudget", "", why)
            }
            Rejection::Level { ref key, .. } => {
                Status::new(503, "ServiceUnavailable", rejection.to_string()).about(key.kind, &key.name)
            }
            Rejection::Unsupported(key, why) => {
                Status::new(500, "InternalError", why).about(key.kind, &key.name)
            }
        }
    }
}

fn namespace_terminating(key: &ObjectKey) -> Status {
    let namespace = if key.kind == Kind::NAMESPACE { &key.name } else { &key.namespace };
    let why = format!("unable to create new content in namespace {namespace} because it is being terminated");
    Status::forbidden(key.kind, &key.name, why).caused(
        "NamespaceTerminating",
        "metadata.namespace",
        format!("namespace {namespace} is being terminated"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_names_the_kind_and_lists_the_causes() {
        let cause = |field: &str| Cause {
            reason: "FieldValueRequired".into(),
            message: "Required value".into(),
            field: field.into(),
        };
        let one = Status::invalid("apps", "Deployment", "x", vec![cause("spec.selector")]);
        assert_eq!(one.message, "Deployment.apps \"x\" is invalid: spec.selector: Required value");
        let two = Status::invalid("", "Pod", "x", vec![cause("a"), cause("b")]);
        assert_eq!(two.message, "Pod \"x\" is invalid: [a: Required value, b: Required value]");
        assert_eq!(two.to_value()["details"]["kind"], "Pod");
        assert_eq!(two.to_value()["details"]["causes"][1]["field"], "b");
    }

    #[test]
    fn not_found_names_the_resource() {
        let status = Status::not_found(Kind::DEPLOYMENT, "web");
        assert_eq!(status.message, "deployments.apps \"web\" not found");
        assert_eq!(
            status.to_value()["details"],
            json!({"name": "web", "group": "apps", "kind": "deployments"})
        );
    }
}
