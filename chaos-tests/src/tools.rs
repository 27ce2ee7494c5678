//! Tools that tests of clients need, and that not every machine has.

use std::process::Command;

/// Runs a command and gives what it printed; an error is what it complained of.
pub fn run(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.success() { Ok(out.into_owned()) } else { Err(format!("{command:?}: {err}{out}")) }
}

/// Asks a program for its version, which must be this one, major and minor, or a newer one.
pub fn at_least(wanted: (u32, u32), command: &mut Command) -> Result<(), String> {
    let said = run(command)?;
    let found = version(&said).ok_or_else(|| format!("{command:?} tells no version: {said}"))?;
    if found >= wanted {
        return Ok(());
    }
    Err(format!("{command:?} says {}, and {}.{} is needed", said.trim(), wanted.0, wanted.1))
}

/// The first number with a dot in it.
fn version(text: &str) -> Option<(u32, u32)> {
    text.split(|c: char| !c.is_ascii_digit() && c != '.').find_map(|word| {
        let (major, rest) = word.split_once('.')?;
        let minor = rest.split('.').next()?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_in_what_programs_say() {
        assert_eq!(version("go version go1.26.8 linux/amd64"), Some((1, 26)));
        assert_eq!(version("v20.20.2\n"), Some((20, 20)));
        assert_eq!(version("none."), None);
        let says = |text: &str| {
            let mut command = Command::new("echo");
            command.arg(text);
            command
        };
        assert_eq!(at_least((1, 24), &mut says("go1.24")), Ok(()));
        assert_eq!(at_least((1, 24), &mut says("go2.0")), Ok(()));
        let old = at_least((1, 24), &mut says("go version go1.19.8")).unwrap_err();
        assert!(old.ends_with("says go version go1.19.8, and 1.24 is needed"), "{old}");
        assert!(at_least((1, 24), &mut Command::new("/nowhere/go")).unwrap_err().contains("/nowhere/go"));
    }
}
