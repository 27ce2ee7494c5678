//! The heart of it: how owners change when an object is updated, and what becomes of an object when a document is applied.

use kontiki_actors::Kind;
use serde_json::Value;

use super::{
    compare::{Comparison, compare, compare_literally},
    conflict::Conflict,
    element::{Element, equal},
    fields::{fields, with_named},
    managers::{Manager, Managers, Operation, Owned},
    merge::{Unfit, merge},
    remove::remove,
    set::Set,
    shape::Owning,
};

/// What a write can change, so that nobody comes to own what his write could not touch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Anything.
    All,
    /// Anything but the status.
    NoStatus,
    /// The status.
    Status,
    /// The status, and the metadata but for these fields.
    StatusAndMetadata(&'static [&'static str]),
    /// The containers that were added to a pod.
    EphemeralContainers,
}

impl Reach {
    /// What of a set is within reach.
    fn filter(self, mut set: Set) -> Set {
        let is = |step: &Element, field: &str| matches!(step, Element::Field(name) if &**name == field);
        let is_status = |step: &Element| is(step, "status");
        match self {
            Reach::All => {}
            Reach::NoStatus => set.retain(|step| !is_status(step)),
            Reach::Status => set.retain(is_status),
            Reach::StatusAndMetadata(kept) => {
                set.retain(|step| is_status(step) || is(step, "metadata"));
                set.only_below(&Element::field("metadata"), |metadata| {
                    metadata.retain(|step| !kept.iter().any(|field| is(step, field)));
                });
            }
            Reach::EphemeralContainers => {
                set.retain(|step| is(step, "spec"));
                set.only_below(&Element::field("spec"), |spec| {
                    spec.retain(|step| is(step, "ephemeralContainers"));
                });
            }
        }
        set
    }
}

/// The rules, for one write to an object of a type.
pub(super) struct Rules<'a> {
    pub(super) of: Owning<'a>,
    pub(super) api_version: &'a str,
    pub(super) reach: Reach,
    pub(super) now: &'a str,
}

/// Why a document was not applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refused {
    Unfit(Unfit),
    Conflicts(Vec<Conflict>),
}

impl Rules<'_> {
    fn filter(&self, changes: Comparison) -> Comparison {
        let Comparison { added, modified, removed } = changes;
        let filter = |set| self.reach.filter(set);
        Comparison { added: filter(added), modified: filter(modified), removed: filter(removed) }
    }

    fn owned(&self, set: Set) -> Owned {
        Owned { set, api_version: self.api_version.to_owned(), time: None }
    }

    /// Takes from everybody but the writer what the write changed.
    fn take(&self, managers: &mut Managers, writer: Option<&Manager>, changes: &Comparison) {
        for (_, owned) in managers.0.iter_mut().filter(|(manager, _)| Some(*manager) != writer) {
            for gone in [&changes.modified, &changes.added, &changes.removed] {
                owned.set = owned.set.difference(gone);
            }
        }
        managers.0.retain(|_, owned| !owned.set.is_empty());
    }

    /// What of others a write changed.
    fn conflicts(&self, managers: &Managers, writer: &Manager, changes: &Comparison) -> Vec<Conflict> {
        let changed = changes.modified.clone().union(changes.added.clone());
        let others = managers.0.iter().filter(|(manager, _)| *manager != writer);
        let of = |(manager, owned): (&Manager, &Owned)| {
            let paths = owned.set.intersection(&changed).paths();
            paths.into_iter().map(|path| Conflict { manager: manager.clone(), path }).collect::<Vec<_>>()
        };
        others.flat_map(of).collect()
    }

    /// Paths in a version in which the kind is not served lead nowhere. Those of its other forms stay with whom they belong to, although a
    /// write in this form takes of them only what it calls by the same names.
    fn forget_other_versions(&self, managers: &mut Managers) {
        let group = |version: &str| version.rsplit_once('/').map(|(group, _)| group.to_owned());
        let same = |version: &str| match self.of {
            // All versions of a custom kind have the same fields: their objects are converted by name alone.
            Owning::Resource(_) => group(version) == group(self.api_version),
            Owning::Struct(of) if version != self.api_version => {
                let kind = of.gvk.as_ref().map_or("", |gvk| gvk.kind);
                let own = Kind::by_name(self.api_version, kind);
                own.is_some() && own == Kind::by_name(version, kind)
            }
            _ => version == self.api_version,
        };
        managers.0.retain(|_, owned| same(&owned.api_version));
    }

    /// Owners after a write of `new` over `old` by whoever does not apply: he owns what he changed.
    pub(super) fn update(
        &self,
        old: &Value,
        new: &Value,
        managers: &mut Managers,
        name: &str,
        subresource: &str,
    ) {
        self.forget_other_versions(managers);
        let changes = self.filter(compare(self.of, old, new));
        self.take(managers, None, &changes);
        let set = without_identity(changes.added.union(changes.modified));
        if set.is_empty() {
            return;
        }
        let manager = Manager::new(name, Operation::Update, self.api_version, subresource);
        let owned = managers.0.entry(manager).or_insert_with(|| self.owned(Set::default()));
        owned.set = std::mem::take(&mut owned.set).union(set);
        owned.time = Some(self.now.to_owned());
        managers.cap();
    }

    /// The object with a document applied, and its owners after it: whoever applies owns what he says, and what he no longer says goes
    /// if it was his alone.
    pub(super) fn apply(
        &self,
        live: &Value,
        config: &Value,
        managers: &mut Managers,
        manager: &Manager,
        force: bool,
    ) -> Result<Value, Refused> {
        self.forget_other_versions(managers);
        let merged = merge(self.of, live, config).map_err(Refused::Unfit)?;
        let before = managers.0.remove(manager);
        let time = before.as_ref().and_then(|owned| owned.time.clone());
        let mine = self.reach.filter(fields(self.of, config));
        managers.0.insert(manager.clone(), Owned { time, ..self.owned(mine) });
        let new = match before {
            Some(before) if !before.set.is_empty() => self.prune(&merged, managers, &before.set),
            _ => merged,
        };
        let changes = self.filter(compare_literally(self.of, live, &new));
        if !force {
            let conflicts = self.conflicts(managers, manager, &changes);
            if !conflicts.is_empty() {
                return Err(Refused::Conflicts(conflicts));
            }
        }
        self.take(managers, Some(manager), &changes);
        if let Some(owned) = managers.0.get_mut(manager) {
            owned.set = without_identity(std::mem::take(&mut owned.set));
            if !equal(live, &new) {
                owned.time = Some(self.now.to_owned());
            }
        }
        managers.0.retain(|_, owned| !owned.set.is_empty());
        Ok(new)
    }

    /// Takes out what was applied before and is not now, unless somebody else owns it.
    fn prune(&self, merged: &Value, managers: &Managers, before: &Set) -> Value {
        let of = self.of;
        let before = with_named(of, before);
        let mut pruned = remove(of, merged, &before);
        let all = with_named(of, &fields(of, merged));
        // What others own comes back, with what leads to it.
        let owned = managers.0.values().fold(Set::default(), |all, owned| all.union(owned.set.clone()));
        let kept = with_named(of, &fields(of, &pruned)).union(with_named(of, &owned));
        pruned = remove(of, merged, &all.difference(&kept));
        // What nobody owned comes back, too: it went with what was around it.
        let kept = with_named(of, &fields(of, &pruned));
        remove(of, merged, &all.difference(&kept).intersection(&before))
    }
}

/// What identifies an object, and what only the cluster writes, is owned by nobody.
fn without_identity(mut set: Set) -> Set {
    const METADATA: [&str; 9] = [
        "name",
        "namespace",
        "creationTimestamp",
        "selfLink",
        "uid",
        "clusterName",
        "generation",
        "managedFields",
        "resourceVersion",
    ];
    let named =
        |step: &Element, names: &[&str]| matches!(step, Element::Field(name) if names.contains(&&**name));
    set.retain(|step| !named(step, &["apiVersion", "kind"]));
    set.only_below(&Element::field("metadata"), |metadata| metadata.retain(|step| !named(step, &METADATA)));
    set
}
