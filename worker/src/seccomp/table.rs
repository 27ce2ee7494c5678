//! The numbers of system calls, by name.

/// `name x86_64 aarch64`, a line each, `-` where an architecture does not have it. From the kernel's headers.
const TABLE: &str = include_str!("syscalls.txt");

const COLUMN: usize = if cfg!(target_arch = "aarch64") { 2 } else { 1 };

/// The number of a system call on this architecture; none if it does not have it.
pub(super) fn number(name: &str) -> Option<i64> {
    let at = rows().find(|row| row[0] == name)?;
    at[COLUMN].parse().ok()
}

fn rows() -> impl Iterator<Item = [&'static str; 3]> {
    TABLE.lines().filter_map(|line| {
        let mut words = line.split(' ');
        Some([words.next()?, words.next()?, words.next()?])
    })
}

#[cfg(test)]
mod tests {
    use nix::libc;

    use super::*;

    #[test]
    fn numbers_are_the_kernels() {
        for (name, number) in [
            ("read", libc::SYS_read),
            ("clone3", libc::SYS_clone3),
            ("newfstatat", libc::SYS_newfstatat),
            ("unshare", libc::SYS_unshare),
            ("keyctl", libc::SYS_keyctl),
            ("seccomp", libc::SYS_seccomp),
        ] {
            assert_eq!(super::number(name), Some(number), "{name}");
        }
        assert_eq!(super::number("chown32"), None, "a 32-bit machine's");
        assert_eq!(rows().count(), TABLE.lines().count());
    }
}
