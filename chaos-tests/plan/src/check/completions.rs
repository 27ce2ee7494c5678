//! A Job counts each completion once: its count never goes back, never is above the number of its pods that ended well, each of which did
//! so on its node, and is what was asked for when the Job is Complete. Each index succeeds once. No more pods than its parallelism are
//! active at a time, and none runs to a success that is not needed. A Job none of whose pods failed becomes Complete.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use kontiki_actors::{Change, Kind, Object, State};

use super::{Check, Finding, Moment, Observer, Verdict, hits, identities::is_of, placement::pods_put};
use crate::{Run, plan::FaultKind};

/// The annotation that says for which completion a pod is.
const INDEX: &str = "batch.kubernetes.io/job-completion-index";

/// E11 for Jobs.
pub(crate) struct Completions;

impl Check for Completions {
    fn name(&self) -> &'static str {
        "completions"
    }

    fn invariants(&self) -> &'static [&'static str] {
        &["E11"]
    }

    fn observer(&self) -> Option<Box<dyn Observer>> {
        Some(Box::new(Look::default()))
    }
}

/// What is known of a Job.
#[derive(Default)]
struct Ledger {
    /// Its pods that ended well, by uid: for which index, on which node.
    successes: BTreeMap<String, (Option<i64>, String)>,
    /// Of these, those that nobody had sent away before.
    undisturbed: BTreeSet<String>,
    /// What it said last.
    succeeded: i64,
    failed: i64,
    indexes: BTreeSet<i64>,
}

#[derive(Default)]
struct Look {
    examined: u64,
    jobs: HashMap<String, Ledger>,
}

impl Observer for Look {
    /// One that is counted and was deleted meanwhile is gone at the end of the turn.
    fn change(&mut self, now: &State, change: &Change) -> Result<(), Finding> {
        if let Change::Delete { key } = change
            && let Some(pod) = now.get(key)
        {
            self.ended_well(pod, false);
        }
        Ok(())
    }

    fn turn(&mut self, moment: &Moment<'_>) -> Result<(), Verdict> {
        let mut owners: BTreeSet<&str> = BTreeSet::new();
        for (_, pod) in pods_put(moment).filter(|(_, pod)| is_of(pod, "Job")) {
            owners.extend(pod.meta.controller().map(|owner| owner.uid.as_str()));
            self.ended_well(pod, !pod.meta.deleting());
        }
        let put = moment.turn.turned.changes.iter().filter_map(|change| match change {
            Change::Put { key, .. } if key.kind == Kind::JOB => moment.after.get(key),
            _ => None,
        });
        owners.extend(put.map(|job| job.meta.uid.as_str()));
        for job in owners.into_iter().filter_map(|uid| moment.after.by_uid(uid)) {
            self.examined += 1;
            let ledger = self.jobs.entry(job.meta.uid.to_string()).or_default();
            let wrong = counts(ledger, job).or_else(|| runs(ledger, moment.after, job));
            if let Some(words) = wrong {
                return Err(moment.violated("E11", format!("{} {words}", job.key)));
            }
        }
        Ok(())
    }

    fn end(&mut self, run: &Run, last: &State) -> Result<u64, Verdict> {
        let well = run.instances.iter().filter(|event| !event.running && event.exit == Some(0));
        let well: HashSet<&str> = well.map(|event| event.pod_uid.as_str()).collect();
        let successes = self.jobs.values().flat_map(|ledger| &ledger.successes);
        for (uid, (_, node)) in successes.filter(|_| !run.instances.is_empty()) {
            self.examined += 1;
            if !well.contains(uid.as_str()) && !is_impersonated(run, node) {
                let words = format!(
                    "the pod {uid} of a Job has succeeded, and no container of it ended well on {node}"
                );
                return Err(Verdict::violated("E11", None, words));
            }
        }
        if run.settled.workload_ns.is_some() {
            for job in last.list(Kind::JOB, None).filter(|job| !job.meta.deleting()) {
                self.examined += 1;
                if let Some(words) = unfinished(last, job) {
                    let words = format!("everything has settled, and {} {words}", job.key);
                    return Err(Verdict::violated("E11", Some(run.settled.healed_ns), words));
                }
            }
        }
        Ok(self.examined)
    }
}

impl Look {
    fn ended_well(&mut self, pod: &Object, undisturbed: bool) {
        let Some(owner) = pod.meta.controller().filter(|owner| owner.kind == "Job") else { return };
        let Some(digest) = pod.pod().filter(|digest| digest.phase == "Succeeded") else { return };
        let ledger = self.jobs.entry(owner.uid.to_string()).or_default();
        let uid = pod.meta.uid.to_string();
        if ledger.successes.contains_key(&uid) {
            return;
        }
        let node = digest.node.as_deref().unwrap_or_default().to_string();
        ledger.successes.insert(uid.clone(), (index(pod), node));
        if undisturbed {
            ledger.undisturbed.insert(uid);
        }
    }
}

/// Somebody else speaks with this worker's certificate, and may say that anything on it has ended.
fn is_impersonated(run: &Run, node: &str) -> bool {
    hits::on(run, |name| name == node, 0, u64::MAX).any(|kind| matches!(kind, FaultKind::EvilWorker))
}

fn index(pod: &Object) -> Option<i64> {
    pod.meta.annotations.get(INDEX)?.parse().ok()
}

/// The indexes of a list such as `1,3-5`.
fn indexes(list: &str) -> BTreeSet<i64> {
    let part = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse::<i64>().ok()?..=last.parse::<i64>().ok()?)
    };
    list.split(',').filter_map(part).flatten().collect()
}

/// What is wrong with a Job's counts.
fn counts(ledger: &mut Ledger, job: &Object) -> Option<String> {
    let spec = job.job()?;
    let status = &spec.status;
    let (succeeded, failed) = (status.succeeded, status.failed);
    if succeeded < ledger.succeeded || failed < ledger.failed {
        let (before, failures) = (ledger.succeeded, ledger.failed);
        return Some(format!(
            "counted {before} successes and {failures} failures, and counts {succeeded} and {failed} now"
        ));
    }
    let ended = ledger.successes.len() as i64;
    if succeeded > ended {
        return Some(format!("counts {succeeded} successes, and {ended} of its pods have ended well"));
    }
    if spec.indexed {
        let done = indexes(&status.completed_indexes);
        if !done.is_superset(&ledger.indexes) || done.len() as i64 != succeeded {
            let list = &status.completed_indexes;
            return Some(format!(
                "counts {succeeded} successes with the indexes {list:?}, after {:?}",
                ledger.indexes
            ));
        }
        let has = |index: &&i64| ledger.successes.values().any(|(own, _)| *own == Some(**index));
        if let Some(index) = done.iter().find(|index| !has(index)) {
            return Some(format!(
                "says that index {index} is done, and none of its pods for it has ended well"
            ));
        }
        ledger.indexes = done;
    }
    (ledger.succeeded, ledger.failed) = (succeeded, failed);
    let complete = status.holds("Complete").is_some();
    if let Some(completions) = spec.completions.filter(|completions| complete && *completions != succeeded) {
        return Some(format!("is Complete with {succeeded} successes of {completions}"));
    }
    None
}

/// What is wrong with the pods that a Job has.
fn runs(ledger: &Ledger, state: &State, job: &Object) -> Option<String> {
    let spec = job.job()?;
    let active: Vec<_> = state.dependents(&job.meta.uid).filter(|pod| pod.is_active_pod()).collect();
    if active.len() as i64 > spec.parallelism {
        return Some(format!(
            "has {} active pods at a time, and may have {}",
            active.len(),
            spec.parallelism
        ));
    }
    let done = ledger.successes.iter().filter(|(uid, _)| ledger.undisturbed.contains(*uid));
    let done: Vec<Option<i64>> = done.map(|(_, (index, _))| *index).collect();
    let completions = spec.completions?;
    if !spec.indexed {
        let all = done.len() + active.len();
        return (all as i64 > completions).then(|| {
            format!(
                "has {} pods that ended well and {} active ones for {completions} completions",
                done.len(),
                active.len()
            )
        });
    }
    let mut seen = BTreeSet::new();
    let mut all = done.into_iter().chain(active.iter().map(|pod| index(pod)));
    all.find(|index| !seen.insert(*index)).map(|index| format!("has two pods for the completion {index:?}"))
}

/// What is still to be done by a Job whose pods all have a place.
fn unfinished(last: &State, job: &Object) -> Option<String> {
    let spec = job.job()?;
    let pods = last.dependents(&job.meta.uid).filter(|pod| pod.key.kind == Kind::POD);
    let mut waits = pods.filter(|pod| pod.pod().is_some_and(|digest| digest.node.is_none()));
    match spec.status.finished() {
        None if waits.next().is_some() => None,
        None => Some("has not ended".into()),
        Some(end) if end.r#type == "Failed" && spec.status.failed == 0 => {
            Some("is Failed, and none of its pods has failed".into())
        }
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{check::build::Build, names};

    fn done(indexed: bool) -> Build {
        let mut build = Build::new();
        build.nodes(3, 9);
        build.job(0, 4, 2, indexed);
        build.converge();
        build.run.settled.workload_ns = Some(1);
        build
    }

    fn found(build: &Build) -> bool {
        matches!(Completions.check(&build.run), Verdict::Violated { invariant, .. } if invariant == "E11")
    }

    /// The Job says something else.
    fn say(build: &mut Build, edit: impl FnOnce(&mut serde_json::Value)) {
        let job = build.state.get(&names::job(0)).unwrap().clone();
        let mut status = job.document.status_value();
        edit(&mut status);
        let document = job.document.with_status(status);
        build.forge(vec![Change::between(job.key.clone(), Some(&job.document.whole()), &document).unwrap()]);
    }

    /// The states up to the first in which so many were counted.
    fn until(succeeded: i64, indexed: bool) -> Build {
        let mut build = Build::new();
        build.nodes(3, 9);
        build.job(0, 4, 2, indexed);
        for _ in 0..20 {
            build.wait_ms(100);
            build.workers_work();
            if build.state.get(&names::job(0)).unwrap().job().unwrap().status.succeeded == succeeded {
                return build;
            }
        }
        panic!("it never has {succeeded} successes");
    }

    #[test]
    fn a_job_that_counts_each_pod_once_passes() {
        for indexed in [false, true] {
            let verdict = Completions.check(&done(indexed).run);
            assert!(matches!(verdict, Verdict::Pass { examined } if examined > 8), "{verdict:?}");
        }
    }

    #[test]
    fn a_count_that_is_too_high_or_goes_back_is_found() {
        let mut build = until(2, false);
        assert!(!found(&build));
        say(&mut build, |status| status["succeeded"] = 3.into());
        assert!(found(&build), "one pod was counted twice");
        let mut build = until(2, false);
        say(&mut build, |status| status["succeeded"] = 1.into());
        assert!(found(&build), "one was forgotten");
    }

    #[test]
    fn an_index_that_nobody_has_done_is_found() {
        let mut build = until(2, true);
        assert!(!found(&build));
        say(&mut build, |status| status["completedIndexes"] = "0,3".into());
        assert!(found(&build));
        let mut build = until(2, true);
        say(&mut build, |status| status["succeeded"] = 3.into());
        assert!(found(&build), "three successes of two indexes");
    }

    #[test]
    fn a_job_that_is_complete_too_early_is_found() {
        let mut build = until(2, false);
        say(&mut build, |status| status["conditions"] = json!([{"type": "Complete", "status": "True"}]));
        assert!(found(&build));
    }

    #[test]
    fn a_pod_too_many_is_found() {
        let mut build = Build::new();
        build.nodes(3, 9);
        build.job(0, 4, 2, false);
        assert!(!found(&build));
        let twin = |build: &mut Build, name: &str| {
            let pod = build.state.list(Kind::POD, None).next().unwrap().clone();
            let mut metadata = pod.document.metadata_value();
            (metadata["name"], metadata["uid"]) = (json!(name), json!(name));
            let key = kontiki_actors::ObjectKey::new(Kind::POD, names::NAMESPACE, name);
            let document = pod.document.with_metadata(metadata);
            build.forge(vec![Change::between(key, None, &document).unwrap()]);
        };
        twin(&mut build, "twin");
        assert!(found(&build), "three at a time, and it may have two");
        let mut build = Build::new();
        build.nodes(3, 9);
        build.job(0, 4, 3, true);
        assert!(!found(&build));
        let pod = build.state.list(Kind::POD, None).next().unwrap().clone();
        build.forge(vec![Change::Delete { key: pod.key.clone() }]);
        assert!(!found(&build));
        twin(&mut build, "twin");
        assert!(found(&build), "two for one index");
    }

    #[test]
    fn a_success_that_its_node_knows_nothing_of_is_found() {
        let mut build = done(false);
        let ended = build.run.instances.iter_mut().find(|event| event.exit == Some(0)).unwrap();
        ended.exit = Some(1);
        assert!(found(&build));
        let node = ended_node(&build);
        crate::check::build::fault(&mut build.run, FaultKind::EvilWorker, &node, 1, 2);
        assert!(!found(&build), "somebody else said that it had ended well");
    }

    fn ended_node(build: &Build) -> String {
        build.run.instances.iter().find(|event| event.exit == Some(1)).unwrap().node.clone()
    }

    #[test]
    fn a_job_without_an_end_is_found_when_all_has_settled() {
        let mut build = until(2, false);
        assert!(!found(&build));
        build.run.settled.workload_ns = Some(1);
        assert!(found(&build));
        let mut build = done(false);
        say(&mut build, |status| status["conditions"] = json!([{"type": "Failed", "status": "True"}]));
        assert!(found(&build), "it failed, and none of its pods did");
    }
}
