//! A field that somebody wants to set to another value than the one that its owner gave it.

use super::{element::Element, managers::Manager};

/// A field of somebody else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// Whose.
    pub manager: Manager,
    /// Which.
    pub path: Vec<Element>,
}

impl Conflict {
    /// The field as messages show it: `.spec.replicas`.
    pub fn field(&self) -> String {
        self.path.iter().map(Element::to_string).collect()
    }

    /// `conflict with "kubectl" using apps/v1`.
    pub fn cause(&self) -> String {
        format!("conflict with {}", self.manager.describe())
    }
}

/// All conflicts in a sentence, as Kubernetes says it.
pub fn message(conflicts: &[Conflict]) -> String {
    if let [only] = conflicts {
        return format!("Apply failed with 1 conflict: {}: {}", only.cause(), only.field());
    }
    let mut lines = Vec::new();
    let mut last = None;
    for conflict in conflicts {
        if last != Some(&conflict.manager) {
            lines.push(format!("conflicts with {}:", conflict.manager.describe()));
            last = Some(&conflict.manager);
        }
        lines.push(format!("- {}", conflict.field()));
    }
    format!("Apply failed with {} conflicts: {}", conflicts.len(), lines.join("\n"))
}
