//! The last bound of a container's processes: filters of system calls, which they and all their children keep for ever.
//!
//! The kernel lets only an administrator install filters for programs that may gain privileges by execve (setuid files). So
//! such a process keeps CAP_SYS_ADMIN until here, and loses it with the execve that follows: what a program can have is
//! bounded by the bounding set, from which it is taken before.
#![allow(
    unsafe_code,
    reason = "no library installs a filter without forbidding setuid files at the same time"
)]

use std::io;
use std::sync::Arc;

use nix::libc::{self, sock_filter, sock_fprog};
use rustix::thread::CapabilitySet;

use crate::runtime::capabilities::capabilities;
use crate::runtime::{ContainerSpec, SyscallFilter};

const ADMIN: &str = "CAP_SYS_ADMIN";
/// What the kernel takes at most as one program.
const INSTRUCTIONS_MAX: usize = 4096;

/// Whether a process must be administrator to confine itself as the container is to be, where the container is not to be one.
pub(super) fn needs_admin(spec: &ContainerSpec) -> bool {
    !spec.syscall_filters.is_empty() && !spec.no_new_privileges
}

/// The filters of a container, ready to be installed by a process that must not allocate any more.
#[derive(Clone, Default)]
pub(super) struct Confinement {
    programs: Arc<[Vec<sock_filter>]>,
    /// It is administrator only to get here.
    gives_admin_away: bool,
}

impl Confinement {
    pub(super) fn of(spec: &ContainerSpec) -> Result<Self, String> {
        let programs = spec.syscall_filters.iter().map(program).collect::<Result<Vec<_>, _>>()?;
        let gives_admin_away = needs_admin(spec) && !capabilities(spec)?.iter().any(|name| name == ADMIN);
        Ok(Self { programs: programs.into(), gives_admin_away })
    }

    /// Confines this process and what it becomes. Nothing but execve may follow.
    pub(super) fn apply(&self) -> io::Result<()> {
        if self.gives_admin_away {
            rustix::thread::remove_capability_from_bounding_set(CapabilitySet::SYS_ADMIN)?;
        }
        self.programs.iter().try_for_each(|program| install(program))
    }
}

fn program(filter: &SyscallFilter) -> Result<Vec<sock_filter>, String> {
    let (instructions, rest) = filter.0.as_chunks::<{ SyscallFilter::INSTRUCTION_BYTES }>();
    if instructions.is_empty() || !rest.is_empty() || instructions.len() > INSTRUCTIONS_MAX {
        return Err(format!("a filter of system calls has {} bytes, which is no program", filter.0.len()));
    }
    let read = |it: &[u8; SyscallFilter::INSTRUCTION_BYTES]| sock_filter {
        code: u16::from_ne_bytes([it[0], it[1]]),
        jt: it[2],
        jf: it[3],
        k: u32::from_ne_bytes([it[4], it[5], it[6], it[7]]),
    };
    Ok(instructions.iter().map(read).collect())
}

fn install(program: &[sock_filter]) -> io::Result<()> {
    let len = u16::try_from(program.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let description = sock_fprog { len, filter: program.as_ptr().cast_mut() };
    // SAFETY: the kernel copies the description and the `len` instructions that it points to, all of which live until the call
    // returns, and writes to neither; it checks the program itself. No memory of this process changes.
    let done = unsafe {
        libc::prctl(
            libc::PR_SET_SECCOMP,
            libc::c_ulong::from(libc::SECCOMP_MODE_FILTER),
            &raw const description,
            0,
            0,
        )
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_program_is_refused() {
        for bytes in [0, 7, 9, SyscallFilter::INSTRUCTION_BYTES * (INSTRUCTIONS_MAX + 1)] {
            assert!(program(&SyscallFilter(vec![0; bytes])).is_err(), "{bytes}");
        }
        assert_eq!(program(&SyscallFilter(vec![6, 0, 0, 0, 0, 0, 0, 0])).map(|it| it.len()), Ok(1));
    }
}
