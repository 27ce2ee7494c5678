//! What one does with plans, runs and the ledger by hand:
//!
//! ```text
//! kontiki-chaos-plan generate SEED [PROFILE [SECONDS]]   prints the plan of a seed
//! kontiki-chaos-plan judge RUN.json [PAGE.html]          judges a recorded run again, and writes its page
//! kontiki-chaos-plan ledger [FILE]                       sums the ledger up
//! ```

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use kontiki_chaos_plan::{
    Run,
    check::{first_failure, judge_all},
    ledger,
    plan::generate::{Options, Profile, generate},
    report,
};

const USAGE: &str = "generate SEED [PROFILE [SECONDS]] | judge RUN.json [PAGE.html] | ledger [FILE]";

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["generate", seed, rest @ ..] => print!("{}", plan(seed, rest)?),
        ["judge", run] => judge(Path::new(run), None)?,
        ["judge", run, page] => judge(Path::new(run), Some(Path::new(page)))?,
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

fn judge(path: &Path, page: Option<&Path>) -> anyhow::Result<()> {
    let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
    let run: Run = serde_json::from_slice(&bytes).with_context(|| path.display().to_string())?;
    let judgements = judge_all(&run);
    let replay = format!("the plan is in {}", path.display());
    if let Some(page) = page {
        std::fs::write(page, report::html(&run, &judgements, &replay)).with_context(|| page.display().to_string())?;
    }
    print!("{}", report::text(&run, &judgements, &replay));
    if first_failure(&judgements).is_some() {
        bail!("the run failed");
    }
    Ok(())
}
