//! The runtime's own profile. What it allows is what the default profiles of containerd and Moby allow: everything that
//! programs need, nothing that reaches the machine's kernel beyond what their capabilities are for.

use super::{Action, Condition, Profile, Rule, Test};

/// What a call that is not allowed answers.
const NOT_PERMITTED: u16 = 1;
/// What makes a C library fall back to an older call.
const NOT_THERE: u16 = 38;
/// Every flag of clone by which a new namespace is made.
const NEW_NAMESPACES: u64 = 0x7e02_0000;
/// Sockets to the machine's hypervisor.
const AF_VSOCK: u64 = 40;
/// Personalities that change nothing of importance: Linux, Linux with 16-bit ids or 32-bit uname, and the question.
const PERSONALITIES: [u64; 5] = [0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff];

const FILES: &str = "access cachestat chdir chmod chown close close_range copy_file_range creat dup dup2 dup3 faccessat faccessat2 \
    fadvise64 fallocate fanotify_mark fchdir fchmod fchmodat fchmodat2 fchown fchownat fcntl fdatasync fgetxattr flistxattr flock \
    fremovexattr fsetxattr fstat fstatfs fsync ftruncate futimesat getcwd getdents getdents64 getxattr inotify_add_watch \
    inotify_init inotify_init1 inotify_rm_watch ioctl lchown lgetxattr link linkat listxattr llistxattr lremovexattr lseek lsetxattr \
    lstat mkdir mkdirat mknod mknodat name_to_handle_at newfstatat open openat openat2 pipe pipe2 pread64 preadv preadv2 pwrite64 \
    pwritev pwritev2 read readahead readlink readlinkat readv removexattr rename renameat renameat2 rmdir sendfile setxattr splice \
    stat statfs statx symlink symlinkat sync sync_file_range syncfs tee truncate umask unlink unlinkat utime utimensat utimes \
    vmsplice write writev";
const MEMORY: &str = "brk madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mlock mlock2 mlockall mmap mprotect \
    mremap mseal msync munlock munlockall munmap pkey_alloc pkey_free pkey_mprotect remap_file_pages";
const PROCESSES: &str = "alarm arch_prctl capget capset execve execveat exit exit_group fork get_robust_list get_thread_area getcpu \
    getegid geteuid getgid getgroups getitimer getpgid getpgrp getpid getppid getpriority getresgid getresuid getrlimit getrusage \
    getsid gettid getuid ioprio_get ioprio_set kill landlock_add_rule landlock_create_ruleset landlock_restrict_self modify_ldt \
    pause pidfd_open pidfd_send_signal prctl prlimit64 process_mrelease process_vm_readv process_vm_writev ptrace restart_syscall \
    rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_tgsigqueueinfo \
    sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getattr sched_getparam sched_getscheduler \
    sched_rr_get_interval sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield seccomp set_robust_list \
    set_thread_area set_tid_address setfsgid setfsuid setgid setgroups setitimer setpgid setpriority setregid setresgid setresuid \
    setreuid setrlimit setsid setuid sigaltstack tgkill tkill uname sysinfo vfork wait4 waitid";
const EXCHANGE: &str = "accept accept4 bind connect epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 \
    epoll_wait epoll_wait_old eventfd eventfd2 futex futex_requeue futex_wait futex_waitv futex_wake getpeername getrandom \
    getsockname getsockopt io_cancel io_destroy io_getevents io_pgetevents io_setup io_submit listen mq_getsetattr mq_notify mq_open \
    mq_timedreceive mq_timedsend mq_unlink msgctl msgget msgrcv msgsnd poll ppoll pselect6 recvfrom recvmmsg recvmsg select semctl \
    semget semop semtimedop sendmmsg sendmsg sendto setsockopt shmat shmctl shmdt shmget shutdown signalfd signalfd4 socketpair";
const TIMES: &str = "adjtimex clock_adjtime clock_getres clock_gettime clock_nanosleep gettimeofday nanosleep time timer_create \
    timer_delete timer_getoverrun timer_gettime timer_settime timerfd_create timerfd_gettime timerfd_settime times";

/// What comes with a capability.
const WITH: [(&str, &str); 14] = [
    ("CAP_BPF", "bpf"),
    ("CAP_DAC_READ_SEARCH", "open_by_handle_at"),
    ("CAP_PERFMON", "perf_event_open"),
    (ADMIN, ADMIN_CALLS),
    ("CAP_SYS_BOOT", "reboot"),
    ("CAP_SYS_CHROOT", "chroot"),
    ("CAP_SYS_MODULE", "delete_module finit_module init_module"),
    ("CAP_SYS_NICE", "get_mempolicy mbind set_mempolicy set_mempolicy_home_node"),
    ("CAP_SYS_PACCT", "acct"),
    ("CAP_SYS_PTRACE", "kcmp pidfd_getfd process_madvise"),
    ("CAP_SYS_RAWIO", "ioperm iopl"),
    ("CAP_SYS_TIME", "clock_settime settimeofday"),
    ("CAP_SYS_TTY_CONFIG", "vhangup"),
    ("CAP_SYSLOG", "syslog"),
];
const ADMIN: &str = "CAP_SYS_ADMIN";
const ADMIN_CALLS: &str = "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick mount mount_setattr move_mount open_tree \
    perf_event_open quotactl quotactl_fd setdomainname sethostname setns syslog umount2 unshare";

/// The profile for a container with these capabilities.
pub(super) fn profile(capabilities: &[String]) -> Profile {
    let has = |name: &str| capabilities.iter().any(|it| it == name);
    let allow = |names: &str, conditions: Vec<Condition>| Rule {
        names: names.split_whitespace().map(str::to_owned).collect(),
        action: Action::Allow,
        conditions,
    };
    let first = |test, value| vec![Condition { index: 0, test, value }];
    let mut rules: Vec<Rule> =
        [FILES, MEMORY, PROCESSES, EXCHANGE, TIMES].map(|names| allow(names, Vec::new())).into();
    rules.push(allow("socket", first(Test::Ne, AF_VSOCK)));
    rules.extend(PERSONALITIES.map(|personality| allow("personality", first(Test::Eq, personality))));
    rules.extend(WITH.iter().filter(|(name, _)| has(name)).map(|(_, names)| allow(names, Vec::new())));
    if !has(ADMIN) {
        rules.push(allow("clone", first(Test::Masked(NEW_NAMESPACES), 0)));
        // Its flags are in memory, where a filter cannot look.
        let names = vec!["clone3".to_owned()];
        rules.push(Rule { names, action: Action::Errno(NOT_THERE), conditions: Vec::new() });
    }
    Profile { otherwise: Action::Errno(NOT_PERMITTED), rules }
}

#[cfg(test)]
mod tests {
    use super::super::table;
    use super::*;

    #[test]
    fn every_name_is_a_system_call() {
        let everything: Vec<String> = WITH.iter().map(|(name, _)| (*name).to_owned()).collect();
        let rules = [profile(&[]), profile(&everything)].into_iter().flat_map(|it| it.rules);
        let unknown: Vec<String> = rules
            .flat_map(|rule| rule.names)
            .filter(|name| cfg!(target_arch = "x86_64") && table::number(name).is_none())
            .collect();
        assert_eq!(unknown, [""; 0]);
    }

    #[test]
    fn what_reaches_the_machine_needs_a_capability() {
        let names = |capabilities: &[&str]| -> Vec<String> {
            let capabilities: Vec<String> = capabilities.iter().map(|name| (*name).to_owned()).collect();
            let unconditional = profile(&capabilities).rules.into_iter();
            let unconditional =
                unconditional.filter(|rule| rule.conditions.is_empty() && rule.action == Action::Allow);
            unconditional.flat_map(|rule| rule.names).collect()
        };
        let plain = names(&[]);
        for name in [
            "mount",
            "unshare",
            "setns",
            "bpf",
            "reboot",
            "kexec_load",
            "keyctl",
            "add_key",
            "request_key",
            "swapon",
            "io_uring_setup",
            "userfaultfd",
            "perf_event_open",
            "init_module",
            "clone",
            "clone3",
            "chroot",
            "syslog",
            "open_by_handle_at",
            "pivot_root",
            "clock_settime",
            "nfsservctl",
        ] {
            assert!(!plain.contains(&name.to_owned()), "{name}");
        }
        let admin = names(&[ADMIN]);
        assert!(admin.contains(&"mount".to_owned()) && !admin.contains(&"reboot".to_owned()));
        assert!(names(&["CAP_SYS_BOOT"]).contains(&"reboot".to_owned()));
    }
}
