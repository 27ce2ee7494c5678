//! The owners of the one field that an object and its scale have in common.

use super::{
    managers::{Managers, Owned},
    set::Set,
};

/// The version of every scale.
pub(super) const API_VERSION: &str = "autoscaling/v1";

/// The replicas of a scale.
fn replicas() -> Set {
    Set::of_fields(&["spec", "replicas"])
}

/// Who owns the replicas of an object, which stand at a path, as owners of its scale. Names are kept, so that they are found again.
pub(super) fn of_object(parent: &Managers, path: &Set) -> Managers {
    let owns = |owned: &Owned| !owned.set.intersection(path).is_empty();
    let as_scale =
        |owned: &Owned| Owned { set: replicas(), api_version: API_VERSION.into(), time: owned.time.clone() };
    let mut out = Managers::default();
    for (manager, owned) in parent.0.iter().filter(|(_, owned)| owns(owned)) {
        let mut manager = manager.clone();
        if !manager.api_version.is_empty() {
            manager.api_version = API_VERSION.into();
        }
        out.0.insert(manager, as_scale(owned));
    }
    out
}

/// The owners of an object after its scale got others.
pub(super) fn to_object(scale: Managers, parent: &mut Managers, path: &Set, api_version: &str) {
    for owned in parent.0.values_mut() {
        owned.set = owned.set.difference(path);
    }
    for (mut manager, owned) in scale.0 {
        if owned.set.intersection(&replicas()).is_empty() {
            continue;
        }
        if !manager.api_version.is_empty() {
            manager.api_version = api_version.to_owned();
        }
        let mine = parent.0.entry(manager).or_insert_with(|| Owned {
            set: Set::default(),
            api_version: api_version.to_owned(),
            time: None,
        });
        mine.set = std::mem::take(&mut mine.set).union(path.clone());
        mine.time = owned.time.or(mine.time.take());
    }
    parent.0.retain(|_, owned| !owned.set.is_empty());
}
