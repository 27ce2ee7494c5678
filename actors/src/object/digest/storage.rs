//! Digests of claims and of the volumes that they are bound to.

use compact_str::CompactString;
use serde::Deserialize;
use serde_json::Value;

use super::{Selector, SelectorTerm, read};
use crate::{object::Document, quantity};

/// A PersistentVolumeClaim's.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ClaimDigest {
    /// The class that it names; an empty one is none on purpose.
    pub class: Option<CompactString>,
    /// How it is to be accessed.
    pub modes: Vec<CompactString>,
    /// How much it asks for, in thousandths of a byte.
    pub request: i128,
    /// The volumes that it takes, by their labels.
    pub selector: Option<Selector>,
    /// The volume that it names or is bound to; empty: none.
    pub volume: CompactString,
    /// `Filesystem`, `Block`.
    pub mode: CompactString,
    /// `Pending`, `Bound`, `Lost`.
    pub phase: CompactString,
}

/// The claim that a volume is bound to, or kept for.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ClaimRef {
    /// The claim's namespace.
    pub namespace: CompactString,
    /// Its name.
    pub name: CompactString,
    /// Its uid; empty while the volume is only kept for whoever has that name.
    pub uid: CompactString,
}

/// A PersistentVolume's.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct VolumeDigest {
    /// Its class; empty: none.
    pub class: CompactString,
    /// How it may be accessed.
    pub modes: Vec<CompactString>,
    /// Its size, in thousandths of a byte.
    pub capacity: i128,
    /// `Filesystem`, `Block`.
    pub mode: CompactString,
    /// Whose it is.
    pub claim: Option<ClaimRef>,
    /// `Delete`, `Retain`, `Recycle`.
    pub policy: CompactString,
    /// The nodes that reach it: one of these must match; none: all do.
    pub nodes: Option<Vec<SelectorTerm>>,
    /// The driver that it belongs to, if it is a driver's.
    pub driver: CompactString,
    /// The node that holds it, if the driver is the cluster's own.
    pub node: CompactString,
    /// `Available`, `Bound`, `Released`, `Failed`.
    pub phase: CompactString,
}

/// The driver of volumes that the cluster makes itself: folders of workers.
pub const LOCAL_PATH: &str = "kontiki.io/local-path";

/// The attribute of a volume of that driver that names the node with the folder.
pub const NODE_ATTRIBUTE: &str = "node";

impl ClaimDigest {
    /// Reads a claim.
    pub(super) fn of(document: &Document) -> ClaimDigest {
        let spec = document.spec_value();
        ClaimDigest {
            class: spec["storageClassName"].as_str().map(Into::into),
            modes: texts(&spec["accessModes"]),
            request: quantity::wide_of(&spec["resources"]["requests"]["storage"]).unwrap_or(0),
            selector: spec.get("selector").filter(|s| !s.is_null()).map(Selector::of),
            volume: text(&spec["volumeName"]),
            mode: mode(&spec),
            phase: phase(&document.status),
        }
    }

    /// What changes with the status.
    pub(super) fn set_status(&mut self, status: &[u8]) {
        self.phase = phase(status);
    }
}

impl VolumeDigest {
    /// Reads a volume.
    pub(super) fn of(document: &Document) -> VolumeDigest {
        let spec = document.spec_value();
        let terms = &spec["nodeAffinity"]["required"]["nodeSelectorTerms"];
        let csi = &spec["csi"];
        VolumeDigest {
            class: text(&spec["storageClassName"]),
            modes: texts(&spec["accessModes"]),
            capacity: quantity::wide_of(&spec["capacity"]["storage"]).unwrap_or(0),
            mode: mode(&spec),
            claim: spec
                .get("claimRef")
                .and_then(|claim| ClaimRef::deserialize(claim).ok())
                .filter(|claim| !claim.name.is_empty()),
            policy: text(&spec["persistentVolumeReclaimPolicy"]),
            nodes: terms.as_array().map(|terms| terms.iter().map(SelectorTerm::of).collect()),
            driver: text(&csi["driver"]),
            node: text(&csi["volumeAttributes"][NODE_ATTRIBUTE]),
            phase: phase(&document.status),
        }
    }

    /// What changes with the status.
    pub(super) fn set_status(&mut self, status: &[u8]) {
        self.phase = phase(status);
    }
}

fn text(value: &Value) -> CompactString {
    value.as_str().unwrap_or_default().into()
}

fn texts(value: &Value) -> Vec<CompactString> {
    value.as_array().into_iter().flatten().map(text).collect()
}

fn mode(spec: &Value) -> CompactString {
    spec["volumeMode"].as_str().unwrap_or("Filesystem").into()
}

fn phase(status: &[u8]) -> CompactString {
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Status {
        phase: CompactString,
    }
    read::<Status>(status).phase
}
