//! Whatever happens in whatever order: both replicas hold the same after every turn, and once the nodes are in contact
//! and people leave the cluster alone, it comes to rest at what was asked for.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod driver;

use driver::{Cluster, deployment};
use kontiki_actors::{Kind, input::Life};
use proptest::prelude::*;
use serde_json::{Value, json};

const NODES: [&str; 4] = ["node-0", "node-1", "node-2", "node-3"];

#[derive(Clone, Debug)]
enum Step {
    Scale(i64),
    Image(u8),
    Pause(bool),
    Recreate(bool),
    Node(usize, u8),
    Hello(usize),
    DeletePod(usize),
    FailPod(usize),
    DeleteSet(usize),
    Work,
    Advance(i64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0_i64..8).prop_map(Step::Scale),
        (0_u8..3).prop_map(Step::Image),
        any::<bool>().prop_map(Step::Pause),
        any::<bool>().prop_map(Step::Recreate),
        (0_usize..4, 0_u8..3).prop_map(|(n, life)| Step::Node(n, life)),
        (0_usize..4).prop_map(Step::Hello),
        (0_usize..8).prop_map(Step::DeletePod),
        (0_usize..8).prop_map(Step::FailPod),
        (0_usize..3).prop_map(Step::DeleteSet),
        Just(Step::Work),
        Just(Step::Work),
        (1_i64..400).prop_map(Step::Advance),
    ]
}

fn take(cluster: &mut Cluster, step: &Step) {
    let edit = |cluster: &mut Cluster, edit: &dyn Fn(&mut Value)| {
        cluster.edit(Kind::DEPLOYMENT, "web", |d| edit(d));
    };
    match step {
        Step::Scale(replicas) => edit(cluster, &|d| d["spec"]["replicas"] = (*replicas).into()),
        Step::Image(n) => {
            cluster.set_image("web", &format!("v{n}"));
        }
        Step::Pause(paused) => edit(cluster, &|d| d["spec"]["paused"] = (*paused).into()),
        Step::Recreate(recreate) => {
            let strategy = if *recreate { "Recreate" } else { "RollingUpdate" };
            edit(cluster, &|d| d["spec"]["strategy"] = json!({"type": strategy}));
        }
        Step::Node(node, life) => {
            let life = [Life::Ready, Life::Suspect, Life::Down][usize::from(*life)];
            cluster.verdicts(&[NODES[*node]], life);
        }
        Step::Hello(node) => {
            cluster.hello(NODES[*node]);
        }
        Step::DeletePod(n) => {
            let pods = cluster.pods();
            if let Some(pod) = pods.get(*n) {
                cluster.delete(Kind::POD, &pod.key.name, None);
            }
        }
        Step::FailPod(n) => {
            let pods = cluster.active();
            if let Some(pod) = pods.get(*n).filter(|p| p.pod().unwrap().node.is_some()) {
                cluster.report(std::slice::from_ref(pod), |_| (json!({"phase": "Failed"}), false));
            }
        }
        Step::DeleteSet(n) => {
            let sets = cluster.replica_sets();
            if let Some(set) = sets.get(*n) {
                cluster.delete(Kind::REPLICA_SET, &set.key.name, None);
            }
        }
        Step::Work => {
            cluster.work();
        }
        Step::Advance(seconds) => cluster.advance(*seconds),
    }
    cluster.assert_replicas_agree();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn it_comes_to_rest_at_what_was_asked_for(steps in proptest::collection::vec(step(), 1..30)) {
        let mut cluster = Cluster::new(4);
        cluster.create(Kind::DEPLOYMENT, deployment("web", 3));
        for step in &steps {
            take(&mut cluster, step);
        }
        for node in NODES {
            cluster.hello(node);
        }
        take(&mut cluster, &Step::Pause(false));
        cluster.work_out();
        cluster.advance(1);
        cluster.work_out();
        let replicas = cluster.get(Kind::DEPLOYMENT, "web").deployment().unwrap().replicas;
        let active = cluster.active();
        prop_assert_eq!(active.len() as i64, replicas);
        let image = cluster.get(Kind::DEPLOYMENT, "web").document.spec_value()["template"]["spec"]["containers"][0]["image"].clone();
        for pod in &active {
            prop_assert_eq!(&pod.document.spec_value()["containers"][0]["image"], &image);
            prop_assert!(pod.pod().unwrap().node.is_some() && pod.pod().unwrap().ready);
        }
        prop_assert!(cluster.pods().iter().all(|p| !p.meta.deleting()));
        let status = cluster.status(Kind::DEPLOYMENT, "web");
        for counter in ["replicas", "updatedReplicas", "readyReplicas", "availableReplicas"] {
            prop_assert_eq!(status[counter].as_i64().unwrap_or(0), replicas, "{}", counter);
        }
        let observed = status["observedGeneration"].as_i64();
        prop_assert_eq!(observed, Some(cluster.get(Kind::DEPLOYMENT, "web").meta.generation));
        let progressing = cluster.condition(Kind::DEPLOYMENT, "web", "Progressing").unwrap();
        prop_assert_eq!(progressing, ("True".to_string(), "NewReplicaSetAvailable".to_string()));
    }
}
