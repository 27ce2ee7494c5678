//! Whether a turn makes a pod.

use serde_json::Value;

use super::{
    checks::violations,
    configuration::Configuration,
    details,
    pod::{Pod, significant_change},
};
use crate::{
    object::{Document, ObjectKey},
    state::State,
};

/// Whether a pod may become what it is to be, in Kubernetes' words where it may not. This is the only place where a standard keeps a pod from
/// being made, for clients and actors alike: what all controllers must decide in the same way is decided here.
///
/// `user` is who asks, if that was told; actors are nobody. `new` gives metadata and spec: mostly they are not needed.
pub(crate) fn admit(
    state: &State,
    key: &ObjectKey,
    user: Option<&str>,
    old: Option<&Document>,
    new: impl FnOnce() -> (Value, Value),
) -> Result<(), String> {
    let configuration = Configuration::of(state);
    let (policy, _) = configuration.policy(state, &key.namespace);
    if policy.enforce.is_privileged()
        || configuration.exempts_namespace(&key.namespace)
        || user.is_some_and(|user| configuration.exempts_user(user))
    {
        return Ok(());
    }
    let (metadata, spec) = new();
    let pod = Pod { metadata: &metadata, spec: &spec };
    if configuration.exempts_class_of(pod)
        || old.is_some_and(|old| !significant_change(&old.spec_value(), &spec))
    {
        return Ok(());
    }
    let violations = violations(policy.enforce, pod);
    if violations.is_empty() {
        return Ok(());
    }
    Err(format!("violates PodSecurity {:?}: {}", policy.enforce.to_string(), details(&violations)))
}

/// Whether a client's document may be the configuration, if it is about that: the field and what is wrong with it.
pub(crate) fn admit_configuration(key: &ObjectKey, document: &Document) -> Result<(), (String, String)> {
    if *key != Configuration::key() {
        return Ok(());
    }
    Configuration::check(document).map_err(|wrong| {
        (format!("data[{}]", wrong.label), format!("Invalid value: {:?}: {}", wrong.value, wrong.why))
    })
}
