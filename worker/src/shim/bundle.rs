//! A container's files while it runs: the image below, a layer of its own above, and the runtime's description of it.

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, UnmountFlags};

use crate::image::Root;
use crate::image::overlay::options;

/// The directories of one container.
#[derive(Clone, Debug)]
pub(super) struct Bundle {
    pub(super) dir: PathBuf,
}

impl Bundle {
    pub(super) fn of(pod_dir: &Path, container: &str) -> Self {
        Self { dir: pod_dir.join(super::state::BUNDLES).join(container) }
    }

    /// The container's root while it runs.
    pub(super) fn rootfs(&self) -> PathBuf {
        self.dir.join("rootfs")
    }

    /// libcontainer's own records.
    pub(super) fn records(&self) -> PathBuf {
        self.dir.join("run")
    }

    /// The file behind the termination message path.
    pub(super) fn termination_message(&self) -> PathBuf {
        self.dir.join("termination-log")
    }

    /// Where parts of volumes are bound while the container is being started.
    pub(super) fn sub_paths(&self) -> PathBuf {
        self.dir.join("sub-paths")
    }

    /// Makes the directories, empty.
    pub(super) fn make(&self) -> Result<(), String> {
        self.remove()?;
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true).mode(0o711);
        for dir in [self.rootfs(), self.records()] {
            builder.create(&dir).map_err(|source| format!("make {}: {source}", dir.display()))?;
        }
        let message = self.termination_message();
        std::fs::write(&message, b"").map_err(|source| format!("make {}: {source}", message.display()))?;
        // Any user of the container may leave a message.
        let all = std::os::unix::fs::PermissionsExt::from_mode(0o666);
        std::fs::set_permissions(&message, all)
            .map_err(|source| format!("open {}: {source}", message.display()))
    }

    /// Mounts the container's root over the image. Answers a warning if its writable layer is in memory.
    pub(super) fn mount(&self, image: &Root) -> Result<Option<String>, String> {
        let top = self.dir.join("top");
        let make = |dir: &Path| -> Result<(), String> {
            for part in ["upper", "work"] {
                let dir = dir.join(part);
                std::fs::DirBuilder::new()
                    .recursive(true)
                    .mode(0o755)
                    .create(&dir)
                    .map_err(|source| format!("make {}: {source}", dir.display()))?;
            }
            Ok(())
        };
        make(&top)?;
        let Err(first) = self.overlay(image, &top) else { return Ok(None) };
        // The worker's directory may itself be on an overlay, which cannot carry another one's upper layer.
        rustix::mount::mount("tmpfs", &top, "tmpfs", MountFlags::NODEV, c"mode=711")
            .map_err(|source| format!("mount a writable layer in memory: {source}"))?;
        make(&top)?;
        self.overlay(image, &top)?;
        Ok(Some(format!("the container's writable layer is in memory ({first})")))
    }

    /// Layers are told of by their names in their directory, which is the working directory meanwhile: the paths of many would not
    /// fit into the options.
    fn overlay(&self, image: &Root, top: &Path) -> Result<(), String> {
        let part = |path: &Path| -> Result<String, String> {
            let text = path.to_str().filter(|text| !text.contains([':', ',', '\\']));
            text.map(str::to_owned)
                .ok_or_else(|| format!("{} has a character that overlay mounts forbid", path.display()))
        };
        let (lower, base) = match image {
            Root::Flat(rootfs) => (part(rootfs)?, Path::new("/")),
            Root::Layers(stack) => (stack.lowerdir(), stack.dir.as_path()),
        };
        let (upper, work) = (part(&top.join("upper"))?, part(&top.join("work"))?);
        let failed = |source: std::io::Error| {
            format!("mount the root filesystem over {}: {source}", image.home().display())
        };
        let data = options(format!("lowerdir={lower},upperdir={upper},workdir={work}")).map_err(failed)?;
        let here = std::env::current_dir().unwrap_or_else(|_| "/".into());
        std::env::set_current_dir(base).map_err(failed)?;
        let mounted =
            rustix::mount::mount("overlay", self.rootfs(), "overlay", MountFlags::empty(), data.as_c_str());
        std::env::set_current_dir(here).or_else(|_| std::env::set_current_dir("/")).map_err(failed)?;
        mounted.map_err(|source| failed(source.into()))
    }

    /// Unmounts and removes everything. Idempotent.
    pub(super) fn remove(&self) -> Result<(), String> {
        let bound = std::fs::read_dir(self.sub_paths()).into_iter().flatten().flatten().map(|it| it.path());
        // Before anything is removed: behind a mount that stays are other people's files.
        for mount in [self.rootfs(), self.dir.join("top")].into_iter().chain(bound) {
            while rustix::mount::unmount(&mount, UnmountFlags::DETACH).is_ok() {}
        }
        match crate::remove::remove_dir_all(&self.dir) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                Err(format!("remove {}: {source}", self.dir.display()))
            }
            _ => Ok(()),
        }
    }
}
