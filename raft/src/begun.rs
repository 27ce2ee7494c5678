//! Whether a data directory has served before. It says so in a file beside the databases, so that a log which was lost or
//! moved away is not taken for a new beginning: a controller that forgot its votes could vote twice in one term, and entries
//! that it acknowledged would be counted on and gone.

use std::path::{Path, PathBuf};

use crate::disk::{Disk, Form};
use crate::error::OpenError;

/// Named so that whoever moves `raft.db` away by name leaves it behind.
const FILE: &str = "BEGUN";
const CONTENT: &str = "A controller has run here. Without its raft.db it must join the cluster anew.\n";

fn file(data_dir: &Path) -> PathBuf {
    data_dir.join(FILE)
}

/// Notes it, durably, before the controller takes part in anything.
pub(crate) fn note(disk: &dyn Disk, data_dir: &Path) -> Result<(), OpenError> {
    disk.replace(&file(data_dir), CONTENT).map_err(|error| OpenError::io("writing to", data_dir, &error))
}

/// Whether a controller has run on this data directory; refuses one whose log is gone.
pub(crate) fn check(disk: &dyn Disk, data_dir: &Path, log: &Path, form: &Form) -> Result<bool, OpenError> {
    let begun = disk.exists(&file(data_dir)).map_err(|error| OpenError::io("reading", data_dir, &error))?;
    if begun {
        let tables = disk.tables(log, form).map_err(|error| OpenError::database(log, &error))?;
        if tables.is_none() {
            return Err(OpenError::Lost { directory: log.into() });
        }
    }
    Ok(begun)
}
