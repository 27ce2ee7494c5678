//! What a container does not get of the shim: its open files.
//!
//! What execve closes is still open while it looks up its program: `/proc/self/fd/9/../..` would lead from a directory that the
//! shim has open to any program of the machine, by the command itself, by a link or by the first line of a script
//! (CVE-2024-21626). So it is closed before.
#![allow(unsafe_code, reason = "there is no safe way to close what this process did not open by itself")]

use std::io;
use std::os::fd::RawFd;

use nix::libc;

/// Input, output and errors: the container's own.
const FIRST: libc::c_uint = 3;
/// Numbers that are closed where the kernel cannot close a range: as many descriptors as it lets a process have by default.
/// A shim has some hundreds, and the lowest numbers are taken first.
const LAST_ONE_BY_ONE: libc::c_uint = 1 << 20;

/// Closes all descriptors but input, output, errors and `kept`.
///
/// # Safety
///
/// No thread may run beside the caller, and nothing that owns another descriptor may use or close it afterwards: what follows is
/// execve or the end of the process.
pub(super) unsafe fn close_all_but(kept: Option<RawFd>) {
    let kept = kept.and_then(|fd| libc::c_uint::try_from(fd).ok()).filter(|fd| *fd >= FIRST);
    let (below, above) = match kept {
        Some(fd) => ((FIRST, fd - 1), (fd + 1, libc::c_uint::MAX)),
        None => ((FIRST, libc::c_uint::MAX), (1, 0)),
    };
    for (first, last) in [below, above].into_iter().filter(|(first, last)| first <= last) {
        // SAFETY: the caller's promise is the same.
        if unsafe { close_range(first, last) }.is_err() {
            // SAFETY: the same.
            unsafe { close_one_by_one(first, last) };
        }
    }
}

/// As [`close_all_but`]. Fails on kernels before 5.9, and where a filter of the machine does not know the call.
unsafe fn close_range(first: libc::c_uint, last: libc::c_uint) -> io::Result<()> {
    let flags: libc::c_uint = 0;
    // SAFETY: the call takes numbers only and touches no memory; that nobody uses what it closes is the caller's promise.
    match unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// As [`close_all_but`].
unsafe fn close_one_by_one(first: libc::c_uint, last: libc::c_uint) {
    for fd in first..=last.min(LAST_ONE_BY_ONE) {
        if let Ok(fd) = libc::c_int::try_from(fd) {
            // SAFETY: the call touches no memory; that nobody uses what it closes is the caller's promise.
            unsafe { libc::close(fd) };
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::fs::File;
    use std::os::fd::AsRawFd;
    use std::os::unix::process::CommandExt;
    use std::process::Command;

    use rustix::io::FdFlags;

    use super::*;

    /// Whether a program that is started after `close` can still reach two open directories, of which the second is to be kept.
    fn reached(close: fn(RawFd)) -> [bool; 2] {
        let dirs = [File::open("/proc").unwrap(), File::open("/proc").unwrap()];
        let [first, second] = dirs.each_ref().map(AsRawFd::as_raw_fd);
        let script =
            format!("for fd in {first} {second}; do test -e /proc/self/fd/$fd/self && echo $fd; done");
        let mut command = Command::new("sh");
        command.args(["-c", &script]);
        // SAFETY: the closure runs in the forked child before execve, makes system calls only and allocates nothing. What it
        // closes beside the directories is the pipe by which the library would tell that the program cannot be executed.
        unsafe {
            command.pre_exec(move || {
                for fd in [first, second] {
                    let fd = std::os::fd::BorrowedFd::borrow_raw(fd);
                    rustix::io::fcntl_setfd(fd, FdFlags::empty())?;
                }
                close(second);
                Ok(())
            });
        }
        let said = String::from_utf8(command.output().unwrap().stdout).unwrap();
        [first, second].map(|fd| said.lines().any(|line| line == fd.to_string()))
    }

    #[test]
    fn all_is_closed_but_what_is_kept() {
        assert_eq!(reached(|_| {}), [true, true]);
        // SAFETY: each runs in a forked child that has one thread and goes on to execve.
        assert_eq!(reached(|kept| unsafe { close_all_but(Some(kept)) }), [false, true]);
        assert_eq!(reached(|_| unsafe { close_all_but(None) }), [false, false]);
        assert_eq!(reached(|_| unsafe { close_one_by_one(FIRST, libc::c_uint::MAX) }), [false, false]);
        let around = |kept: RawFd| {
            let kept = libc::c_uint::try_from(kept).unwrap_or(FIRST);
            // SAFETY: the same.
            unsafe {
                close_one_by_one(FIRST, kept - 1);
                close_one_by_one(kept + 1, libc::c_uint::MAX);
            }
        };
        assert_eq!(reached(around), [false, true]);
    }
}
