//! Deciding the logged inputs again gives the logged changes: a decision reads no clock, no chance and no order of a hash map. Inputs
//! stand in the log without the documents that stand in the changes; they are put together again from there. Where that cannot be done
//! for certain (workers' reports carry events, the first objects come with what follows from them), a difference proves nothing and
//! the turn is not counted.

use kontiki_actors::{Change, Context, Document, Input, Kind, ObjectKey, Outcome, Request, State, decide};

use super::{Check, Moment, Observer, Verdict};
use crate::{Layer, Run};

/// In the model, of which there are thousands of runs, one turn in so many is decided again: that is half of what judging costs.
const SHARE: u64 = 4;

/// B4 of the turns.
pub(crate) struct Replay;

impl Check for Replay {
    fn name(&self) -> &'static str {
        "replay"
    }

    fn invariants(&self) -> &'static [&'static str] {
        &["B4"]
    }

    fn observer(&self) -> Option<Box<dyn Observer>> {
        Some(Box::new(Look::default()))
    }
}

#[derive(Default)]
struct Look {
    examined: u64,
}

impl Observer for Look {
    fn turn(&mut self, moment: &Moment<'_>) -> Result<(), Verdict> {
        let turned = &moment.turn.turned;
        if let Outcome::Object { key, revision, .. } = &turned.outcome {
            let folded = moment.after.get(key).map(|object| object.revision);
            if folded != Some(*revision) {
                let words = format!(
                    "its answer says that {key} is at revision {revision}, and folding gives {folded:?}: it was decided on a \
                     state that never came true"
                );
                return Err(moment.violated("B4", words));
            }
        }
        if moment.run.layer == Layer::L0 && moment.turn.index % SHARE != moment.run.plan.seed % SHARE {
            return Ok(());
        }
        // An actor failed on it: it was put off, not decided.
        let put_off = turned.seed == 0 && turned.changes.iter().all(|c| matches!(c, Change::Wake { .. }));
        let Some(input) = whole(moment).filter(|_| !put_off) else { return Ok(()) };
        let certain = !matches!(input, Input::Reports(_));
        let decided = decide(moment.before, &input, Context::new(turned.now_ms, turned.seed));
        if decided.changes == turned.changes {
            self.examined += 1;
            return Ok(());
        }
        if !certain {
            return Ok(());
        }
        let at = decided.changes.iter().zip(&turned.changes).take_while(|(a, b)| a == b).count();
        let words = format!(
            "deciding {} again gives another change {at}: {:?} instead of {:?}",
            name(&input),
            decided.changes.get(at),
            turned.changes.get(at)
        );
        Err(moment.violated("B4", words))
    }

    fn end(&mut self, _run: &Run, _last: &State) -> Result<u64, Verdict> {
        Ok(self.examined)
    }
}

fn name(input: &Input) -> String {
    match input {
        Input::Api(request) => format!("the request on {}", request.key()),
        Input::NodeHello(hello) => format!("the greeting of {}", hello.name),
        Input::Verdicts(_) => "verdicts".into(),
        Input::Reports(_) => "reports".into(),
        Input::Wake(_) => "wake-ups".into(),
        Input::Bootstrap(_) => "the first objects".into(),
        Input::Place(_) => "pods to be placed".into(),
        Input::Raise { level, .. } => format!("the raise to level {level}"),
        Input::Measured(_) => "what was measured for autoscalers".into(),
    }
}

/// The input with its documents; none when they are not to be had.
fn whole(moment: &Moment<'_>) -> Option<Input> {
    let turned = &moment.turn.turned;
    let mut input = turned.input.clone();
    match &mut input {
        Input::Api(Request::Create { key, generate_name, document, .. }) => {
            let prefix = generate_name.as_deref().filter(|_| key.name.is_empty());
            let is_it = |put: &ObjectKey| {
                let named = match prefix {
                    // A long prefix is cut, so that the whole is a valid name.
                    Some(prefix) => put.name.starts_with(prefix) || put.name.len() < prefix.len() + 5,
                    None => put.name == key.name,
                };
                put.kind == key.kind && put.namespace == key.namespace && named
            };
            *document = puts(&turned.changes, moment.before).find(|(put, _)| is_it(put))?.1;
        }
        Input::Api(Request::Update { key, document, .. }) => {
            let old = moment.before.get(key).map(|object| object.document.whole());
            *document = first_put(moment, key).or(old)?;
        }
        Input::NodeHello(hello) => {
            let key = ObjectKey::new(Kind::NODE, "", &hello.name);
            let old = moment.before.get(&key).map(|object| object.document.whole());
            hello.status = first_put(moment, &key).or(old)?.status;
        }
        Input::Reports(reports) => {
            for report in reports {
                let key = ObjectKey::new(Kind::POD, &report.namespace, &report.name);
                report.status = first_put(moment, &key).map(|document| document.status).unwrap_or_default();
            }
        }
        Input::Bootstrap(_) | Input::Raise { .. } | Input::Api(Request::By { .. }) => return None,
        Input::Api(_) | Input::Verdicts(_) | Input::Wake(_) | Input::Place(_) | Input::Measured(_) => {}
    }
    Some(input)
}

fn first_put(moment: &Moment<'_>, key: &ObjectKey) -> Option<Document> {
    puts(&moment.turn.turned.changes, moment.before)
        .find(|(put, _)| *put == key)
        .map(|(_, document)| document)
}

/// What each put made of its object, if it is the first of the turn on it.
fn puts<'a>(changes: &'a [Change], before: &'a State) -> impl Iterator<Item = (&'a ObjectKey, Document)> {
    changes.iter().filter_map(|change| match change {
        Change::Put { key, metadata, spec, status, rest } => {
            let old = before.get(key).map(|object| object.document.whole()).unwrap_or_default();
            let document = Document {
                metadata: metadata.clone().unwrap_or(old.metadata),
                spec: spec.clone().unwrap_or(old.spec),
                status: status.clone().unwrap_or(old.status),
                rest: rest.clone().unwrap_or(old.rest),
            };
            Some((key, document))
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use kontiki_actors::{Entry, input::Life};

    use super::*;
    use crate::check::build::{Build, rolling};

    fn busy() -> Build {
        let mut build = Build::new();
        build.run.layer = Layer::L1;
        build.nodes(3, 9);
        build.put("a", 1, "one");
        let revision = build.state.revision();
        build.cas("b", 1, "two", revision);
        build.remove("c", 1);
        build.deploy(0, 4, rolling(1, 1));
        build.converge();
        build.edit(&crate::names::deployment(0), |value| {
            value["spec"]["template"]["spec"]["containers"][0]["image"] = "v2".into();
        });
        build.converge();
        build.verdict(1, Life::Down);
        build.nodes(2, 9);
        build.converge();
        build
    }

    #[test]
    fn real_turns_are_decided_the_same_again() {
        let build = busy();
        match Replay.check(&build.run) {
            // All but the first objects.
            Verdict::Pass { examined } => assert_eq!(examined, build.run.log.len() as u64 - 1),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_turn_that_was_decided_on_what_never_came_true_is_found() {
        let mut build = busy();
        // A turn that the next ones were decided on is not in the log.
        let lost = build.run.log.len() - 12;
        build.run.log.remove(lost);
        build.put("z", 9, "last");
        assert!(matches!(Replay.check(&build.run), Verdict::Violated { invariant, .. } if invariant == "B4"));
    }

    #[test]
    fn another_seed_or_clock_is_found() {
        let changes: [fn(&mut kontiki_actors::Turned); 2] =
            [|turn| turn.seed += 1, |turn| turn.now_ms += 5000];
        for change in changes {
            let mut build = busy();
            let at = build.run.log.iter().position(|logged| {
                let entry = Entry::decode(&logged.bytes).unwrap();
                matches!(&entry.turns[0].input, Input::Api(Request::Create { key, .. }) if key.kind == Kind::DEPLOYMENT)
            });
            let logged = &mut build.run.log[at.unwrap()];
            let mut entry = Entry::decode(&logged.bytes).unwrap();
            change(&mut entry.turns[0]);
            logged.bytes = entry.encode().unwrap();
            assert!(
                matches!(Replay.check(&build.run), Verdict::Violated { invariant, .. } if invariant == "B4")
            );
        }
    }
}
