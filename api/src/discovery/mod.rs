//! What this API serves, as clients learn it: derived from the table of kinds and the strategies, so that a new kind is
//! served, discovered and documented by its one line.

mod aggregated;
mod custom;
mod legacy;

use std::{borrow::Cow, sync::OnceLock};

pub use aggregated::aggregated;
use kontiki_actors::{Kind, State};
pub use legacy::{group, group_list, resource_list, versions};

use crate::{
    editions,
    resource::Strategy,
    rest::usage::{GROUP, VERSION},
    schema::openapi::{DefinedSchema, ResourceDoc, SubresourceDoc},
};

/// One served resource.
#[derive(Clone, Debug)]
pub struct Resource {
    /// API group, empty for core.
    pub group: &'static str,
    /// Version.
    pub version: Cow<'static, str>,
    /// Kind.
    pub kind: &'static str,
    /// Name in URLs.
    pub plural: &'static str,
    /// Name of one.
    pub singular: Cow<'static, str>,
    /// Short names.
    pub short_names: Vec<String>,
    /// Categories.
    pub categories: Vec<String>,
    /// Whether it lives in namespaces.
    pub namespaced: bool,
    /// What can be done with it.
    pub verbs: &'static [&'static str],
    /// What stands below its objects.
    pub subresources: Vec<Subresource>,
}

/// Something below an object.
#[derive(Clone, Debug)]
pub struct Subresource {
    /// Last step of the URL.
    pub name: &'static str,
    /// Group of its kind.
    pub group: &'static str,
    /// Version of its kind.
    pub version: Cow<'static, str>,
    /// Its kind.
    pub kind: &'static str,
    /// What can be done with it.
    pub verbs: &'static [&'static str],
}

const STANDARD: &[&str] =
    &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
const SINGLE: &[&str] = &["create", "delete", "get", "list", "patch", "update", "watch"];
const CREATE: &[&str] = &["create"];
const CHANGE: &[&str] = &["get", "patch", "update"];

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

/// Everything that is served: what is built in, and what definitions in the state add.
pub fn served(state: &State) -> Cow<'static, [Resource]> {
    let custom = custom::resources(state);
    if custom.is_empty() {
        return Cow::Borrowed(resources());
    }
    Cow::Owned(resources().iter().cloned().chain(custom).collect())
}

/// Everything that is built in.
pub fn resources() -> &'static [Resource] {
    static RESOURCES: OnceLock<Vec<Resource>> = OnceLock::new();
    RESOURCES.get_or_init(|| {
        let kinds = Kind::all().map(|kind| of_kind(kind, kind.info().group, kind.info().version));
        let also = editions::all().map(|edition| of_kind(edition.kind, edition.group, edition.version));
        let binding =
            Resource { namespaced: true, ..create_only("", "v1", "Binding", "bindings", "binding") };
        let reviews = REVIEWS.iter().map(|(group, kind, plural, singular, namespaced)| Resource {
            namespaced: *namespaced,
            ..create_only(group, "v1", kind, plural, singular)
        });
        let usages = [usage("NodeMetrics", "nodes", false), usage("PodMetrics", "pods", true)];
        kinds.chain(also).chain([binding]).chain(reviews).chain(usages).collect()
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
        version: version.into(),
        kind,
        plural,
        singular: singular.into(),
        short_names: Vec::new(),
        categories: Vec::new(),
        namespaced: false,
        verbs: CREATE,
        subresources: Vec::new(),
    }
}

/// What nodes or pods use: it is measured when it is asked for, and cannot be watched.
fn usage(kind: &'static str, plural: &'static str, namespaced: bool) -> Resource {
    let verbs = &["get", "list"];
    Resource { namespaced, verbs, ..create_only(GROUP, VERSION, kind, plural, "") }
}

/// A kind, in one of the forms that it is served in.
fn of_kind(kind: Kind, group: &'static str, version: &'static str) -> Resource {
    let (info, strategy) = (kind.info(), Strategy::of(kind));
    let below = |name, group, version: &'static str, kind, verbs| Subresource {
        name,
        group,
        version: version.into(),
        kind,
        verbs,
    };
    let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
    let mut subresources = Vec::new();
    const STREAM: &[&str] = &["create", "get"];
    const PROXY: &[&str] = &["create", "delete", "get", "patch", "update"];
    if strategy.status {
        subresources.push(below("status", group, version, info.kind, CHANGE));
    }
    if strategy.scale {
        subresources.push(below("scale", "autoscaling", "v1", "Scale", CHANGE));
    }
    if kind == Kind::POD {
        subresources.push(below("attach", "", "v1", "PodAttachOptions", STREAM));
        subresources.push(below("binding", "", "v1", "Binding", CREATE));
        subresources.push(below("ephemeralcontainers", "", "v1", "Pod", CHANGE));
        subresources.push(below("eviction", "policy", "v1", "Eviction", CREATE));
        subresources.push(below("exec", "", "v1", "PodExecOptions", STREAM));
        subresources.push(below("log", "", "v1", "Pod", &["get"]));
        subresources.push(below("portforward", "", "v1", "PodPortForwardOptions", STREAM));
        subresources.push(below("proxy", "", "v1", "PodProxyOptions", PROXY));
    }
    if kind == Kind::SERVICE {
        subresources.push(below("proxy", "", "v1", "ServiceProxyOptions", PROXY));
    }
    if kind == Kind::CERTIFICATE_SIGNING_REQUEST {
        subresources.push(below("approval", info.group, info.version, info.kind, CHANGE));
    }
    if kind == Kind::SERVICE_ACCOUNT {
        subresources.push(below("token", "authentication.k8s.io", "v1", "TokenRequest", CREATE));
    }
    if kind == Kind::NAMESPACE {
        subresources.push(below("finalize", "", "v1", "Namespace", &["update"]));
    }
    Resource {
        group,
        version: version.into(),
        kind: info.kind,
        plural: info.plural,
        singular: info.singular.into(),
        short_names: texts(info.short_names),
        categories: texts(info.categories),
        namespaced: info.namespaced,
        verbs: if kind == Kind::NAMESPACE { SINGLE } else { STANDARD },
        subresources,
    }
}

/// The groups of resources but core, each with its versions, in the order of the resources.
pub fn groups(resources: &[Resource]) -> Vec<(&str, Vec<&str>)> {
    let mut groups: Vec<(&str, Vec<&str>)> = Vec::new();
    for resource in resources.iter().filter(|r| !r.group.is_empty()) {
        match groups.iter_mut().find(|(name, _)| *name == resource.group) {
            Some((_, versions)) => {
                if !versions.contains(&&*resource.version) {
                    versions.push(&resource.version);
                }
            }
            None => groups.push((resource.group, vec![&resource.version])),
        }
    }
    groups
}

/// The resources as the OpenAPI documents are made from them.
pub fn documents(state: &State) -> Vec<ResourceDoc> {
    let texts = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
    let document = |r: &Resource| ResourceDoc {
        group: r.group.into(),
        version: r.version.to_string(),
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
                version: s.version.to_string(),
                kind: s.kind.into(),
                verbs: texts(s.verbs),
            })
            .collect(),
        schema: state.definition(r.group, r.plural).map(|object| DefinedSchema::new(object, &r.version)),
    };
    // What nodes and pods use has no schema here, as it has none where metrics-server serves it.
    served(state).iter().filter(|r| r.group != GROUP).map(document).collect()
}
