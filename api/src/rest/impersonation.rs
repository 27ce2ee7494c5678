//! Acting as somebody else: `kubectl --as`, `--as-group`, `--as-uid` and `--as-user-extra`, which send `Impersonate-*` headers.
//!
//! Each part is asked of the authorizer as the verb `impersonate` on a resource of its own, as Kubernetes does: who may act as a user may
//! not take any group by that. What follows sees the other user only.

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderName};

use super::{
    access::{Access, Attributes, On},
    identity::User,
    path::unescape,
};
use crate::{resource::names::NameRule, status::Status};

const PREFIX: &str = "impersonate-";
const SERVICE_ACCOUNT: &str = "system:serviceaccount:";
const AUTHENTICATED: &str = "system:authenticated";
const UNAUTHENTICATED: &str = "system:unauthenticated";

/// Who a request wants to be.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Impersonation {
    user: String,
    uid: String,
    groups: Vec<String>,
    extra: BTreeMap<String, Vec<String>>,
}

impl Impersonation {
    /// Takes the headers out of a request, so that nothing else sees them; none when there are none.
    pub(crate) fn take(headers: &mut HeaderMap) -> Result<Option<Impersonation>, Status> {
        let ours = |name: &&HeaderName| name.as_str().starts_with(PREFIX);
        let Some(_) = headers.keys().find(ours) else { return Ok(None) };
        let wanted = Impersonation::read(headers);
        let names: Vec<HeaderName> = headers.keys().filter(ours).cloned().collect();
        for name in names {
            headers.remove(name);
        }
        let wanted = wanted?;
        if !wanted.user.is_empty() {
            return Ok(Some(wanted));
        }
        let Impersonation { uid, groups, extra, .. } = &wanted;
        if uid.is_empty() && groups.is_empty() && extra.is_empty() {
            return Ok(None);
        }
        let what = format!("groups {groups:?}, uid {uid:?}, extra {extra:?}");
        Err(Status::internal(format!("requested {what} without impersonating a user")))
    }

    fn read(headers: &HeaderMap) -> Result<Impersonation, Status> {
        let mut wanted = Impersonation::default();
        for (name, value) in headers {
            let Some(part) = name.as_str().strip_prefix(PREFIX) else { continue };
            let text = std::str::from_utf8(value.as_bytes())
                .map_err(|_| Status::bad_request(format!("the header {name} is not UTF-8")))?;
            match part {
                // Of several, the first counts.
                "user" if wanted.user.is_empty() => wanted.user = text.to_owned(),
                "uid" if wanted.uid.is_empty() => wanted.uid = text.to_owned(),
                "group" => wanted.groups.push(text.to_owned()),
                _ => {
                    let Some(key) = part.strip_prefix("extra-") else { continue };
                    // Keys are escaped, for a header's name cannot have a slash; what is not escaped well is meant as it stands.
                    let key = unescape(key).unwrap_or_else(|| key.to_owned());
                    wanted.extra.entry(key).or_default().push(text.to_owned());
                }
            }
        }
        Ok(wanted)
    }

    /// All that has to be allowed for it.
    pub(crate) fn accesses(&self) -> Vec<Access<'_>> {
        let user = match service_account(&self.user) {
            Some((namespace, name)) => {
                Attributes { resource: "serviceaccounts", namespace, name, ..Attributes::default() }
            }
            None => Attributes { resource: "users", name: &self.user, ..Attributes::default() },
        };
        let groups = self.groups.iter();
        let groups = groups.map(|name| Attributes { resource: "groups", name, ..Attributes::default() });
        let group = "authentication.k8s.io";
        let extra = self.extra.iter().flat_map(|(key, values)| values.iter().map(move |value| (key, value)));
        let extra = extra.map(move |(subresource, name)| Attributes {
            group,
            resource: "userextras",
            subresource,
            name,
            ..Attributes::default()
        });
        let uid = (!self.uid.is_empty()).then_some(Attributes {
            group,
            resource: "uids",
            name: &self.uid,
            ..Attributes::default()
        });
        let all = [user].into_iter().chain(groups).chain(extra).chain(uid);
        all.map(|attributes| Access { verb: "impersonate", on: On::Resource(attributes) }).collect()
    }

    /// The user that it makes. Whoever is somebody is in `system:authenticated`, unless the groups say otherwise.
    pub(crate) fn into_user(self) -> User {
        let Impersonation { user: name, uid, mut groups, extra } = self;
        if groups.is_empty()
            && let Some((namespace, _)) = service_account(&name)
        {
            groups = vec!["system:serviceaccounts".into(), format!("system:serviceaccounts:{namespace}")];
        }
        let within = |group: &str| groups.iter().any(|g| g == group);
        if name == User::ANONYMOUS {
            if !within(UNAUTHENTICATED) {
                groups.push(UNAUTHENTICATED.into());
            }
        } else if !within(AUTHENTICATED) && !within(UNAUTHENTICATED) {
            groups.push(AUTHENTICATED.into());
        }
        User { name, uid, groups, extra }
    }
}

/// Namespace and name of a service account, if a user's name is that of one.
fn service_account(user: &str) -> Option<(&str, &str)> {
    let (namespace, name) = user.strip_prefix(SERVICE_ACCOUNT)?.split_once(':')?;
    let well_named =
        NameRule::Label.check(namespace).is_empty() && NameRule::Subdomain.check(name).is_empty();
    well_named.then_some((namespace, name))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(HeaderName::from_static(name), value.parse().unwrap());
        }
        headers
    }

    fn user(pairs: &[(&'static str, &str)]) -> User {
        Impersonation::take(&mut headers(pairs)).unwrap().unwrap().into_user()
    }

    #[test]
    fn who_it_makes() {
        let jane = [("impersonate-user", "jane")];
        assert_eq!(user(&jane).groups, ["system:authenticated"]);
        let both = [("impersonate-group", "b"), ("impersonate-user", "jane"), ("impersonate-group", "a")];
        assert_eq!(user(&both).groups, ["b", "a", "system:authenticated"]);
        for group in ["system:authenticated", "system:unauthenticated"] {
            let told = [("impersonate-user", "jane"), ("impersonate-group", group)];
            assert_eq!(user(&told).groups, [group]);
        }
        let anonymous = [("impersonate-user", "system:anonymous")];
        assert_eq!(user(&anonymous).groups, ["system:unauthenticated"]);
        let account = [("impersonate-user", "system:serviceaccount:ns:sa")];
        let groups = ["system:serviceaccounts", "system:serviceaccounts:ns", "system:authenticated"];
        assert_eq!(user(&account).groups, groups);
        let account = [("impersonate-user", "system:serviceaccount:ns:sa"), ("impersonate-group", "g")];
        assert_eq!(user(&account).groups, ["g", "system:authenticated"]);
        let more = user(&[
            ("impersonate-user", "jane"),
            ("impersonate-uid", "7"),
            ("impersonate-extra-scopes", "view"),
            ("impersonate-extra-scopes", "edit"),
            ("impersonate-extra-acme.com%2fproject", "x"),
        ]);
        assert_eq!(more.uid, "7");
        assert_eq!(more.extra["scopes"], ["view", "edit"]);
        assert_eq!(more.extra["acme.com/project"], ["x"]);
    }

    #[test]
    fn what_it_asks() {
        let asked = |pairs: &[(&'static str, &str)]| -> Vec<String> {
            let wanted = Impersonation::take(&mut headers(pairs)).unwrap().unwrap();
            let text = |access: Access<'_>| match access.on {
                On::Resource(on) => format!(
                    "{} {}/{}/{} {}/{}",
                    access.verb, on.group, on.resource, on.subresource, on.namespace, on.name
                ),
                On::Path(path) => path.to_owned(),
            };
            wanted.accesses().into_iter().map(text).collect()
        };
        let all = [
            ("impersonate-user", "jane"),
            ("impersonate-group", "devs"),
            ("impersonate-extra-scopes", "view"),
            ("impersonate-uid", "7"),
        ];
        let expected = [
            "impersonate /users/ /jane",
            "impersonate /groups/ /devs",
            "impersonate authentication.k8s.io/userextras/scopes /view",
            "impersonate authentication.k8s.io/uids/ /7",
        ];
        assert_eq!(asked(&all), expected);
        let account = [("impersonate-user", "system:serviceaccount:ns:sa")];
        assert_eq!(asked(&account), ["impersonate /serviceaccounts/ ns/sa"]);
        let odd = [("impersonate-user", "system:serviceaccount:ns:sa:x")];
        assert_eq!(asked(&odd), ["impersonate /users/ /system:serviceaccount:ns:sa:x"]);
    }

    #[test]
    fn the_headers_are_taken() {
        let mut sent = headers(&[
            ("impersonate-user", "jane"),
            ("impersonate-extra-a", "b"),
            ("impersonate-other", "c"),
            ("accept", "application/json"),
        ]);
        Impersonation::take(&mut sent).unwrap().unwrap();
        assert_eq!(sent, headers(&[("accept", "application/json")]));
        let mut without = headers(&[("impersonate-group", "devs")]);
        let refused = Impersonation::take(&mut without).unwrap_err();
        assert_eq!((refused.code, refused.reason), (500, "InternalError"));
        assert!(refused.message.ends_with("without impersonating a user"), "{refused}");
        assert_eq!(Impersonation::take(&mut headers(&[("accept", "*/*")])), Ok(None));
        let mut broken = HeaderMap::new();
        broken.insert("impersonate-user", http::HeaderValue::from_bytes(b"\xff").unwrap());
        assert_eq!(Impersonation::take(&mut broken).unwrap_err().code, 400);
    }
}
