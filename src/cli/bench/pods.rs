//! Pods that come and go.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use http::Method as Verb;
use kontiki_load::{Pod, Pods, Samples};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::Method;
use super::figures::{Figure, Report};
use super::ground::Ground;
use super::progress::Progress;

/// What happens next with a pod happens by then, or the part ends.
const PATIENCE: Duration = Duration::from_secs(15);
/// An image that nobody has, and that nobody may fetch.
const NO_IMAGE: &str = "bench.kontiki.invalid/none:1";

/// A pod on its way.
struct Life {
    created: Instant,
    placed: bool,
    deleted: Option<Instant>,
}

#[derive(Default)]
struct Times {
    placed: Samples,
    running: Samples,
    gone: Samples,
}

/// So many pods are in the making all the time: each is created, gets a node, runs if there is an image, is deleted, and the next one
/// is created when it is gone.
pub(super) async fn pods(
    ground: &Ground,
    method: &Method,
    progress: &Progress,
    report: &mut Report,
) -> anyhow::Result<()> {
    let watch = Pods::watch(ground.leader(), &ground.namespace).await?;
    let mut churn = Churn {
        ground,
        method,
        watch,
        lives: BTreeMap::new(),
        requests: JoinSet::new(),
        times: Times::default(),
        begun: 0,
    };
    let outcome = progress.during("pods come and go", method.span, churn.run()).await;
    let (errors, last_error) = match outcome {
        Ok(()) => (0, None),
        Err(error) => (1, Some(format!("{error:#}"))),
    };
    let Times { mut placed, running, gone } = churn.times;
    let figure = |what: &str, samples: &mut Samples| {
        Figure::of(what, method.pods, method.span, samples.count() as u64, samples)
    };
    let to_node = figure("pod: created to a node", &mut placed);
    report.placement = Some(Figure { errors, last_error, ..to_node });
    for (what, mut samples) in [("pod: created to running", running), ("pod: deleted to gone", gone)] {
        if samples.count() > 0 {
            report.more.push(figure(what, &mut samples));
        }
    }
    Ok(())
}

struct Churn<'a> {
    ground: &'a Ground,
    method: &'a Method,
    watch: Pods,
    lives: BTreeMap<String, Life>,
    requests: JoinSet<anyhow::Result<Bytes>>,
    times: Times,
    begun: usize,
}

impl Churn<'_> {
    async fn run(&mut self) -> anyhow::Result<()> {
        let end = Instant::now() + self.method.span;
        for _ in 0..self.method.pods {
            self.create();
        }
        let mut patience = Instant::now() + PATIENCE;
        while Instant::now() < end {
            tokio::select! {
                event = self.watch.next() => {
                    patience = Instant::now() + PATIENCE;
                    let (name, pod) = event?;
                    match pod {
                        Some(pod) => self.see(&name, pod),
                        None => self.see_gone(&name),
                    }
                }
                Some(answer) = self.requests.join_next() => drop(answer??),
                () = sleep_until(end) => break,
                () = sleep_until(patience) => {
                    anyhow::bail!("nothing happened to a pod for {} s: is any worker ready?", PATIENCE.as_secs())
                }
            }
        }
        // What is on its way goes with the namespace.
        self.requests.shutdown().await;
        Ok(())
    }

    fn create(&mut self) {
        let name = format!("pod-{}", self.begun);
        let image = self.method.image.as_deref().unwrap_or(NO_IMAGE);
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {
            "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "main", "image": image, "imagePullPolicy": "Never"}]}});
        self.begun += 1;
        self.lives.insert(name, Life { created: Instant::now(), placed: false, deleted: None });
        self.request(Verb::POST, self.ground.path("pods"), pod.to_string().into());
    }

    fn request(&mut self, verb: Verb, path: String, body: Bytes) {
        let rest = self.ground.all()[self.begun % self.ground.all().len()].clone();
        self.requests.spawn(async move { rest.send(verb, &path, body).await });
    }

    fn see(&mut self, name: &str, pod: Pod) {
        let Some(life) = self.lives.get_mut(name) else { return };
        if !life.placed && pod.placed {
            life.placed = true;
            self.times.placed.add(life.created.elapsed());
        }
        let enough = if self.method.image.is_some() { pod.running } else { life.placed };
        if enough && life.deleted.is_none() {
            if pod.running {
                self.times.running.add(life.created.elapsed());
            }
            life.deleted = Some(Instant::now());
            self.request(Verb::DELETE, self.ground.path(&format!("pods/{name}")), Bytes::new());
        }
    }

    fn see_gone(&mut self, name: &str) {
        let Some(life) = self.lives.remove(name) else { return };
        self.times.gone.extend(life.deleted.map(|at| at.elapsed()));
        self.create();
    }
}
