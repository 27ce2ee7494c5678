//! Promises that hold on any cluster: never over capacity, never against a hard rule or another pod's, the same plan every time and
//! from any order of the pods, and no pod left waiting that a node could take.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::json;

use super::{
    Placement, explain,
    fixture::{Cluster, asks},
    plan,
};
use crate::object::ObjectKey;

#[derive(Clone, Debug)]
struct Node {
    cpu: u8,
    zone: Option<u8>,
    ssd: bool,
    tainted: bool,
    cordoned: bool,
}

#[derive(Clone, Debug)]
struct Template {
    replicas: usize,
    cpu: u16,
    ssd: bool,
    tolerates: bool,
    max_skew: Option<i64>,
    per_host: bool,
    priority: i32,
    /// The template whose pods it keeps away from, over hosts or zones.
    far: Option<(usize, bool)>,
    /// The template whose pods it must be near to.
    near: Option<(usize, bool)>,
}

fn node() -> impl Strategy<Value = Node> {
    (
        0..5u8,
        proptest::option::weighted(0.9, 0..3u8),
        any::<bool>(),
        any::<bool>(),
        proptest::bool::weighted(0.1),
    )
        .prop_map(|(cpu, zone, ssd, tainted, cordoned)| Node { cpu, zone, ssd, tainted, cordoned })
}

fn template() -> impl Strategy<Value = Template> {
    (
        1..8usize,
        0..2000u16,
        any::<bool>(),
        any::<bool>(),
        proptest::option::of(1..3i64),
        any::<bool>(),
        0..2i32,
        proptest::option::weighted(0.3, (0..5usize, any::<bool>())),
        proptest::option::weighted(0.3, (0..5usize, any::<bool>())),
    )
        .prop_map(|(replicas, cpu, ssd, tolerates, max_skew, per_host, priority, far, near)| Template {
            replicas,
            cpu,
            ssd,
            tolerates,
            max_skew,
            per_host,
            priority,
            far,
            near,
        })
}

const ZONE: &str = "topology.kubernetes.io/zone";
const HOST: &str = "kubernetes.io/hostname";

fn cluster(nodes: &[Node], templates: &[Template]) -> (Cluster, Vec<ObjectKey>) {
    let mut cluster = Cluster::default();
    for (i, node) in nodes.iter().enumerate() {
        let name = format!("n{i}");
        let mut labels = json!({HOST: name, "disk": if node.ssd { "ssd" } else { "hdd" }});
        if let Some(zone) = node.zone {
            labels[ZONE] = zone.to_string().into();
        }
        let taints = if node.tainted { json!([{"key": "t", "effect": "NoSchedule"}]) } else { json!([]) };
        cluster.node(
            &name,
            &node.cpu.to_string(),
            labels,
            json!({"taints": taints, "unschedulable": node.cordoned}),
        );
    }
    let mut pods = Vec::new();
    for (i, template) in templates.iter().enumerate() {
        let owner = format!("t{i}");
        let mut spec = asks(&format!("{}m", template.cpu));
        spec["priority"] = template.priority.into();
        if template.ssd {
            spec["nodeSelector"] = json!({"disk": "ssd"});
        }
        if template.tolerates {
            spec["tolerations"] = json!([{"operator": "Exists", "effect": "NoSchedule", "key": "t"}]);
        }
        if let Some(max_skew) = template.max_skew {
            let key = if template.per_host { HOST } else { ZONE };
            spec["topologySpreadConstraints"] = json!([{"maxSkew": max_skew, "topologyKey": key,
                "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"app": owner}}}]);
        }
        for (which, to) in [("podAntiAffinity", template.far), ("podAffinity", template.near)] {
            let Some((other, per_host)) = to else { continue };
            let term = json!({"topologyKey": if per_host { HOST } else { ZONE },
                "labelSelector": {"matchLabels": {"app": format!("t{other}")}}});
            spec["affinity"][which] = json!({"requiredDuringSchedulingIgnoredDuringExecution": [term]});
        }
        for replica in 0..template.replicas {
            pods.push(cluster.pod(&format!("{owner}-{replica}"), &owner, spec.clone()));
        }
    }
    (cluster, pods)
}

/// The domain of a node, by host or by zone.
fn domain(nodes: &[Node], at: usize, per_host: bool) -> Option<String> {
    if per_host { Some(at.to_string()) } else { nodes[at].zone.map(|z| z.to_string()) }
}

/// Checks a placement against those before it: what it wants, and what they want.
fn check_neighbours(nodes: &[Node], templates: &[Template], before: &[(usize, usize)], me: (usize, usize)) {
    let (owner, at) = me;
    let together = |other: usize, per_host| {
        let here = domain(nodes, at, per_host);
        here.is_some() && here == domain(nodes, other, per_host)
    };
    if let Some((far, per_host)) = templates[owner].far {
        let met = before.iter().find(|(theirs, node)| *theirs == far && together(*node, per_host));
        assert_eq!(met, None, "t{owner} on n{at} is too near");
    }
    for (theirs, node) in before {
        if let Some((far, per_host)) = templates[*theirs].far {
            assert!(
                far != owner || !together(*node, per_host),
                "t{theirs} on n{node} keeps t{owner} off n{at}"
            );
        }
    }
    if let Some((near, per_host)) = templates[owner].near {
        let mut others = before.iter().filter(|(theirs, _)| *theirs == near);
        let first = near == owner && others.clone().next().is_none() && domain(nodes, at, per_host).is_some();
        assert!(first || others.any(|(_, node)| together(*node, per_host)), "t{owner} on n{at} is lonely");
    }
}

/// Checks one plan by going through it step by step with the plainest arithmetic.
fn check(nodes: &[Node], templates: &[Template], placements: &[Placement]) {
    let mut used = vec![0i64; nodes.len()];
    let mut before: Vec<(usize, usize)> = Vec::new();
    let mut domains: BTreeMap<(usize, String), i64> = BTreeMap::new();
    for placement in placements {
        let Ok(name) = &placement.node else { continue };
        let at: usize = name[1..].parse().unwrap();
        let owner: usize = placement.pod.name[1..].split('-').next().unwrap().parse().unwrap();
        let (node, template) = (&nodes[at], &templates[owner]);
        used[at] += i64::from(template.cpu);
        assert!(template.cpu == 0 || used[at] <= i64::from(node.cpu) * 1000, "{name} is over capacity");
        assert!(!node.cordoned, "{name} is cordoned");
        assert!(!node.tainted || template.tolerates, "{name} is tainted");
        assert!(!template.ssd || node.ssd, "{name} has no ssd");
        check_neighbours(nodes, templates, &before, (owner, at));
        before.push((owner, at));
        let Some(max_skew) = template.max_skew else { continue };
        let here = domain(nodes, at, template.per_host).expect("a node with the label");
        *domains.entry((owner, here.clone())).or_default() += 1;
        let least = nodes
            .iter()
            .enumerate()
            .filter(|(_, node)| !template.ssd || node.ssd)
            .filter_map(|(i, _)| domain(nodes, i, template.per_host))
            .map(|domain| domains.get(&(owner, domain)).copied().unwrap_or(0))
            .min()
            .unwrap();
        assert!(domains[&(owner, here)] - least <= max_skew, "{name} is too crowded");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn plans_keep_every_hard_rule(
        nodes in proptest::collection::vec(node(), 0..8),
        templates in proptest::collection::vec(template(), 1..5),
        seed in any::<u64>(),
    ) {
        let (mut cluster, pods) = cluster(&nodes, &templates);
        let placements = cluster.plan();
        prop_assert_eq!(placements.len(), pods.len());
        check(&nodes, &templates, &placements);
        prop_assert_eq!(&cluster.plan(), &placements);

        // Any order of the same pods.
        let mut shuffled = pods;
        shuffled.sort_by_key(|key| blake3::hash(format!("{seed}{}", key.name).as_bytes()).as_bytes().to_vec());
        prop_assert_eq!(&plan(&cluster.state, &shuffled, 7), &placements);

        // Templates planned after another's refusal only took room, unless hard spread let a refused one in since:
        // the last group's refusals stand in the state that the plan makes.
        cluster.assign(&placements);
        if let Some(Placement { pod, node: Err(_), .. }) = placements.last() {
            let free = explain(&cluster.state, pod).into_iter().filter(|(_, reasons)| reasons.is_empty()).count();
            prop_assert_eq!(free, 0);
        }
    }
}
