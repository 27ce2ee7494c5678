//! The image's configuration: what to run in it and how.

use serde::{Deserialize, Deserializer, Serialize};

/// What an image says about its process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageConfig {
    /// The command's fixed part.
    #[serde(default, rename = "Entrypoint", deserialize_with = "null_is_default")]
    pub entrypoint: Vec<String>,
    /// The command's replaceable part.
    #[serde(default, rename = "Cmd", deserialize_with = "null_is_default")]
    pub cmd: Vec<String>,
    /// `NAME=value` pairs.
    #[serde(default, rename = "Env", deserialize_with = "null_is_default")]
    pub env: Vec<String>,
    /// Where the process starts; empty stands for `/`.
    #[serde(default, rename = "WorkingDir", deserialize_with = "null_is_default")]
    pub working_dir: String,
    /// `user`, `uid`, `user:group` or `uid:gid`; empty stands for root.
    #[serde(default, rename = "User", deserialize_with = "null_is_default")]
    pub user: String,
    /// The signal that asks it to stop; empty stands for TERM.
    #[serde(default, rename = "StopSignal", deserialize_with = "null_is_default")]
    pub stop_signal: String,
}

/// The configuration document, as far as it matters here.
#[derive(Debug, Default, Deserialize)]
pub(super) struct ConfigDocument {
    #[serde(default, deserialize_with = "null_is_default")]
    pub(super) config: ImageConfig,
    #[serde(default)]
    pub(super) rootfs: RootfsDocument,
    #[serde(default)]
    pub(super) architecture: String,
    #[serde(default)]
    pub(super) os: String,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct RootfsDocument {
    #[serde(default, deserialize_with = "null_is_default")]
    pub(super) diff_ids: Vec<String>,
}

/// Builders write `null` where they mean nothing.
pub(super) fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// The architecture of this machine, in the words of images.
pub(super) fn machine_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        other => other,
    }
}
