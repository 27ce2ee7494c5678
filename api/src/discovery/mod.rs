//! What this API serves, as clients learn it: derived from the table of kinds and the strategies, so that a new kind is
//! served, discovered and documented by its one line.

mod aggregated;
mod legacy;

use std::sync::OnceLock;

pub use aggregated::aggregated;
use kontiki_actors::Kind;
pub use legacy::{group, group_list, resource_list, versions};

use crate::{
    resource::Strategy,
    schema::openapi::{ResourceDoc, SubresourceDoc},
};

/// One served resource.
#[derive(Debug)]
pub struct Resource {
    /// API group, empty for core.
    pub group: &'static str,
    /// Version.
    pub version: &'static str,
    /// Kind.
    pub kind: &'static str,
    /// Name in URLs.
    pub plural: &'static str,
    /// Name of one.
    pub singular: &'static str,
    /// Short names.
    pub short_names: &'static [&'static str],
    /// Categories.
    pub categories: &'static [&'static str],
    /// Whether it lives in namespaces.
    pub namespaced: bool,
    /// What can be done with it.
    pub verbs: &'static [&'static str],
    /// What stands below its objects.
    pub subresources: Vec<Subresource>,
}

/// Something below an object.
#[derive(Debug)]
pub struct Subresource {
    /// Last step of the URL.
    pub name: &'static str,
    /// Group of its kind.
    pub group: &'static str,
    /// Version of its kind.
    pub version: &'static str,
    /// Its kind.
    pub kind: &'static str,
    /// What can be done with it.
    pub verbs: &'static [&'static str],
}

const STANDARD: &[&str] =
    &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
const SINGLE: &[&str] = &["create", "delete", "get", "list", "patch", "update", "watch"];
const CREATE: &[&str] = &["create"];

/// Questions that are answered and not stored: group, kind, plural, singular, and whether they belong to a namespace.
const REVIEWS: [(&str, &str, &str, &str, bool); 6] = {
    const WHO: &str = "authentication.k8s.io";
    const MAY: &str = "authorization.k8s.io";
    [
        (WHO, "SelfSubjectReview", "selfsubjectreviews", "selfsubjectreview", false),
        (WHO, "TokenReview", "tokenreviews", "tokenreview", false),
        (MAY, "LocalSubjectAccessReview", "localsubjectaccessreviews", "localsubjectaccessreview", true),
        (MAY, "SelfSubjectAccessReview", "selfsubjectaccessreviews", "selfsubjectaccessreview", false),
        (MAY, "SelfSubjectRulesReview", "selfsubjectrulesreviews", "selfsubjectrulesreview", false),
        (MAY, "SubjectAccessReview", "subjectaccessreviews", "subjectaccessreview", false),
    ]
};

/// Everything that is served.
pub fn resources() -> &'static [Resource] {
    static RESOURCES: OnceLock<Vec<Resource>> = OnceLock::new();
    RESOURCES.get_or_init(|| {
        let kinds = Kind::all().map(of_kind);
        let binding =
            Resource { namespaced: true, ..create_only("", "v1", "Binding", "bindings", "binding") };
        let reviews = REVIEWS.iter().map(|(group, kind, plural, singular, namespaced)| Resource {
            namespaced: *namespaced,
            ..create_only(group, "v1", kind, plural, singular)
        });
        kinds.chain([binding]).chain(reviews).collect()
    })
}

fn create_only(
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    plural: &'static str,
    singular: &'static str,
) -> Resource {
    Resource {
        group,
        version,
        kind,
        plural,
        singular,
        short_names: &[],
        categories: &[],
        namespaced: false,
        verbs: CREATE,
        subresources: Vec::new(),
    }
}

fn of_kind(kind: Kind) -> Resource {
    let (info, strategy) = (kind.info(), Strategy::of(kind));
    let below = |name, group, version, kind, verbs| Subresource { name, group, version, kind, verbs };
    let mut subresources = Vec::new();
    const CHANGE: &[&str] = &["get", "patch", "update"];
    if strategy.status {
        subresources.push(below("status", info.group, info.version, info.kind, CHANGE));
    }
    if strategy.scale {
        subresources.push(below("scale", "autoscaling", "v1", "Scale", CHANGE));
    }
    if kind == Kind::POD {
        subresources.push(below("binding", "", "v1", "Binding", CREATE));
        subresources.push(below("eviction", "policy", "v1", "Eviction", CREATE));
        subresources.push(below("log", "", "v1", "Pod", &["get"]));
    }
    if kind == Kind::CERTIFICATE_SIGNING_REQUEST {
        subresources.push(below("approval", info.group, info.version, info.kind, CHANGE));
    }
    if kind == Kind::NAMESPACE {
        subresources.push(below("finalize", "", "v1", "Namespace", &["update"]));
    }
    Resource {
        group: info.group,
        version: info.version,
        kind: info.kind,
        plural: info.plural,
        singular: info.singular,
        short_names: info.short_names,
        categories: info.categories,
        namespaced: info.namespaced,
        verbs: if kind == Kind::NAMESPACE { SINGLE } else { STANDARD },
        subresources,
    }
}

/// The served groups but core, each with its versions, in order of the table.
pub fn groups() -> Vec<(&'static str, Vec<&'static str>)> {
    let mut groups: Vec<(&str, Vec<&str>)> = Vec::new();
    for resource in resources().iter().filter(|r| !r.group.is_empty()) {
        match groups.iter_mut().find(|(name, _)| *name == resource.group) {
            Some((_, versions)) => {
                if !versions.contains(&resource.version) {
                    versions.push(resource.version);
                }
            }
            None => groups.push((resource.group, vec![resource.version])),
        }
    }
    groups
}

/// The resources as the OpenAPI documents are made from them.
pub fn documents() -> &'static [ResourceDoc] {
    static DOCUMENTS: OnceLock<Vec<ResourceDoc>> = OnceLock::new();
    DOCUMENTS.get_or_init(|| {
        let texts = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        let document = |r: &Resource| ResourceDoc {
            group: r.group.into(),
            version: r.version.into(),
            kind: r.kind.into(),
            plural: r.plural.into(),
            namespaced: r.namespaced,
            verbs: texts(r.verbs),
            subresources: r
                .subresources
                .iter()
                .map(|s| SubresourceDoc {
                    name: s.name.into(),
                    group: s.group.into(),
                    version: s.version.into(),
                    kind: s.kind.into(),
                    verbs: texts(s.verbs),
                })
                .collect(),
            schema: None,
        };
        resources().iter().map(document).collect()
    })
}
