//! Commands of the machine.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use anyhow::{Context, bail};

/// Runs a command that must succeed and gives what it printed.
pub fn run(words: &[&str]) -> anyhow::Result<String> {
    feed(words, "")
}

/// The same with something on its standard input.
pub fn feed(words: &[&str], input: &str) -> anyhow::Result<String> {
    let (program, args) = words.split_first().context("no command")?;
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("running {program}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A command that ends without reading says why on its own.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{}: {}: {}", words.join(" "), output.status, said.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The words that enter a network namespace and nothing else, before a command's own.
pub fn inside(netns: &str) -> [String; 2] {
    ["nsenter".into(), format!("--net=/run/netns/{netns}")]
}

/// Whether this machine has a command.
pub fn exists(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}
