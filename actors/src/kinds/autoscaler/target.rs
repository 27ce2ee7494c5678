//! What an autoscaler scales: whatever has a scale. Kinds are found by group and name, whatever version is told, as Kubernetes finds them.

use super::{custom, spec::Reference};
use crate::{
    kind::{KINDS, Kind},
    object::{Object, ObjectKey, Selector},
    state::State,
    turn::Turn,
};

/// The scale of a target.
#[derive(Debug)]
pub(super) struct Target {
    key: ObjectKey,
    /// How many pods it asks for.
    pub(super) replicas: i64,
    /// Which pods are its own.
    pub(super) selector: Result<Selector, NoSelector>,
    /// Where its replicas stand in the document, if it is of a custom kind.
    path: Option<String>,
}

/// Why it is not known which pods are a target's.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoSelector {
    /// It does not say.
    Missing,
    /// It says something that is no selector.
    Unreadable(String),
}

/// The target that is referred to from a namespace. An error says, in Kubernetes' words, why it has no scale.
pub(super) fn find(state: &State, namespace: &str, to: &Reference) -> Result<Target, String> {
    let group = match to.api_version.split('/').collect::<Vec<_>>()[..] {
        [_] => "",
        [group, _] => group,
        _ => return Err(format!("unexpected GroupVersion string: {}", to.api_version)),
    };
    let kind = kind(state, group, &to.kind)
        .ok_or_else(|| format!("no matches for kind {:?} in group {group:?}", to.kind.as_str()))?;
    let key = ObjectKey::new(kind, namespace, &to.name);
    let none = || "the server could not find the requested resource".to_owned();
    if !kind.info().namespaced || !(SCALED.contains(&kind) || kind.is_custom()) {
        return Err(none());
    }
    let object = state
        .get(&key)
        .ok_or_else(|| format!("{} {:?} not found", kind.resource_name(), to.name.as_str()))?;
    if kind.is_custom() {
        let scale = custom::scale(state, object).ok_or_else(none)??;
        let custom::Scale { path, replicas, selector } = scale;
        return Ok(Target { key, replicas, selector, path: Some(path) });
    }
    let (replicas, selector) = scale(object).ok_or_else(none)?;
    let selector = if selector.is_empty() { Err(NoSelector::Missing) } else { Ok(selector.clone()) };
    Ok(Target { key, replicas, selector, path: None })
}

/// Built-in kinds that have a scale.
const SCALED: [Kind; 4] =
    [Kind::DEPLOYMENT, Kind::REPLICA_SET, Kind::STATEFUL_SET, Kind::REPLICATION_CONTROLLER];

fn kind(state: &State, group: &str, kind: &str) -> Option<Kind> {
    let built_in = KINDS.iter().find(|info| info.group == group && info.kind == kind);
    if let Some(info) = built_in {
        return Kind::from_code(info.code);
    }
    state.established().find(|(_, d)| d.group == group && d.names.kind == kind).map(|(_, d)| d.kind())
}

fn scale(object: &Object) -> Option<(i64, &Selector)> {
    if let Some(deployment) = object.deployment() {
        return Some((deployment.replicas, &deployment.selector));
    }
    if let Some(set) = object.replica_set() {
        return Some((set.replicas, &set.selector));
    }
    object.stateful_set().map(|set| (set.replicas, &set.selector))
}

impl Target {
    /// Has it ask for so many pods.
    pub(super) fn rescale(&self, turn: &mut Turn, replicas: i64) {
        match &self.path {
            None => turn.edit_spec(&self.key, |spec| spec["replicas"] = replicas.into()),
            Some(path) => custom::rescale(turn, &self.key, path, replicas),
        }
    }
}

/// A selector as text, as a scale has it.
pub(super) fn text(selector: &Selector) -> String {
    let each = selector.requirements().iter().map(|requirement| {
        let (key, values) = (&requirement.key, requirement.values.join(","));
        match requirement.operator.as_str() {
            "In" if requirement.values.len() == 1 => format!("{key}={values}"),
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "DoesNotExist" => format!("!{key}"),
            _ => key.to_string(),
        }
    });
    each.collect::<Vec<_>>().join(",")
}
