//! Takes away what an agent has left that died in the midst of something: of pods that nobody knows any more, and files that were not
//! finished.

use std::collections::BTreeSet;
use std::fs::DirEntry;
use std::path::Path;

use tracing::{info, warn};

use super::layout::Layout;

/// Leaves nothing but what is of these pods.
pub(crate) fn sweep(layout: &Layout, known: &BTreeSet<String>) {
    let unfinished = |name: &str| name.ends_with(".new");
    let unknown = |uid: &str| !known.contains(uid);
    remove_from(&layout.kept(), unfinished);
    if let Some(secrets) = layout.kept_secrets() {
        remove_from(&secrets, |name| name.strip_suffix(".json").is_none_or(unknown));
    }
    if let Some(volumes) = layout.secret_volumes() {
        remove_from(&volumes, unknown);
    }
    // Neither namespaces nor uids have the character that parts them.
    remove_from(&layout.all_logs(), |name| name.rsplit_once('_').is_some_and(|(_, uid)| unknown(uid)));
}

fn remove_from(folder: &Path, which: impl Fn(&str) -> bool) {
    let is_meant = |entry: &DirEntry| entry.file_name().to_str().is_some_and(&which);
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten().filter(is_meant) {
        let path = entry.path();
        let removed = match entry.file_type() {
            Ok(kind) if kind.is_dir() => crate::remove::remove_dir_all(&path),
            _ => std::fs::remove_file(&path),
        };
        match removed {
            Ok(()) => info!(path = %path.display(), "what was left of a pod that is gone is removed"),
            Err(error) => warn!(path = %path.display(), %error, "what was left of a pod cannot be removed"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_nobody_knows_is_taken_away_and_the_rest_stays() {
        let (disk, memory) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let layout = Layout::with_memory(disk.path(), Some(memory.path()));
        let secrets = layout.kept_secrets().unwrap();
        let logs = |uid: &str| layout.logs("ns", "web-0", uid);
        let volumes = |uid: &str| layout.places(uid).memory.unwrap();
        let of =
            |uid: &str| [layout.kept_pod(uid), secrets.join(format!("{uid}.json")), logs(uid), volumes(uid)];
        for folder in [layout.kept(), secrets.clone()] {
            std::fs::create_dir_all(folder).unwrap();
        }
        for uid in ["old", "young"] {
            let [kept, secret, logs, volumes] = of(uid);
            for file in [kept, secret] {
                std::fs::write(file, "{}").unwrap();
            }
            for folder in [logs, volumes] {
                std::fs::create_dir_all(folder.join("main")).unwrap();
            }
        }
        let half = [layout.kept().join("old.new"), secrets.join("young.new")];
        for file in &half {
            std::fs::write(file, "{").unwrap();
        }
        sweep(&layout, &["young".to_owned()].into());
        assert_eq!(of("young").map(|path| path.exists()), [true; 4]);
        // Whose page is there is known.
        assert_eq!(of("old").map(|path| path.exists()), [true, false, false, false]);
        assert_eq!(half.map(|path| path.exists()), [false; 2]);
    }
}
