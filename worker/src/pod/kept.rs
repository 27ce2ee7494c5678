//! What the agent remembers of a pod on disk: the assignment and what was seen, so that a restarted agent goes on where
//! it was. The file holds Secrets: only its owner can read it.

use std::io;
use std::path::Path;

use kontiki_proto::worker::PodAssignment;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::dependency::Dependencies;
use super::document::Pod;
use super::observed::Observed;
use super::order::is_overtaken;
use crate::agent::disk::{self, Durability};
use crate::agent::layout::Layout;

const FORMAT: u32 = 1;

/// An assignment as the leader sent it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Assignment {
    /// The pod's uid.
    pub uid: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Which state of it this is.
    pub revision: u64,
    /// Its document.
    pub pod: Box<RawValue>,
    /// What it refers to.
    pub dependencies: Vec<Object>,
    /// The trace that it belongs to, in W3C's form; may be empty.
    #[serde(default)]
    pub traceparent: String,
}

/// A ConfigMap or Secret.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Object {
    /// `ConfigMap` or `Secret`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Which state of it this is.
    pub revision: u64,
    /// Its document.
    pub object: Box<RawValue>,
}

/// Why an assignment cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum AssignmentError {
    /// A name that cannot be part of a path.
    #[error("\"{0}\" cannot name a pod")]
    Name(String),
    /// The document is not what it should be.
    #[error("its document cannot be read: {0}")]
    Document(#[from] serde_json::Error),
}

impl Assignment {
    /// Checks what came over the wire.
    pub fn receive(assignment: PodAssignment) -> Result<(Assignment, Pod), AssignmentError> {
        let PodAssignment { uid, namespace, name, revision, pod, dependencies, traceparent } = assignment;
        for part in [&uid, &namespace, &name] {
            if !Layout::is_plain(part) {
                return Err(AssignmentError::Name(part.clone()));
            }
        }
        let dependencies = dependencies
            .into_iter()
            .map(|dependency| {
                let object = serde_json::from_slice(&dependency.object)?;
                let (kind, name, revision) = (dependency.kind, dependency.name, dependency.revision);
                Ok(Object { kind, name, revision, object })
            })
            .collect::<Result<_, serde_json::Error>>()?;
        let parsed = Pod::parse(&pod)?;
        let containers = parsed.all_containers().map(|container| &container.name);
        let volumes = parsed.spec.volumes.iter().map(|volume| &volume.name);
        if let Some(wrong) = containers.chain(volumes).find(|name| !Layout::is_plain(name)) {
            return Err(AssignmentError::Name(wrong.clone()));
        }
        let pod = serde_json::from_slice(&pod)?;
        Ok((Assignment { uid, namespace, name, revision, pod, dependencies, traceparent }, parsed))
    }

    /// Whether this says something that `known` does not: a newer pod, or the same with other dependencies.
    pub fn is_news_after(&self, known: &Version) -> bool {
        let version = self.version();
        !is_overtaken(version.revision, known.revision) && version != *known
    }

    /// What of it was applied, small enough to keep at hand.
    pub fn version(&self) -> Version {
        let object = |object: &Object| (object.kind.clone(), object.name.clone(), object.revision);
        let mut dependencies: Vec<_> = self.dependencies.iter().map(object).collect();
        dependencies.sort();
        Version { revision: self.revision, dependencies }
    }

    /// What it refers to, readable.
    pub fn dependencies(&self) -> Dependencies {
        let mut dependencies = Dependencies::default();
        for object in &self.dependencies {
            dependencies.add(&object.kind, &object.name, object.object.get().as_bytes());
        }
        dependencies
    }
}

/// Which state of a pod and its dependencies was applied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Version {
    /// The pod's.
    pub revision: u64,
    dependencies: Vec<(String, String, u64)>,
}

/// What is on disk.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Kept {
    format: u32,
    /// What is wanted.
    pub assignment: Assignment,
    /// What was seen.
    pub observed: Observed,
}

impl Kept {
    /// Of a pod that was just assigned.
    pub fn new(assignment: Assignment) -> Kept {
        Kept { format: FORMAT, assignment, observed: Observed::default() }
    }

    /// As it is written.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("maps with text keys can always be written as JSON")
    }

    /// Without what may be secret or soon outdated, for the pod's shim: enough to find out again what runs there.
    pub fn to_blob(&self) -> Vec<u8> {
        let assignment = Assignment { revision: 0, dependencies: Vec::new(), ..self.assignment.clone() };
        Kept { format: FORMAT, assignment, observed: Observed { sandbox: true, ..Observed::default() } }
            .to_json()
    }

    /// Reads what was written.
    pub fn from_json(json: &[u8]) -> io::Result<Kept> {
        let kept: Kept = serde_json::from_slice(json)?;
        if kept.format != FORMAT {
            let why = format!("a pod's state has format {}, and this worker reads {FORMAT}", kept.format);
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        Ok(kept)
    }

    /// All pods on disk. One that cannot be read is told in the log and left out: the leader sends it again.
    pub fn load_all(folder: &Path) -> io::Result<Vec<Kept>> {
        let mut all = Vec::new();
        let entries = std::fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path()));
        let mut paths = entries.collect::<io::Result<Vec<_>>>()?;
        paths.sort_unstable();
        for path in paths {
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            match disk::read(&path).and_then(|json| Kept::from_json(&json.unwrap_or_default())) {
                Ok(kept) => all.push(kept),
                Err(error) => tracing::error!(path = %path.display(), %error, "a pod's state cannot be read"),
            }
        }
        Ok(all)
    }

    /// Writes what [`Kept::to_json`] made. It must outlive this process, not the machine: its containers do neither.
    pub fn store(path: &Path, json: &[u8]) -> io::Result<()> {
        disk::write(path, json, Durability::Process)
    }
}
