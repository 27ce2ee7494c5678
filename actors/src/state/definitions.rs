//! Custom kinds: what the state's definitions define. Nothing is kept for it but the definitions.

use std::sync::Arc;

use super::State;
use crate::{
    kind::Kind,
    object::{DefinitionDigest, Object, ObjectKey},
};

impl State {
    /// The definition of a resource, by group and plural, whether it is served or not.
    pub fn definition(&self, group: &str, plural: &str) -> Option<&Arc<Object>> {
        let name = format!("{plural}.{group}");
        self.get(&ObjectKey::new(Kind::CUSTOM_RESOURCE_DEFINITION, "", &name))
    }

    /// The definition of a custom kind, while that is served.
    pub fn definition_of(&self, kind: Kind) -> Option<&Arc<Object>> {
        let info = kind.info();
        self.definition(info.group, info.plural)
            .filter(|object| object.definition().is_some_and(|d| d.established() && d.kind() == kind))
    }

    /// Every definition that is served, in order of name.
    pub fn established(&self) -> impl Iterator<Item = (&Arc<Object>, &DefinitionDigest)> {
        let all = self.list(Kind::CUSTOM_RESOURCE_DEFINITION, None);
        all.filter_map(|object| Some((object, object.definition()?))).filter(|(_, d)| d.established())
    }

    /// Every kind that objects can be of: the built-in ones, also those that the API does not have, then the custom ones.
    pub fn kinds(&self) -> impl Iterator<Item = Kind> {
        let built_in = Kind::all().chain(Kind::internal());
        built_in.chain(self.established().map(|(_, definition)| definition.kind()))
    }

    /// Finds a kind by the `apiVersion` and `kind` of a document, if that version is served.
    pub fn kind_named(&self, api_version: &str, kind: &str) -> Option<Kind> {
        if let Some(kind) = Kind::by_name(api_version, kind) {
            return Some(kind);
        }
        let (group, version) = api_version.rsplit_once('/')?;
        self.established()
            .find(|(_, d)| d.group == group && d.names.kind == kind && d.served(version).is_some())
            .map(|(_, definition)| definition.kind())
    }
}
