//! `kontiki worker drain`: no more pods for a worker, and those that it has sent elsewhere, as fast as their
//! PodDisruptionBudgets allow.
//!
//! By the API's own means, as `kubectl drain`: whoever may do that may do this. Every round looks anew what is there, so it
//! can be broken off and begun again at any time.

mod plan;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use http::Method;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::access::{Access, AccessArgs};
use super::block_on;
use super::say::say;
use plan::{Consent, Plan, Pod, plan};

/// How often it is looked what is left.
const ROUND: Duration = Duration::from_millis(500);
/// A pod that may not go yet is asked for again after this, as by kubectl.
const AGAIN: Duration = Duration::from_secs(5);

/// Arguments of `kontiki worker drain`.
#[derive(Debug, Args)]
#[command(after_help = "The worker takes pods again after `kubectl uncordon WORKER`.\n\
                        Exit status: 0 it is empty but for DaemonSets' pods, 1 it is not (the reason is on standard error).")]
pub(crate) struct DrainArgs {
    /// The worker, by its node's name.
    worker: String,
    /// Delete pods, too, that nobody makes anew.
    #[arg(long)]
    force: bool,
    /// Give up what is in emptyDir volumes.
    #[arg(long)]
    delete_emptydir_data: bool,
    /// What pods get to end, in seconds [default: what each asks for].
    #[arg(long, value_name = "SECONDS")]
    grace_period: Option<u32>,
    /// Give up after so many seconds; 0 for never. What has happened until then stays.
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    timeout: u64,
    /// Say what would be done, and do nothing.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    access: AccessArgs,
}

pub(crate) fn drain(args: &DrainArgs) -> anyhow::Result<()> {
    block_on(async {
        let access = Access::find(&args.access)?;
        Drain { access, args, waits: BTreeMap::new(), told: BTreeMap::new() }.run().await
    })
}

struct Drain<'a> {
    access: Access,
    args: &'a DrainArgs,
    /// When pods that may not go yet are asked for again, and why they may not, by uid.
    waits: BTreeMap<String, (Instant, String)>,
    /// Pods whose end was told, by uid: those that are still to be seen gone.
    told: BTreeMap<String, String>,
}

impl Drain<'_> {
    async fn run(&mut self) -> anyhow::Result<()> {
        let node = format!("/api/v1/nodes/{}", self.args.worker);
        self.access.get(&node).await.with_context(|| format!("worker {}", self.args.worker))?;
        let Plan { evict, stay, refuse } = self.look().await?;
        if !refuse.is_empty() {
            let list: Vec<String> = refuse.iter().map(|(pod, why)| format!("{pod}: {why}")).collect();
            bail!("nothing was done: pods on {} would be lost: {}", self.args.worker, list.join("; "));
        }
        for (pod, why) in &stay {
            say(format_args!("{pod} stays: {why}"));
        }
        if self.args.dry_run {
            for pod in evict {
                say(format_args!("{}/{} would be evicted (dry run)", pod.namespace, pod.name));
            }
            return Ok(());
        }
        let cordon = json!({"spec": {"unschedulable": true}});
        let (code, answer) = self.access.send(Method::PATCH, &node, &cordon).await?;
        if code >= 300 {
            bail!("worker {} cannot be cordoned: {}", self.args.worker, words(code, &answer));
        }
        say(format_args!("{} gets no more pods", self.args.worker));
        self.empty().await
    }

    /// Sends pods away until none is left.
    async fn empty(&mut self) -> anyhow::Result<()> {
        let begun = Instant::now();
        loop {
            let Plan { evict, refuse, .. } = self.look().await?;
            self.tell_gone(&evict);
            if let Some((pod, why)) = refuse.first() {
                bail!("{pod} came meanwhile, and stays: {why}");
            }
            if evict.is_empty() {
                say(format_args!("{} is empty", self.args.worker));
                return Ok(());
            }
            if self.args.timeout > 0 && begun.elapsed() >= Duration::from_secs(self.args.timeout) {
                let left = evict.iter().map(|pod| self.left(pod));
                bail!(
                    "{} s are over, and there is left: {}",
                    self.args.timeout,
                    left.collect::<Vec<_>>().join("; ")
                );
            }
            for pod in evict.iter().filter(|pod| !pod.leaving) {
                if self.waits.get(&pod.uid).is_none_or(|(until, _)| Instant::now() >= *until) {
                    self.evict(pod).await?;
                }
            }
            sleep(ROUND).await;
        }
    }

    async fn look(&self) -> anyhow::Result<Plan> {
        let on_it = format!("/api/v1/pods?fieldSelector=spec.nodeName%3D{}", self.args.worker);
        let pods = self.access.list(&on_it).await?;
        let (force, delete_emptydir_data) = (self.args.force, self.args.delete_emptydir_data);
        Ok(plan(&pods, Consent { force, delete_emptydir_data }))
    }

    /// Asks for one pod to go. That it may not yet is no error.
    async fn evict(&mut self, pod: &Pod) -> anyhow::Result<()> {
        let Pod { namespace, name, uid, .. } = pod;
        let mut options = json!({"preconditions": {"uid": uid}});
        if let Some(seconds) = self.args.grace_period {
            options["gracePeriodSeconds"] = seconds.into();
        }
        let eviction = json!({
            "apiVersion": "policy/v1", "kind": "Eviction", "deleteOptions": options,
            "metadata": {"namespace": namespace, "name": name},
        });
        let path = format!("/api/v1/namespaces/{namespace}/pods/{name}/eviction");
        let (code, answer) = self.access.send(Method::POST, &path, &eviction).await?;
        match code {
            200..300 => {
                self.waits.remove(uid);
                self.told.insert(uid.clone(), format!("{namespace}/{name}"));
                say(format_args!("{namespace}/{name} is evicted"));
            }
            // It went by itself; another of its name is not meant.
            404 | 409 => {}
            // Too many are away already, or the cluster has no time: later.
            429 | 500..600 => {
                let why = words(code, &answer);
                if self.waits.get(uid).is_none_or(|(_, known)| *known != why) {
                    say(format_args!("{namespace}/{name} waits: {why}"));
                }
                self.waits.insert(uid.clone(), (Instant::now() + AGAIN, why));
            }
            _ => bail!("{namespace}/{name} cannot be evicted: {}", words(code, &answer)),
        }
        Ok(())
    }

    fn tell_gone(&mut self, left: &[Pod]) {
        self.told.retain(|uid, name| {
            let stays = left.iter().any(|pod| pod.uid == *uid);
            if !stays {
                say(format_args!("{name} is gone"));
            }
            stays
        });
    }

    fn left(&self, pod: &Pod) -> String {
        let why = match self.waits.get(&pod.uid) {
            Some((_, why)) => why.as_str(),
            None if pod.leaving => "it is ending",
            None => "it was not asked for yet",
        };
        format!("{}/{}: {why}", pod.namespace, pod.name)
    }
}

/// What a refusal says.
fn words(code: u16, answer: &Value) -> String {
    let message = answer["message"].as_str().unwrap_or_default();
    let causes = answer["details"]["causes"].as_array().into_iter().flatten();
    let causes: Vec<&str> = causes.filter_map(|cause| cause["message"].as_str()).collect();
    match (message, causes.as_slice()) {
        ("", _) => format!("the API answers {code}"),
        (message, []) => message.to_owned(),
        (message, causes) => format!("{message} ({})", causes.join("; ")),
    }
}
