//! Where things lie below the worker's data directory.
//!
//! ```text
//!   agent/term, agent/controllers.json     the session's memory
//!   agent/pods/<uid>.json                  what was assigned, and what was seen of it
//!   pods/<uid>/volumes/                    the rest of the folder is the runtime's
//!   logs/<namespace>_<name>_<uid>/<container>/<attempt>.log
//! ```

use std::path::{Path, PathBuf};

/// The worker's data directory.
#[derive(Clone, Debug)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    /// Below this folder.
    pub fn new(root: &Path) -> Layout {
        Layout { root: root.to_owned() }
    }

    /// The agent's own folder.
    pub fn agent(&self) -> PathBuf {
        self.root.join("agent")
    }

    /// The folder with a file per pod.
    pub fn kept(&self) -> PathBuf {
        self.agent().join("pods")
    }

    /// A pod's file.
    pub fn kept_pod(&self, uid: &str) -> PathBuf {
        self.kept().join(format!("{uid}.json"))
    }

    /// A pod's folder, which it shares with the runtime.
    pub fn pod(&self, uid: &str) -> PathBuf {
        self.root.join("pods").join(uid)
    }

    /// A pod's volumes.
    pub fn volumes(&self, uid: &str) -> PathBuf {
        self.pod(uid).join("volumes")
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
