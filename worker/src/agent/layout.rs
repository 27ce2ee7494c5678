//! Where things lie below the worker's data directory.
//!
//! ```text
//!   agent/term, agent/controllers.json     the session's memory
//!   agent/pods/<uid>.json                  what was assigned, and what was seen of it
//!   agent/links/<namespace>                the Services that containers of the namespace's pods are told of
//!   seccomp/                               profiles of the machine, which its operator puts there
//!   pods/<uid>/volumes/                    the rest of the folder is the runtime's
//!   local-path/<persistent volume>/        what claims are bound to; it stays until its volume is deleted
//!   logs/<namespace>_<name>_<uid>/<container>/<attempt>.log
//! ```
//!
//! And, where there is a file system in memory for it, below that:
//!
//! ```text
//!   pods/<uid>.json                        the Secrets that came with the assignment
//!   volumes/<uid>/                         the volumes that hold what is secret
//! ```

use std::path::{Path, PathBuf};

use crate::volume::Places;

/// The worker's data directory.
#[derive(Clone, Debug)]
pub struct Layout {
    root: PathBuf,
    memory: Option<PathBuf>,
}

impl Layout {
    /// Below this folder, and nothing of it in memory.
    pub fn new(root: &Path) -> Layout {
        Layout { root: root.to_owned(), memory: None }
    }

    /// The same, with what is secret below a folder in memory, if there is one.
    pub fn with_memory(root: &Path, memory: Option<&Path>) -> Layout {
        Layout { root: root.to_owned(), memory: memory.map(Path::to_owned) }
    }

    /// The folder in memory with a file per pod.
    pub fn kept_secrets(&self) -> Option<PathBuf> {
        self.memory.as_ref().map(|memory| memory.join("pods"))
    }

    /// Where a pod's volumes are put.
    pub fn places(&self, uid: &str) -> Places {
        let memory = self.memory.as_ref().map(|memory| memory.join("volumes").join(uid));
        Places { disk: self.volumes(uid), memory, lasting: self.lasting() }
    }

    /// The volumes of the cluster's own driver, which outlive pods.
    pub fn lasting(&self) -> PathBuf {
        self.root.join("local-path")
    }

    /// The agent's own folder.
    pub fn agent(&self) -> PathBuf {
        self.root.join("agent")
    }

    /// The folder with a file per pod.
    pub fn kept(&self) -> PathBuf {
        self.agent().join("pods")
    }

    /// The folder with a file per namespace that has pods here.
    pub fn links(&self) -> PathBuf {
        self.agent().join("links")
    }

    /// A pod's file.
    pub fn kept_pod(&self, uid: &str) -> PathBuf {
        self.kept().join(format!("{uid}.json"))
    }

    /// The folder with the machine's seccomp profiles (`Localhost`).
    pub fn seccomp(&self) -> PathBuf {
        self.root.join("seccomp")
    }

    /// A pod's folder, which it shares with the runtime.
    pub fn pod(&self, uid: &str) -> PathBuf {
        self.root.join("pods").join(uid)
    }

    /// A pod's volumes on disk.
    pub fn volumes(&self, uid: &str) -> PathBuf {
        self.pod(uid).join("volumes")
    }

    /// What the runtime keeps of a container: its writable layer, above all.
    pub(crate) fn bundle(&self, uid: &str, container: &str) -> PathBuf {
        self.pod(uid).join(crate::shim::state::BUNDLES).join(container)
    }

    /// A pod's logs.
    pub fn logs(&self, namespace: &str, name: &str, uid: &str) -> PathBuf {
        self.root.join("logs").join(format!("{namespace}_{name}_{uid}"))
    }

    /// Whether a text from outside may be a part of these paths.
    pub fn is_plain(part: &str) -> bool {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
        (1..=253).contains(&part.len()) && !part.starts_with('.') && part.bytes().all(plain)
    }
}
