//! Which form of an answer a client accepts.

use http::{HeaderMap, HeaderValue, header::ACCEPT};

use crate::{status::Status, wire::protobuf};

/// How the answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Media {
    /// JSON.
    Json,
    /// YAML.
    Yaml,
    /// Kubernetes' protobuf.
    Protobuf,
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

const MEDIA_TYPES: &str = "application/json, application/yaml, application/vnd.kubernetes.protobuf";
const WITHOUT_PROTOBUF: &str = "application/json, application/yaml";

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

/// Takes protobuf out of what a client accepts, where there are no messages: that of custom kinds, as in Kubernetes. Who accepts nothing
/// else is refused.
pub(crate) fn without_protobuf(headers: &mut HeaderMap) -> Result<(), Status> {
    let is_protobuf = |alternative: &&str| {
        alternative
            .split(';')
            .next()
            .is_some_and(|media| media.trim().eq_ignore_ascii_case(protobuf::MEDIA_TYPE))
    };
    let accepted = headers.get_all(ACCEPT).into_iter().filter_map(|value| value.to_str().ok());
    let accepted: Vec<&str> = accepted.flat_map(|value| value.split(',')).collect();
    if !accepted.iter().any(is_protobuf) {
        return Ok(());
    }
    let left: Vec<&str> = accepted.into_iter().filter(|alternative| !is_protobuf(alternative)).collect();
    if left.iter().all(|alternative| alternative.trim().is_empty()) {
        return Err(Status::not_acceptable(WITHOUT_PROTOBUF));
    }
    // It is made of values that were there.
    if let Ok(left) = HeaderValue::from_str(&left.join(",")) {
        headers.insert(ACCEPT, left);
    }
    Ok(())
}

fn read(alternative: &str, answer: Answer) -> Option<Form> {
    let mut parts = alternative.split(';').map(str::trim);
    let media = match parts.next()?.to_ascii_lowercase().as_str() {
        "application/json" | "*/*" | "application/*" => Media::Json,
        "application/yaml" => Media::Yaml,
        protobuf::MEDIA_TYPE => Media::Protobuf,
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
        // Of this there are no messages.
        ("meta.k8s.io", "v1beta1") if media != Media::Protobuf => "v1beta1",
        _ => return None,
    };
    let shape = match (shape, answer) {
        // Cells may hold anything, which no message can say.
        ("Table", Answer::List | Answer::Object) if media != Media::Protobuf => Shape::Table(version),
        ("PartialObjectMetadata", Answer::Object) => Shape::Metadata { list: false, version },
        ("PartialObjectMetadataList", Answer::List) => Shape::Metadata { list: true, version },
        // Watches are asked for with the form of one object.
        ("PartialObjectMetadata", Answer::List) => Shape::Metadata { list: false, version },
        _ => return None,
    };
    Some(Form { media, shape })
}

/// Aggregated discovery as a client wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Aggregated {
    /// Version of `apidiscovery.k8s.io`.
    pub version: &'static str,
    /// How it is written.
    pub media: Media,
}

/// The form of aggregated discovery that a client prefers to the older documents.
pub fn aggregated_discovery(headers: &HeaderMap) -> Option<Aggregated> {
    let accepts =
        headers.get_all(ACCEPT).into_iter().filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(','));
    for alternative in accepts.map(str::trim) {
        let mut parts = alternative.split(';').map(str::trim);
        let media = match parts.next() {
            Some("application/json") => Media::Json,
            Some("application/yaml") => Media::Yaml,
            Some(protobuf::MEDIA_TYPE) => Media::Protobuf,
            _ => continue,
        };
        let parts: Vec<&str> = parts.collect();
        if parts.contains(&"as=APIGroupDiscoveryList") && parts.contains(&"g=apidiscovery.k8s.io") {
            for (part, version) in [("v=v2", "v2"), ("v=v2beta1", "v2beta1")] {
                if parts.contains(&part) {
                    return Some(Aggregated { version, media });
                }
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
        let protobuf = pick("application/vnd.kubernetes.protobuf,application/json", Answer::Object).unwrap();
        assert_eq!(protobuf, Form { media: Media::Protobuf, shape: Shape::Plain });
        assert_eq!(
            pick("application/json, application/vnd.kubernetes.protobuf", Answer::Object),
            Ok(Form::JSON)
        );
        let metadata = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
        let metadata = pick(metadata, Answer::Object).unwrap();
        assert_eq!(metadata.media, Media::Protobuf);
        assert_eq!(metadata.shape, Shape::Metadata { list: false, version: "v1" });
        // A table has no message.
        let table = "application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io";
        assert_eq!(pick(table, Answer::List), Err(406));
        assert_eq!(pick(&format!("{table},application/json"), Answer::List), Ok(Form::JSON));
        assert_eq!(pick("application/yaml", Answer::Object).unwrap().media, Media::Yaml);
        assert_eq!(pick("application/json;as=Table;v=v1;g=meta.k8s.io", Answer::Other), Err(406));
        assert_eq!(pick("text/csv", Answer::List), Err(406));
        assert_eq!(negotiate(&HeaderMap::new(), Answer::List), Ok(Form::JSON));
    }

    #[test]
    fn what_has_no_messages_is_shown_otherwise_or_not_at_all() {
        let left = |accept: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, accept.parse().unwrap());
            without_protobuf(&mut headers).map_err(|s| s.code)?;
            negotiate(&headers, Answer::Object).map_err(|s| s.code)
        };
        assert_eq!(left("application/vnd.kubernetes.protobuf,application/json"), Ok(Form::JSON));
        assert_eq!(left("Application/vnd.kubernetes.protobuf;stream=watch, */*"), Ok(Form::JSON));
        assert_eq!(left("application/vnd.kubernetes.protobuf"), Err(406));
        assert_eq!(left("application/yaml").unwrap().media, Media::Yaml);
        assert_eq!(without_protobuf(&mut HeaderMap::new()), Ok(()));
    }
}
