//! Whether anybody is to be asked about a new object.

use std::{collections::BTreeMap, sync::Arc};

use compact_str::CompactString;
use serde_json::Value;

use super::place;
use crate::{
    kind::Kind,
    object::{Object, ObjectKey},
    state::State,
};

/// Whether a configuration may be for this object, by its rules and selectors; conditions are left to whoever asks. Mostly there is no
/// configuration, and nothing else is looked at. Below its level nothing waits: older controllers do not know it.
pub(super) fn asks(state: &State, kind: Kind, object: &Value) -> bool {
    if place(kind).level() > state.level() {
        return false;
    }
    let kinds = [Kind::MUTATING_WEBHOOK_CONFIGURATION, Kind::VALIDATING_WEBHOOK_CONFIGURATION];
    let mut webhooks = kinds.into_iter().flat_map(|kind| state.list(kind, None)).peekable();
    let mut bindings = state.list(Kind::VALIDATING_ADMISSION_POLICY_BINDING, None).peekable();
    if webhooks.peek().is_none() && bindings.peek().is_none() {
        return false;
    }
    let metadata = &object["metadata"];
    let namespace = ObjectKey::new(Kind::NAMESPACE, "", metadata["namespace"].as_str().unwrap_or_default());
    let of_namespace =
        state.get(&namespace).map(|namespace| namespace.meta.labels.clone()).unwrap_or_default();
    let pairs = metadata["labels"].as_object().into_iter().flatten();
    let of_object: BTreeMap<CompactString, CompactString> =
        pairs.map(|(key, value)| (key.as_str().into(), value.as_str().unwrap_or_default().into())).collect();
    let means = |configuration: &Arc<Object>| {
        configuration.admission().is_some_and(|digest| digest.may_mean(kind, &of_namespace, &of_object))
    };
    let policy = |binding: &Arc<Object>| {
        let name = &binding.admission()?.policy;
        state.get(&ObjectKey::new(Kind::VALIDATING_ADMISSION_POLICY, "", name))
    };
    webhooks.any(means) || bindings.any(|binding| means(binding) && policy(binding).is_some_and(means))
}
