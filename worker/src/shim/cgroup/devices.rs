//! The devices that a container may reach: those that every container gets. Version 1 has rules for that, version 2 a program
//! for the kernel, which is made from the same list and asked about each file of a device that is made or opened.
//!
//! Source: runc's list of devices that are always allowed; bpf(2); linux/bpf.h, `bpf_cgroup_dev_ctx`.
#![allow(unsafe_code, reason = "bpf(2) has no safe wrapper")]

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;

use nix::libc;
use rustix::fs::{Mode, OFlags};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

const MAKE: u8 = 1;
const READ: u8 = 2;
const WRITE: u8 = 4;
const ALL: u8 = MAKE | READ | WRITE;

/// Devices, and what may be done with them; without a number it is any.
struct Rule {
    /// `c` or `b`.
    kind: char,
    major: Option<u16>,
    minor: Option<u16>,
    access: u8,
}

const fn characters(major: u16, minor: Option<u16>) -> Rule {
    Rule { kind: 'c', major: Some(major), minor, access: ALL }
}

/// Files of any device may be made: what counts is who opens them.
const ALLOWED: [Rule; 11] = [
    Rule { kind: 'c', major: None, minor: None, access: MAKE },
    Rule { kind: 'b', major: None, minor: None, access: MAKE },
    characters(1, Some(3)), // null
    characters(1, Some(5)), // zero
    characters(1, Some(7)), // full
    characters(1, Some(8)), // random
    characters(1, Some(9)), // urandom
    characters(5, Some(0)), // tty
    characters(5, Some(1)), // console
    characters(5, Some(2)), // ptmx
    characters(136, None),  // terminals
];

/// The rules as version 1 is told them.
pub(super) fn rules() -> impl Iterator<Item = String> {
    let number = |number: Option<u16>| number.map_or("*".to_owned(), |number| number.to_string());
    ALLOWED.iter().map(move |rule| {
        let letters = [(READ, "r"), (WRITE, "w"), (MAKE, "m")];
        let access: String =
            letters.iter().filter(|(bit, _)| rule.access & bit != 0).map(|(_, it)| *it).collect();
        format!("{} {}:{} {access}", rule.kind, number(rule.major), number(rule.minor))
    })
}

/// An instruction as the kernel takes it: what to do, with which registers, how far to jump, and a number.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Instruction {
    code: u8,
    /// The one that is changed in the lower half of it, the other in the upper one.
    registers: u8,
    jump: i16,
    number: i32,
}

const LOAD_WORD: u8 = 0x61;
const AND: u8 = 0x54;
const SHIFT_RIGHT: u8 = 0x74;
const COPY: u8 = 0xbc;
const SET: u8 = 0xb7;
const UNLESS_NUMBER: u8 = 0x55;
const UNLESS_SAME: u8 = 0x5d;
const EXIT: u8 = 0x95;

/// Holds the answer.
const ANSWER: u8 = 0;
/// Points to what is asked, until the first look at a rule.
const ASKED: u8 = 1;
const KIND: u8 = 2;
const ACCESS: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;

fn instruction(code: u8, changed: u8, other: u8, jump: i16, number: i32) -> Instruction {
    let registers = if cfg!(target_endian = "big") { (changed << 4) | other } else { (other << 4) | changed };
    Instruction { code, registers, jump, number }
}

/// Answers 1 where a rule allows what is asked, or else 0.
fn program() -> Vec<Instruction> {
    const ACCESS_SHIFT: i32 = 16;
    // Words of what is asked: kind and access in one, then the numbers.
    let mut program = vec![
        instruction(LOAD_WORD, KIND, ASKED, 0, 0),
        instruction(AND, KIND, 0, 0, 0xffff),
        instruction(LOAD_WORD, ACCESS, ASKED, 0, 0),
        instruction(SHIFT_RIGHT, ACCESS, 0, 0, ACCESS_SHIFT),
        instruction(LOAD_WORD, MAJOR, ASKED, 4, 0),
        instruction(LOAD_WORD, MINOR, ASKED, 8, 0),
    ];
    for rule in &ALLOWED {
        program.extend(allow(rule));
    }
    program.extend([instruction(SET, ANSWER, 0, 0, 0), instruction(EXIT, 0, 0, 0, 0)]);
    program
}

/// Ends the program if this rule allows what is asked.
fn allow(rule: &Rule) -> Vec<Instruction> {
    const BLOCK: i32 = 1;
    const CHARACTER: i32 = 2;
    let kind = if rule.kind == 'b' { BLOCK } else { CHARACTER };
    let mut part = vec![instruction(UNLESS_NUMBER, KIND, 0, 0, kind)];
    if rule.access != ALL {
        // Nothing is asked but this.
        part.push(instruction(COPY, ASKED, ACCESS, 0, 0));
        part.push(instruction(AND, ASKED, 0, 0, rule.access.into()));
        part.push(instruction(UNLESS_SAME, ASKED, ACCESS, 0, 0));
    }
    for (register, number) in [(MAJOR, rule.major), (MINOR, rule.minor)] {
        part.extend(number.map(|number| instruction(UNLESS_NUMBER, register, 0, 0, number.into())));
    }
    part.extend([instruction(SET, ANSWER, 0, 0, 1), instruction(EXIT, 0, 0, 0, 0)]);
    let length = part.len();
    for (at, it) in part.iter_mut().enumerate() {
        if matches!(it.code, UNLESS_NUMBER | UNLESS_SAME) {
            // To the next rule; a part is a few instructions long.
            it.jump = i16::try_from(length - at - 1).unwrap_or(i16::MAX);
        }
    }
    part
}

/// Of `union bpf_attr`, what `BPF_PROG_LOAD` reads, up to the name.
#[repr(C)]
#[derive(Default)]
struct Load {
    kind: u32,
    instructions: u32,
    instructions_at: u64,
    license_at: u64,
    log_level: u32,
    log_size: u32,
    log_at: u64,
    kernel_version: u32,
    flags: u32,
}

/// Of `union bpf_attr`, what `BPF_PROG_ATTACH` reads.
#[repr(C)]
struct Attach {
    cgroup: u32,
    program: u32,
    kind: u32,
    flags: u32,
}

/// Has the kernel ask the program about what is in this cgroup of version 2, or below it. It is gone with the cgroup. Where others
/// have programs, all of them must allow.
pub(super) fn bound(cgroup: &Path) -> io::Result<()> {
    const PROG_ATTACH: libc::c_long = 8;
    const CGROUP_DEVICE: u32 = 6;
    const ALLOW_MULTI: u32 = 2;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let cgroup = rustix::fs::open(cgroup, flags, Mode::empty())?;
    let program = match load() {
        Err(refused) if refused.raw_os_error() == Some(libc::EPERM) => with_locked_memory(load)?,
        loaded => loaded?,
    };
    let number = |fd: &OwnedFd| u32::try_from(fd.as_raw_fd()).map_err(io::Error::other);
    let mut attach = Attach {
        cgroup: number(&cgroup)?,
        program: number(&program)?,
        kind: CGROUP_DEVICE,
        flags: ALLOW_MULTI,
    };
    // SAFETY: `Attach` is what the kernel reads of the union for this command, to the last field and without padding.
    unsafe { bpf(PROG_ATTACH, &mut attach) }.map(drop)
}

fn load() -> io::Result<OwnedFd> {
    const PROG_LOAD: libc::c_long = 5;
    const KIND_CGROUP_DEVICE: u32 = 15;
    const LICENSE: &CStr = c"Apache-2.0";
    let program = program();
    let address = |pointer: *const u8| u64::try_from(pointer.expose_provenance()).map_err(io::Error::other);
    let mut load = Load {
        kind: KIND_CGROUP_DEVICE,
        instructions: u32::try_from(program.len()).map_err(io::Error::other)?,
        instructions_at: address(program.as_ptr().cast())?,
        license_at: address(LICENSE.as_ptr().cast())?,
        ..Load::default()
    };
    // SAFETY: `Load` is what the kernel reads of the union for this command, without padding; so many instructions and a text
    // that ends with zero are where it says, until the call returns. The kernel checks the program itself.
    let fd = unsafe { bpf(PROG_LOAD, &mut load) }?;
    // SAFETY: the kernel has just opened it for this call, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Kernels before 5.11 count programs as locked memory, of which there may be little. It is as before afterwards.
fn with_locked_memory<T>(work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let before = getrlimit(Resource::Memlock);
    // Where that is refused, so is the program.
    setrlimit(Resource::Memlock, Rlimit { current: None, maximum: None }).ok();
    let done = work();
    setrlimit(Resource::Memlock, before).ok();
    done
}

/// # Safety
/// `T` must be laid out as the kernel reads the union for this command, and what it points to must live until this returns.
unsafe fn bpf<T>(command: libc::c_long, attributes: &mut T) -> io::Result<RawFd> {
    // SAFETY: the kernel reads no more than the size that it is told, which is that of a value that lives; the rest is promised.
    let answer =
        unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attributes), size_of::<T>()) };
    if answer < 0 {
        Err(io::Error::last_os_error())
    } else {
        RawFd::try_from(answer).map_err(io::Error::other)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::path::PathBuf;
    use std::process::Command;

    use super::*;

    #[test]
    fn the_rules_of_version_1_are_runcs() {
        let rules: Vec<String> = rules().collect();
        assert_eq!(rules[..3], ["c *:* m", "b *:* m", "c 1:3 rwm"]);
        assert_eq!(rules.last().map(String::as_str), Some("c 136:* rwm"));
    }

    /// What the program answers, as the kernel would run it.
    fn answer(kind: u32, access: u8, major: u32, minor: u32) -> u32 {
        let asked = [kind | (u32::from(access) << 16), major, minor];
        let (program, mut registers) = (program(), [0_u32; 6]);
        let mut at = 0;
        loop {
            let Instruction { code, registers: pair, jump, number } = program[at];
            let (changed, other) = (usize::from(pair & 15), usize::from(pair >> 4));
            let number = u32::try_from(number).unwrap();
            at += 1;
            match code {
                LOAD_WORD => registers[changed] = asked[usize::try_from(jump).unwrap() / 4],
                AND => registers[changed] &= number,
                SHIFT_RIGHT => registers[changed] >>= number,
                COPY => registers[changed] = registers[other],
                SET => registers[changed] = number,
                UNLESS_NUMBER if registers[changed] == number => {}
                UNLESS_SAME if registers[changed] == registers[other] => {}
                UNLESS_NUMBER | UNLESS_SAME => at += usize::try_from(jump).unwrap(),
                EXIT => return registers[0],
                _ => panic!("{code} is no instruction of these"),
            }
        }
    }

    #[test]
    fn the_program_allows_what_the_rules_do_and_nothing_else() {
        const BLOCK: u32 = 1;
        const CHARACTER: u32 = 2;
        for (major, minor) in [(1, 3), (1, 5), (1, 9), (5, 0), (5, 2), (136, 0), (136, 77)] {
            for access in [READ, WRITE, READ | WRITE, ALL, MAKE] {
                assert_eq!(answer(CHARACTER, access, major, minor), 1, "c {major}:{minor} {access}");
            }
            assert_eq!(answer(BLOCK, READ, major, minor), 0, "b {major}:{minor}");
        }
        for (kind, major, minor) in
            [(CHARACTER, 1, 1), (CHARACTER, 1, 11), (CHARACTER, 10, 229), (BLOCK, 8, 0)]
        {
            assert_eq!(answer(kind, MAKE, major, minor), 1, "the file of any device may be made");
            for access in [READ, WRITE, READ | MAKE, ALL] {
                assert_eq!(answer(kind, access, major, minor), 0, "{kind} {major}:{minor} {access}");
            }
        }
    }

    /// A new cgroup of version 2, if this machine has that.
    fn cgroup() -> Option<PathBuf> {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let of_two = |line: &str| {
            let (mount, filesystem) = line.split_once(" - ")?;
            filesystem.starts_with("cgroup2 ").then(|| PathBuf::from(mount.split(' ').nth(4).unwrap()))
        };
        let dir = mounts.lines().find_map(of_two)?.join(format!("kontiki-test-{}", std::process::id()));
        std::fs::create_dir(&dir).ok().map(|()| dir)
    }

    #[test]
    fn the_kernel_keeps_to_the_program() {
        let Some(dir) = cgroup().filter(|_| rustix::process::geteuid().is_root()) else {
            return eprintln!("skipped: no cgroup of version 2 can be made here");
        };
        let bounded = bound(&dir);
        // Any file of a device will do: whether there is one behind it is asked later.
        let script = format!(
            "echo $$ > {}/cgroup.procs; d=$(mktemp -d -p /dev); mknod $d/odd c 10 229; mknod $d/zero c 1 5; \
             head -c 1 /dev/null && head -c 3 $d/zero | wc -c; head -c 1 $d/odd; rm -r $d",
            dir.display()
        );
        let done = Command::new("sh").args(["-c", &script]).env("LC_ALL", "C").output().unwrap();
        std::fs::remove_dir(&dir).unwrap();
        if bounded.as_ref().is_err_and(|refused| refused.raw_os_error() == Some(libc::EPERM)) {
            return eprintln!("skipped: this test may load no programs");
        }
        bounded.unwrap();
        let (said, wrong) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
        assert_eq!(said.trim(), "3", "{wrong}");
        assert!(wrong.contains("odd") && wrong.contains("Operation not permitted"), "{wrong}");
    }
}
