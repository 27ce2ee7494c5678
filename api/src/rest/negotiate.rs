//! Which form of an answer a client accepts.

use http::{HeaderMap, header::ACCEPT};

use crate::status::Status;

/// How the answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Media {
    /// JSON.
    Json,
    /// YAML.
    Yaml,
}

/// What is shown of objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// The objects themselves.
    Plain,
    /// A table, in a version of `meta.k8s.io`.
    Table(&'static str),
    /// Their metadata only; whether the client named the list form.
    Metadata {
        /// `PartialObjectMetadataList` was asked for.
        list: bool,
        /// Version of `meta.k8s.io`.
        version: &'static str,
    },
}

/// A form that was agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    /// How it is written.
    pub media: Media,
    /// What is shown.
    pub shape: Shape,
}

impl Form {
    /// Objects as JSON.
    pub const JSON: Form = Form { media: Media::Json, shape: Shape::Plain };
}

const MEDIA_TYPES: &str = "application/json, application/yaml";

/// What the answer may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Many objects.
    List,
    /// One object.
    Object,
    /// Something that has no table and no metadata of its own.
    Other,
}

/// Picks the first form in the client's order that fits the answer.
pub fn negotiate(headers: &HeaderMap, answer: Answer) -> Result<Form, Status> {
    let mut any = false;
    for value in headers.get_all(ACCEPT) {
        let Ok(value) = value.to_str() else { continue };
        for alternative in value.split(',').map(str::trim).filter(|a| !a.is_empty()) {
            any = true;
            if let Some(form) = read(alternative, answer) {
                return Ok(form);
            }
        }
    }
    if any { Err(Status::not_acceptable(MEDIA_TYPES)) } else { Ok(Form::JSON) }
}

fn read(alternative: &str, answer: Answer) -> Option<Form> {
    let mut parts = alternative.split(';').map(str::trim);
    let media = match parts.next()?.to_ascii_lowercase().as_str() {
        "application/json" | "*/*" | "application/*" => Media::Json,
        "application/yaml" => Media::Yaml,
        _ => return None,
    };
    let (mut shape, mut group, mut version) = ("", "", "");
    for part in parts {
        match part.split_once('=').map(|(key, value)| (key.trim(), value.trim().trim_matches('"'))) {
            Some(("as", value)) => shape = value,
            Some(("g", value)) => group = value,
            Some(("v", value)) => version = value,
            _ => {}
        }
    }
    if shape.is_empty() {
        return Some(Form { media, shape: Shape::Plain });
    }
    let version = match (group, version) {
        ("meta.k8s.io", "v1") => "v1",
        ("meta.k8s.io", "v1beta1") => "v1beta1",
        _ => return None,
    };
    let shape = match (shape, answer) {
        ("Table", Answer::List | Answer::Object) => Shape::Table(version),
        ("PartialObjectMetadata", Answer::Object) => Shape::Metadata { list: false, version },
        ("PartialObjectMetadataList", Answer::List) => Shape::Metadata { list: true, version },
        // Watches are asked for with the form of one object.
        ("PartialObjectMetadata", Answer::List) => Shape::Metadata { list: false, version },
        _ => return None,
    };
    Some(Form { media, shape })
}

/// The version of aggregated discovery that a client prefers to the older documents.
pub fn aggregated_discovery(headers: &HeaderMap) -> Option<&'static str> {
    let accepts =
        headers.get_all(ACCEPT).into_iter().filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(','));
    for alternative in accepts.map(str::trim) {
        let mut parts = alternative.split(';').map(str::trim);
        if !matches!(parts.next(), Some("application/json")) {
            continue;
        }
        let parts: Vec<&str> = parts.collect();
        if parts.contains(&"as=APIGroupDiscoveryList") && parts.contains(&"g=apidiscovery.k8s.io") {
            if parts.contains(&"v=v2") {
                return Some("v2");
            }
            if parts.contains(&"v=v2beta1") {
                return Some("v2beta1");
            }
        } else if parts.iter().all(|p| p.starts_with("q=")) {
            return None;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn pick(accept: &str, answer: Answer) -> Result<Form, u16> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, accept.parse().unwrap());
        negotiate(&headers, answer).map_err(|s| s.code)
    }

    #[test]
    fn the_first_known_form_wins() {
        let table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
        assert_eq!(pick(table, Answer::List).unwrap().shape, Shape::Table("v1"));
        assert_eq!(pick(table, Answer::Other).unwrap(), Form::JSON);
        assert_eq!(
            pick("application/vnd.kubernetes.protobuf,application/json", Answer::Object),
            Ok(Form::JSON)
        );
        assert_eq!(pick("application/vnd.kubernetes.protobuf, */*", Answer::Object), Ok(Form::JSON));
        assert_eq!(pick("application/yaml", Answer::Object).unwrap().media, Media::Yaml);
        assert_eq!(pick("application/json;as=Table;v=v1;g=meta.k8s.io", Answer::Other), Err(406));
        assert_eq!(pick("text/csv", Answer::List), Err(406));
        assert_eq!(negotiate(&HeaderMap::new(), Answer::List), Ok(Form::JSON));
    }
}
