//! `kontiki version`.

use clap::Args;
use serde_json::json;

use super::Output;
use super::say::say;

/// This binary's version.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Arguments of `kontiki version`.
#[derive(Debug, Args)]
pub(crate) struct VersionArgs {
    /// How to print it.
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

pub(crate) fn version(args: &VersionArgs) -> anyhow::Result<()> {
    let target = format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH);
    match args.output {
        Output::Table => say(format_args!("kontiki {VERSION} ({target})")),
        Output::Json => super::print_json(&json!({ "version": VERSION, "platform": target }))?,
    }
    Ok(())
}
