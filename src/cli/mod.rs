//! The command line. Each command is a file; what several need is in `access/` (how to reach a cluster).
//! Not for what a cluster does: the roles live in `controller/` and in the worker crate, `run/` only starts them.

mod access;
mod bench;
mod completion;
mod drain;
mod image;
mod inspect;
mod logging;
mod members;
mod run;
mod say;
mod status;
mod table;
mod token;
mod up;
mod version;

use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use say::say;

/// A highly available container orchestrator in one binary.
#[derive(Debug, Parser)]
#[command(
    name = "kontiki",
    version = version::VERSION,
    propagate_version = true,
    max_term_width = 110,
    after_help = "Begin with `kontiki up`: three controllers and three workers on this machine, mTLS between all.\n\
                  Then `export KUBECONFIG=.kontiki/kubeconfig` and use kubectl as ever.\n\n\
                  Exit status: 0 done, 1 failed (the reason is on standard error), 2 wrong usage.\n\
                  Environment: KUBECONFIG (which cluster), KONTIKI_LOG (what is logged, such as `info` or \
                  `kontiki_raft=debug`)."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start a whole cluster on this machine, or what is missing of it.
    Up(up::UpArgs),
    /// Stop the cluster that `up` started on this machine. Its data stays.
    Down(up::DownArgs),
    /// Show controllers, workers, pods, and what is wrong, in words.
    Status(status::StatusArgs),
    /// One controller of a cluster.
    #[command(subcommand)]
    Controller(ControllerCommand),
    /// One worker of a cluster.
    #[command(subcommand)]
    Worker(WorkerCommand),
    /// Tokens by which new controllers and workers join.
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// The controllers of the cluster: who votes, who leads.
    #[command(subcommand)]
    Members(members::MembersCommand),
    /// Images of a worker on this machine.
    #[command(subcommand)]
    Image(image::ImageCommand),
    /// Measure how fast a live cluster is, and say what holds it up.
    Bench(bench::BenchArgs),
    /// Print a completion script for a shell.
    Completion(completion::CompletionArgs),
    /// Print the version.
    Version(version::VersionArgs),
}

#[derive(Debug, Subcommand)]
enum ControllerCommand {
    /// Run a controller in the foreground until SIGTERM.
    Run(run::controller::ControllerArgs),
    /// Print what a stopped controller has on its disk, as lines of JSON.
    Inspect(inspect::InspectArgs),
}

#[derive(Debug, Subcommand)]
enum WorkerCommand {
    /// Run a worker in the foreground until SIGTERM. Its pods go on running without it.
    Run(run::worker::WorkerArgs),
    /// Send the pods of a worker elsewhere, as their PodDisruptionBudgets allow, and give it no more.
    Drain(drain::DrainArgs),
    /// Play many workers from one process, for tests of size: real sessions, no containers.
    Simulate(run::simulate::SimulateArgs),
}

/// How an answer is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    #[default]
    Table,
    /// For programs.
    Json,
}

/// Reads the arguments, does what they say, and answers the process's exit status.
pub(crate) fn main() -> ExitCode {
    kontiki_pki::install_crypto();
    let cli = Cli::parse();
    let outcome = match cli.command {
        Command::Up(args) => up::up(args),
        Command::Down(args) => up::down(&args),
        Command::Status(args) => status::status(&args),
        Command::Controller(ControllerCommand::Run(args)) => run::controller::run(args),
        Command::Controller(ControllerCommand::Inspect(args)) => inspect::inspect(&args),
        Command::Worker(WorkerCommand::Run(args)) => run::worker::run(args),
        Command::Worker(WorkerCommand::Drain(args)) => drain::drain(&args),
        Command::Worker(WorkerCommand::Simulate(args)) => run::simulate::run(args),
        Command::Token(command) => token::token(command),
        Command::Members(command) => members::members(command),
        Command::Image(command) => image::image(command),
        Command::Bench(args) => bench::bench(args),
        Command::Completion(args) => completion::completion(&args),
        Command::Version(args) => version::version(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The whole chain of causes, on one line.
            eprintln!("kontiki: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs a short command: one thread is enough.
fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

/// Prints a value for programs.
fn print_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    say(serde_json::to_string_pretty(value)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_arguments_do_not_contradict_each_other() {
        super::Cli::command().debug_assert();
    }
}
