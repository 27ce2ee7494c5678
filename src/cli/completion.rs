//! `kontiki completion SHELL`.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::say::say_text;

/// Arguments of `kontiki completion`.
#[derive(Debug, Args)]
#[command(after_help = "For bash: kontiki completion bash > /etc/bash_completion.d/kontiki")]
pub(crate) struct CompletionArgs {
    /// The shell.
    shell: Shell,
}

pub(crate) fn completion(args: &CompletionArgs) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut super::Cli::command(), "kontiki", &mut script);
    say_text(&String::from_utf8(script)?);
    Ok(())
}
