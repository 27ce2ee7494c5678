//! Built-in kinds that are served in more than one group or version: an object is stored once, in the form of its kind's line in the table,
//! and each further form is an [`Edition`]. What its clients write is converted when it came, before it is completed and checked, and what
//! they read is when it is shown; nothing else knows of it.
//! <https://kubernetes.io/docs/reference/using-api/deprecation-policy/> (why there is a lossless way back and forth)
//!
//! Owners of fields are kept by the paths of the form in which they wrote, and compared with those of others by path only: where two
//! forms call a field by different names, writers in both own it.

pub(crate) mod autoscaler;
mod event;

use kontiki_actors::Kind;
use serde_json::Value;

use crate::{resource::field::Errors, served::Served};

/// A further form of a built-in kind.
#[derive(Debug)]
pub(crate) struct Edition {
    /// The kind.
    pub(crate) kind: Kind,
    /// Its API group in this form.
    pub(crate) group: &'static str,
    /// Its version in this form.
    pub(crate) version: &'static str,
    /// Makes what is stored a document of this form. apiVersion and kind are set besides.
    show: fn(&mut Value),
    /// Makes a document of this form one that can be stored, such that `show` gives it back.
    take: fn(&mut Value),
    /// What is checked besides what holds in all forms: the object, and what it was before, both as they are stored.
    pub(crate) validate: fn(&Value, Option<&Value>, &mut Errors),
    /// What field selectors may ask for besides name and namespace: as it is called here, and in the stored form.
    pub(crate) selectable: &'static [(&'static str, &'static str)],
}

/// All of them. Their names stand in `kontiki_actors::kind::ALSO`, too, since references between objects may use them.
static ALL: [Edition; 2] = [event::EDITION, autoscaler::EDITION];

/// All further forms.
pub(crate) fn all() -> impl Iterator<Item = &'static Edition> {
    ALL.iter()
}

/// The further forms of a kind.
pub(crate) fn of(kind: Kind) -> impl Iterator<Item = Served> {
    all().filter(move |edition| edition.kind == kind).map(Served::of_edition)
}

/// The further form that is served at a URL.
pub(crate) fn by_resource(group: &str, version: &str, plural: &str) -> Option<&'static Edition> {
    all().find(|e| e.group == group && e.version == version && e.kind.info().plural == plural)
}

impl Edition {
    /// `events.k8s.io/v1`.
    pub(crate) fn api_version(&self) -> String {
        format!("{}/{}", self.group, self.version)
    }

    /// Makes what is stored a document of this form.
    pub(crate) fn show(&self, value: &mut Value) {
        (self.show)(value);
        set_version(value, self.api_version());
    }

    /// Makes a document of this form one that can be stored.
    pub(crate) fn take(&self, value: &mut Value) {
        (self.take)(value);
        set_version(value, self.kind.api_version());
    }

    /// The name in the stored form of a field that selectors ask for; names that are the same are not in the list.
    pub(crate) fn stored_field<'a>(&self, field: &'a str) -> &'a str {
        self.selectable.iter().find(|(here, _)| *here == field).map_or(field, |(_, stored)| *stored)
    }
}

fn set_version(value: &mut Value, api_version: String) {
    if let Some(map) = value.as_object_mut() {
        map.insert("apiVersion".into(), api_version.into());
    }
}

/// Gives fields other names: (from, to). What stood at the other name is replaced.
fn rename(value: &mut Value, names: impl Iterator<Item = (&'static str, &'static str)>) {
    let Some(map) = value.as_object_mut() else { return };
    for (from, to) in names {
        if let Some(field) = map.remove(from) {
            map.insert(to.to_owned(), field);
        }
    }
}

#[cfg(test)]
mod tests {
    use kontiki_actors::kind;

    use super::*;

    #[test]
    fn references_and_urls_know_the_same_forms() {
        let served: Vec<_> = all().map(|e| (e.kind, e.group, e.version)).collect();
        assert_eq!(served, kind::ALSO);
        for (kind, group, version) in served {
            assert_eq!(Kind::by_name(&format!("{group}/{version}"), kind.info().kind), Some(kind));
            assert!(crate::schema::type_for(group, version, kind.info().kind).is_some(), "{group}/{version}");
        }
    }
}
