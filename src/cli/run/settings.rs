//! Settings of a process: a flag wins over the environment, which wins over the file.

use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use serde::de::DeserializeOwned;

/// Nobody writes more settings than this.
const FILE_MAX: u64 = 1 << 20;

/// Reads a settings file (YAML). A name that is not known is refused: it is a typing error.
pub(crate) fn read<T: DeserializeOwned + Default>(file: Option<&PathBuf>) -> anyhow::Result<T> {
    let Some(file) = file else { return Ok(T::default()) };
    let text = text(file).with_context(|| format!("cannot read settings {}", file.display()))?;
    parse(&text, file)
}

/// The text of a file that people write, within bounds.
pub(super) fn text(file: &Path) -> anyhow::Result<String> {
    let size = std::fs::metadata(file)?.len();
    if size > FILE_MAX {
        bail!("{} has {size} bytes and is no file of settings", file.display());
    }
    Ok(std::fs::read_to_string(file)?)
}

fn parse<T: DeserializeOwned + Default>(text: &str, file: &Path) -> anyhow::Result<T> {
    let says_something = |line: &str| !matches!(line.trim_start().chars().next(), None | Some('#'));
    if !text.lines().any(says_something) {
        return Ok(T::default());
    }
    serde_saphyr::from_str(text).map_err(|e| anyhow!("settings {}: {e}", file.display()))
}

/// Takes each field from the first that has it.
macro_rules! first_of {
    ($type:ident, $first:expr, $second:expr, { $($field:ident),* $(,)? }) => {{
        let (first, second) = ($first, $second);
        $type { $($field: first.$field.or(second.$field)),* }
    }};
}
pub(super) use first_of;

/// The host's own name, for processes that were given none. Names are lowercase.
pub(super) fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().to_lowercase()
}

/// Settings of this text, for tests of what becomes of them.
#[cfg(test)]
pub(super) fn parse_for_test<T: DeserializeOwned + Default>(text: &str) -> T {
    parse(text, Path::new("settings.yaml")).unwrap_or_else(|error| panic!("{error}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Default, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
    struct Two {
        name: Option<String>,
        data_dir: Option<String>,
    }

    #[test]
    fn files_are_read_strictly() {
        let read = |text: &str| parse::<Two>(text, Path::new("x.yaml"));
        let two = read("name: a\ndata-dir: /var\n").unwrap();
        assert_eq!(two, Two { name: Some("a".into()), data_dir: Some("/var".into()) });
        assert_eq!(read("# nothing\n\n").unwrap(), Two::default());
        let error = read("nmae: a\n").unwrap_err().to_string();
        assert!(error.contains("x.yaml") && error.contains("nmae"), "{error}");
    }

    #[test]
    fn what_comes_first_wins() {
        let two = |name: Option<&str>, dir: Option<&str>| Two {
            name: name.map(Into::into),
            data_dir: dir.map(Into::into),
        };
        let merged =
            first_of!(Two, two(Some("flag"), None), two(Some("file"), Some("/d")), { name, data_dir });
        assert_eq!(merged, two(Some("flag"), Some("/d")));
    }
}
