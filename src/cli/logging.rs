//! What a running process tells about itself.

use clap::{Args, ValueEnum};

use crate::controller::telemetry::{self, Guard, LogOptions};

/// The consensus library tells its whole state at `info`, and every heartbeat that a dead controller does not answer at
/// `warn`; this project's own lines say what happened.
const DEFAULT_FILTER: &str = "info,openraft=warn,openraft::core::heartbeat=error";

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// What is logged and how.
#[derive(Clone, Debug, Args)]
pub(crate) struct LogArgs {
    /// How log lines look.
    #[arg(long, value_enum, env = "KONTIKI_LOG_FORMAT", default_value_t)]
    log_format: LogFormat,
    /// What is logged, such as `info` or `info,kontiki_raft=debug`.
    #[arg(long = "log", env = "KONTIKI_LOG", default_value = DEFAULT_FILTER, value_name = "FILTER")]
    log_filter: String,
}

/// Starts logging on standard error, and the export of traces if an endpoint is given.
pub(crate) fn init(args: &LogArgs, otlp_endpoint: Option<String>, name: &str) -> anyhow::Result<Guard> {
    telemetry::init(&LogOptions {
        filter: args.log_filter.clone(),
        json: args.log_format == LogFormat::Json,
        otlp_endpoint,
        name: name.to_owned(),
    })
}
