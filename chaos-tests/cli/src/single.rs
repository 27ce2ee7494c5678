//! One plan: played, shrunk, replayed.

use std::{
    io::IsTerminal,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::Context;
use clap::Args;
use kontiki_chaos_plan::{
    Layer, Plan,
    check::{first_failure, judge_all},
    regressions, report, shrink as shrinking,
};
use tracing_subscriber::EnvFilter;

use crate::{defects, layers, plan_of};

/// Arguments of `play`.
#[derive(Debug, Args)]
pub(crate) struct PlayArgs {
    /// The plan's file, or a seed.
    plan: String,
    /// The layer.
    #[arg(long, value_parser = layers::parse)]
    layer: Layer,
    /// Keep the whole history here, as JSON.
    #[arg(long)]
    history: Option<PathBuf>,
    /// Write the report here, a page of HTML.
    #[arg(long)]
    report: Option<PathBuf>,
    /// Plant this defect.
    #[arg(long)]
    defect: Option<String>,
    /// Say nothing but which check fails.
    #[arg(long)]
    quiet: bool,
    /// Write what controllers and workers log to standard error, by this filter: `info`, `kontiki=debug,openraft=info`.
    #[arg(long)]
    log: Option<String>,
}

pub(crate) fn play(args: &PlayArgs) -> anyhow::Result<bool> {
    if let Some(name) = &args.defect {
        kontiki_hooks::plant(defects::by_name(name)?);
    }
    if let Some(filter) = &args.log {
        let filter = EnvFilter::try_new(filter).with_context(|| format!("--log {filter}"))?;
        // The time of the machine says nothing about a run in simulated time.
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .with_ansi(std::io::stderr().is_terminal())
            .without_time()
            .init();
    }
    let plan = plan_of(&args.plan, args.layer)?;
    let run = layers::player(args.layer)?.play(&plan)?;
    if let Some(file) = &args.history {
        std::fs::write(file, serde_json::to_vec(&run)?).with_context(|| file.display().to_string())?;
    }
    let judgements = judge_all(&run);
    let planted = args.defect.iter().map(|name| format!(" --defect {name}")).collect::<String>();
    let replay = format!("kontiki-chaos play --layer {}{planted} {}", layers::name(args.layer), args.plan);
    if let Some(file) = &args.report {
        let page = report::html(&run, &judgements, &replay);
        std::fs::write(file, page).with_context(|| file.display().to_string())?;
    }
    if args.quiet {
        // The first line is for `shrink`: which check it is that fails.
        first_failure(&judgements).iter().for_each(|failure| println!("FAILED {}", failure.check));
    } else {
        println!("{}\ntrace {:016x}", report::text(&run, &judgements, &replay), run.trace_hash);
    }
    Ok(judgements.iter().all(|judgement| judgement.verdict.passed()))
}

/// Arguments of `shrink`.
#[derive(Debug, Args)]
pub(crate) struct ShrinkArgs {
    /// The plan's file, or a seed.
    plan: String,
    /// The layer.
    #[arg(long, value_parser = layers::parse)]
    layer: Layer,
    /// So many plans are tried at most.
    #[arg(long, default_value_t = 400)]
    budget: usize,
    /// With this defect planted.
    #[arg(long)]
    defect: Option<String>,
    /// Where the shrunk plan goes [default: printed].
    #[arg(long)]
    out: Option<PathBuf>,
}

pub(crate) fn shrink(args: &ShrinkArgs) -> anyhow::Result<bool> {
    let plan = plan_of(&args.plan, args.layer)?;
    let Some(wanted) = failing(&plan, args)? else {
        println!("this plan does not fail");
        return Ok(false);
    };
    let shrunk = shrinking::shrink(&plan, args.budget, |candidate| {
        // The same property has to fail: another one is another finding.
        matches!(failing(candidate, args), Ok(Some(check)) if check == wanted)
    });
    let text = shrunk.plan.to_lines();
    match &args.out {
        Some(file) => std::fs::write(file, &text).with_context(|| file.display().to_string())?,
        None => print!("{text}"),
    }
    eprintln!(
        "{wanted}: {} of {} events, after {} attempts{}",
        shrunk.plan.events.len(),
        plan.events.len(),
        shrunk.attempts,
        if shrunk.minimal { ", and none can be left out" } else { "" }
    );
    Ok(true)
}

/// The check that fails when the plan is played in a process of its own; a process that dies fails, too.
fn failing(plan: &Plan, args: &ShrinkArgs) -> anyhow::Result<Option<String>> {
    let file = std::env::temp_dir().join(format!("kontiki-chaos-shrink-{}.jsonl", std::process::id()));
    std::fs::write(&file, plan.to_lines())?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["play", "--quiet", "--layer", layers::name(args.layer)]).arg(&file);
    if let Some(defect) = &args.defect {
        command.args(["--defect", defect]);
    }
    let output = command.stderr(Stdio::null()).output();
    let _ = std::fs::remove_file(&file);
    let output = output?;
    if output.status.success() {
        return Ok(None);
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let check = text.lines().find_map(|line| line.strip_prefix("FAILED "));
    Ok(Some(check.unwrap_or("the run itself").to_owned()))
}

/// Replays all shrunk plans of bugs that were found, in both simulated layers.
pub(crate) fn regressions(directory: &Path) -> anyhow::Result<bool> {
    let plans = regressions::read(directory)?;
    let mut whole = true;
    for regression in &plans {
        for layer in [Layer::L0, Layer::L1] {
            let run = layers::player(layer)?.play(&regression.plan)?;
            let judgements = judge_all(&run);
            if let Some(failure) = first_failure(&judgements) {
                whole = false;
                println!(
                    "{} in {layer:?}: {} {:?}\n  was: {}",
                    regression.name, failure.check, failure.verdict, regression.defect
                );
            }
        }
    }
    println!("{} regressions replayed in two layers", plans.len());
    Ok(whole)
}
