//! Keeping the default schemas and levels what they are to be:
//! <https://kubernetes.io/docs/concepts/cluster-administration/flow-control/#maintenance-of-the-mandatory-and-suggested-configuration-objects>.

use super::{AUTO_UPDATE, defaults};
use crate::{
    kind::Kind,
    object::{Document, Object, ObjectKey},
    turn::Turn,
};

/// Whether objects of a kind are kept by this.
pub(crate) fn keeps(kind: Kind) -> bool {
    matches!(kind, Kind::FLOW_SCHEMA | Kind::PRIORITY_LEVEL_CONFIGURATION)
}

/// Lets one of the default objects say what it is to say in this version, unless somebody made it his own.
pub(crate) fn complete(turn: &mut Turn, old: &Object, wanted: &Document) {
    // Of those who are exempt it may be changed how much is lent to them.
    let exempt = ObjectKey::new(Kind::PRIORITY_LEVEL_CONFIGURATION, "", defaults::EXEMPT);
    if old.meta.deleting() || old.key == exempt || !updated(old) {
        return;
    }
    let spec = wanted.spec_value();
    if old.document.spec_value() != spec {
        turn.edit_spec(&old.key, |now| *now = spec);
    }
}

/// Whether newer versions may change it: it must be as it is here, says that it may, or says nothing and was never changed.
fn updated(object: &Object) -> bool {
    match object.meta.annotations.get(AUTO_UPDATE).map(|value| value.as_str()) {
        _ if defaults::mandatory_spec(&object.key).is_some() => true,
        Some("true") => true,
        Some("false") => false,
        _ => object.meta.generation == 1,
    }
}

/// One of those that must be is gone: there is another one at once.
pub(crate) fn removed(turn: &mut Turn, key: &ObjectKey) {
    if defaults::mandatory_spec(key).is_none() {
        return;
    }
    let wanted = defaults::objects().into_iter().find(|(known, _)| known == key);
    if let Some((_, document)) = wanted {
        turn.create(key.kind, document.to_value());
    }
}
