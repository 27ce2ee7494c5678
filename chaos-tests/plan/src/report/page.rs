//! The page: what was violated, what happened around it, how to play it again; then the timeline, the verdicts, the faults, the plan.

use std::fmt::Write;

use super::{
    around,
    chart::{Chart, escape, length, seconds},
    faults, invariant, leaders, ops, pods,
    text::facts,
};
use crate::{
    Run, Verdict,
    check::{Judgement, first_failure},
};

/// Lines of the plan that are shown.
const PLAN_LINES: usize = 3000;

/// The page of a run. `replay` is the command that plays its plan again.
pub fn html(run: &Run, judgements: &[Judgement], replay: &str) -> String {
    let failure = first_failure(judgements);
    let (state, label) = match failure.map(|failure| &failure.verdict) {
        None => ("passed", "passed".to_string()),
        Some(Verdict::Violated { invariant, .. }) => ("violated", format!("{invariant} violated")),
        Some(_) => ("unknown", "unknown: no pass".to_string()),
    };
    let mut page = String::with_capacity(1 << 16);
    let title = format!("{:?} seed {}: {label}", run.layer, run.plan.seed);
    let _ = write!(
        page,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta name=\"color-scheme\" content=\"light dark\"><title>{}</title><style>{}</style></head><body>",
        escape(&title),
        include_str!("page.css")
    );
    let _ = write!(
        page,
        "<header><h1>Chaos run <b>{:?}</b> seed <b>{}</b></h1><span class=\"pill {state}\">{}</span>\
         <p class=\"facts\">{}</p></header><main>",
        run.layer,
        run.plan.seed,
        escape(&label),
        escape(&facts(run))
    );
    if let Some(failure) = failure {
        page.push_str(&violation(run, failure));
    }
    let _ = write!(
        page,
        "<section><h2>Play it again</h2><div class=\"command\"><code id=\"replay\">{}</code>\
         <button type=\"button\" id=\"copy\">Copy</button></div></section>",
        escape(replay)
    );
    page.push_str(&timeline(run, failure));
    page.push_str(&verdicts(judgements));
    page.push_str(&settled(run));
    page.push_str(&fault_table(run));
    page.push_str(&plan(run));
    let _ = writeln!(
        page,
        "</main><output id=\"tip\" hidden></output><script>{}</script></body></html>",
        include_str!("page.js")
    );
    page
}

fn violation(run: &Run, failure: &Judgement) -> String {
    let (invariant, at_ns, words) = match &failure.verdict {
        Verdict::Violated { invariant, at_ns, words } => (invariant.as_str(), *at_ns, words),
        Verdict::Unknown { words } => ("unknown", None, words),
        Verdict::Pass { .. } => return String::new(),
    };
    let at = at_ns.map(|at| format!(" at {}", seconds(at))).unwrap_or_default();
    let mut html = format!(
        "<section class=\"violation\"><h2><b>{}</b>{at}, says the check <i>{}</i></h2><p>{}</p><pre>{}</pre>",
        escape(invariant),
        escape(&failure.check),
        escape(invariant::sentence(invariant)),
        escape(words)
    );
    if let Some(at_ns) = at_ns {
        html.push_str("<details open><summary>What happened around it</summary><div class=\"scroll\"><table class=\"around\">");
        let mut passed = false;
        for line in around::lines(run, at_ns) {
            if !passed && line.at_ns > at_ns {
                passed = true;
                let _ = write!(html, "<tr class=\"moment\"><td>{}</td><td>here</td></tr>", seconds(at_ns));
            }
            let _ = write!(
                html,
                "<tr class=\"{}\"><td>{}</td><td>{}</td></tr>",
                line.class,
                seconds(line.at_ns),
                escape(&line.words)
            );
        }
        html.push_str("</table></div></details>");
    }
    html.push_str("</section>");
    html
}

/// The last moment that anything tells of.
fn end_ns(run: &Run) -> u64 {
    let settled = run.settled.healed_ns
        + [run.settled.leader_ns, run.settled.replicas_ns, run.settled.workload_ns, run.settled.served_ns]
            .into_iter()
            .flatten()
            .max()
            .unwrap_or(0);
    let ops = run.ops.iter().map(|op| op.returned_ns.unwrap_or(op.invoked_ns));
    let faults = run.faults.iter().map(|fault| fault.until_ns);
    let instances = run.instances.iter().map(|event| event.at_ns);
    let reigns = run.reigns.iter().map(|reign| reign.from_ns);
    let last = ops.chain(faults).chain(instances).chain(reigns).max().unwrap_or(0);
    last.max(settled).max(run.plan.ends_ms() * 1_000_000)
}

fn timeline(run: &Run, failure: Option<&Judgement>) -> String {
    let end = end_ns(run);
    let mut chart = Chart::new(end);
    leaders::draw(&mut chart, run, end);
    faults::draw(&mut chart, run);
    ops::draw(&mut chart, run, end);
    pods::draw(&mut chart, run, end);
    if run.settled.healed_ns > 0 {
        chart.mark(run.settled.healed_ns, "healed", "healed");
    }
    if let Some(Judgement { verdict: Verdict::Violated { invariant, at_ns: Some(at), .. }, .. }) = failure {
        chart.mark(*at, "wrong", invariant);
    }
    let swatch = |(class, name): &(&str, &str)| format!("<span><i class=\"{class}\"></i>{name}</span>");
    let sorts: String = faults::SORTS.iter().map(swatch).collect();
    let outcomes: String = [("o-good", "done"), ("o-refused", "refused"), ("o-bad", "no answer or an error")]
        .iter()
        .map(swatch)
        .collect();
    format!(
        "<section><h2>Timeline</h2><div class=\"legend\"><b>faults</b>{sorts}</div>\
         <div class=\"legend\"><b>operations</b>{outcomes}</div><div class=\"scroll chart\">{}</div></section>",
        chart.finish()
    )
}

fn verdicts(judgements: &[Judgement]) -> String {
    let mut html = String::from(
        "<section><h2>Verdicts</h2><div class=\"scroll\"><table><tr><th>check</th><th>verdict</th><th>examined, or why</th></tr>",
    );
    for judgement in judgements {
        let (class, verdict, words) = match &judgement.verdict {
            Verdict::Pass { examined: 0 } => ("nothing", "nothing to judge".into(), "0".into()),
            Verdict::Pass { examined } => ("passed", "passed".into(), examined.to_string()),
            Verdict::Violated { invariant, words, .. } => (
                "violated",
                format!("{invariant} violated"),
                words.lines().next().unwrap_or_default().to_string(),
            ),
            Verdict::Unknown { words } => ("unknown", "unknown".to_string(), words.clone()),
        };
        let _ = write!(
            html,
            "<tr><td>{}</td><td><span class=\"pill {class}\">{}</span></td><td>{}</td></tr>",
            escape(&judgement.check),
            escape(&verdict),
            escape(&words)
        );
    }
    html.push_str("</table></div></section>");
    html
}

fn settled(run: &Run) -> String {
    let settled = &run.settled;
    let mut html = String::from("<section><h2>After everything was healed</h2><div class=\"scroll\"><table>");
    let parts = [
        ("a leader", settled.leader_ns),
        ("equal replicas", settled.replicas_ns),
        ("what is wanted runs", settled.workload_ns),
        ("every controller serves", settled.served_ns),
    ];
    for (what, after) in parts {
        let after = match after {
            Some(after) => format!("after {}", length(after)),
            None => format!("<span class=\"pill violated\">not within {}</span>", length(settled.limit_ns)),
        };
        let _ = write!(html, "<tr><td>{what}</td><td>{after}</td></tr>");
    }
    for missing in &settled.missing {
        let _ = write!(html, "<tr><td>missing</td><td>{}</td></tr>", escape(missing));
    }
    html.push_str("</table></div></section>");
    html
}

fn fault_table(run: &Run) -> String {
    if run.faults.is_empty() {
        return String::new();
    }
    let mut html = format!(
        "<section><details><summary>All {} faults</summary><div class=\"scroll\"><table><tr><th>at</th><th>for</th>\
         <th>fault</th><th>hit</th><th>effect</th></tr>",
        run.faults.len()
    );
    for record in &run.faults {
        let details =
            faults::planned(run, record).map(|fault| faults::numbers(&fault.kind)).unwrap_or_default();
        let effect = match &record.skipped {
            Some(why) => format!("not done: {why}"),
            None if record.bit => "yes".into(),
            None => "none seen".into(),
        };
        let _ = write!(
            html,
            "<tr><td>{}</td><td>{}</td><td>{} <small>{}</small></td><td>{}</td><td>{}</td></tr>",
            seconds(record.from_ns),
            length(record.until_ns.saturating_sub(record.from_ns)),
            escape(&faults::name(run, record)),
            escape(&details),
            escape(&record.hit.join(", ")),
            escape(&effect)
        );
    }
    html.push_str("</table></div></details></section>");
    html
}

fn plan(run: &Run) -> String {
    let lines = run.plan.to_lines();
    let shown: String = lines.lines().take(PLAN_LINES).map(|line| format!("{}\n", escape(line))).collect();
    let left = lines.lines().count().saturating_sub(PLAN_LINES);
    let more = if left > 0 { format!("and {left} more lines") } else { String::new() };
    format!(
        "<section><details><summary>The plan, {} events; trace hash {:016x}</summary><pre>{shown}{more}</pre></details></section>",
        run.plan.events.len(),
        run.trace_hash
    )
}
