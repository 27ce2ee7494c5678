//! Who the kernel kills first when the machine has no memory left: a container, never the shim that holds its exit.

const FILE: &str = "/proc/self/oom_score_adj";
/// What the node's own services get.
const PROTECTED: &str = "-998";
const USUAL: &str = "0";

/// Protects this process, if it may.
pub(super) fn protect() {
    std::fs::write(FILE, PROTECTED).ok();
}

/// Starts something that must not inherit the protection.
pub(super) fn without<T>(start: impl FnOnce() -> T) -> T {
    std::fs::write(FILE, USUAL).ok();
    let started = start();
    protect();
    started
}
