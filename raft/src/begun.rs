//! Whether a data directory has served before. It says so in a file beside the databases, so that a log which was lost or
//! moved away is not taken for a new beginning: a controller that forgot its votes could vote twice in one term, and entries
//! that it acknowledged would be counted on and gone.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::error::OpenError;

/// Named so that whoever moves `raft.db` away by name leaves it behind.
const FILE: &str = "BEGUN";

fn file(data_dir: &Path) -> PathBuf {
    data_dir.join(FILE)
}

/// Notes it, durably, before the controller takes part in anything.
pub(crate) fn note(data_dir: &Path) -> Result<(), OpenError> {
    let write = || -> io::Result<()> {
        let mut note = File::create(file(data_dir))?;
        writeln!(note, "A controller has run here. Without its raft.db it must join the cluster anew.")?;
        note.sync_all()?;
        File::open(data_dir)?.sync_all()
    };
    write().map_err(|error| OpenError::io("writing to", data_dir, &error))
}

/// Whether a controller has run on this data directory; refuses one whose log is gone.
pub(crate) fn check(data_dir: &Path, log: &Path) -> Result<bool, OpenError> {
    let exists = |path: &Path| fs::exists(path).map_err(|error| OpenError::io("reading", data_dir, &error));
    let (begun, database) = (exists(&file(data_dir))?, exists(&log.join("CURRENT"))?);
    if begun && !database {
        return Err(OpenError::Lost { directory: log.into() });
    }
    Ok(begun)
}
