//! Signals as events: a child ended, or somebody asks the shim to stop.
#![allow(unsafe_code, reason = "resetting signal dispositions before execve has no safe wrapper")]

use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// What signals said since the last look.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Raised {
    pub(super) child: bool,
    pub(super) terminate: bool,
}

/// The shim's signals, blocked and read from a file descriptor.
pub(super) struct Signals {
    fd: SignalFd,
}

impl Signals {
    pub(super) fn block() -> nix::Result<Self> {
        let mut mask = SigSet::empty();
        for signal in [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT] {
            mask.add(signal);
        }
        mask.thread_block()?;
        Ok(Self { fd: SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)? })
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    pub(super) fn take(&mut self) -> Raised {
        let mut raised = Raised::default();
        while let Ok(Some(info)) = self.fd.read_signal() {
            match Signal::try_from(i32::try_from(info.ssi_signo).unwrap_or_default()) {
                Ok(Signal::SIGCHLD) => raised.child = true,
                Ok(Signal::SIGTERM) => raised.terminate = true,
                // A hang-up or an interrupt of some terminal is not meant for a pod.
                _ => {}
            }
        }
        raised
    }
}

/// Has the kernel forget children as they end, for a process that does not ask how they did.
pub(super) fn forget_children() -> nix::Result<()> {
    let ignore = SigAction::new(SigHandler::SigIgn, SaFlags::empty(), SigSet::empty());
    // SAFETY: the new disposition is SIG_IGN, so no handler of this program can run because of it.
    unsafe { sigaction(Signal::SIGCHLD, &ignore) }.map(drop)
}

/// Undoes, in a child that is about to execute something else, what this process or whoever started the worker
/// changed: programs expect nothing blocked, nothing ignored, and a broken pipe to end them.
pub(super) fn restore_for_exec() -> std::io::Result<()> {
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    for signal in Signal::iterator().filter(|signal| !matches!(signal, Signal::SIGKILL | Signal::SIGSTOP)) {
        // SAFETY: the new disposition is SIG_DFL, so no handler of this program can run because of it; and the caller
        // is a single-threaded child between clone and execve, so no other thread depends on the old disposition.
        unsafe { sigaction(signal, &default) }.map_err(std::io::Error::from)?;
    }
    SigSet::empty().thread_set_mask().map_err(std::io::Error::from)
}
