//! What operators and service managers do while all this goes on: processes that ended are started again, and a controller whose
//! data is damaged and who says so is replaced, and so is one that broke down while it joined: it needs a new token.

use crate::{host::Role, nemesis::Field};

/// What a controller says that broke down while it joined, when it tries again: its token is used up.
const USED_UP: &str = "the join token is not valid";

/// Looks after everybody once.
pub(super) fn tend(field: &Field) -> anyhow::Result<()> {
    for host in &field.cluster.hosts {
        let Some(words) = host.tend()? else { continue };
        eprintln!("      {} ended by itself: {words}", host.name);
        if words.contains("panicked") {
            field.broken("B5", format!("{} panicked: {words}", host.name));
        }
        if !field.may_end {
            field.broken("B5", format!("{} ended by itself: {words}", host.name));
        }
        if matches!(host.role, Role::Controller(_)) && words.contains(USED_UP) {
            host.rots();
        }
        if host.take_rot() {
            eprintln!("      {} has damaged data, or joined half-way, and is replaced", host.name);
            host.crash(usize::MAX);
            if let Err(error) = field.cluster.replace(host) {
                eprintln!("      {}: {error:#}", host.name);
                host.rots();
            }
            host.let_up(usize::MAX)?;
        }
    }
    Ok(())
}
