//! What operators and service managers do while all this goes on: processes that ended are started again, and a controller whose
//! data is damaged and who says so is replaced.

use crate::nemesis::Field;

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
        if host.take_rot() {
            eprintln!("      {} has damaged data and is replaced", host.name);
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
