//! The program of the shims of containers: a copy in memory that nobody can write any more.
//!
//! A process of a container that is not yet its program, or that a script's first line `#!/proc/self/exe` turns into the shim, has
//! the shim's own program as `/proc/<pid>/exe`. From there it could be opened for writing as soon as no process runs it
//! (CVE-2019-5736). Writing into the copy is refused by the kernel for ever, and nothing leads from it to the file. An overlay
//! that only reads would cost no memory, but then the kernel would not refuse any more that an upgrade writes into the file
//! while shims run it; and a bind mount that only reads may be made writable again in a user namespace of the container's own.
//!
//! One copy serves all shims of an agent, and those of its successors of the same build while one of those shims lives.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::io::Errno;

use crate::shim::state::PodState;

/// As processes name it: `/memfd:kontiki-shim`.
const NAME: &str = "kontiki-shim";
/// How 64-bit programs of little-endian machines begin: these are all that Kontiki is built for.
const ELF: [u8; 6] = *b"\x7fELF\x02\x01";
/// Where such a program says where its segments are told of, how long one is told of, and how many there are.
const SEGMENTS_AT: u64 = 32;
const SEGMENT_SIZE_AT: u64 = 54;
const SEGMENT_COUNT_AT: u64 = 56;
/// Where a segment says where in the file it begins, and how much of the file it is.
const OFFSET_AT: u64 = 8;
const LENGTH_AT: u64 = 32;
/// What of two programs is compared at a time.
const PIECE: usize = 16 * 1024;

/// The copy, made when it is asked for the first time.
#[derive(Default)]
pub(super) struct Sealed(OnceLock<Option<Arc<File>>>);

impl Sealed {
    /// The copy of this program; none where the machine forbids it, which is warned of once. Blocking.
    pub(super) fn of(&self, program: &str, pods_dir: &Path) -> Option<Arc<File>> {
        let make = || match made(Path::new(program), pods_dir) {
            Ok(file) => Some(Arc::new(file)),
            Err(error) => {
                tracing::warn!(
                    program,
                    %error,
                    "no sealed copy of the shims' program can be made: they run the file, which only the kernel's refusal to write \
                     what runs keeps from the containers"
                );
                None
            }
        };
        self.0.get_or_init(make).clone()
    }
}

fn made(program: &Path, pods_dir: &Path) -> io::Result<File> {
    let program = File::open(program)?;
    let length = length_to_run(&program)?;
    match of_living_shim(&program, length, pods_dir) {
        Some(file) => Ok(file),
        None => copy(&program, length),
    }
}

/// How much of a program is needed to run it: what comes behind its last segment is for debuggers. An error if it is no program.
fn length_to_run(program: &File) -> io::Result<u64> {
    let number = |at: u64, length: usize| -> io::Result<u64> {
        let mut number = [0; 8];
        program.read_exact_at(&mut number[..length], at)?;
        Ok(u64::from_le_bytes(number))
    };
    let wrong = || io::Error::new(io::ErrorKind::InvalidData, "it is no 64-bit ELF program");
    let mut begin = [0; ELF.len()];
    program.read_exact_at(&mut begin, 0)?;
    if begin != ELF {
        return Err(wrong());
    }
    let (first, size) = (number(SEGMENTS_AT, 8)?, number(SEGMENT_SIZE_AT, 2)?);
    let mut end = 0;
    for index in 0..number(SEGMENT_COUNT_AT, 2)? {
        let segment = first.saturating_add(index * size);
        let from = number(segment.saturating_add(OFFSET_AT), 8)?;
        let bytes = number(segment.saturating_add(LENGTH_AT), 8)?;
        end = end.max(segment.saturating_add(size)).max(from.saturating_add(bytes));
    }
    if end > 0 && end <= program.metadata()?.len() { Ok(end) } else { Err(wrong()) }
}

fn seals() -> SealFlags {
    SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL
}

/// The same copy, if a shim that an earlier agent started runs it. It may as well be anybody's who got the shim's number since:
/// what has these bytes and is sealed is as good as an own copy.
fn of_living_shim(program: &File, length: u64, pods_dir: &Path) -> Option<File> {
    let pods = std::fs::read_dir(pods_dir).ok()?.flatten();
    pods.filter_map(|pod| PodState::read_any(&pod.path()).ok()).find_map(|state| {
        let file = File::open(format!("/proc/{}/exe", state.shim_pid)).ok()?;
        let sealed = rustix::fs::fcntl_get_seals(&file).is_ok_and(|found| found.contains(seals()));
        let same = sealed && file.metadata().ok()?.len() == length && alike(&file, program, length).ok()?;
        same.then_some(file)
    })
}

/// Whether two files begin with the same bytes.
fn alike(one: &File, other: &File, length: u64) -> io::Result<bool> {
    let mut pieces = [[0; PIECE]; 2];
    let mut at = 0;
    while at < length {
        let [first, second] = &mut pieces;
        let count = usize::try_from(length - at).unwrap_or(PIECE).min(PIECE);
        one.read_exact_at(&mut first[..count], at)?;
        other.read_exact_at(&mut second[..count], at)?;
        if first[..count] != second[..count] {
            return Ok(false);
        }
        at += count as u64;
    }
    Ok(true)
}

fn copy(program: &File, length: u64) -> io::Result<File> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Kernels before 6.3 do not know that one may ask whether it may be executed; there it may.
    let memory = match rustix::fs::memfd_create(NAME, flags | MemfdFlags::EXEC) {
        Err(Errno::INVAL) => rustix::fs::memfd_create(NAME, flags),
        made => made,
    }?;
    let mut file = File::from(memory);
    if io::copy(&mut program.take(length), &mut file)? != length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    rustix::fs::fcntl_add_seals(&file, seals())?;
    // Once more, for reading only: nobody needs it for writing any more.
    File::open(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::fs::OpenOptions;
    use std::io::Write;
    use std::os::unix::process::CommandExt;
    use std::process::Command;

    use super::*;
    use crate::runtime::PodSandbox;

    #[test]
    fn a_copy_runs_and_is_never_written() {
        let dir = tempfile::tempdir().unwrap();
        let file = made(Path::new("/bin/sh"), dir.path()).unwrap();
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let said = Command::new(&path).arg0("sh").args(["-c", "echo $0"]).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&said.stdout), "sh\n");
        // No process runs it now, so that nothing but its seals keeps it.
        let mut writer = OpenOptions::new().write(true).open(&path).unwrap();
        assert_eq!(writer.write(b"#!").unwrap_err().raw_os_error(), Some(Errno::PERM.raw_os_error()));
        assert!(writer.set_len(0).is_err());
    }

    #[test]
    fn only_programs_are_copied_and_of_them_what_runs() {
        let dir = tempfile::tempdir().unwrap();
        let length = |bytes: &[u8]| {
            let path = dir.path().join("program");
            std::fs::write(&path, bytes).unwrap();
            length_to_run(&File::open(path).unwrap()).ok()
        };
        let program = std::fs::read("/bin/sh").unwrap();
        let end = length(&program).unwrap();
        let runs = &program[..usize::try_from(end).unwrap()];
        assert_eq!(length(runs), Some(end));
        assert_eq!(length(&[runs, b"more"].concat()), Some(end));
        assert_eq!(length(&runs[..runs.len() - 1]), None);
        assert_eq!(length(b"#!/bin/sh\n"), None);
        for short in 0..64 {
            assert_eq!(length(&program[..short]), None);
        }
    }

    #[test]
    fn who_runs_the_same_copy_shares_it() {
        let dir = tempfile::tempdir().unwrap();
        let program = Path::new("/bin/sh");
        let first = made(program, dir.path()).unwrap();
        let path = format!("/proc/self/fd/{}", first.as_raw_fd());
        let mut shim = Command::new(&path)
            .args(["-c", "read line"])
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let pod = dir.path().join("pod");
        std::fs::create_dir(&pod).unwrap();
        let mut state = PodState::new(PodSandbox::default());
        state.shim_pid = i32::try_from(shim.id()).unwrap();
        state.write(&pod).unwrap();
        let inode = |file: &File| std::os::unix::fs::MetadataExt::ino(&file.metadata().unwrap());
        assert_eq!(inode(&made(program, dir.path()).unwrap()), inode(&first));
        assert_ne!(inode(&made(Path::new("/proc/self/exe"), dir.path()).unwrap()), inode(&first));
        drop(shim.stdin.take());
        shim.wait().unwrap();
        assert_ne!(inode(&made(program, dir.path()).unwrap()), inode(&first));
    }
}
