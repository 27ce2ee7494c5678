//! From a URL's path to what it means.

use kontiki_actors::{Kind, State};

use super::usage;
use crate::{
    custom::Definitions,
    discovery::{self, Resource},
    served::Served,
    status::Status,
};

/// What a path means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// `/`.
    Root,
    /// `/livez`, `/readyz`, `/healthz`, and one check of these below it.
    Health(Health, Option<Check>),
    /// `/version`.
    Version,
    /// `/metrics`.
    Metrics,
    /// `/api`.
    Core,
    /// `/apis`.
    Groups,
    /// `/apis/G`.
    Group(String),
    /// `/api/v1`, `/apis/G/V`.
    Resources(String, String),
    /// `/openid/v1/jwks`: the keys of service accounts' tokens.
    TokenKeys,
    /// `/.well-known/openid-configuration`: who issues them.
    TokenIssuer,
    /// `/openapi/v2`, the older form.
    OpenApiV2,
    /// `/openapi/v3`.
    OpenApiIndex,
    /// `/openapi/v3/apis/G/V`.
    OpenApi(String, String),
    /// Stored objects.
    Objects(Target),
    /// A question that is answered and not stored.
    Review(Review),
    /// What pods or nodes use.
    Usage(Target),
}

/// Which health is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// `/livez`, and `/healthz` that came before it: this process answers.
    Live,
    /// `/readyz`: the cluster answers through this process.
    Ready,
}

/// One thing that health consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// This process answers.
    Ping,
    /// A majority of the controllers says that it knows what is true now.
    Quorum,
}

impl Check {
    /// Its name in paths and answers.
    pub fn name(self) -> &'static str {
        match self {
            Check::Ping => "ping",
            Check::Quorum => "quorum",
        }
    }
}

impl Health {
    /// What it consists of.
    pub fn checks(self) -> &'static [Check] {
        match self {
            Health::Live => &[Check::Ping],
            Health::Ready => &[Check::Ping, Check::Quorum],
        }
    }
}

/// A collection, an object, or something below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The kind, as it is asked for.
    pub served: Served,
    /// The namespace; none for cluster-scoped kinds and for all namespaces.
    pub namespace: Option<String>,
    /// The object; none for a collection.
    pub name: Option<String>,
    /// `status`, `scale`, ...
    pub subresource: Option<String>,
}

/// A kind of question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Review {
    /// API group.
    pub group: &'static str,
    /// Version.
    pub version: &'static str,
    /// Kind.
    pub kind: &'static str,
    /// Name in URLs.
    pub plural: &'static str,
    /// Where it is asked, if it belongs to a namespace.
    pub namespace: Option<String>,
}

/// Longer paths mean nothing here.
const LENGTH_LIMIT: usize = 4096;

impl Route {
    /// Reads a path.
    pub fn parse(path: &str) -> Result<Route, Status> {
        // What is below a proxy is the business of what is behind it.
        let path = at_proxy(path).map_or(path, |(path, _)| path);
        if path.len() > LENGTH_LIMIT {
            return Err(Status::no_resource());
        }
        let segments: Option<Vec<String>> = path.trim_matches('/').split('/').map(unescape).collect();
        let segments =
            segments.ok_or_else(|| Status::bad_request("the path is not valid percent-encoded UTF-8"))?;
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        match segments.as_slice() {
            [""] => Ok(Route::Root),
            ["livez" | "healthz", below @ ..] => health(Health::Live, below),
            ["readyz", below @ ..] => health(Health::Ready, below),
            ["version"] => Ok(Route::Version),
            ["metrics"] => Ok(Route::Metrics),
            ["api"] => Ok(Route::Core),
            ["apis"] => Ok(Route::Groups),
            ["api", version] => Ok(Route::Resources(String::new(), (*version).to_owned())),
            ["apis", group] => Ok(Route::Group((*group).to_owned())),
            ["apis", group, version] => Ok(Route::Resources((*group).to_owned(), (*version).to_owned())),
            ["openid", "v1", "jwks"] => Ok(Route::TokenKeys),
            [".well-known", "openid-configuration"] => Ok(Route::TokenIssuer),
            ["openapi", "v2"] => Ok(Route::OpenApiV2),
            ["openapi", "v3"] => Ok(Route::OpenApiIndex),
            ["openapi", "v3", "api", version] => Ok(Route::OpenApi(String::new(), (*version).to_owned())),
            ["openapi", "v3", "apis", group, version] => {
                Ok(Route::OpenApi((*group).to_owned(), (*version).to_owned()))
            }
            ["api", version, rest @ ..] => objects("", version, rest),
            ["apis", group, version, rest @ ..] => objects(group, version, rest),
            _ => Err(Status::no_resource()),
        }
    }

    /// The version of the API that a resource is asked for in; empty for all else.
    pub(super) fn version(&self) -> &str {
        match self {
            Route::Objects(target) => target.served.version(),
            Route::Review(review) => review.version,
            _ => "",
        }
    }

    /// Reads a path of what definitions in the state define; none if there is nothing.
    ///
    /// Nothing is unescaped here: what a request asks for is allowed or not before it is known what it means, by the path as it is
    /// written. No name of a definition or of its objects needs an escape.
    pub(crate) fn custom(path: &str, state: &State, definitions: &Definitions) -> Option<Route> {
        if path.len() > LENGTH_LIMIT || path.contains('%') {
            return None;
        }
        let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
        let ["apis", group, version, rest @ ..] = segments.as_slice() else { return None };
        let (namespace, rest) = match rest {
            // As authorization reads it: something below a namespace.
            ["namespaces", _, "status" | "finalize", ..] => return None,
            ["namespaces", namespace, rest @ ..] => (Some((*namespace).to_owned()), rest),
            rest => (None, rest),
        };
        let (plural, rest) = rest.split_first()?;
        let definition = state.definition(group, plural)?;
        if !definition.definition()?.established() {
            return None;
        }
        let version = definitions.version(definition, version)?;
        let (name, subresource) = match rest {
            [] => (None, None),
            [name] => (Some((*name).to_owned()), None),
            [name, "status"] if version.status => (Some((*name).to_owned()), Some("status".to_owned())),
            [name, "scale"] if version.scale.is_some() => {
                (Some((*name).to_owned()), Some("scale".to_owned()))
            }
            _ => return None,
        };
        let namespaced = version.kind.info().namespaced;
        let misplaced = if namespaced { name.is_some() && namespace.is_none() } else { namespace.is_some() };
        if misplaced || rest.contains(&"") || namespace.as_deref() == Some("") {
            return None;
        }
        Some(Route::Objects(Target { served: Served::custom(version), namespace, name, subresource }))
    }

    /// The path with placeholders, for traces: few values whatever clients ask for.
    pub fn template(&self) -> String {
        match self {
            Route::Root => "/".into(),
            Route::Health(..) => "/health".into(),
            Route::Version => "/version".into(),
            Route::Metrics => "/metrics".into(),
            Route::Core => "/api".into(),
            Route::Groups => "/apis".into(),
            Route::Group(_) => "/apis/{group}".into(),
            Route::Resources(..) => "/apis/{group}/{version}".into(),
            Route::TokenKeys => "/openid/v1/jwks".into(),
            Route::TokenIssuer => "/.well-known/openid-configuration".into(),
            Route::OpenApiV2 => "/openapi/v2".into(),
            Route::OpenApiIndex => "/openapi/v3".into(),
            Route::OpenApi(..) => "/openapi/v3/{group}/{version}".into(),
            Route::Review(review) => format!("/{}", review.plural),
            Route::Usage(target) => format!("/{}.metrics.k8s.io", target.served.kind.info().plural),
            Route::Objects(target) => {
                let mut text = format!("/{}", target.served.kind.resource_name());
                if target.name.is_some() {
                    text.push_str("/{name}");
                }
                // Only known subresources get this far.
                if let Some(subresource) = &target.subresource {
                    text.push('/');
                    text.push_str(subresource);
                }
                text
            }
        }
    }
}

/// The path of a proxy, and what is behind it there: nothing, or a path with its slash. None if it is not one of a proxy.
pub(super) fn at_proxy(path: &str) -> Option<(&str, &str)> {
    let own = path.trim_start_matches('/');
    // With one slash before it: with two, a redirect to it would lead elsewhere.
    let path = &path[path.len().checked_sub(own.len() + 1)?..];
    let mut steps = own.splitn(8, '/');
    let mut next = || steps.next();
    let is_one = next()? == "api" && next()? == "v1" && next()? == "namespaces" && next().is_some();
    let is_one = is_one && matches!(next()?, "pods" | "services") && next().is_some() && next()? == "proxy";
    let behind = steps.next().map_or(0, |behind| behind.len() + 1);
    is_one.then(|| path.split_at(path.len() - behind))
}

fn health(health: Health, below: &[&str]) -> Result<Route, Status> {
    let check = match below {
        [] => None,
        [name] => health.checks().iter().find(|check| check.name() == *name),
        _ => return Err(Status::no_resource()),
    };
    if check.is_none() && !below.is_empty() {
        return Err(Status::no_resource());
    }
    Ok(Route::Health(health, check.copied()))
}

fn objects(group: &str, version: &str, rest: &[&str]) -> Result<Route, Status> {
    if rest.contains(&"") {
        return Err(Status::no_resource());
    }
    let (namespace, rest) = match rest {
        ["namespaces"] | ["namespaces", _] | ["namespaces", _, "status" | "finalize"] => (None, rest),
        ["namespaces", namespace, rest @ ..] => (Some((*namespace).to_owned()), rest),
        rest => (None, rest),
    };
    let Some((plural, rest)) = rest.split_first() else { return Err(Status::no_resource()) };
    let found = discovery::resources()
        .iter()
        .find(|r| r.group == group && r.version == version && r.plural == *plural);
    let resource = found.ok_or_else(Status::no_resource)?;
    if namespace.is_some() && !resource.namespaced {
        return Err(Status::no_resource());
    }
    let (name, subresource) = match rest {
        [] => (None, None),
        [name] => (Some((*name).to_owned()), None),
        [name, below] => (Some((*name).to_owned()), Some(subresource(resource, below)?)),
        _ => return Err(Status::no_resource()),
    };
    if name.is_some() && resource.namespaced && namespace.is_none() {
        return Err(Status::no_resource());
    }
    if group == usage::GROUP {
        let kind = if resource.namespaced { Kind::POD } else { Kind::NODE };
        return Ok(Route::Usage(Target { served: kind.into(), namespace, name, subresource }));
    }
    match Served::by_resource(group, version, plural) {
        Some(served) => Ok(Route::Objects(Target { served, namespace, name, subresource })),
        None if resource.plural == "bindings" => {
            // The older form of a pod's binding: the pod is named in the body.
            let subresource = Some("binding".to_owned());
            Ok(Route::Objects(Target { served: Kind::POD.into(), namespace, name: None, subresource }))
        }
        None if name.is_none() => {
            let Resource { group, kind, plural, .. } = *resource;
            Ok(Route::Review(Review { group, version: "v1", kind, plural, namespace }))
        }
        None => Err(Status::no_resource()),
    }
}

fn subresource(resource: &Resource, name: &str) -> Result<String, Status> {
    let known = resource.subresources.iter().any(|s| s.name == name);
    if known { Ok(name.to_owned()) } else { Err(Status::no_resource()) }
}

/// Resolves percent escapes of one segment; none when they are broken or not UTF-8.
pub(super) fn unescape(segment: &str) -> Option<String> {
    if !segment.contains('%') {
        return Some(segment.to_owned());
    }
    let mut out = Vec::with_capacity(segment.len());
    let mut bytes = segment.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let digit = |b: Option<u8>| b.and_then(|b| char::from(b).to_digit(16));
            let (high, low) = (digit(bytes.next())?, digit(bytes.next())?);
            out.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            out.push(byte);
        }
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn target(path: &str) -> Target {
        match Route::parse(path).unwrap() {
            Route::Objects(target) => target,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn paths_of_objects() {
        let pod = target("/api/v1/namespaces/default/pods/web/log");
        assert_eq!((pod.served.kind, pod.namespace.as_deref()), (Kind::POD, Some("default")));
        assert_eq!((pod.name.as_deref(), pod.subresource.as_deref()), (Some("web"), Some("log")));
        let all = target("/apis/apps/v1/deployments/");
        assert_eq!((all.served.kind, all.namespace, all.name), (Kind::DEPLOYMENT, None, None));
        let namespace = target("/api/v1/namespaces/x/finalize");
        assert_eq!((namespace.served.kind, namespace.name.as_deref()), (Kind::NAMESPACE, Some("x")));
        assert_eq!(target("/api/v1/nodes/a%2Eb").name.as_deref(), Some("a.b"));
    }

    #[test]
    fn what_is_behind_a_proxy_is_not_read() {
        let proxy = "/api/v1/namespaces/a/pods/https:web:80/proxy";
        for behind in [
            "",
            "/",
            "//",
            "/a%2Fb//c/",
            "/%zz/%ff/../..",
            "/proxy/",
            &format!("/{}", "x".repeat(2 * LENGTH_LIMIT)),
        ] {
            let path = format!("{proxy}{behind}");
            assert_eq!(at_proxy(&path), Some((proxy, behind)));
            let target = target(&path);
            assert_eq!(target.name.as_deref(), Some("https:web:80"));
            assert_eq!(
                (target.namespace.as_deref(), target.subresource.as_deref()),
                (Some("a"), Some("proxy"))
            );
        }
        assert_eq!(target("/api/v1/namespaces/a/services/s/proxy/x").served.kind, Kind::SERVICE);
        assert_eq!(at_proxy(&format!("//{proxy}//")), Some((proxy, "//")), "one slash before it");
        for other in [
            "/api/v1/namespaces/a/pods/web",
            "/api/v1/namespaces/a/pods/web/log/proxy",
            "/api/v1/namespaces/a/configmaps/web/proxy/x",
            "/apis/apps/v1/namespaces/a/pods/web/proxy/x",
            "/api/v1/nodes/n/proxy/x",
        ] {
            assert_eq!(at_proxy(other), None, "{other}");
        }
        for none in [
            "/api/v1/namespaces//pods/web/proxy/x",
            "/api/v1/nodes/n/proxy/x",
            "/api/v1/namespaces/a/pods//proxy/x",
        ] {
            assert_eq!(Route::parse(none).unwrap_err().code, 404, "{none}");
        }
    }

    #[test]
    fn what_is_no_path() {
        for path in [
            "/nope",
            "/api/v2/pods",
            "/apis/apps/v1/pods",
            "/api/v1/pods/web",
            "/api/v1/namespaces/default/nodes/x",
            "/api/v1/namespaces/default/pods/web/resize",
            "/api/v1/namespaces/default/pods/web/log/more",
            "/api/v1/namespaces//pods",
            "/openapi/v1",
            "/livez/quorum",
            "/readyz/ping/more",
        ] {
            assert_eq!(Route::parse(path).unwrap_err().code, 404, "{path}");
        }
        assert_eq!(Route::parse("/api/v1/nodes/%zz").unwrap_err().code, 400);
        assert_eq!(Route::parse("/api/v1/nodes/%ff").unwrap_err().code, 400);
    }
}
