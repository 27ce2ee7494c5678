//! Layers to be written upon: they are mounted below a new one, and the kernel notes there what becomes different.
//!
//! So whiteouts, opaque directories, hard links to files of lower layers and the attributes of their directories are as they
//! would be if all layers were unpacked into one directory. Each mount is in a mount namespace of a thread of its own: nobody
//! else sees it, and it goes with the thread, however the process ends.

use std::ffi::CString;
use std::path::Path;

use nix::sched::CloneFlags;
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};

use super::ImageError;
use super::root::{FILES, lowerdir};

/// Where the kernel prepares what it writes, and where the mount is, beside the new layer's files.
const WORK: &str = "w";
const MERGED: &str = "m";
/// What may be on by the kernel's configuration, and would let a layer depend on more than its files.
const SWITCHES: &[&str] = &["index", "metacopy", "redirect_dir"];
/// What the kernel reads of a mount's options at least: a page. It cuts off the rest without a word.
const OPTIONS_BYTES_MAX: usize = 4095;

/// Does something in a directory that shows these layers of `base` (the lowest first), and writes into the new layer at
/// `place`, a path relative to `base`. What is there beside its files is gone afterwards.
pub(super) fn upon<T: Send>(
    base: &Path,
    layers: &[String],
    place: &Path,
    work: impl FnOnce(&Path) -> Result<T, ImageError> + Send,
) -> Result<T, ImageError> {
    let new = base.join(place);
    for dir in [WORK, MERGED] {
        std::fs::create_dir(new.join(dir)).map_err(ImageError::io("make a layer's directory"))?;
    }
    let done = std::thread::scope(|scope| {
        let mounted = || -> Result<T, ImageError> {
            let merged = new.join(MERGED);
            mount(base, layers, place).map_err(|source| {
                ImageError::io(format!("mount {} layers to unpack one upon them", layers.len()))(source)
            })?;
            let done = work(&merged);
            // Before it is read as a lower layer. Another thread may just be starting a process, which has our files open for
            // a moment: then the mount ends with that.
            if rustix::mount::unmount(&merged, UnmountFlags::empty()).is_err() {
                rustix::mount::unmount(&merged, UnmountFlags::DETACH).ok();
            }
            done
        };
        scope.spawn(mounted).join()
    });
    let done = done.unwrap_or_else(|_| Err(ImageError::Malformed("the unpacking panicked".to_owned())))?;
    for dir in [WORK, MERGED] {
        crate::remove::remove_dir_all(&new.join(dir)).map_err(ImageError::io("clear a layer's directory"))?;
    }
    Ok(done)
}

/// Whether layers can be unpacked below this directory, which is empty and stays so: root may mount, and the disk carries what
/// the overlay notes on it.
pub(super) fn works_in(dir: &Path) -> Result<(), ImageError> {
    let failed = || ImageError::io("try an overlay mount");
    let lower = dir.join("l").join(FILES);
    std::fs::create_dir_all(lower.join("dir")).map_err(failed())?;
    std::fs::write(lower.join("dir/file"), b"").map_err(failed())?;
    std::fs::create_dir_all(dir.join("new").join(FILES)).map_err(failed())?;
    upon(dir, &["l".to_owned()], Path::new("new"), |merged| {
        // A whiteout, and an opaque directory.
        std::fs::remove_file(merged.join("dir/file"))
            .and_then(|()| std::fs::remove_dir(merged.join("dir")))
            .and_then(|()| std::fs::create_dir(merged.join("dir")))
            .map_err(failed())
    })?;
    for name in ["l", "new"] {
        crate::remove::remove_dir_all(&dir.join(name)).map_err(failed())?;
    }
    Ok(())
}

/// In a mount namespace that this thread gets; its working directory becomes `base`, and nobody else's.
fn mount(base: &Path, layers: &[String], place: &Path) -> std::io::Result<()> {
    nix::sched::unshare(CloneFlags::CLONE_NEWNS)?;
    // What the machine unmounts is unmounted here, too; nothing goes the other way.
    rustix::mount::mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)?;
    std::env::set_current_dir(base)?;
    let place = place.to_string_lossy();
    let mut data = format!("lowerdir={},upperdir={place}/{FILES},workdir={place}/{WORK}", lowerdir(layers));
    let known = |name: &&&str| Path::new("/sys/module/overlay/parameters").join(name).exists();
    for switch in SWITCHES.iter().filter(known) {
        data.push_str(&format!(",{switch}=off"));
    }
    let data = options(data)?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    Ok(rustix::mount::mount("overlay", format!("{place}/{MERGED}"), "overlay", flags, data.as_c_str())?)
}

/// The options of a mount, if the kernel would read all of them.
pub(crate) fn options(data: String) -> std::io::Result<CString> {
    if data.len() > OPTIONS_BYTES_MAX {
        return Err(std::io::Error::other(format!(
            "the mount needs {} bytes of options and the kernel takes {OPTIONS_BYTES_MAX}: give the worker a data directory \
             with a shorter path",
            data.len()
        )));
    }
    CString::new(data).map_err(std::io::Error::other)
}
