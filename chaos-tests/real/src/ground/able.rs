//! Whether this process may take what a run takes of a machine.

use std::path::Path;

use nix::sched::{CloneFlags, unshare};

/// Whether plans can be played here at all; an error says in a few words why not. What is only missing (a command, a module) is no
/// reason: that is told when a run needs it.
pub fn able() -> Result<(), String> {
    if !rustix::process::geteuid().is_root() {
        return Err("it needs root".into());
    }
    if !Path::new("/dev/loop-control").exists() {
        return Err("there are no loop devices, by which hosts have disks of their own".into());
    }
    // In a thread of its own, with which the namespace ends.
    let trying = std::thread::spawn(|| unshare(CloneFlags::CLONE_NEWNET).map_err(|error| error.to_string()));
    let made = trying.join().unwrap_or_else(|_| Err("the attempt panicked".into()));
    made.map_err(|error| format!("root may make no network namespaces here: {error}"))
}
