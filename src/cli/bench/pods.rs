//! Pods that come and go.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use http::Method as Verb;
use kontiki_load::{Event, Samples, Watch};
use serde::Deserialize;
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

#[derive(Default, Deserialize)]
#[serde(default)]
struct Object {
    metadata: Meta,
    spec: Spec,
    status: Status,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Meta {
    name: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Spec {
    node_name: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Status {
    phase: String,
}

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
    let watch = Watch::open(ground.leader(), &ground.path("pods")).await?;
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
    let Times { placed, running, gone } = churn.times;
    let rows = [
        ("pod: created to a node", placed),
        ("pod: created to running", running),
        ("pod: deleted to gone", gone),
    ];
    for (what, mut samples) in rows {
        let count = samples.count() as u64;
        if count > 0 || what.ends_with("a node") {
            report.more.push(Figure::of(what, method.pods, method.span, count, &mut samples));
        }
    }
    if let Some(figure) = report.more.last_mut() {
        (figure.errors, figure.last_error) = (errors, last_error);
    }
    Ok(())
}

struct Churn<'a> {
    ground: &'a Ground,
    method: &'a Method,
    watch: Watch,
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
                event = self.watch.next::<Object>() => {
                    patience = Instant::now() + PATIENCE;
                    self.see(event?);
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

    fn see(&mut self, event: Event<Object>) {
        match event {
            Event::Put(object) => {
                let name = object.metadata.name;
                let Some(life) = self.lives.get_mut(&name) else { return };
                if !life.placed && !object.spec.node_name.is_empty() {
                    life.placed = true;
                    self.times.placed.add(life.created.elapsed());
                }
                let runs = object.status.phase == "Running";
                let enough = if self.method.image.is_some() { runs } else { life.placed };
                if enough && life.deleted.is_none() {
                    if runs {
                        self.times.running.add(life.created.elapsed());
                    }
                    life.deleted = Some(Instant::now());
                    self.request(Verb::DELETE, self.ground.path(&format!("pods/{name}")), Bytes::new());
                }
            }
            Event::Deleted(object) => {
                let Some(life) = self.lives.remove(&object.metadata.name) else { return };
                self.times.gone.extend(life.deleted.map(|at| at.elapsed()));
                self.create();
            }
            Event::Bookmark => {}
        }
    }
}
