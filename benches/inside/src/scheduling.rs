//! How long does it take to plan 500 pods, as many as one turn places? The leader plans within the turn, so everybody who writes waits for
//! it. The pods are of one ReplicaSet, as when room comes free for them; what is asked of the nodes differs, and how many nodes
//! there are: a plan should grow with pods plus nodes, and a refusal should cost no more than a place.

use std::hint::black_box;

use kontiki_actors::{Input, Kind, ObjectKey, State, scheduling::plan};
use serde_json::{Value, json};

use crate::{
    Operation,
    fixture::{NAMESPACE, NOW_MS, asks, create, decided, with_nodes, workload},
    grouped,
};

const PODS: usize = 500;
const NODES: [usize; 3] = [500, 1500, 5000];
const NAME: &str = "web";
/// Not among those of the nodes.
const SEED: usize = 1_000_000;

/// What the pods ask of the nodes.
#[derive(Clone, Copy)]
enum Rule {
    /// Room.
    Basic,
    /// Zones that differ by at most one pod.
    HardSpread,
    /// The same as a wish.
    PreferredSpread,
    /// A fast disk: every second node has one.
    RequiredAffinity,
    /// More than any node has.
    Unschedulable,
}

impl Rule {
    const ALL: [Rule; 5] =
        [Rule::Basic, Rule::HardSpread, Rule::PreferredSpread, Rule::RequiredAffinity, Rule::Unschedulable];

    fn name(self) -> &'static str {
        match self {
            Rule::Basic => "basic",
            Rule::HardSpread => "hard-spread",
            Rule::PreferredSpread => "preferred-spread",
            Rule::RequiredAffinity => "required-affinity",
            Rule::Unschedulable => "unschedulable",
        }
    }

    fn words(self) -> &'static str {
        match self {
            Rule::Basic => "that ask for room",
            Rule::HardSpread => "that must spread over zones",
            Rule::PreferredSpread => "that would spread over zones",
            Rule::RequiredAffinity => "that need one half of the nodes",
            Rule::Unschedulable => "that fit nowhere",
        }
    }

    fn spec(self) -> Value {
        let mut spec = asks(if matches!(self, Rule::Unschedulable) { "64" } else { "10m" });
        match self {
            Rule::Basic | Rule::Unschedulable => {}
            Rule::HardSpread => spec["topologySpreadConstraints"] = spread("DoNotSchedule"),
            Rule::PreferredSpread => spec["topologySpreadConstraints"] = spread("ScheduleAnyway"),
            Rule::RequiredAffinity => {
                let term =
                    json!({"matchExpressions": [{"key": "disk", "operator": "In", "values": ["ssd"]}]});
                spec["affinity"] = json!({"nodeAffinity": {
                    "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}});
            }
        }
        spec
    }

    /// How many of the pods find a place.
    fn placed(self) -> usize {
        if matches!(self, Rule::Unschedulable) { 0 } else { PODS }
    }
}

fn spread(otherwise: &str) -> Value {
    json!([{"maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": otherwise,
        "labelSelector": {"matchLabels": {"app": NAME}}}])
}

pub(crate) fn operations() -> Vec<Operation> {
    let of = |rule: Rule, nodes: usize| {
        let name = format!("{}-{nodes}", rule.name());
        let what = format!("plan {PODS} pods {} on {} nodes", rule.words(), grouped(nodes as u64));
        Operation::new("scheduling", name, what, PODS, move || {
            let (state, pods) = waiting(with_nodes(nodes), rule.spec());
            let placed = plan(&state, &pods, NOW_MS).into_iter().filter(|placement| placement.node.is_ok());
            assert_eq!(placed.count(), rule.placed());
            Box::new(move || drop(black_box(plan(&state, black_box(&pods), NOW_MS))))
        })
    };
    Rule::ALL.into_iter().flat_map(|rule| NODES.map(|nodes| of(rule, nodes))).collect()
}

/// The pods of a new ReplicaSet, which makes one half of them in each of two turns, before any has a place; and the state with them.
fn waiting(state: State, spec: Value) -> (State, Vec<ObjectKey>) {
    let set = create(&state, Kind::REPLICA_SET, workload(Kind::REPLICA_SET, NAME, PODS, spec));
    let again = Input::Wake(vec![ObjectKey::new(Kind::REPLICA_SET, NAMESPACE, NAME)]);
    let state = decided(&decided(&state, &set, SEED).state, &again, SEED + 1).state;
    let pods = state.unplaced().cloned().collect();
    (state, pods)
}
