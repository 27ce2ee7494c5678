//! Which requests are audited, and how much of them: `Policy` of audit.k8s.io/v1.
//! <https://kubernetes.io/docs/tasks/debug/debug-cluster/audit/#audit-policy>

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::rest::{Access, Attributes, On, User};

/// How much of a request is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Level {
    /// Nothing.
    #[default]
    None,
    /// Who asked for what, when, and what came of it.
    Metadata,
    /// What he sent, too.
    Request,
    /// What he got, too.
    RequestResponse,
}

/// When it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// Before anything is done.
    RequestReceived,
    /// When the answer of a stream has begun.
    ResponseStarted,
    /// When nothing more will be sent.
    ResponseComplete,
    /// When the request's handler failed.
    Panic,
}

/// Why a policy cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unusable(String);

/// An audit policy. The first rule that fits a request decides; without one nothing is told.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Policy {
    api_version: String,
    kind: String,
    #[serde(default)]
    #[allow(dead_code, reason = "as every object of Kubernetes it may have some")]
    metadata: Value,
    #[serde(default)]
    rules: Vec<Rule>,
    #[serde(default)]
    omit_stages: Vec<Stage>,
    #[serde(default)]
    omit_managed_fields: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Rule {
    level: Option<Level>,
    #[serde(default)]
    users: Vec<String>,
    #[serde(default)]
    user_groups: Vec<String>,
    #[serde(default)]
    verbs: Vec<String>,
    #[serde(default)]
    resources: Vec<Resources>,
    #[serde(default)]
    namespaces: Vec<String>,
    #[serde(default, rename = "nonResourceURLs")]
    urls: Vec<String>,
    #[serde(default)]
    omit_stages: Vec<Stage>,
    omit_managed_fields: Option<bool>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Resources {
    #[serde(default)]
    group: String,
    #[serde(default)]
    resources: Vec<String>,
    #[serde(default)]
    resource_names: Vec<String>,
}

/// What is told of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Decision {
    pub(super) level: Level,
    /// Bits of stages.
    omitted: u8,
    pub(super) omit_managed_fields: bool,
}

impl Decision {
    pub(super) fn tells(self, stage: Stage) -> bool {
        self.level > Level::None && self.omitted & bit(stage) == 0
    }
}

fn bit(stage: Stage) -> u8 {
    1 << stage as u8
}

impl Policy {
    /// What is told when nobody says what: who asked for what and what came of it, once it is done, of all but health checks. Nothing of
    /// what was sent or answered, so that no secret gets into the log.
    pub fn standard() -> Policy {
        let told = Rule { level: Some(Level::Metadata), ..Rule::default() };
        let health = ["/healthz*", "/livez*", "/readyz*", "/version"].map(String::from).to_vec();
        Policy {
            api_version: "audit.k8s.io/v1".into(),
            kind: "Policy".into(),
            metadata: Value::Null,
            rules: vec![Rule { level: Some(Level::None), urls: health, ..Rule::default() }, told],
            omit_stages: vec![Stage::RequestReceived],
            omit_managed_fields: false,
        }
    }

    /// Reads a policy in YAML or JSON. A name that is not known is refused: a rule that means something else could tell a secret.
    pub fn read(text: &str) -> Result<Policy, Unusable> {
        let policy: Policy = serde_saphyr::from_str(text).map_err(|error| Unusable(error.to_string()))?;
        policy.check().map_err(Unusable)?;
        Ok(policy)
    }

    fn check(&self) -> Result<(), String> {
        if (self.api_version.as_str(), self.kind.as_str()) != ("audit.k8s.io/v1", "Policy") {
            return Err(format!(
                "it is a {} of {}, and a Policy of audit.k8s.io/v1 is wanted",
                self.kind, self.api_version
            ));
        }
        if self.rules.is_empty() {
            return Err("it has no rules: nothing would ever be told".into());
        }
        for (at, rule) in self.rules.iter().enumerate() {
            rule.check().map_err(|(field, why)| format!("rules[{at}].{field}: {why}"))?;
        }
        Ok(())
    }

    pub(crate) fn decide(&self, user: &User, access: &Access<'_>) -> Decision {
        let rule = self.rules.iter().find(|rule| rule.fits(user, access));
        let stages = rule.iter().flat_map(|rule| &rule.omit_stages).chain(&self.omit_stages);
        Decision {
            level: rule.and_then(|rule| rule.level).unwrap_or_default(),
            omitted: stages.fold(0, |bits, stage| bits | bit(*stage)),
            omit_managed_fields: rule
                .and_then(|rule| rule.omit_managed_fields)
                .unwrap_or(self.omit_managed_fields),
        }
    }
}

impl Rule {
    fn check(&self) -> Result<(), (String, String)> {
        let wrong = |field: &str, why: &str| Err((field.to_owned(), why.to_owned()));
        if self.level.is_none() {
            return wrong("level", "Required value");
        }
        for (at, url) in self.urls.iter().enumerate().filter(|(_, url)| *url != "*") {
            let field = format!("nonResourceURLs[{at}]");
            if !url.starts_with('/') {
                return wrong(&field, "non-resource URL rules must begin with a '/' character");
            }
            if url.strip_suffix('*').unwrap_or(url).contains('*') {
                return wrong(
                    &field,
                    "non-resource URL wildcards '*' must be the final character of the rule",
                );
            }
        }
        for (at, resources) in self.resources.iter().enumerate() {
            if resources.group.contains('/') {
                return wrong(&format!("resources[{at}].group"), "a group is meant, without a version");
            }
            if !resources.resource_names.is_empty() && resources.resources.is_empty() {
                return wrong(
                    &format!("resources[{at}].resourceNames"),
                    "using resourceNames requires at least one resource",
                );
            }
        }
        let on_resources = !self.resources.is_empty() || !self.namespaces.is_empty();
        if on_resources && !self.urls.is_empty() {
            return wrong(
                "nonResourceURLs",
                "rules cannot apply to both regular resources and non-resource URLs",
            );
        }
        Ok(())
    }

    fn fits(&self, user: &User, access: &Access<'_>) -> bool {
        let among = |list: &[String], text: &str| list.is_empty() || list.iter().any(|wanted| wanted == text);
        if !(among(&self.users, &user.name)
            && (self.user_groups.is_empty() || self.user_groups.iter().any(|group| user.in_group(group)))
            && among(&self.verbs, access.verb))
        {
            return false;
        }
        match access.on {
            On::Resource(on) => {
                self.urls.is_empty()
                    && among(&self.namespaces, on.namespace)
                    && (self.resources.is_empty()
                        || self.resources.iter().any(|resources| resources.has(&on)))
            }
            On::Path(path) => {
                self.namespaces.is_empty()
                    && self.resources.is_empty()
                    && (self.urls.is_empty() || self.urls.iter().any(|url| is_path(url, path)))
            }
        }
    }
}

fn is_path(wanted: &str, path: &str) -> bool {
    wanted == path || wanted.strip_suffix('*').is_some_and(|start| path.starts_with(start))
}

impl Resources {
    fn has(&self, on: &Attributes<'_>) -> bool {
        let is = |wanted: &str| match wanted.split_once('/') {
            None => wanted == "*" || (wanted == on.resource && on.subresource.is_empty()),
            Some((resource, "*")) => resource == on.resource,
            Some((resource, below)) => {
                below == on.subresource && !below.is_empty() && (resource == "*" || resource == on.resource)
            }
        };
        let named = self.resource_names.is_empty() || self.resource_names.iter().any(|name| name == on.name);
        self.group == on.group
            && (self.resources.is_empty() || (named && self.resources.iter().any(|wanted| is(wanted))))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeMap;

    use super::*;

    fn policy(rules: &str) -> Policy {
        Policy::read(&format!("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n{rules}")).unwrap()
    }

    fn user(name: &str, group: &str) -> User {
        User { name: name.into(), uid: String::new(), groups: vec![group.into()], extra: BTreeMap::new() }
    }

    fn on<'a>(group: &'a str, resource: &'a str, namespace: &'a str, name: &'a str) -> On<'a> {
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        On::Resource(Attributes { group, resource, subresource, namespace, name, on_node: None })
    }

    #[test]
    fn the_first_rule_that_fits_decides() {
        let policy = policy(
            "- {level: None, users: [robot], verbs: [get, list]}\n\
             - {level: None, userGroups: [quiet], nonResourceURLs: ['/api*', /version]}\n\
             - {level: Request, resources: [{group: '', resources: [pods]}]}\n\
             - {level: Metadata, resources: [{group: '', resources: [pods/log, '*/scale', 'nodes/*']}]}\n\
             - {level: RequestResponse, namespaces: [a, ''], resources: [{group: apps}]}\n\
             - {level: Metadata, resources: [{resources: ['*'], resourceNames: [lock]}]}\n",
        );
        let (robot, jane) = (user("robot", "quiet"), user("jane", "staff"));
        for (user, verb, on, level) in [
            (&robot, "get", on("", "pods", "a", "p"), Level::None),
            (&robot, "create", on("", "pods", "a", "p"), Level::Request),
            (&robot, "get", On::Path("/apis"), Level::None),
            (&robot, "post", On::Path("/apis"), Level::None),
            (&robot, "post", On::Path("/versions"), Level::None),
            (&jane, "get", on("", "pods", "a", "p"), Level::Request),
            (&jane, "get", on("", "pods/log", "a", "p"), Level::Metadata),
            (&jane, "get", on("", "pods/exec", "a", "p"), Level::None),
            (&jane, "get", on("", "replicationcontrollers/scale", "a", "r"), Level::Metadata),
            (&jane, "get", on("", "nodes", "", "n"), Level::Metadata),
            (&jane, "get", on("", "nodes/proxy", "", "n"), Level::Metadata),
            (&jane, "get", on("apps", "deployments", "a", "d"), Level::RequestResponse),
            (&jane, "get", on("apps", "deployments", "b", "d"), Level::None),
            (&jane, "list", on("apps", "deployments", "", ""), Level::RequestResponse),
            (&jane, "get", on("", "configmaps", "a", "lock"), Level::Metadata),
            (&jane, "get", on("", "configmaps", "a", "other"), Level::None),
            (&jane, "get", On::Path("/apis"), Level::None),
        ] {
            assert_eq!(policy.decide(user, &Access { verb, on }).level, level, "{} {verb} {on:?}", user.name);
        }
    }

    #[test]
    fn stages_and_owners_are_left_out_here_or_everywhere() {
        let text = "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nomitManagedFields: true\n\
                    rules: [{level: Metadata, verbs: [get], omitStages: [Panic], omitManagedFields: false}, {level: Request}]";
        let policy = Policy::read(text).unwrap();
        let decide = |verb| policy.decide(&user("a", "b"), &Access { verb, on: On::Path("/x") });
        let stages = [Stage::RequestReceived, Stage::ResponseStarted, Stage::ResponseComplete, Stage::Panic];
        let told = |verb| stages.map(|stage| decide(verb).tells(stage));
        assert_eq!(told("get"), [false, true, true, false]);
        assert_eq!(told("put"), [false, true, true, true]);
        assert_eq!((decide("get").omit_managed_fields, decide("put").omit_managed_fields), (false, true));
    }

    #[test]
    fn without_a_policy_no_content_is_told() {
        let policy = Policy::standard();
        let decide = |verb, on| policy.decide(&user("a", "b"), &Access { verb, on });
        assert_eq!(decide("create", on("", "secrets", "a", "s")).level, Level::Metadata);
        assert_eq!(decide("get", On::Path("/livez/ping")).level, Level::None);
        assert!(!decide("get", on("", "pods", "a", "p")).tells(Stage::RequestReceived));
    }

    #[test]
    fn what_is_no_policy_is_refused_in_words() {
        let head = "apiVersion: audit.k8s.io/v1\nkind: Policy\n";
        for (text, why) in [
            (
                "apiVersion: audit.k8s.io/v1beta1\nkind: Policy\nrules: [{level: None}]".to_owned(),
                "a Policy of audit.k8s.io/v1 is wanted",
            ),
            (format!("{head}rules: []"), "it has no rules"),
            (format!("{head}rules: [{{}}]"), "rules[0].level: Required value"),
            (format!("{head}rules: [{{level: Everything}}]"), "Everything"),
            (format!("{head}rules: [{{level: None, user: [a]}}]"), "user"),
            (format!("{head}rules: [{{level: None, nonResourceURLs: [x]}}]"), "must begin with a '/'"),
            (
                format!("{head}rules: [{{level: None, nonResourceURLs: ['/a*b']}}]"),
                "must be the final character",
            ),
            (
                format!("{head}rules: [{{level: None, nonResourceURLs: [/a], namespaces: [b]}}]"),
                "rules cannot apply to both",
            ),
            (
                format!("{head}rules: [{{level: None, resources: [{{resourceNames: [a]}}]}}]"),
                "requires at least one resource",
            ),
            (format!("{head}rules: [{{level: None, resources: [{{group: apps/v1}}]}}]"), "without a version"),
            (format!("{head}omitStages: [Sometimes]\nrules: [{{level: None}}]"), "Sometimes"),
        ] {
            let error = Policy::read(&text).unwrap_err().to_string();
            assert!(error.contains(why), "{error:?} instead of {why:?}");
        }
    }
}
