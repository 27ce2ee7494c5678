//! What one does with plans, runs and the ledger by hand:
//!
//! ```text
//! kontiki-chaos-plan generate SEED [PROFILE [SECONDS]]   prints the plan of a seed
//! kontiki-chaos-plan judge RUN.json [PAGE.html]          judges a recorded run again, and writes its page
//! kontiki-chaos-plan show RUN.json INDEX                 prints an entry of its log
//! kontiki-chaos-plan ledger [FILE]                       sums the ledger up
//! ```

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use kontiki_actors::Entry;
use kontiki_chaos_plan::{
    Run,
    check::{first_failure, judge_all},
    ledger,
    plan::generate::{Options, Profile, generate},
    report,
};

const USAGE: &str =
    "generate SEED [PROFILE [SECONDS]] | judge RUN.json [PAGE.html] | show RUN.json INDEX | ledger [FILE]";

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["generate", seed, rest @ ..] => print!("{}", plan(seed, rest)?),
        ["judge", run] => judge(Path::new(run), None)?,
        ["judge", run, page] => judge(Path::new(run), Some(Path::new(page)))?,
        ["show", run, index] => show(&read(Path::new(run))?, index.parse().context("the index")?)?,
        ["ledger", rest @ ..] => {
            let path = rest.first().map_or_else(|| PathBuf::from(ledger::FILE), PathBuf::from);
            print!("{}", ledger::table(&ledger::read(&path)?));
        }
        _ => bail!("{USAGE}"),
    }
    Ok(())
}

fn plan(seed: &str, rest: &[&str]) -> anyhow::Result<String> {
    let mut options = Options::default();
    if let Some(name) = rest.first() {
        let quoted = format!("\"{name}\"");
        options.profile = serde_json::from_str::<Profile>(&quoted).context("the profile")?;
    }
    if let Some(seconds) = rest.get(1) {
        options.duration_ms = seconds.parse::<u64>().context("the seconds")? * 1000;
    }
    Ok(generate(seed.parse().context("the seed")?, &options).to_lines())
}

fn read(path: &Path) -> anyhow::Result<Run> {
    let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
    serde_json::from_slice(&bytes).with_context(|| path.display().to_string())
}

fn show(run: &Run, index: u64) -> anyhow::Result<()> {
    let logged = run.log.iter().find(|logged| logged.index == index).context("no such entry")?;
    println!("entry {index} of term {}, committed at {} ms", logged.term, logged.committed_ns / 1_000_000);
    if logged.bytes.is_empty() {
        println!("the consensus' own");
        return Ok(());
    }
    for turned in Entry::decode(&logged.bytes)?.turns {
        println!("turn: {:?}, request {:?}, answers {:?}", turned.input, turned.request, turned.outcome);
        for change in turned.changes {
            println!("  {change:?}");
        }
    }
    Ok(())
}

fn judge(path: &Path, page: Option<&Path>) -> anyhow::Result<()> {
    let run = read(path)?;
    let judgements = judge_all(&run);
    let replay = format!("the plan is in {}", path.display());
    if let Some(page) = page {
        std::fs::write(page, report::html(&run, &judgements, &replay))
            .with_context(|| page.display().to_string())?;
    }
    print!("{}", report::text(&run, &judgements, &replay));
    if first_failure(&judgements).is_some() {
        bail!("the run failed");
    }
    Ok(())
}
