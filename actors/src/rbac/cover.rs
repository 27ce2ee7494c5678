//! Whether rules cover other rules: whoever grants rights must hold them himself.

use super::rule::{PolicyRule, has, reaches};

/// More single rights than that in one role are not taken apart: the rest counts as not covered, unless one rule covers a rule whole.
const RIGHTS_LIMIT: usize = 10_000;

/// What of `wanted` is not covered by `held`, in single rights: one verb on one resource (of one name) or one path each.
pub fn uncovered(held: &[PolicyRule], wanted: &[PolicyRule]) -> Vec<PolicyRule> {
    let mut missing = Vec::new();
    let mut looked_at = 0;
    for rule in wanted {
        // Most often one rule holds it all: then it need not be taken apart.
        if held.iter().any(|held| covers(held, rule)) {
            continue;
        }
        looked_at += rights(rule);
        if looked_at > RIGHTS_LIMIT {
            missing.push(rule.clone());
            continue;
        }
        missing.extend(single(rule).filter(|right| !held.iter().any(|held| covers(held, right))));
    }
    missing
}

/// How many single rights a rule has.
fn rights(rule: &PolicyRule) -> usize {
    let on = rule.api_groups.len() * rule.resources.len() * rule.resource_names.len().max(1);
    rule.verbs.len().saturating_mul(on.saturating_add(rule.paths.len()))
}

/// The single rights of a rule.
fn single(rule: &PolicyRule) -> impl Iterator<Item = PolicyRule> {
    let one = |text: &compact_str::CompactString| vec![text.clone()];
    let names: Vec<Vec<_>> = match rule.resource_names.as_slice() {
        [] => vec![Vec::new()],
        names => names.iter().map(one).collect(),
    };
    let on_resources = rule.api_groups.iter().flat_map(move |group| {
        let names = names.clone();
        rule.resources.iter().flat_map(move |resource| {
            let names = names.clone();
            rule.verbs.iter().flat_map(move |verb| {
                let right = PolicyRule {
                    verbs: one(verb),
                    api_groups: one(group),
                    resources: one(resource),
                    ..PolicyRule::default()
                };
                names
                    .clone()
                    .into_iter()
                    .map(move |name| PolicyRule { resource_names: name, ..right.clone() })
            })
        })
    });
    let on_paths = rule.paths.iter().flat_map(move |path| {
        rule.verbs.iter().map(move |verb| PolicyRule {
            verbs: one(verb),
            paths: one(path),
            ..PolicyRule::default()
        })
    });
    on_resources.chain(on_paths)
}

/// Whether one rule allows all that another does.
fn covers(held: &PolicyRule, wanted: &PolicyRule) -> bool {
    let all = |held: &[_], wanted: &[compact_str::CompactString]| {
        has(held, "*") || wanted.iter().all(|text| has(held, text))
    };
    let resource = |resource: &compact_str::CompactString| {
        has(&held.resources, resource)
            || resource.split_once('/').is_some_and(|(_, below)| {
                held.resources.iter().any(|held| held.strip_prefix("*/") == Some(below))
            })
    };
    let path = |path: &compact_str::CompactString| held.paths.iter().any(|held| reaches(held, path));
    let names = held.resource_names.is_empty()
        || (!wanted.resource_names.is_empty()
            && wanted.resource_names.iter().all(|name| has(&held.resource_names, name)));
    all(&held.verbs, &wanted.verbs)
        && all(&held.api_groups, &wanted.api_groups)
        && (has(&held.resources, "*") || wanted.resources.iter().all(resource))
        && wanted.paths.iter().all(path)
        && names
}

/// Rules for people: those on the same single resource are put together.
pub fn compacted(rules: Vec<PolicyRule>) -> Vec<PolicyRule> {
    let mut out: Vec<PolicyRule> = Vec::new();
    let simple = |rule: &PolicyRule| {
        rule.resources.len() == 1
            && rule.api_groups.len() == 1
            && rule.resource_names.len() <= 1
            && rule.paths.is_empty()
    };
    for rule in rules {
        let same = |other: &&mut PolicyRule| {
            simple(&rule)
                && simple(other)
                && (&other.api_groups, &other.resources, &other.resource_names)
                    == (&rule.api_groups, &rule.resources, &rule.resource_names)
        };
        match out.iter_mut().find(same) {
            Some(other) => {
                let more: Vec<_> = rule.verbs.into_iter().filter(|verb| !has(&other.verbs, verb)).collect();
                other.verbs.extend(more);
            }
            None => out.push(rule),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(verbs: &str, groups: &str, resources: &str, names: &str) -> PolicyRule {
        let list = |text: &str| match text {
            "" => Vec::new(),
            text => text.split(' ').map(|t| if t == "core" { "".into() } else { t.into() }).collect(),
        };
        PolicyRule {
            verbs: list(verbs),
            api_groups: list(groups),
            resources: list(resources),
            resource_names: list(names),
            paths: Vec::new(),
        }
    }

    fn paths(verbs: &str, path: &str) -> PolicyRule {
        PolicyRule { verbs: vec![verbs.into()], paths: vec![path.into()], ..PolicyRule::default() }
    }

    #[test]
    fn rights_of_several_rules_add_up() {
        let held =
            [rule("get list", "core", "pods", ""), rule("create", "core apps", "pods deployments", "")];
        let wanted = [rule("get create", "core", "pods", ""), rule("create", "apps", "deployments", "d")];
        assert_eq!(uncovered(&held, &wanted), []);
        let wanted = [rule("get delete", "core", "pods secrets", "")];
        let missing = compacted(uncovered(&held, &wanted));
        assert_eq!(missing, [rule("delete", "core", "pods", ""), rule("get delete", "core", "secrets", "")]);
    }

    #[test]
    fn stars_and_names() {
        let covered = |held: PolicyRule, wanted: PolicyRule| uncovered(&[held], &[wanted]).is_empty();
        let all = || rule("*", "*", "*", "");
        assert!(covered(all(), rule("*", "*", "* pods/log", "x")));
        assert!(!covered(rule("get", "*", "*", ""), all()), "a star is more than what there is");
        assert!(!covered(rule("*", "core", "*", ""), rule("get", "*", "pods", "")));
        assert!(covered(rule("get", "core", "*/scale", ""), rule("get", "core", "things/scale", "")));
        assert!(!covered(rule("get", "core", "*/scale", ""), rule("get", "core", "things", "")));
        assert!(!covered(rule("get", "core", "pods", "a"), rule("get", "core", "pods", "")));
        assert!(covered(rule("get", "core", "pods", "a b"), rule("get", "core", "pods", "b")));
        assert!(!covered(rule("get", "core", "pods", "a"), rule("get", "core", "pods", "a b")));
        assert!(covered(paths("*", "/api*"), paths("get", "/apis/*")));
        assert!(covered(paths("get", "*"), paths("get", "/x")));
        assert!(!covered(paths("get", "/api"), paths("get", "/api*")));
        assert!(!covered(all(), paths("get", "/x")), "resources are no paths");
    }

    #[test]
    fn a_huge_role_is_refused_and_not_taken_apart() {
        let many = |n: usize| (0..n).map(|i| format!("r{i}")).collect::<Vec<_>>().join(" ");
        let huge = [rule(&many(300), &many(300), &many(300), "")];
        assert_eq!(uncovered(&[rule("get", "core", "pods", "")], &huge), huge);
        assert_eq!(uncovered(&[rule("*", "*", "*", "")], &huge), []);
    }
}
