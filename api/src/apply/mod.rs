//! Server-side apply, and who owns which field of an object (`metadata.managedFields`): pure functions of documents and of the schema
//! table. They do what `sigs.k8s.io/structured-merge-diff` v4 and `k8s.io/apimachinery`'s field manager do, which
//! `tests/apply_vectors.rs` compares.
//!
//! ```text
//!   element.rs   one step of a path        set.rs       sets of paths, and their `fieldsV1`
//!   shape.rs     how the schema says that something is owned: whole, by field, by element
//!   zeros.rs     what Go's objects hold where documents hold nothing
//!   compare.rs   old, new -> paths         fields.rs    document -> paths
//!   merge.rs     document over object      remove.rs    object without paths
//!   owners.rs    the rules: who owns what after an update and after an apply; what goes
//!   managers.rs  the stored list           conflict.rs  what is refused, in words
//!   last_applied.rs, scale.rs              kubectl's annotation; replicas of a scale
//! ```
//! Where writes come from, and what becomes of a document after this, is in `rest/`.

mod compare;
mod conflict;
mod element;
mod fields;
mod last_applied;
mod managers;
mod merge;
mod owners;
mod remove;
mod scale;
mod set;
mod shape;
mod zeros;

pub use conflict::{Conflict, message};
pub use element::Element;
pub use managers::{Manager, Operation};
pub use merge::Unfit;
pub use owners::Reach;
pub use set::Set;
pub use shape::Of;

use serde_json::{Value, json};

use crate::schema::TypeRef;
use managers::{Managers, resets};
use owners::{Refused, Rules};

/// The manager of what an object had before anybody applied it, if nobody is known to own it.
const BEFORE: &str = "before-first-apply";

/// Who writes, and what to.
#[derive(Clone, Copy, Debug)]
pub struct Writer<'a> {
    /// The field manager.
    pub manager: &'a str,
    /// `status`, `scale`; empty for the object itself.
    pub subresource: &'a str,
    /// What the object is built by.
    pub of: Of<'a>,
    /// The version that it is served in: `apps/v1`.
    pub api_version: &'a str,
    /// What the write can change.
    pub reach: Reach,
    /// The time to note, RFC 3339 in whole seconds.
    pub now: &'a str,
}

/// Why a document was not applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// It does not fit the type.
    #[error(transparent)]
    Unfit(#[from] Unfit),
    /// Others own what it wants to change.
    #[error("{}", message(.0))]
    Conflicts(Vec<Conflict>),
}

impl From<Refused> for ApplyError {
    fn from(refused: Refused) -> ApplyError {
        match refused {
            Refused::Unfit(unfit) => ApplyError::Unfit(unfit),
            Refused::Conflicts(conflicts) => ApplyError::Conflicts(conflicts),
        }
    }
}

/// The owners of an object, ready to be stored with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owners(Managers);

impl Owners {
    /// Those that are stored with an object. What cannot be read counts as nobody.
    pub fn of(object: &Value) -> Owners {
        Owners(Managers::read(&object["metadata"]["managedFields"]).unwrap_or_default())
    }

    /// As `metadata.managedFields`; none if there is nobody.
    pub fn to_value(&self) -> Option<Value> {
        self.0.write()
    }

    /// Puts them into the metadata of an object.
    pub fn store(&self, object: &mut Value) {
        let metadata = crate::resource::metadata::metadata_of(object);
        match self.0.write() {
            Some(list) => metadata.insert("managedFields".into(), list),
            None => metadata.remove("managedFields"),
        };
    }

    /// Whether both say the same but for the times.
    pub fn same_but_times(&self, other: &Owners) -> bool {
        self.0.same_but_times(&other.0)
    }
}

impl<'a> Writer<'a> {
    fn rules(&self) -> Rules<'a> {
        Rules { of: self.of.0, api_version: self.api_version, reach: self.reach, now: self.now }
    }

    /// The owners of a new object: whoever makes it owns all that it begins with. `given` is what the client sent as
    /// `metadata.managedFields`.
    pub fn created(&self, new: &Value, given: Option<&Value>) -> Owners {
        let mut managers = given.and_then(|list| Managers::read(list).ok()).unwrap_or_default();
        self.rules().update(&json!({}), new, &mut managers, self.manager, self.subresource);
        Owners(managers)
    }

    /// The owners of an object after a write other than an apply. `given` is what the client sent as `metadata.managedFields`: it counts,
    /// if it can be read, and an empty list makes nobody an owner. Objects that nobody owns stay so.
    pub fn updated(&self, old: &Value, new: &Value, given: Option<&Value>) -> Owners {
        let stored = &old["metadata"]["managedFields"];
        let mut managers = match given.filter(|given| *given != stored) {
            Some(given) if resets(given) => Managers::default(),
            Some(given) => {
                Managers::read(given).ok().filter(|m| !m.is_empty()).unwrap_or_else(|| Owners::of(old).0)
            }
            None => Owners::of(old).0,
        };
        if !managers.is_empty() {
            self.rules().update(
                &without_owners(old),
                &without_owners(new),
                &mut managers,
                self.manager,
                self.subresource,
            );
        }
        Owners(managers)
    }

    /// A document applied to an object, and the owners of the result. `live` is `{}` where there is no object yet. Nulls stand where
    /// something is to be gone.
    ///
    /// Fails when others own what the document changes, unless `force`, and when the document has an element twice.
    pub fn applied(&self, live: &Value, config: &Value, force: bool) -> Result<(Value, Owners), ApplyError> {
        let stored = Owners::of(live).0;
        let live = zeros::without(self.of.0, &without_owners(live));
        let rules = self.rules();
        let apply = |force: bool| {
            let mut managers = stored.clone();
            if managers.is_empty() {
                rules.update(&json!({}), &live, &mut managers, BEFORE, self.subresource);
            }
            let manager = Manager::new(self.manager, Operation::Apply, self.api_version, self.subresource);
            let new = rules.apply(&live, config, &mut managers, &manager, force)?;
            Ok((new, managers))
        };
        let result = match apply(force) {
            Err(Refused::Conflicts(conflicts)) if self.manager == last_applied::KUBECTL => {
                match self.still_conflicting(&live, conflicts) {
                    conflicts if conflicts.is_empty() => apply(true),
                    conflicts => Err(Refused::Conflicts(conflicts)),
                }
            }
            result => result,
        };
        let (mut new, managers) = result?;
        if self.manager == last_applied::KUBECTL {
            last_applied::refresh(&mut new, config);
        }
        Ok((new, Owners(managers)))
    }

    /// Conflicts of kubectl without those on what it applied itself, before it applied to the server.
    fn still_conflicting(&self, live: &Value, mut conflicts: Vec<Conflict>) -> Vec<Conflict> {
        if let Some(own) = last_applied::still_applied(self.of.0, self.api_version, live) {
            conflicts.retain(|conflict| !own.has(&conflict.path));
        }
        conflicts
    }
}

/// A scale that is written: its owners are those of the replicas of its object.
#[derive(Clone, Debug)]
pub struct ScaleWriter<'a> {
    /// The field manager.
    pub manager: &'a str,
    /// The version of the object, not of the scale.
    pub api_version: &'a str,
    /// Where the object has its replicas: of built-in kinds `spec.replicas`.
    pub path: Set,
    /// The time to note, RFC 3339 in whole seconds.
    pub now: &'a str,
}

impl<'a> ScaleWriter<'a> {
    fn writer(&self, of: TypeRef) -> Writer<'a> {
        let (manager, now) = (self.manager, self.now);
        Writer {
            manager,
            subresource: "scale",
            of: of.into(),
            api_version: scale::API_VERSION,
            reach: Reach::NoStatus,
            now,
        }
    }

    /// The owners of the object after its scale was updated; `parent` is the object, `old` and `new` are the scales.
    pub fn updated(&self, of: TypeRef, parent: &Value, old: &Value, new: &Value) -> Owners {
        let owners = Owners::of(parent);
        let mut managers = scale::of_object(&owners.0, &self.path);
        // What nobody owns stays so.
        if !managers.is_empty() {
            let new = without_owners(new);
            self.writer(of).rules().update(old, &new, &mut managers, self.manager, "scale");
        }
        self.of_parent(managers, owners)
    }

    /// A scale applied, and the owners of the object after it.
    pub fn applied(
        &self,
        of: TypeRef,
        parent: &Value,
        live: &Value,
        config: &Value,
        force: bool,
    ) -> Result<(Value, Owners), ApplyError> {
        let owners = Owners::of(parent);
        let mut live = live.clone();
        Owners(scale::of_object(&owners.0, &self.path)).store(&mut live);
        let (new, after) = self.writer(of).applied(&live, config, force)?;
        Ok((new, self.of_parent(after.0, owners)))
    }

    fn of_parent(&self, scale: Managers, mut owners: Owners) -> Owners {
        scale::to_object(scale, &mut owners.0, &self.path, self.api_version);
        owners
    }
}

fn without_owners(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
    object
}
