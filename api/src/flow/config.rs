//! Which requests belong to which priority level: flow schemas and levels of a view, read once when they change.
//! <https://kubernetes.io/docs/concepts/cluster-administration/flow-control/>

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
};

use http::HeaderValue;
use kontiki_actors::{Document, Kind, Object, State, flow::defaults};
use serde::Deserialize;

use crate::rest::{Access, Attributes, On, User};

/// What the names of service accounts begin with.
const ACCOUNT: &str = "system:serviceaccount:";

/// Flow schemas in the order in which they are asked, and the levels that they name.
#[derive(Debug)]
pub(super) struct Config {
    pub(super) levels: BTreeMap<String, Level>,
    pub(super) schemas: Vec<Schema>,
    pub(super) version: Version,
}

/// Tells one set of flow schemas and levels from another: how many there are, and the newest revision of one. Whatever is written has a
/// revision that is newer than all others, and what is deleted is missing in the count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Version(usize, u64);

/// A priority level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Level {
    pub(super) uid: Option<HeaderValue>,
    /// None: its requests are never held up for others.
    pub(super) limits: Option<Limits>,
}

/// How many requests of a level run at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    pub(super) shares: u32,
    /// Percent of its seats that others may use while it does not.
    pub(super) lendable: u32,
    /// Percent of its seats that it may use of others' besides; none: whatever they lend.
    pub(super) borrowing: Option<u32>,
    /// None: what finds no seat is refused at once.
    pub(super) queuing: Option<Queuing>,
}

/// Where requests of a level wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Queuing {
    pub(super) queues: u32,
    pub(super) hand: u32,
    pub(super) length: u32,
}

/// A flow schema.
#[derive(Debug)]
pub(super) struct Schema {
    pub(super) name: String,
    pub(super) uid: Option<HeaderValue>,
    pub(super) level: String,
    /// Where its level is in the pool of seats.
    pub(super) slot: usize,
    by: By,
    rules: Vec<Rule>,
}

/// What tells one flow of a schema from another.
#[derive(Clone, Copy, Debug, Default)]
enum By {
    #[default]
    Nothing,
    User,
    Namespace,
}

impl Version {
    /// That of a view.
    pub(super) fn of(state: &State) -> Version {
        let mut version = Version::default();
        for object in objects(state) {
            version = Version(version.0 + 1, version.1.max(object.revision));
        }
        version
    }
}

fn objects(state: &State) -> impl Iterator<Item = &Object> {
    let kinds = [Kind::FLOW_SCHEMA, Kind::PRIORITY_LEVEL_CONFIGURATION];
    kinds.into_iter().flat_map(|kind| state.list(kind, None)).map(|object| &**object)
}

impl Config {
    /// What a view says. What must be there and is not is what it would be.
    pub(super) fn of(state: &State) -> Config {
        let (mut levels, mut schemas) = (BTreeMap::new(), Vec::new());
        let mut add = |kind: Kind, name: &str, uid: &str, document: &Document| {
            let uid = HeaderValue::from_str(uid).ok().filter(|uid| !uid.is_empty());
            if kind == Kind::FLOW_SCHEMA {
                schemas
                    .push((Schema::of(name, uid, read(document)), read::<SchemaSpec>(document).precedence()));
            } else {
                levels.insert(name.to_owned(), Level::of(name, uid, read(document)));
            }
        };
        for object in objects(state) {
            add(object.key.kind, &object.key.name, &object.meta.uid, &object.document.whole());
        }
        for (key, document) in defaults::objects() {
            if defaults::mandatory_spec(&key).is_some() && state.get(&key).is_none() {
                add(key.kind, &key.name, "", &document);
            }
        }
        // One that names a level that is not there is passed over.
        schemas.retain(|(schema, _)| levels.contains_key(&schema.level));
        schemas.sort_by(|(a, first), (b, second)| (first, &a.name).cmp(&(second, &b.name)));
        let schemas = schemas.into_iter().map(|(schema, _)| schema).collect();
        Config { levels, schemas, version: Version::of(state) }
    }

    /// The schema of a request, and the hash that tells its flow from others. None for who belongs to no group at all.
    pub(super) fn classify(&self, user: &User, access: &Access<'_>) -> Option<(&Schema, u64)> {
        let schema = self.schemas.iter().find(|schema| schema.takes(user, access));
        // As a last resort also for who belongs to no group.
        let schema =
            schema.or_else(|| self.schemas.iter().find(|schema| schema.name == defaults::CATCH_ALL))?;
        Some((schema, schema.flow(user, access)))
    }
}

fn read<T: for<'a> Deserialize<'a> + Default>(document: &Document) -> T {
    serde_json::from_slice(&document.spec).unwrap_or_default()
}

impl Level {
    fn of(name: &str, uid: Option<HeaderValue>, spec: LevelSpec) -> Level {
        // Only the one of this name may be exempt.
        if name == defaults::EXEMPT {
            return Level { uid, limits: None };
        }
        let limited = spec.limited.unwrap_or_default();
        let queuing = limited.limit_response.queuing.map(|queuing| Queuing {
            queues: queuing.queues.max(1),
            hand: queuing.hand_size.max(1),
            length: queuing.queue_length_limit.max(1),
        });
        let limits = Limits {
            shares: limited.nominal_concurrency_shares.unwrap_or(30),
            lendable: limited.lendable_percent.unwrap_or(0).min(100),
            borrowing: limited.borrowing_limit_percent,
            queuing,
        };
        Level { uid, limits: Some(limits) }
    }
}

impl Schema {
    fn of(name: &str, uid: Option<HeaderValue>, spec: SchemaSpec) -> Schema {
        let by = match spec.distinguisher_method.map(|method| method.r#type).as_deref() {
            Some("ByUser") => By::User,
            Some("ByNamespace") => By::Namespace,
            _ => By::Nothing,
        };
        let level = spec.priority_level_configuration.name;
        Schema { name: name.to_owned(), uid, level, slot: 0, by, rules: spec.rules }
    }

    fn takes(&self, user: &User, access: &Access<'_>) -> bool {
        self.rules.iter().any(|rule| {
            rule.subjects.iter().any(|subject| subject.is(user))
                && match access.on {
                    On::Resource(on) => rule.resource_rules.iter().any(|rule| rule.takes(access.verb, &on)),
                    On::Path(path) => {
                        rule.non_resource_rules.iter().any(|rule| rule.takes(access.verb, path))
                    }
                }
        })
    }

    fn flow(&self, user: &User, access: &Access<'_>) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.name.hash(&mut hasher);
        match (self.by, access.on) {
            (By::User, _) => user.name.hash(&mut hasher),
            (By::Namespace, On::Resource(on)) => on.namespace.hash(&mut hasher),
            (By::Nothing, _) | (By::Namespace, On::Path(_)) => {}
        }
        hasher.finish()
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct SchemaSpec {
    priority_level_configuration: Named,
    matching_precedence: i64,
    distinguisher_method: Option<Method>,
    rules: Vec<Rule>,
}

impl SchemaSpec {
    fn precedence(&self) -> i64 {
        if self.matching_precedence == 0 { 1000 } else { self.matching_precedence }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Method {
    r#type: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Named {
    name: String,
    namespace: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Rule {
    subjects: Vec<Subject>,
    resource_rules: Vec<ResourceRule>,
    non_resource_rules: Vec<PathRule>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Subject {
    user: Option<Named>,
    group: Option<Named>,
    service_account: Option<Named>,
}

impl Subject {
    fn is(&self, user: &User) -> bool {
        let named = |wanted: &Option<Named>, is: &dyn Fn(&str) -> bool| {
            wanted.as_ref().is_some_and(|wanted| wanted.name == "*" || is(&wanted.name))
        };
        named(&self.user, &|name| user.name == name)
            || named(&self.group, &|name| user.in_group(name))
            || self.service_account.as_ref().is_some_and(|account| account.is_account(user))
    }
}

impl Named {
    fn is_account(&self, user: &User) -> bool {
        let account = user.name.strip_prefix(ACCOUNT).and_then(|account| account.split_once(':'));
        account.is_some_and(|(namespace, name)| {
            namespace == self.namespace && (self.name == "*" || name == self.name)
        })
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ResourceRule {
    verbs: Vec<String>,
    api_groups: Vec<String>,
    resources: Vec<String>,
    cluster_scope: bool,
    namespaces: Vec<String>,
}

impl ResourceRule {
    fn takes(&self, verb: &str, on: &Attributes<'_>) -> bool {
        let resource = |wanted: &str| match wanted.split_once('/') {
            Some((resource, below)) => resource == on.resource && below == on.subresource,
            None => wanted == on.resource && on.subresource.is_empty(),
        };
        has(&self.verbs, |wanted| wanted == verb)
            && has(&self.resources, resource)
            && has(&self.api_groups, |wanted| wanted == on.group)
            && match on.namespace {
                "" => self.cluster_scope,
                namespace => has(&self.namespaces, |wanted| wanted == namespace),
            }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PathRule {
    verbs: Vec<String>,
    #[serde(rename = "nonResourceURLs")]
    urls: Vec<String>,
}

impl PathRule {
    fn takes(&self, verb: &str, path: &str) -> bool {
        // What is below a path belongs to it, with or without a star.
        let below = |wanted: &str| {
            let wanted = wanted.trim_end_matches('*').trim_end_matches('/');
            path.strip_prefix(wanted).is_some_and(|rest| rest.starts_with('/'))
        };
        has(&self.verbs, |wanted| wanted == verb) && has(&self.urls, |wanted| wanted == path || below(wanted))
    }
}

fn has(list: &[String], is: impl Fn(&str) -> bool) -> bool {
    list.iter().any(|wanted| wanted == "*" || is(wanted))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct LevelSpec {
    limited: Option<Limited>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Limited {
    nominal_concurrency_shares: Option<u32>,
    lendable_percent: Option<u32>,
    borrowing_limit_percent: Option<u32>,
    limit_response: Response,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Response {
    queuing: Option<QueuingSpec>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct QueuingSpec {
    queues: u32,
    hand_size: u32,
    queue_length_limit: u32,
}
