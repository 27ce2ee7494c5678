//! What a request asks for, in the words of authorization: a verb on a resource, or on a path that is none. In strings, so that also
//! what is not served, and what is no request at all, can be asked about.

use http::Method;

use super::{path::Route, query::Query, usage};
use crate::{selector::FieldSelector, status::Status};

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access<'a> {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`, `impersonate`, ...; on a path the method in
    /// small letters.
    pub verb: &'a str,
    /// On what.
    pub on: On<'a>,
}

/// What a verb is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum On<'a> {
    /// A path that is no resource: `/metrics`.
    Path(&'a str),
    /// A resource.
    Resource(Attributes<'a>),
}

/// A resource, an object of it or something below one. What is not told is empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes<'a> {
    /// API group.
    pub group: &'a str,
    /// Plural name.
    pub resource: &'a str,
    /// `status`, `log`, ...
    pub subresource: &'a str,
    /// Namespace; a namespace is in itself.
    pub namespace: &'a str,
    /// Name of the object, also of the only one that a collection is limited to by its field selector.
    pub name: &'a str,
    /// The node that a collection of pods is limited to by its field selector.
    pub on_node: Option<&'a str>,
}

/// Longer paths are not shown whole.
const SHOWN_PATH: usize = 256;

impl<'a> Access<'a> {
    /// What a request asks for. `fields` is its field selector, see [`fields`].
    pub(crate) fn of(
        method: &Method,
        path: &'a str,
        route: Result<&'a Route, &Status>,
        query: Option<&Query>,
        fields: Option<&'a FieldSelector>,
    ) -> Access<'a> {
        let attributes = match route {
            Ok(Route::Objects(target)) => {
                let (info, name) = (target.served.kind.info(), target.name.as_deref());
                let exact = |field| fields.and_then(|fields| fields.exact(field));
                let own = if target.served.kind == kontiki_actors::Kind::NAMESPACE { name } else { None };
                Attributes {
                    group: target.served.group(),
                    resource: info.plural,
                    subresource: target.subresource.as_deref().unwrap_or_default(),
                    namespace: target.namespace.as_deref().or(own).unwrap_or_default(),
                    name: name.or_else(|| exact("metadata.name")).unwrap_or_default(),
                    on_node: exact("spec.nodeName"),
                }
            }
            Ok(Route::Usage(target)) => Attributes {
                group: usage::GROUP,
                resource: target.served.kind.info().plural,
                namespace: target.namespace.as_deref().unwrap_or_default(),
                name: target.name.as_deref().unwrap_or_default(),
                ..Attributes::default()
            },
            Ok(Route::Review(review)) => Attributes {
                group: review.group,
                resource: review.plural,
                namespace: review.namespace.as_deref().unwrap_or_default(),
                ..Attributes::default()
            },
            Ok(_) => return Access { verb: path_verb(method), on: On::Path(path) },
            Err(_) => match unknown(path) {
                Some(attributes) if attributes.name.is_empty() => {
                    let name = fields.and_then(|fields| fields.exact("metadata.name"));
                    Attributes { name: name.unwrap_or_default(), ..attributes }
                }
                Some(attributes) => attributes,
                None => return Access { verb: path_verb(method), on: On::Path(path) },
            },
        };
        let watch = attributes.subresource.is_empty() && query.is_some_and(|query| query.switch("watch"));
        let named = match route {
            Ok(Route::Objects(target) | Route::Usage(target)) => target.name.is_some(),
            Ok(_) => false,
            Err(_) => unknown(path).is_some_and(|attributes| !attributes.name.is_empty()),
        };
        Access { verb: verb(method, named, watch), on: On::Resource(attributes) }
    }

    /// The refusal of what is not allowed. The reason may be empty.
    pub(crate) fn forbidden(&self, user: &str, reason: &str) -> Status {
        let verb = self.verb;
        let because = if reason.is_empty() { String::new() } else { format!(": {reason}") };
        let asked = match self.on {
            On::Path(path) => {
                let path: String = path.chars().take(SHOWN_PATH).collect();
                let message = format!("forbidden: User {user:?} cannot {verb} path {path:?}{because}");
                return Status::new(403, "Forbidden", message);
            }
            On::Resource(asked) => asked,
        };
        let Attributes { group, resource, subresource, namespace, name, .. } = asked;
        let mut what = resource.to_owned();
        if !group.is_empty() {
            what = format!("{what}.{group}");
        }
        if !name.is_empty() {
            what = format!("{what} {name:?}");
        }
        let below = if subresource.is_empty() { String::new() } else { format!("/{subresource}") };
        let scope = match namespace {
            "" => "at the cluster scope".to_owned(),
            namespace => format!("in the namespace {namespace:?}"),
        };
        let on = format!("{resource}{below}");
        let message = format!(
            "{what} is forbidden: User {user:?} cannot {verb} resource {on:?} in API group {group:?} {scope}{because}"
        );
        let mut status = Status::new(403, "Forbidden", message);
        (status.name, status.group, status.kind) = (name.to_owned(), group.to_owned(), resource.to_owned());
        status
    }
}

/// The field selector of a request, where it limits a collection: nowhere else may it say what a request is about. A broken one is
/// refused later, by what reads it.
pub(crate) fn fields(
    method: &Method,
    route: Result<&Route, &Status>,
    query: Option<&Query>,
) -> Option<FieldSelector> {
    let selects = matches!(*method, Method::GET | Method::DELETE);
    match route {
        Ok(Route::Objects(target)) if selects && target.name.is_none() => {
            query?.text("fieldSelector")?.parse().ok()
        }
        // A collection of a custom kind, perhaps.
        Err(_) if selects => query?.text("fieldSelector")?.parse().ok(),
        _ => None,
    }
}

fn path_verb(method: &Method) -> &'static str {
    match *method {
        Method::GET | Method::HEAD => "get",
        Method::POST => "post",
        Method::PUT => "put",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "use",
    }
}

fn verb(method: &Method, named: bool, watch: bool) -> &'static str {
    match *method {
        Method::GET if watch => "watch",
        Method::GET | Method::HEAD if named => "get",
        Method::GET | Method::HEAD => "list",
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE if named => "delete",
        Method::DELETE => "deletecollection",
        _ => "use",
    }
}

/// What a path that is not served would be about, as Kubernetes reads paths: who may not ask for it does not learn that it is not there.
fn unknown(path: &str) -> Option<Attributes<'_>> {
    let mut steps = path.trim_matches('/').split('/');
    let group = match steps.next()? {
        "api" => "",
        "apis" => steps.next()?,
        _ => return None,
    };
    let _version = steps.next()?;
    let mut next = || steps.next().unwrap_or_default();
    let (mut resource, mut name, mut subresource, mut namespace) = (next(), next(), next(), "");
    if resource == "namespaces" && !name.is_empty() {
        namespace = name;
        if !matches!(subresource, "" | "status" | "finalize") {
            (resource, name, subresource) = (subresource, next(), next());
        }
    }
    (!resource.is_empty()).then_some(Attributes {
        group,
        resource,
        subresource,
        namespace,
        name,
        ..Attributes::default()
    })
}

/// The version of the API in a path that is not served, or not by what is built in.
pub(super) fn unknown_version(path: &str) -> &str {
    let mut steps = path.trim_matches('/').split('/');
    let version = match steps.next() {
        Some("api") => steps.next(),
        Some("apis") => steps.nth(1),
        _ => None,
    };
    version.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Verb, group, resource/subresource, namespace, name.
    fn asked(method: Method, url: &str) -> [String; 5] {
        let uri: http::Uri = url.parse().unwrap();
        let (route, query) = (Route::parse(uri.path()), Query::of(&uri).unwrap());
        let fields = fields(&method, route.as_ref(), Some(&query));
        let access = Access::of(&method, uri.path(), route.as_ref(), Some(&query), fields.as_ref());
        match access.on {
            On::Path(path) => [access.verb, path, "", "", ""].map(str::to_owned),
            On::Resource(on) => {
                let resource = format!("{}/{}", on.resource, on.subresource);
                [access.verb, on.group, resource.trim_end_matches('/'), on.namespace, on.name]
                    .map(str::to_owned)
            }
        }
    }

    #[test]
    fn who_may_only_look_at_pods_gets_no_shell_in_them() {
        let also = |method: Method, url: &str| {
            let uri: http::Uri = url.parse().unwrap();
            let route = Route::parse(uri.path());
            let access = Access::of(&method, uri.path(), route.as_ref(), None, None);
            crate::rest::stream::also(&access).map(|also| (also.verb == "create", also.on == access.on))
        };
        for below in ["exec", "attach", "portforward"] {
            let url = format!("/api/v1/namespaces/a/pods/p/{below}");
            assert_eq!(also(Method::GET, &url), Some((true, true)), "{below}: a WebSocket");
            assert_eq!(also(Method::POST, &url), None, "{below}: create is asked for as it is");
        }
        assert_eq!(also(Method::GET, "/api/v1/namespaces/a/pods/p/log"), None);
        assert_eq!(also(Method::GET, "/api/v1/namespaces/a/services/s"), None);
    }

    #[test]
    fn requests_in_the_words_of_authorization() {
        use Method as M;
        for (method, url, expected) in [
            (M::GET, "/api/v1/namespaces/a/pods", ["list", "", "pods", "a", ""]),
            (M::GET, "/api/v1/pods?watch=1", ["watch", "", "pods", "", ""]),
            (M::GET, "/api/v1/namespaces/a/pods/p/log", ["get", "", "pods/log", "a", "p"]),
            (
                M::GET,
                "/api/v1/namespaces/a/pods?fieldSelector=metadata.name%3Dp",
                ["list", "", "pods", "a", "p"],
            ),
            (
                M::DELETE,
                "/api/v1/namespaces/a/pods?fieldSelector=metadata.name%3Dp",
                ["deletecollection", "", "pods", "a", "p"],
            ),
            (
                M::PUT,
                "/apis/apps/v1/namespaces/a/deployments/d/scale",
                ["update", "apps", "deployments/scale", "a", "d"],
            ),
            (M::GET, "/api/v1/namespaces/a", ["get", "", "namespaces", "a", "a"]),
            (M::POST, "/api/v1/nodes?fieldSelector=metadata.name%3Dn", ["create", "", "nodes", "", ""]),
            (M::POST, "/api/v1/namespaces", ["create", "", "namespaces", "", ""]),
            (
                M::POST,
                "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
                ["create", "authorization.k8s.io", "selfsubjectaccessreviews", "", ""],
            ),
            (
                M::GET,
                "/apis/metrics.k8s.io/v1beta1/namespaces/a/pods/p",
                ["get", "metrics.k8s.io", "pods", "a", "p"],
            ),
            (M::GET, "/apis/metrics.k8s.io/v1beta1/nodes", ["list", "metrics.k8s.io", "nodes", "", ""]),
            (M::GET, "/apis/no.such/v1/things", ["list", "no.such", "things", "", ""]),
            (
                M::PATCH,
                "/apis/no.such/v1/namespaces/a/things/t/status",
                ["patch", "no.such", "things/status", "a", "t"],
            ),
            (M::GET, "/apis/no.such/v1", ["get", "/apis/no.such/v1", "", "", ""]),
            (M::POST, "/metrics", ["post", "/metrics", "", "", ""]),
            (M::GET, "/nope", ["get", "/nope", "", "", ""]),
        ] {
            assert_eq!(asked(method, url), expected.map(str::to_owned), "{url}");
        }
    }
}
