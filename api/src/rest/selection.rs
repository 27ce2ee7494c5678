//! Which objects of a collection a request means: namespace, name, label and field selectors.

use kontiki_actors::{Kind, Object};
use serde_json::Value;

use super::{path::Target, query::Query};
use crate::{
    selector::{FieldSelector, Selector},
    status::Status,
};

/// A part of a collection.
#[derive(Clone, Debug)]
pub(crate) struct Selection {
    pub(crate) kind: Kind,
    pub(crate) namespace: Option<String>,
    pub(crate) name: Option<String>,
    labels: Option<Selector>,
    fields: FieldSelector,
}

impl Selection {
    /// Reads the selectors of a request.
    pub(crate) fn of(target: &Target, query: &Query) -> Result<Selection, Status> {
        let kind = target.served.kind;
        let labels = match query.text("labelSelector") {
            Some(text) => {
                let parsed: Selector = text
                    .parse()
                    .map_err(|e| Status::bad_request(format!("unable to parse requirement: {e}")))?;
                Some(parsed).filter(|selector| !selector.is_everything())
            }
            None => None,
        };
        let text = query.text("fieldSelector").unwrap_or_default();
        let unable = |error: &dyn std::fmt::Display| {
            let resource = kind.info().plural;
            let group_version =
                if target.served.group().is_empty() { "/v1".into() } else { target.served.api_version() };
            Status::bad_request(format!(
                "Unable to find \"{group_version}, Resource={resource}\" that match label selector {:?}, field selector {text:?}: {error}",
                query.text("labelSelector").unwrap_or_default()
            ))
        };
        let fields: FieldSelector = text.parse().map_err(|e: crate::selector::SelectorError| unable(&e))?;
        let namespaced = kind.info().namespaced;
        let is_known = |field: &str| {
            field == "metadata.name"
                || (namespaced && field == "metadata.namespace")
                || target.served.selectable(field)
        };
        fields.require_known(is_known).map_err(|e| unable(&e))?;
        let fields = match target.served.edition() {
            Some(edition) => fields.renamed(|field| edition.stored_field(field)),
            None => fields,
        };
        let name = target.name.clone().or_else(|| fields.exact("metadata.name").map(str::to_owned));
        let namespace =
            target.namespace.clone().or_else(|| fields.exact("metadata.namespace").map(str::to_owned));
        Ok(Selection { kind, namespace, name, labels, fields })
    }

    /// The node whose pods are meant, if it is told: they are found by an index.
    pub(crate) fn node(&self) -> Option<&str> {
        let node = self.fields.exact("spec.nodeName").filter(|node| !node.is_empty());
        node.filter(|_| self.kind == Kind::POD)
    }

    /// Whether anything but the place decides.
    pub(crate) fn narrowed(&self) -> bool {
        self.labels.is_some() || !self.fields.is_everything()
    }

    /// Whether an object could belong to it, by where it is.
    pub(crate) fn is_place_of(&self, object: &Object) -> bool {
        object.key.kind == self.kind
            && self.namespace.as_deref().is_none_or(|n| n == object.key.namespace)
            && self.name.as_deref().is_none_or(|n| n == object.key.name)
    }

    /// Whether an object belongs to it. Where versions are more than names, it is to be in the version that is asked for.
    pub(crate) fn matches(&self, object: &Object) -> bool {
        self.is_place_of(object)
            && self.labels.as_ref().is_none_or(|labels| labels.matches(&object.meta.labels))
            && (self.fields.is_everything() || self.fields_match(object))
    }

    fn fields_match(&self, object: &Object) -> bool {
        // Segments are read at most once, and only if a field of them is asked for.
        let (mut spec, mut status, mut rest) = (None, None, None);
        self.fields.terms().iter().all(|term| {
            let text = match term.field.as_str() {
                "metadata.name" => object.key.name.to_string(),
                "metadata.namespace" => object.key.namespace.to_string(),
                "spec.nodeName" if object.pod().is_some() => {
                    object.pod().and_then(|p| p.node.as_deref()).unwrap_or_default().to_owned()
                }
                // The only field that selectors call by another name than documents do.
                "status.successful" => {
                    let status = status.get_or_insert_with(|| object.document.status_value());
                    status["succeeded"].as_i64().unwrap_or(0).to_string()
                }
                "source" => {
                    let rest = rest.get_or_insert_with(|| object.document.rest_value());
                    let source = rest["source"]["component"].as_str().filter(|source| !source.is_empty());
                    source.or(rest["reportingComponent"].as_str()).unwrap_or_default().to_owned()
                }
                field => match field.split_once('.') {
                    Some(("spec", path)) => {
                        text_at(spec.get_or_insert_with(|| object.document.spec_value()), path, field)
                    }
                    Some(("status", path)) => {
                        text_at(status.get_or_insert_with(|| object.document.status_value()), path, field)
                    }
                    _ => text_at(rest.get_or_insert_with(|| object.document.rest_value()), field, field),
                },
            };
            (text == term.value) != term.negated
        })
    }
}

/// The text of a field as selectors compare it.
fn text_at(value: &Value, path: &str, field: &str) -> String {
    let found = path.split('.').try_fold(value, |value, key| value.get(key));
    match found {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Bool(on)) => on.to_string(),
        Some(Value::Number(number)) => number.to_string(),
        Some(Value::Array(list)) => {
            let ips: Vec<&str> = list.iter().filter_map(|item| item["ip"].as_str()).collect();
            ips.join(",")
        }
        // Absent switches are off.
        _ if matches!(field, "spec.hostNetwork" | "spec.unschedulable") => "false".into(),
        _ if field == "status.replicas" => "0".into(),
        _ => String::new(),
    }
}
