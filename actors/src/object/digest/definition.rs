//! What the cluster needs of a CustomResourceDefinition: which kind it defines, under which names, in which versions, and whether it is
//! served.

use compact_str::CompactString;
use serde::Deserialize;

use super::{Condition, Document, read};
use crate::kind::Kind;

/// The strategy of conversion that asks somebody else.
const WEBHOOK: &str = "Webhook";

/// A definition of a custom kind.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DefinitionDigest {
    /// API group.
    pub group: CompactString,
    /// `Namespaced`, `Cluster`.
    pub scope: CompactString,
    /// The names that it asks for.
    pub names: Names,
    /// Its versions, in the order of the definition.
    pub versions: Vec<DefinedVersion>,
    /// How objects of one version become those of another.
    pub conversion: Conversion,
    /// What became of it.
    #[serde(skip)]
    pub status: DefinitionStatus,
}

/// The names of a custom kind.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Names {
    /// `widgets`.
    pub plural: CompactString,
    /// `widget`.
    pub singular: CompactString,
    /// `wd`.
    pub short_names: Vec<CompactString>,
    /// `Widget`.
    pub kind: CompactString,
    /// `WidgetList`.
    pub list_kind: CompactString,
    /// `all`.
    pub categories: Vec<CompactString>,
}

/// How objects of one version of a custom kind become those of another.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Conversion {
    /// `None`, `Webhook`.
    pub strategy: CompactString,
}

/// A version of a custom kind.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(default)]
pub struct DefinedVersion {
    /// `v1`.
    pub name: CompactString,
    /// Whether clients may use it.
    pub served: bool,
    /// Whether objects are stored in it.
    pub storage: bool,
}

/// The status of a definition.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DefinitionStatus {
    /// The names that it got.
    pub accepted_names: Names,
    /// What holds of it.
    pub conditions: Vec<Condition>,
    /// Versions that objects were ever stored in.
    pub stored_versions: Vec<CompactString>,
}

impl DefinitionDigest {
    pub(super) fn of(document: &Document) -> DefinitionDigest {
        let spec: DefinitionDigest = read(&document.spec);
        DefinitionDigest { status: read(&document.status), ..spec }
    }

    /// Whether a document of a definition has objects converted by a webhook.
    pub(crate) fn of_webhook(document: &Document) -> bool {
        /// All that counts of it.
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Spec {
            conversion: Conversion,
        }
        read::<Spec>(&document.spec).conversion.strategy == WEBHOOK
    }

    /// Whether objects are converted by a webhook; else a version is a name only.
    pub fn converts(&self) -> bool {
        self.conversion.strategy == WEBHOOK
    }

    /// The version that objects are stored in.
    pub fn storage(&self) -> Option<&str> {
        self.versions.iter().find(|version| version.storage).map(|version| version.name.as_str())
    }

    /// The kind that it defines.
    pub fn kind(&self) -> Kind {
        Kind::custom(&self.group, &self.names.plural, &self.names.kind, self.scope == "Namespaced")
    }

    /// Whether a condition holds.
    pub fn holds(&self, condition: &str) -> bool {
        self.status.conditions.iter().any(|c| c.r#type == condition && c.status == "True")
    }

    /// Whether its kind is served.
    pub fn established(&self) -> bool {
        self.holds("Established")
    }

    /// A version that clients may use.
    pub fn served(&self, version: &str) -> Option<&DefinedVersion> {
        self.versions.iter().find(|v| v.served && v.name == version)
    }
}
