//! What the leader does for HorizontalPodAutoscalers: every 15 s it asks the workers what the pods of their targets use, and hands on what
//! would change anything. What is done about it, the turn decides (`kontiki_actors::kinds::autoscaler`). Nothing of it is kept here: the
//! next leader goes on by what is in the state.
//!
//! Without autoscalers nobody is asked, and where nothing changes nothing is proposed.

use std::{sync::Arc, time::Duration};

use actix::Addr;
use kontiki_actors::{
    Input, State,
    kinds::autoscaler::{
        BATCH, BATCH_BYTES, ContainerSample, Measurement, PERIOD_MS, PodSample, Samples, Survey,
    },
};
use kontiki_api::usage::NodeUsage;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::{
    replica::Replica,
    stage::{Nature, Stage, Submit},
    usage::Usages,
};

/// Autoscalers that are computed without a pause: others have to get their turn on this thread.
const AT_ONCE: usize = 16;

/// Looks after autoscalers while this controller leads. A clone is another handle of the same.
#[derive(Clone)]
pub(super) struct Autoscaling {
    replica: Arc<Replica>,
    usages: Usages,
    nature: Nature,
}

impl Autoscaling {
    /// By what this replica holds and these workers say.
    pub(super) fn new(replica: Arc<Replica>, usages: Usages, nature: Nature) -> Autoscaling {
        Autoscaling { replica, usages, nature }
    }

    /// Looks after them in a term, for ever. The first time after a period: workers need a moment to find a new leader, and pods of which
    /// nothing is known would count.
    pub(super) async fn run(self, term: u64, stage: Addr<Stage>) {
        let period = Duration::from_millis(PERIOD_MS.unsigned_abs());
        let mut ticks = interval_at(Instant::now() + period, period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            for batch in self.look().await {
                let input = Input::Measured(batch);
                let submit = Submit { input, request: None, term: Some(term), trace: None, reply: None };
                // A stage that is full or gone has no time for this: the next look sees what there is to do then.
                if stage.try_send(submit).is_err() {
                    break;
                }
            }
        }
    }

    /// What there is to say of all autoscalers.
    async fn look(&self) -> Vec<Vec<Measurement>> {
        let nodes = {
            let survey = Survey::of(&self.view());
            if survey.is_empty() {
                return Vec::new();
            }
            survey.nodes()
        };
        let said = if nodes.is_empty() { Vec::new() } else { self.usages.told(nodes).await };
        let samples = samples(said);
        // Since they were asked some time has passed.
        let survey = Survey::of(&self.view());
        let now_ms = (self.nature.wall_ms)();
        let mut news = Vec::new();
        for at in 0..survey.len() {
            news.extend(survey.news(at, &samples, now_ms));
            if at % AT_ONCE == AT_ONCE - 1 {
                tokio::task::yield_now().await;
            }
        }
        batches(news)
    }

    fn view(&self) -> Arc<State> {
        self.replica.view()
    }
}

/// What workers said, by pod.
fn samples(said: Vec<NodeUsage>) -> Samples {
    let pods = said.into_iter().flat_map(|node| {
        let (time_ms, window_ms) = (node.time_ms, i64::try_from(node.window_ms).unwrap_or(i64::MAX));
        node.pods.into_iter().map(move |pod| {
            let containers = pod.containers.iter();
            let containers =
                containers.map(|it| ContainerSample::new(&it.name, it.cpu_nanocores, it.memory_bytes));
            (pod.uid.into(), PodSample { time_ms, window_ms, containers: containers.collect() })
        })
    });
    pods.collect()
}

/// As inputs: none is too much for a turn.
fn batches(news: Vec<Measurement>) -> Vec<Vec<Measurement>> {
    let mut batches: Vec<Vec<Measurement>> = Vec::new();
    let mut bytes = 0;
    for measurement in news {
        bytes += measurement.weight();
        match batches.last_mut() {
            Some(last) if last.len() < BATCH && bytes <= BATCH_BYTES => last.push(measurement),
            _ => {
                bytes = measurement.weight();
                batches.push(vec![measurement]);
            }
        }
    }
    batches
}

#[cfg(test)]
mod tests {
    use kontiki_actors::{Kind, ObjectKey, kinds::autoscaler::Measured};
    use kontiki_api::usage::{ContainerUsage, PodUsage};

    use super::*;

    fn measurement(said: usize) -> Measurement {
        Measurement {
            scaler: ObjectKey::new(Kind::HORIZONTAL_POD_AUTOSCALER, "default", "web"),
            revision: 1,
            replicas: 1,
            metrics: vec![Measured::Failed("x".repeat(said))],
            ambiguous: None,
        }
    }

    #[test]
    fn no_input_is_too_large_for_a_turn() {
        let sizes = |said: &[usize]| -> Vec<usize> {
            let batches = batches(said.iter().map(|said| measurement(*said)).collect());
            batches.iter().map(Vec::len).collect()
        };
        assert_eq!(sizes(&[]), [0; 0]);
        assert_eq!(sizes(&[1; 2 * BATCH + 1]), [BATCH, BATCH, 1]);
        assert_eq!(
            sizes(&[BATCH_BYTES / 2, BATCH_BYTES / 3, BATCH_BYTES / 3, 2 * BATCH_BYTES, 1]),
            [2, 1, 1, 1]
        );
    }

    #[test]
    fn what_workers_say_is_found_by_pod() {
        let container = ContainerUsage { name: "web".into(), cpu_nanocores: 1_500_000, memory_bytes: 4096 };
        let pod = |uid: &str| PodUsage { uid: uid.into(), containers: vec![container.clone()] };
        let node = |pods| NodeUsage { time_ms: 7, window_ms: 15_000, pods, ..NodeUsage::default() };
        let samples = samples(vec![node(vec![pod("a"), pod("b")]), node(vec![pod("c")]), node(Vec::new())]);
        assert_eq!(samples.keys().map(|uid| uid.as_str()).collect::<Vec<_>>(), ["a", "b", "c"]);
        let expected = PodSample {
            time_ms: 7,
            window_ms: 15_000,
            containers: vec![ContainerSample::new("web", 1_500_000, 4096)],
        };
        assert_eq!(samples.get("b"), Some(&expected));
    }
}
