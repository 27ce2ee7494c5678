//! Everything that the shim needs to start a container, decided by the agent's side: the shim has no image store.

use serde::{Deserialize, Serialize};

use crate::image::Root;
use crate::runtime::ContainerSpec;

/// A container with its image's part resolved.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Launch {
    #[serde(with = "super::protocol::v1::spec")]
    pub(crate) spec: ContainerSpec,
    /// Where the image's unpacked files are.
    #[serde(with = "super::protocol::v1::root")]
    pub(crate) rootfs: Root,
    /// The whole command line.
    pub(crate) args: Vec<String>,
    /// The whole environment.
    pub(crate) env: Vec<(String, String)>,
    pub(crate) working_dir: String,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) groups: Vec<u32>,
}

impl Launch {
    /// `NAME=value` pairs.
    pub(crate) fn env_pairs(&self) -> Vec<String> {
        self.env.iter().map(|(name, value)| format!("{name}={value}")).collect()
    }

    /// The value of an environment variable.
    pub(crate) fn env_value(&self, name: &str) -> Option<&str> {
        self.env.iter().rev().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }
}
