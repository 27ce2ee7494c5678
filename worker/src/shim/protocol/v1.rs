//! What of version 1 is no longer as the types are now. bincode is that version's alone, so that a type can tell by the
//! format which version it is written in.

use std::path::PathBuf;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::image::Root;
use crate::runtime::{ContainerSpec, ImageRef, PodSandbox, RuntimeClass, octets};

/// How a type is written in either version, given what stood for it in version 1.
macro_rules! either_version {
    ($(#[$meta:meta])* $name:ident: $now:ty, $then:ty) => {
        $(#[$meta])*
        pub(crate) mod $name {
            use super::*;

            pub(crate) fn serialize<S: Serializer>(value: &$now, serializer: S) -> Result<S::Ok, S::Error> {
                match serializer.is_human_readable() {
                    true => value.serialize(serializer),
                    false => <$then>::from(value.clone()).serialize(serializer),
                }
            }

            pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<$now, D::Error> {
                match deserializer.is_human_readable() {
                    true => <$now>::deserialize(deserializer),
                    false => <$then>::deserialize(deserializer).map(<$now>::from),
                }
            }
        }
    };
}

either_version!(
    /// `Launch::spec`.
    spec: ContainerSpec, Spec
);
either_version!(
    /// `PodState::sandbox`.
    sandbox: PodSandbox, Sandbox
);
either_version!(
    /// `Launch::rootfs`. Who speaks version 1 is not asked to run images in layers.
    root: Root, PathBuf
);

#[derive(Serialize, Deserialize)]
struct Sandbox {
    uid: String,
    namespace: String,
    name: String,
    hostname: String,
    class: RuntimeClass,
    host_network: bool,
    #[serde(with = "octets")]
    blob: Vec<u8>,
}

impl From<PodSandbox> for Sandbox {
    fn from(sandbox: PodSandbox) -> Self {
        let PodSandbox { uid, namespace, name, hostname, class, host_network, blob, .. } = sandbox;
        Self { uid, namespace, name, hostname, class, host_network, blob }
    }
}

impl From<Sandbox> for PodSandbox {
    fn from(sandbox: Sandbox) -> Self {
        let Sandbox { uid, namespace, name, hostname, class, host_network, blob } = sandbox;
        Self { uid, namespace, name, hostname, class, host_network, blob, ..Self::default() }
    }
}

#[derive(Serialize, Deserialize)]
struct Mount {
    source: PathBuf,
    target: PathBuf,
    read_only: bool,
}

impl From<crate::runtime::Mount> for Mount {
    fn from(mount: crate::runtime::Mount) -> Self {
        let crate::runtime::Mount { source, target, read_only, .. } = mount;
        Self { source, target, read_only }
    }
}

impl From<Mount> for crate::runtime::Mount {
    fn from(mount: Mount) -> Self {
        let Mount { source, target, read_only } = mount;
        Self { source, target, read_only, ..Self::default() }
    }
}

#[derive(Serialize, Deserialize)]
struct Spec {
    name: String,
    attempt: u32,
    image: ImageRef,
    command: Vec<String>,
    args: Vec<String>,
    env: Vec<(String, String)>,
    working_dir: Option<String>,
    mounts: Vec<Mount>,
    cpu_milli_limit: Option<u64>,
    cpu_milli_request: Option<u64>,
    memory_limit_bytes: Option<u64>,
    pids_limit: Option<u64>,
    /// For nobody: a shim goes by the ids of the [`crate::shim::Launch`].
    user: Option<(u32, u32)>,
    privileged: bool,
    read_only_root: bool,
    add_capabilities: Vec<String>,
    drop_capabilities: Vec<String>,
    no_new_privileges: bool,
    log_path: PathBuf,
    termination_message_path: String,
    termination_message_from_log: bool,
}

impl From<ContainerSpec> for Spec {
    fn from(spec: ContainerSpec) -> Self {
        Self {
            name: spec.name,
            attempt: spec.attempt,
            image: spec.image,
            command: spec.command,
            args: spec.args,
            env: spec.env,
            working_dir: spec.working_dir,
            mounts: spec.mounts.into_iter().map(Into::into).collect(),
            cpu_milli_limit: spec.cpu_milli_limit,
            cpu_milli_request: spec.cpu_milli_request,
            memory_limit_bytes: spec.memory_limit_bytes,
            pids_limit: spec.pids_limit,
            user: spec.user.map(|user| (user, spec.group.unwrap_or(0))),
            privileged: spec.privileged,
            read_only_root: spec.read_only_root,
            add_capabilities: spec.add_capabilities,
            drop_capabilities: spec.drop_capabilities,
            no_new_privileges: spec.no_new_privileges,
            log_path: spec.log_path,
            termination_message_path: spec.termination_message_path,
            termination_message_from_log: spec.termination_message_from_log,
        }
    }
}

impl From<Spec> for ContainerSpec {
    fn from(spec: Spec) -> Self {
        Self {
            name: spec.name,
            attempt: spec.attempt,
            image: spec.image,
            command: spec.command,
            args: spec.args,
            env: spec.env,
            working_dir: spec.working_dir,
            mounts: spec.mounts.into_iter().map(Into::into).collect(),
            cpu_milli_limit: spec.cpu_milli_limit,
            cpu_milli_request: spec.cpu_milli_request,
            memory_limit_bytes: spec.memory_limit_bytes,
            pids_limit: spec.pids_limit,
            user: spec.user.map(|(user, _)| user),
            group: spec.user.map(|(_, group)| group),
            privileged: spec.privileged,
            read_only_root: spec.read_only_root,
            add_capabilities: spec.add_capabilities,
            drop_capabilities: spec.drop_capabilities,
            no_new_privileges: spec.no_new_privileges,
            log_path: spec.log_path,
            termination_message_path: spec.termination_message_path,
            termination_message_from_log: spec.termination_message_from_log,
            ..Self::default()
        }
    }
}
