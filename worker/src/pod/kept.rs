//! What the agent remembers of a pod: the assignment and what was seen, so that a restarted agent goes on where it was.
//!
//! All of it is in one file of the disk, but the Secrets, which are in another one in memory: after a restart of the machine
//! the leader sends them again. Where there is no such place, they are in the first file. Only their owner can read them.

use std::io;
use std::path::{Path, PathBuf};

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
    /// The leader's own word for all of this; empty where the leader has none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub digest: String,
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
        let PodAssignment { uid, namespace, name, revision, pod, dependencies, traceparent, digest } =
            assignment;
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
        Ok((Assignment { uid, namespace, name, revision, pod, dependencies, traceparent, digest }, parsed))
    }

    /// Whether this says something that `known` does not: a newer pod, or the same with other dependencies. A pod is newer with each
    /// of its own reports; where the leader tells by a digest that there was nothing else, it is not.
    pub fn is_news_after(&self, known: &Version) -> bool {
        let version = self.version();
        let told = !version.digest.is_empty() && version.digest == known.digest;
        !is_overtaken(version.revision, known.revision) && !told && version != *known
    }

    /// What of it was applied, small enough to keep at hand.
    pub fn version(&self) -> Version {
        let object = |object: &Object| (object.kind.clone(), object.name.clone(), object.revision);
        let mut dependencies: Vec<_> = self.dependencies.iter().map(object).collect();
        dependencies.sort();
        Version { revision: self.revision, digest: self.digest.clone(), dependencies }
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
    /// The leader's word for all of it; may be empty.
    pub digest: String,
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
    /// The leader knows it no more: whatever becomes of this agent, it is not started again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub removed: bool,
    /// The Secrets are in a file of their own.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    apart: bool,
}

/// What is in that file.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Secrets {
    /// The digest of the assignment that they are of.
    digest: String,
    objects: Vec<Object>,
}

impl Kept {
    /// Of a pod that was just assigned.
    pub fn new(assignment: Assignment) -> Kept {
        Kept { format: FORMAT, assignment, observed: Observed::default(), removed: false, apart: false }
    }

    /// As it is written.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("maps with text keys can always be written as JSON")
    }

    /// Without what may be secret or soon outdated, for the pod's shim: enough to find out again what runs there.
    pub fn to_blob(&self) -> Vec<u8> {
        let assignment = Assignment {
            revision: 0,
            digest: String::new(),
            dependencies: Vec::new(),
            ..self.assignment.clone()
        };
        let observed = Observed { sandbox: true, ..Observed::default() };
        Kept { observed, ..Kept::new(assignment) }.to_json()
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

    /// As it is written: the Secrets `apart` from the rest, or in one with it.
    pub fn pages(&self, apart: bool) -> Pages {
        let is_secret = |object: &Object| object.kind == "Secret";
        if !apart || !self.assignment.dependencies.iter().any(is_secret) {
            return Pages { open: self.to_json(), secret: None };
        }
        let mut open = self.clone();
        open.apart = true;
        let objects = open.assignment.dependencies.extract_if(.., |it| is_secret(it)).collect();
        let secret = Secrets { digest: open.assignment.digest.clone(), objects };
        let secret = serde_json::to_vec(&secret).expect("maps with text keys can always be written as JSON");
        Pages { open: open.to_json(), secret: Some(secret) }
    }

    /// One pod, with its Secrets as far as they are still there. Where they are not, or are those of another assignment (the agent
    /// died between the two files), nothing is left of the leader's word that all of it is known.
    pub fn load(layout: &Layout, uid: &str) -> io::Result<Kept> {
        let json = disk::read(&layout.kept_pod(uid))?;
        let mut kept = Kept::from_json(&json.unwrap_or_default())?;
        if !std::mem::take(&mut kept.apart) {
            return Ok(kept);
        }
        let json = Pages::secret(layout, uid).map_or(Ok(None), |path| disk::read(&path))?;
        let secrets: Secrets =
            json.map_or_else(|| Ok(Secrets::default()), |json| serde_json::from_slice(&json))?;
        let assignment = &mut kept.assignment;
        if assignment.digest != secrets.digest {
            assignment.digest.clear();
        }
        assignment.dependencies.extend(secrets.objects);
        Ok(kept)
    }

    /// The pods that have a page, whether or not it can be read.
    pub(crate) fn uids(layout: &Layout) -> io::Result<Vec<String>> {
        let mut uids = Vec::new();
        for entry in std::fs::read_dir(layout.kept())? {
            let name = entry?.file_name();
            uids.extend(name.to_string_lossy().strip_suffix(".json").map(str::to_owned));
        }
        uids.sort_unstable();
        Ok(uids)
    }

    /// All pods on disk. One that cannot be read is told in the log and left out: the leader sends it again.
    pub fn load_all(layout: &Layout) -> io::Result<Vec<Kept>> {
        let mut all = Vec::new();
        for uid in Kept::uids(layout)? {
            match Kept::load(layout, &uid) {
                Ok(kept) => all.push(kept),
                Err(error) => {
                    let path = layout.kept_pod(&uid);
                    tracing::error!(path = %path.display(), %error, "a pod's state cannot be read");
                }
            }
        }
        Ok(all)
    }
}

/// What is written of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pages {
    open: Vec<u8>,
    secret: Option<Vec<u8>>,
}

impl Pages {
    /// Writes them. They must outlive this process, not the machine: the pod's containers do neither.
    pub fn store(&self, layout: &Layout, uid: &str) -> io::Result<()> {
        // First the Secrets: one that is not named yet harms nobody, one that is named and missing does.
        match (Pages::secret(layout, uid), &self.secret) {
            (Some(path), Some(secret)) => disk::write(&path, secret, Durability::Process)?,
            (Some(path), None) => remove(&path)?,
            (None, _) => {}
        }
        disk::write(&layout.kept_pod(uid), &self.open, Durability::Process)
    }

    /// Takes them away.
    pub fn remove(layout: &Layout, uid: &str) {
        for path in [layout.kept_pod(uid)].into_iter().chain(Pages::secret(layout, uid)) {
            remove(&path).ok();
        }
    }

    fn secret(layout: &Layout, uid: &str) -> Option<PathBuf> {
        layout.kept_secrets().map(|folder| folder.join(format!("{uid}.json")))
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn kept(secrets: &[&str]) -> Kept {
        let object = |kind: &str, name: &str| Object {
            kind: kind.to_owned(),
            name: name.to_owned(),
            revision: 3,
            object: serde_json::from_str(&format!(r#"{{"data":{{"word":"{name}-word"}}}}"#)).unwrap(),
        };
        let digest = secrets.concat();
        let secrets = secrets.iter().map(|name| object("Secret", name));
        Kept::new(Assignment {
            uid: "u".to_owned(),
            namespace: "n".to_owned(),
            name: "p".to_owned(),
            revision: 7,
            pod: serde_json::from_str("{}").unwrap(),
            dependencies: [object("ConfigMap", "settings")].into_iter().chain(secrets).collect(),
            traceparent: String::new(),
            digest,
        })
    }

    #[test]
    fn secrets_are_kept_in_memory_and_nowhere_else() {
        let (disk, memory) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let layout = Layout::with_memory(disk.path(), Some(memory.path()));
        for folder in [layout.kept(), layout.kept_secrets().unwrap()] {
            disk::private_folder(&folder).unwrap();
        }
        let all = kept(&["login"]);
        all.pages(true).store(&layout, "u").unwrap();
        let on_disk = std::fs::read_to_string(layout.kept_pod("u")).unwrap();
        assert!(on_disk.contains("settings-word") && !on_disk.contains("login-word"), "{on_disk}");
        let found = Kept::load_all(&layout).unwrap().remove(0);
        assert_eq!(found.assignment.version(), all.assignment.version());

        // The machine was started again: what the leader sends is news, for the Secret is missing.
        std::fs::remove_dir_all(layout.kept_secrets().unwrap()).unwrap();
        let found = Kept::load(&layout, "u").unwrap();
        assert_eq!(found.assignment.dependencies.len(), 1);
        assert!(all.assignment.is_news_after(&found.assignment.version()));

        // The agent died when it had written the newer Secrets, and nothing else.
        disk::private_folder(&layout.kept_secrets().unwrap()).unwrap();
        all.pages(true).store(&layout, "u").unwrap();
        let newer = kept(&["other"]);
        disk::write(
            &Pages::secret(&layout, "u").unwrap(),
            &newer.pages(true).secret.unwrap(),
            Durability::Process,
        )
        .unwrap();
        let found = Kept::load(&layout, "u").unwrap();
        assert!(all.assignment.is_news_after(&found.assignment.version()));
        assert!(newer.assignment.is_news_after(&found.assignment.version()));

        // It needs the Secret no more.
        all.pages(true).store(&layout, "u").unwrap();
        kept(&[]).pages(true).store(&layout, "u").unwrap();
        assert_eq!(std::fs::read_dir(layout.kept_secrets().unwrap()).unwrap().count(), 0);
        all.pages(true).store(&layout, "u").unwrap();
        Pages::remove(&layout, "u");
        let left = |folder: PathBuf| std::fs::read_dir(folder).unwrap().count();
        assert_eq!(left(layout.kept()) + left(layout.kept_secrets().unwrap()), 0);
    }

    #[test]
    fn where_there_is_no_memory_all_is_in_one_file_and_an_older_one_is_read() {
        let disk = tempfile::tempdir().unwrap();
        let layout = Layout::new(disk.path());
        disk::private_folder(&layout.kept()).unwrap();
        let all = kept(&["login"]);
        all.pages(false).store(&layout, "u").unwrap();
        let found = Kept::load(&layout, "u").unwrap();
        assert_eq!(found.assignment.version(), all.assignment.version());
        // A worker that has memory now moves it there.
        let memory = tempfile::tempdir().unwrap();
        let layout = Layout::with_memory(disk.path(), Some(memory.path()));
        disk::private_folder(&layout.kept_secrets().unwrap()).unwrap();
        let found = Kept::load(&layout, "u").unwrap();
        assert_eq!(found.assignment.version(), all.assignment.version());
        found.pages(true).store(&layout, "u").unwrap();
        assert!(!std::fs::read_to_string(layout.kept_pod("u")).unwrap().contains("login-word"));
    }

    fn assignment(revision: u64, digest: &str) -> Assignment {
        let pod = r#"{"metadata":{"name":"p","uid":"u"},"spec":{"containers":[]}}"#;
        let (uid, name, digest) = ("u".to_owned(), "p".to_owned(), digest.to_owned());
        let sent = PodAssignment {
            uid,
            name,
            revision,
            pod: pod.into(),
            digest,
            namespace: "n".into(),
            ..Default::default()
        };
        Assignment::receive(sent).unwrap().0
    }

    #[test]
    fn where_the_leader_says_that_nothing_is_new_nothing_is() {
        let news = |revision, digest, known: &Assignment| {
            assignment(revision, digest).is_news_after(&known.version())
        };
        let known = assignment(5, "a");
        assert!(!news(9, "a", &known));
        assert!(news(9, "b", &known));
        assert!(news(9, "", &known), "a leader that does not say");
        assert!(!news(4, "b", &known), "overtaken");
        let plain = assignment(5, "");
        assert!(!news(5, "", &plain));
        assert!(news(6, "", &plain));
        assert!(news(6, "a", &plain));
    }

    #[test]
    fn what_was_told_is_remembered_by_the_disk_and_not_by_the_shim() {
        let kept = Kept::new(assignment(5, "a"));
        let read = |json: &[u8]| Kept::from_json(json).unwrap().assignment.version();
        assert_eq!(read(&kept.to_json()), kept.assignment.version());
        // What the pod refers to is not there, so that all of it must come again.
        assert_eq!(read(&kept.to_blob()), Version::default());
    }
}
