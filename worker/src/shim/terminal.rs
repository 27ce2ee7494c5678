//! Terminals of processes in containers.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::pty::OpenptFlags;

use super::container::Stdio;

/// What `statfs` says of the file system that terminals are in.
const DEVPTS: i64 = 0x1cd1;
/// The device that makes terminals.
const PTMX: (u32, u32) = (5, 2);
/// What a container's program finds as `TERM` unless its image says otherwise.
pub(super) const TERM: &str = "xterm";

/// A new terminal: who drives it, and what the process gets.
pub(super) struct Terminal {
    pub(super) near: OwnedFd,
    pub(super) far: OwnedFd,
}

impl Terminal {
    /// Its far side, for a process.
    pub(super) fn stdio(&self) -> Result<Stdio, String> {
        let again = || self.far.try_clone().map_err(|source| format!("open a terminal: {source}"));
        Ok(Stdio { stdin: Some(again()?), stdout: again()?, stderr: again()?, terminal: true })
    }
}

/// A terminal among those that a process sees, owned by a user. The process may have put anything into its `/dev`, so what
/// is opened is followed nowhere and must be the real thing.
pub(super) fn of_process(pid: i32, uid: u32) -> Result<Terminal, String> {
    let failed = |source: rustix::io::Errno| format!("open a terminal in the container: {source}");
    let root = format!("/proc/{pid}/root");
    let root = rustix::fs::open(&root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(failed)?;
    let terminal = open(root.as_fd(), Path::new("dev/pts/ptmx")).map_err(failed)?;
    // Its group stays: terminals belong to the group `tty`.
    rustix::fs::fchown(&terminal.far, Some(rustix::process::Uid::from_raw(uid)), None).map_err(failed)?;
    Ok(terminal)
}

/// A terminal of the machine.
pub(super) fn of_machine() -> Result<Terminal, String> {
    let failed = |source: rustix::io::Errno| format!("open a terminal: {source}");
    let root = rustix::fs::openat(CWD, "/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).map_err(failed)?;
    open(root.as_fd(), Path::new("dev/pts/ptmx")).map_err(failed)
}

fn open(root: BorrowedFd<'_>, path: &Path) -> rustix::io::Result<Terminal> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let near = rustix::fs::openat2(root, path, flags, Mode::empty(), resolve)?;
    let found = rustix::fs::fstat(&near)?;
    let device = (rustix::fs::major(found.st_rdev), rustix::fs::minor(found.st_rdev));
    let is_device = FileType::from_raw_mode(found.st_mode) == FileType::CharacterDevice && device == PTMX;
    if !is_device || rustix::fs::fstatfs(&near)?.f_type != DEVPTS {
        return Err(rustix::io::Errno::NOTTY);
    }
    rustix::pty::unlockpt(&near)?;
    let far = rustix::pty::ioctl_tiocgptpeer(
        &near,
        OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC,
    )?;
    Ok(Terminal { near, far })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_only_looks_like_the_device_is_not_opened() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("dev/pts")).unwrap();
        let root = std::fs::File::open(dir.path()).unwrap();
        let path = Path::new("dev/pts/ptmx");
        std::fs::write(dir.path().join(path), "").unwrap();
        assert_eq!(open(root.as_fd(), path).err(), Some(rustix::io::Errno::NOTTY));
        std::fs::remove_file(dir.path().join(path)).unwrap();
        std::os::unix::fs::symlink("/dev/pts/ptmx", dir.path().join(path)).unwrap();
        assert_eq!(open(root.as_fd(), path).err(), Some(rustix::io::Errno::LOOP));
    }

    #[test]
    fn what_is_written_on_one_side_is_read_on_the_other() {
        let terminal = of_machine().unwrap();
        rustix::io::write(&terminal.far, b"hello\n").unwrap();
        let mut bytes = [0; 16];
        let count = rustix::io::read(&terminal.near, &mut bytes[..]).unwrap();
        assert_eq!(&bytes[..count], b"hello\r\n");
    }
}
