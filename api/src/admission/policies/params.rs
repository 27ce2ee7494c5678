//! The parameters of a binding: objects of the cluster that expressions look at as `params`.

use std::sync::Arc;

use kontiki_actors::{Object, ObjectKey, State};

use super::binding::{ParamRef, Which};
use crate::{custom::Definitions, served::Served};

/// What it costs to look whether an object is selected.
const LOOK: u64 = 1;

/// The kind of parameters, in the version that a policy names; none if there is no such kind.
pub(super) fn kind_of(
    api_version: &str,
    kind: &str,
    state: &State,
    definitions: &Definitions,
) -> Option<Served> {
    let found = state.kind_named(api_version, kind)?;
    let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
    if !found.is_custom() {
        return Served::by_resource(group, version, found.info().plural);
    }
    definitions.version(state.definition_of(found)?, version).map(Served::custom)
}

/// The parameters of a binding for a write in a namespace, which is empty where it is in none. Each is to be judged with.
///
/// # Errors
/// There are none that could be, in Kubernetes' words.
pub(super) fn collect(
    of: &Served,
    wanted: &ParamRef,
    namespace: &str,
    state: &State,
    left: &mut u64,
) -> Result<Vec<Arc<Object>>, String> {
    let namespaced = of.kind.info().namespaced;
    if !namespaced && !wanted.namespace.is_empty() {
        return Err("paramRef.namespace must not be provided for a cluster-scoped `paramKind`".into());
    }
    let namespace = match (namespaced, wanted.namespace.as_str()) {
        (false, _) => "",
        (true, "") => namespace,
        (true, told) => told,
    };
    if namespaced && namespace.is_empty() {
        return Err(
            "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources".into()
        );
    }
    let found: Vec<Arc<Object>> = match &wanted.which {
        Which::Named(name) => {
            state.get(&ObjectKey::new(of.kind, namespace, name)).cloned().into_iter().collect()
        }
        Which::Selected(selector) => {
            let mut found = Vec::new();
            for object in state.list(of.kind, namespaced.then_some(namespace)) {
                let paid = left.checked_sub(LOOK);
                *left = paid.unwrap_or(0);
                paid.ok_or("there are more objects of the paramKind than the cost budget allows to look at")?;
                if selector.is_everything() || selector.matches(&object.meta.labels) {
                    found.push(object.clone());
                }
            }
            found
        }
    };
    if found.is_empty() && wanted.needed {
        return Err("no params found for policy binding with `Deny` parameterNotFoundAction".into());
    }
    Ok(found)
}
