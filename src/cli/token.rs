//! `kontiki token create`.

use clap::{Args, Subcommand, ValueEnum};
use kontiki_proto::cluster::{self, CreateTokenRequest};
use serde_json::json;

use super::access::{Access, AccessArgs};
use super::run::span::seconds;
use super::say::say;
use super::{Output, block_on, print_json, table};

/// `kontiki token ...`
#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a token and print it. It cannot be read again later: only its hash is kept.
    #[command(after_help = "On the new machine: kontiki worker run --join TOKEN --server HOST:PORT\n\
                            A worker token can be used until it expires, a controller token once.")]
    Create(CreateArgs),
}

/// What a token's bearer becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    /// A worker.
    Worker,
    /// A controller.
    Controller,
}

/// Arguments of `kontiki token create`.
#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// What its bearer becomes.
    #[arg(long, value_enum)]
    role: Role,
    /// How long it can be used: seconds, or a number with s, m, h or d.
    #[arg(long, default_value = "1h", value_parser = seconds, value_name = "TIME")]
    ttl: u64,
    #[command(flatten)]
    access: AccessArgs,
    /// How to print it.
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

pub(crate) fn token(command: TokenCommand) -> anyhow::Result<()> {
    let TokenCommand::Create(args) = command;
    let role = match args.role {
        Role::Worker => cluster::Role::Worker,
        Role::Controller => cluster::Role::Controller,
    };
    let request = CreateTokenRequest { role: role.into(), ttl_seconds: args.ttl };
    let reply = block_on(async {
        let access = Access::find(&args.access)?;
        access.call(|mut client| async move { client.create_token(request).await }).await
    })?;
    match args.output {
        // Alone on standard output, so that a script can take it as it is.
        Output::Table => {
            say(reply.token);
            eprintln!("expires in {}", table::age(args.ttl));
        }
        Output::Json => print_json(&json!({ "token": reply.token, "expiresAtMs": reply.expires_at_ms }))?,
    }
    Ok(())
}
