//! `kontiki status`: how the cluster is, for people and for programs.

mod report;

use clap::Args;

use super::access::{Access, AccessArgs};
use super::say::say_text;
use super::{Output, block_on, print_json};
pub(crate) use report::Report;

/// Arguments of `kontiki status`.
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    access: AccessArgs,
    /// How to print it.
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

pub(crate) fn status(args: &StatusArgs) -> anyhow::Result<()> {
    let report = block_on(async { Report::collect(&Access::find(&args.access)?).await })?;
    match args.output {
        Output::Json => print_json(&report),
        Output::Table => {
            say_text(&report.table());
            Ok(())
        }
    }
}
