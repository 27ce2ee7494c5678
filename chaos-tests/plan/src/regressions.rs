//! The shrunk plans of bugs that were found: each run replays all of them. A file is a plan whose first line says where it came from:
//! `# found: 2025-11-21, seed 17 of L1; defect: a watch lost its first event after a snapshot`.

use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::Plan;

/// Where they are, seen from the repository's root.
pub const DIRECTORY: &str = "chaos-tests/regressions";

/// One of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Regression {
    /// The file's name without its ending.
    pub name: String,
    /// When and by what it was found.
    pub found: String,
    /// What was wrong.
    pub defect: String,
    /// The plan.
    pub plan: Plan,
}

impl Regression {
    /// From the text of a file.
    pub fn from_text(name: &str, text: &str) -> anyhow::Result<Regression> {
        let head = text.lines().next().and_then(|line| line.strip_prefix("# found: "));
        let (found, defect) = head
            .and_then(|head| head.split_once("; defect: "))
            .with_context(|| format!("{name}: the first line must be `# found: ...; defect: ...`"))?;
        let plan = Plan::from_lines(text).with_context(|| name.to_string())?;
        Ok(Regression { name: name.into(), found: found.trim().into(), defect: defect.trim().into(), plan })
    }

    /// As the text of a file.
    pub fn to_text(&self) -> String {
        let line = |text: &str| text.replace('\n', " ");
        format!("# found: {}; defect: {}\n{}", line(&self.found), line(&self.defect), self.plan.to_lines())
    }

    /// Writes it into a directory.
    pub fn write(&self, directory: &Path) -> anyhow::Result<PathBuf> {
        std::fs::create_dir_all(directory)?;
        let path = directory.join(format!("{}.jsonl", self.name));
        std::fs::write(&path, self.to_text()).with_context(|| path.display().to_string())?;
        Ok(path)
    }
}

/// Reads all of a directory, in order of name. One that cannot be read is an error: it would not be replayed.
pub fn read(directory: &Path) -> anyhow::Result<Vec<Regression>> {
    let mut paths = Vec::new();
    if directory.is_dir() {
        for entry in std::fs::read_dir(directory)? {
            paths.push(entry?.path());
        }
    }
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "jsonl"));
    paths.sort();
    paths
        .iter()
        .map(|path| {
            let name = path.file_stem().map(|name| name.to_string_lossy().to_string()).unwrap_or_default();
            let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
            Regression::from_text(&name, &text)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::generate::{Options, generate};

    #[test]
    fn a_regression_survives_its_file() {
        let directory = std::env::temp_dir().join(format!("kontiki-regressions-{}", std::process::id()));
        let plan = generate(1, &Options { duration_ms: 2000, ..Options::default() });
        let regression = Regression {
            name: "001-lost-write".into(),
            found: "2025-11-21, seed 1 of L1".into(),
            defect: "a write was lost".into(),
            plan,
        };
        regression.write(&directory).unwrap();
        std::fs::write(directory.join("notes.txt"), "not a plan").unwrap();
        assert_eq!(read(&directory).unwrap(), [regression]);
        std::fs::write(directory.join("002.jsonl"), "{}").unwrap();
        assert!(format!("{:#}", read(&directory).unwrap_err()).contains("first line"));
        std::fs::remove_dir_all(&directory).unwrap();
        assert!(read(&directory).unwrap().is_empty());
    }

    #[test]
    fn all_of_the_repository_can_be_read() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../regressions");
        read(&directory).unwrap();
    }
}
