//! ValidatingAdmissionPolicies: expressions that say yes or no to what is written. They are read once, and evaluated here.
//! <https://kubernetes.io/docs/reference/access-authn-authz/validating-admission-policy/>
//!
//! ```text
//!   policy.rs   a policy as it is written, and what it says of a write      binding.rs  what puts one in force, and where
//!   params.rs   the parameters of a binding                                  ask.rs      all policies that have a say in a write
//!   check.rs    whether the expressions of a policy are any
//! ```

mod ask;
mod binding;
mod check;
mod params;
mod policy;

pub(super) use ask::{Wanted, ask};
pub(crate) use check::check;

use std::{collections::HashMap, sync::Arc};

use kontiki_actors::{Kind, Object, ObjectKey, State};
use parking_lot::Mutex;

use binding::Binding;
use policy::Policy;

/// The policies of the cluster that are in force.
#[derive(Default)]
pub(crate) struct Policies(Mutex<Option<Known>>);

/// A policy and what puts it in force.
#[derive(Debug)]
pub(super) struct Bound {
    pub(super) policy: Arc<Policy>,
    pub(super) bindings: Vec<Arc<Binding>>,
}

struct Known {
    /// The objects that were read, and at which revisions.
    read: Vec<(ObjectKey, u64)>,
    bound: Arc<Vec<Bound>>,
}

impl Policies {
    /// The policies of a state that are in force, in the order of their names; none if none is bound. They are read once, and again when one
    /// of them or a binding changes.
    pub(super) fn of(&self, state: &State) -> Option<Arc<Vec<Bound>>> {
        state.list(Kind::VALIDATING_ADMISSION_POLICY_BINDING, None).next()?;
        let kinds = [Kind::VALIDATING_ADMISSION_POLICY, Kind::VALIDATING_ADMISSION_POLICY_BINDING];
        let objects = || kinds.into_iter().flat_map(move |kind| state.list(kind, None));
        let mut known = self.0.lock();
        let same = |known: &&Known| {
            let read = known.read.iter().map(|(key, revision)| (key, *revision));
            read.eq(objects().map(|object| (&object.key, object.revision)))
        };
        if let Some(known) = known.as_ref().filter(same) {
            return Some(known.bound.clone());
        }
        let before = known.take().map(|known| known.bound);
        let bound = Arc::new(read(state, before.as_deref().map_or(&[][..], Vec::as_slice)));
        let read = objects().map(|object| (object.key.clone(), object.revision)).collect();
        *known = Some(Known { read, bound: bound.clone() });
        Some(bound)
    }
}

/// Reads policies and bindings; those that did not change since they were read before are taken from there.
fn read(state: &State, before: &[Bound]) -> Vec<Bound> {
    let mut bindings: HashMap<String, Vec<Arc<Binding>>> = HashMap::new();
    for object in state.list(Kind::VALIDATING_ADMISSION_POLICY_BINDING, None) {
        let binding = Binding::read(object);
        bindings.entry(binding.policy.clone()).or_default().push(Arc::new(binding));
    }
    let compiled = |object: &Object| {
        let same =
            |bound: &&Bound| bound.policy.name == object.key.name && bound.policy.revision == object.revision;
        before.iter().find(same).map(|bound| bound.policy.clone())
    };
    state
        .list(Kind::VALIDATING_ADMISSION_POLICY, None)
        .filter_map(|object| {
            let bindings = bindings.remove(object.key.name.as_str())?;
            let policy = compiled(object).unwrap_or_else(|| Arc::new(Policy::read(object)));
            Some(Bound { policy, bindings })
        })
        .collect()
}
