//! System calls that change the world, each stopped before it happens until it is told to go on (seccomp's user notifications).
#![allow(unsafe_code, reason = "seccomp has no safe wrapper that hands over its notifications")]

use std::io;
use std::mem::offset_of;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::libc;

/// Those that are stopped whatever they are told.
const PLAIN: &[(&str, libc::c_long)] = &[
    ("mkdirat", libc::SYS_mkdirat),
    ("unlinkat", libc::SYS_unlinkat),
    ("renameat", libc::SYS_renameat),
    ("renameat2", libc::SYS_renameat2),
    ("symlinkat", libc::SYS_symlinkat),
    ("linkat", libc::SYS_linkat),
    ("mknodat", libc::SYS_mknodat),
    ("fchmod", libc::SYS_fchmod),
    ("fchmodat", libc::SYS_fchmodat),
    ("fchown", libc::SYS_fchown),
    ("fchownat", libc::SYS_fchownat),
    ("ftruncate", libc::SYS_ftruncate),
    ("mount", libc::SYS_mount),
    ("umount2", libc::SYS_umount2),
    ("open_tree", libc::SYS_open_tree),
    ("move_mount", libc::SYS_move_mount),
    ("mount_setattr", libc::SYS_mount_setattr),
    ("pivot_root", libc::SYS_pivot_root),
    ("unshare", libc::SYS_unshare),
    ("setns", libc::SYS_setns),
    ("sethostname", libc::SYS_sethostname),
    ("clone3", libc::SYS_clone3),
    ("execve", libc::SYS_execve),
    ("kill", libc::SYS_kill),
    ("pidfd_send_signal", libc::SYS_pidfd_send_signal),
    ("setsid", libc::SYS_setsid),
    ("bind", libc::SYS_bind),
    ("sendto", libc::SYS_sendto),
    ("sendmsg", libc::SYS_sendmsg),
    ("flock", libc::SYS_flock),
    ("exit_group", libc::SYS_exit_group),
    #[cfg(target_arch = "x86_64")]
    ("mkdir", libc::SYS_mkdir),
    #[cfg(target_arch = "x86_64")]
    ("rmdir", libc::SYS_rmdir),
    #[cfg(target_arch = "x86_64")]
    ("unlink", libc::SYS_unlink),
    #[cfg(target_arch = "x86_64")]
    ("rename", libc::SYS_rename),
    #[cfg(target_arch = "x86_64")]
    ("symlink", libc::SYS_symlink),
    #[cfg(target_arch = "x86_64")]
    ("link", libc::SYS_link),
    #[cfg(target_arch = "x86_64")]
    ("mknod", libc::SYS_mknod),
    #[cfg(target_arch = "x86_64")]
    ("chmod", libc::SYS_chmod),
    #[cfg(target_arch = "x86_64")]
    ("chown", libc::SYS_chown),
    #[cfg(target_arch = "x86_64")]
    ("lchown", libc::SYS_lchown),
    #[cfg(target_arch = "x86_64")]
    ("fork", libc::SYS_fork),
    #[cfg(target_arch = "x86_64")]
    ("vfork", libc::SYS_vfork),
];

/// Those that are stopped only if an argument asks for it.
const ASKED: &[(&str, libc::c_long)] = &[
    ("openat", libc::SYS_openat),
    ("write", libc::SYS_write),
    ("clone", libc::SYS_clone),
    ("prctl", libc::SYS_prctl),
    #[cfg(target_arch = "x86_64")]
    ("open", libc::SYS_open),
];

/// Shorter ones wake threads, or go to files that were opened to be written just before.
const WRITE_MIN: u32 = 17;

/// A call that waits to go on.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    pub id: u64,
    pub tid: i32,
    pub nr: libc::c_long,
    pub args: [u64; 6],
}

impl Call {
    pub fn name(&self) -> &'static str {
        let all = PLAIN.iter().chain(ASKED);
        all.clone().find(|(_, nr)| *nr == self.nr).map_or("?", |(name, _)| name)
    }
}

enum To {
    Next,
    /// Over so many instructions.
    Over(u8),
    Stop,
    Pass,
}

struct Program(Vec<(u16, u32, To, To)>);

impl Program {
    fn load(&mut self, offset: usize) {
        let code = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
        self.0.push((code, u32::try_from(offset).unwrap(), To::Next, To::Next));
    }

    fn jump(&mut self, test: u32, k: u32, yes: To, no: To) {
        self.0.push(((libc::BPF_JMP | test | libc::BPF_K) as u16, k, yes, no));
    }

    /// The lower half of an argument.
    fn load_argument(&mut self, index: usize) {
        self.load(offset_of!(libc::seccomp_data, args) + 8 * index);
    }

    fn finish(self) -> Vec<libc::sock_filter> {
        let length = self.0.len();
        let offset = |at: usize, to: &To| match to {
            To::Next => 0,
            To::Over(count) => *count,
            To::Pass => u8::try_from(length - at - 1).unwrap(),
            To::Stop => u8::try_from(length - at).unwrap(),
        };
        let mut filter: Vec<libc::sock_filter> = self
            .0
            .iter()
            .enumerate()
            .map(|(at, (code, k, yes, no))| libc::sock_filter {
                code: *code,
                jt: offset(at, yes),
                jf: offset(at, no),
                k: *k,
            })
            .collect();
        for verdict in [libc::SECCOMP_RET_ALLOW, libc::SECCOMP_RET_USER_NOTIF] {
            filter.push(libc::sock_filter {
                code: (libc::BPF_RET | libc::BPF_K) as u16,
                jt: 0,
                jf: 0,
                k: verdict,
            });
        }
        filter
    }
}

fn program() -> Vec<libc::sock_filter> {
    let mut program = Program(Vec::new());
    let number = |nr: libc::c_long| u32::try_from(nr).unwrap();
    program.load(offset_of!(libc::seccomp_data, nr));
    for (_, nr) in PLAIN {
        program.jump(libc::BPF_JEQ, number(*nr), To::Stop, To::Next);
    }
    let writes = u32::try_from(libc::O_WRONLY | libc::O_RDWR | libc::O_CREAT).unwrap();
    let opens = [
        (libc::SYS_openat, 2),
        #[cfg(target_arch = "x86_64")]
        (libc::SYS_open, 1),
    ];
    for (nr, flags) in opens {
        program.jump(libc::BPF_JEQ, number(nr), To::Next, To::Over(2));
        program.load_argument(flags);
        program.jump(libc::BPF_JSET, writes, To::Stop, To::Pass);
    }
    program.jump(libc::BPF_JEQ, number(libc::SYS_clone), To::Next, To::Over(2));
    program.load_argument(0);
    program.jump(libc::BPF_JSET, u32::try_from(libc::CLONE_THREAD).unwrap(), To::Pass, To::Stop);
    program.jump(libc::BPF_JEQ, number(libc::SYS_prctl), To::Next, To::Over(2));
    program.load_argument(0);
    program.jump(libc::BPF_JEQ, u32::try_from(libc::PR_SET_PDEATHSIG).unwrap(), To::Stop, To::Pass);
    program.jump(libc::BPF_JEQ, number(libc::SYS_write), To::Next, To::Pass);
    program.load_argument(0);
    program.jump(libc::BPF_JGE, 3, To::Next, To::Pass);
    program.load_argument(2);
    program.jump(libc::BPF_JGE, WRITE_MIN, To::Stop, To::Pass);
    program.finish()
}

/// Stops the calls of this thread, and of all that it starts from now on. Who holds the descriptor hears of them.
pub fn install() -> io::Result<OwnedFd> {
    let filter = program();
    let program =
        libc::sock_fprog { len: u16::try_from(filter.len()).unwrap(), filter: filter.as_ptr().cast_mut() };
    let install = |flags: libc::c_ulong| {
        // SAFETY: the program and its instructions outlive the call, which only reads them.
        unsafe {
            libc::syscall(
                libc::SYS_seccomp,
                libc::SECCOMP_SET_MODE_FILTER,
                flags,
                std::ptr::from_ref(&program),
            )
        }
    };
    // Kernels before 5.19 let signals interrupt a call that waits; then it is begun again.
    let mut fd =
        install(libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV);
    if fd < 0 {
        fd = install(libc::SECCOMP_FILTER_FLAG_NEW_LISTENER);
    }
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made it, for this caller alone.
    Ok(unsafe { OwnedFd::from_raw_fd(libc::c_int::try_from(fd).unwrap()) })
}

/// The same descriptor of another process.
pub fn take(pid: i32, fd: i32) -> io::Result<OwnedFd> {
    // SAFETY: the calls take numbers only, and each descriptor is owned by what is made of it at once.
    unsafe {
        let process = libc::syscall(libc::SYS_pidfd_open, pid, 0);
        if process < 0 {
            return Err(io::Error::last_os_error());
        }
        let process = OwnedFd::from_raw_fd(libc::c_int::try_from(process).unwrap());
        let taken = libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), fd, 0);
        if taken < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(OwnedFd::from_raw_fd(libc::c_int::try_from(taken).unwrap()))
    }
}

const fn ioctl(direction: u64, size: usize, number: u64) -> u64 {
    direction << 30 | (size as u64) << 16 | (b'!' as u64) << 8 | number
}

const RECEIVE: u64 = ioctl(3, size_of::<libc::seccomp_notif>(), 0);
const SEND: u64 = ioctl(3, size_of::<libc::seccomp_notif_resp>(), 1);

/// The next call that waits; nothing if its process is gone by now.
pub fn receive(listener: BorrowedFd<'_>) -> Option<Call> {
    // SAFETY: a notification is numbers, all of which may be zero, as the kernel wants it to be.
    let mut call: libc::seccomp_notif = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel fills what it is given, which is as large as the request says.
    let got = unsafe { libc::ioctl(listener.as_raw_fd(), RECEIVE as _, std::ptr::from_mut(&mut call)) };
    let tid = i32::try_from(call.pid).unwrap();
    (got == 0).then_some(Call { id: call.id, tid, nr: call.data.nr.into(), args: call.data.args })
}

/// Lets a call happen. Its process may be gone.
pub fn go_on(listener: BorrowedFd<'_>, id: u64) {
    let flags = u32::try_from(libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE).unwrap();
    let mut response = libc::seccomp_notif_resp { id, val: 0, error: 0, flags };
    // SAFETY: the kernel reads what it is given, which is as large as the request says.
    unsafe { libc::ioctl(listener.as_raw_fd(), SEND as _, std::ptr::from_mut(&mut response)) };
}

/// Whether this kernel can stop calls and let them go on.
pub fn is_there() -> bool {
    let action = libc::SECCOMP_RET_USER_NOTIF;
    // SAFETY: the kernel reads the number that it is given.
    let asked = unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_GET_ACTION_AVAIL, 0, std::ptr::from_ref(&action))
    };
    asked == 0
}
