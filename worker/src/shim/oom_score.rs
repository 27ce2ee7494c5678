//! Who the kernel kills first when the machine has no memory left: a container, never the shim that holds its exit.

const FILE: &str = "/proc/self/oom_score_adj";
/// What the node's own services get.
const PROTECTED: &str = "-998";

/// Protects this process, if it may.
pub(super) fn protect() {
    std::fs::write(FILE, PROTECTED).ok();
}

/// Starts something that is to have this score rather than inherit the protection. Without the right to it (a worker
/// that is not root and a score below its own) it gets the shim's.
pub(super) fn with<T>(score: i32, start: impl FnOnce() -> T) -> T {
    let own = std::fs::read_to_string(FILE).unwrap_or_default();
    std::fs::write(FILE, score.to_string()).ok();
    let started = start();
    std::fs::write(FILE, own.trim()).ok();
    started
}
