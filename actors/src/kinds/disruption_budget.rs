//! Disruption budgets: how many of an application's pods may be taken away at a time by somebody's will:
//! <https://kubernetes.io/docs/tasks/run-application/configure-pdb/>.
//!
//! An eviction asks how the budget stands in its own turn, so that none passes that another one used up. The status is for people, and
//! may be a moment old.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::Value;

use super::{condition, scaled::scaled};
use crate::{
    input::Rejection,
    kind::Kind,
    object::{BudgetDigest, DefinitionDigest, Object, ObjectKey, OwnerRef, Uid},
    state::State,
    turn::Turn,
};

/// For so long news of its pods are gathered before the status tells of them.
const GATHER_MS: i64 = 1000;

/// How a budget stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Standing {
    /// Pods that there should be.
    expected: i64,
    /// Pods that must be healthy.
    desired: i64,
    /// Pods that are.
    healthy: i64,
}

impl Standing {
    /// How many may go now.
    fn allowed(self) -> i64 {
        if self.expected > 0 { (self.healthy - self.desired).max(0) } else { 0 }
    }
}

/// Brings the status up to date.
pub fn reconcile(turn: &mut Turn, me: &Object) {
    let Some(budget) = me.budget().filter(|_| !me.meta.deleting()) else { return };
    let standing = standing(turn.state(), &me.key.namespace, budget);
    let mut status = me.document.status_value();
    let (allowed, reason, message) = match &standing {
        Ok(standing) if standing.allowed() > 0 => (standing.allowed(), "SufficientPods", ""),
        Ok(_) => (0, "InsufficientPods", ""),
        Err(why) => (0, "SyncFailed", why.as_str()),
    };
    let value = if allowed > 0 { "True" } else { "False" };
    condition::set(&mut status, "DisruptionAllowed", value, reason, message, &turn.now());
    for condition in status["conditions"].as_array_mut().into_iter().flatten() {
        if condition["type"] == "DisruptionAllowed" {
            condition["message"] = message.into();
            condition["observedGeneration"] = me.meta.generation.into();
        }
    }
    if let Ok(standing) = standing {
        status["currentHealthy"] = standing.healthy.into();
        status["desiredHealthy"] = standing.desired.into();
        status["expectedPods"] = standing.expected.into();
    }
    status["disruptionsAllowed"] = allowed.into();
    status["observedGeneration"] = me.meta.generation.into();
    turn.put_status(me, status);
}

/// A pod changed, came or went: the budgets that cover it tell of that soon.
pub(crate) fn pod_changed(turn: &mut Turn, old: Option<&Object>, new: Option<&Object>) {
    let counts = |object: Option<&Object>| object.is_some_and(is_healthy);
    if counts(old) == counts(new) && old.map(|old| &old.meta.labels) == new.map(|new| &new.meta.labels) {
        return;
    }
    let mut keys: Vec<ObjectKey> = Vec::new();
    for pod in [old, new].into_iter().flatten() {
        keys.extend(covering(turn.state(), pod).map(|budget| budget.key.clone()));
    }
    let soon = turn.now_ms() + GATHER_MS;
    keys.iter().for_each(|key| turn.wake_by(key, soon));
}

/// Whether a pod may be evicted now. The refusal says why not, as Kubernetes does.
pub(crate) fn may_evict(state: &State, pod: &Object) -> Result<(), Rejection> {
    let Some(digest) = pod.pod() else { return Ok(()) };
    // Who does nothing yet, or no more, is missed by nobody.
    if pod.meta.deleting() || digest.terminal() || digest.phase == "Pending" {
        return Ok(());
    }
    let mut budgets = covering(state, pod);
    let Some((object, budget)) = budgets.next().and_then(|object| Some((object, object.budget()?))) else {
        return Ok(());
    };
    if budgets.next().is_some() {
        let why = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
        return Err(Rejection::Unsupported(pod.key.clone(), why.into()));
    }
    let name = &object.key.name;
    let refused = |why: String| Rejection::TooManyRequests(pod.key.clone(), why);
    let standing = standing(state, &pod.key.namespace, budget).map_err(|why| {
        refused(format!("The disruption budget {name} cannot tell how many pods it needs: {why}"))
    })?;
    let Standing { desired, healthy, .. } = standing;
    let unhealthy_may_go = budget.unhealthy_may_go || (desired > 0 && healthy >= desired);
    if standing.allowed() > 0 || (!digest.ready && unhealthy_may_go) {
        return Ok(());
    }
    Err(refused(format!(
        "The disruption budget {name} needs {desired} healthy pods and has {healthy} currently"
    )))
}

/// The budgets that cover a pod.
pub(crate) fn covering<'s>(state: &'s State, pod: &'s Object) -> impl Iterator<Item = &'s Arc<Object>> {
    let budgets = state.list(Kind::POD_DISRUPTION_BUDGET, Some(&pod.key.namespace));
    budgets.filter(|object| object.budget().is_some_and(|budget| budget.selector.matches(&pod.meta.labels)))
}

/// How many pods a budget lets go now; none where that cannot be told.
pub(crate) fn allowed(state: &State, object: &Object) -> i64 {
    let standing = object.budget().and_then(|budget| standing(state, &object.key.namespace, budget).ok());
    standing.map_or(0, Standing::allowed)
}

fn is_healthy(pod: &Object) -> bool {
    !pod.meta.deleting() && pod.pod().is_some_and(|digest| digest.ready && !digest.terminal())
}

/// How a budget stands; an error where it goes by what its pods' owners ask for, and one of them does not say.
fn standing(state: &State, namespace: &str, budget: &BudgetDigest) -> Result<Standing, String> {
    let pods: Vec<&Arc<Object>> = state.pods_matching(namespace, &budget.selector).collect();
    let healthy = i64::try_from(pods.iter().filter(|pod| is_healthy(pod)).count()).unwrap_or(i64::MAX);
    let (expected, desired) = match (&budget.max_unavailable, &budget.min_available) {
        (Some(most), _) => {
            let expected = scale(state, namespace, &pods)?;
            (expected, (expected - scaled(most, expected, true)).max(0))
        }
        (None, Some(share @ Value::String(_))) => {
            let expected = scale(state, namespace, &pods)?;
            (expected, scaled(share, expected, true))
        }
        (None, Some(number)) => (i64::try_from(pods.len()).unwrap_or(i64::MAX), scaled(number, 0, true)),
        (None, None) => (0, 0),
    };
    Ok(Standing { expected, desired, healthy })
}

/// How many pods those who manage these ask for, all together. Pods that nobody manages are not counted.
fn scale(state: &State, namespace: &str, pods: &[&Arc<Object>]) -> Result<i64, String> {
    let mut scales: BTreeMap<Uid, i64> = BTreeMap::new();
    for pod in pods {
        let Some(owner) = pod.meta.controller().filter(|owner| !scales.contains_key(&owner.uid)) else {
            continue;
        };
        let (uid, replicas) = scale_of(state, namespace, owner)
            .ok_or_else(|| format!("found no controllers for pod \"{}\"", pod.key.name))?;
        scales.insert(uid, replicas);
    }
    Ok(scales.into_values().fold(0, i64::saturating_add))
}

/// Who asks for an owner's pods, and for how many: a ReplicaSet's Deployment for all of its sets, a custom object by its scale.
fn scale_of(state: &State, namespace: &str, owner: &OwnerRef) -> Option<(Uid, i64)> {
    let kind = state.kind_named(&owner.api_version, &owner.kind)?;
    let namespace = if kind.info().namespaced { namespace } else { "" };
    let object =
        state.get(&ObjectKey::new(kind, namespace, &owner.name)).filter(|o| o.meta.uid == owner.uid)?;
    if kind.is_custom() {
        return Some((object.meta.uid.clone(), custom_scale(state, object, &owner.api_version)?));
    }
    if let Some(deployment) = object.deployment() {
        return Some((object.meta.uid.clone(), deployment.replicas));
    }
    if let Some(set) = object.replica_set() {
        // Other kinds than Deployments speak for none of their sets' pods, as in Kubernetes.
        let deployment =
            |owner: &&OwnerRef| Kind::by_name(&owner.api_version, &owner.kind) == Some(Kind::DEPLOYMENT);
        let above = object.meta.controller().filter(deployment);
        let above = above.and_then(|owner| scale_of(state, namespace, owner));
        return above.or_else(|| Some((object.meta.uid.clone(), set.replicas)));
    }
    let scalable = kind == Kind::STATEFUL_SET;
    let replicas = || object.document.spec_value()["replicas"].as_i64().unwrap_or(1);
    scalable.then(|| (object.meta.uid.clone(), replicas()))
}

/// What a custom object says by the scale of its definition's version; none without a scale, or where the field is absent. Where versions
/// are more than names, it is looked at in the version that it is stored in.
fn custom_scale(state: &State, object: &Object, api_version: &str) -> Option<i64> {
    let (_, named) = api_version.rsplit_once('/')?;
    let definition = state.definition_of(object.key.kind)?;
    let converts = definition.definition().is_some_and(DefinitionDigest::converts);
    let version = object.document.version().filter(|_| converts).unwrap_or(named);
    let spec = definition.document.spec_value();
    let told = spec["versions"].as_array()?.iter().find(|told| told["name"] == version)?;
    // Definitions are refused whose path is none of plain names.
    let path = told["subresources"]["scale"]["specReplicasPath"].as_str()?;
    object.document.to_value().pointer(&path.replace('.', "/"))?.as_i64()
}
