//! Whatever the bounds, the sizes and the order in which pods get ready: at every revision of a rolling update there
//! are never more pods than the surge allows and never fewer available ones than promised, and it comes to its end.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod driver;

use std::{cell::RefCell, rc::Rc};

use driver::{Cluster, active, deployment};
use kontiki_actors::Kind;
use proptest::prelude::*;
use serde_json::json;

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn the_bounds_hold_at_every_revision(
        replicas in 1_i64..12,
        surge in 0_i64..4,
        unavailable in 0_i64..4,
        order in proptest::collection::vec(any::<prop::sample::Index>(), 8),
    ) {
        prop_assume!(surge + unavailable > 0);
        let mut cluster = Cluster::new(3);
        let mut web = deployment("web", replicas);
        web["spec"]["strategy"]["rollingUpdate"] = json!({"maxSurge": surge, "maxUnavailable": unavailable});
        cluster.create(Kind::DEPLOYMENT, web);
        cluster.work_out();
        let broken = Rc::new(RefCell::new(Vec::new()));
        let seen = broken.clone();
        cluster.observer = Some(Box::new(move |state| {
            let pods = active(state);
            let ready = pods.iter().filter(|p| p.pod().unwrap().ready).count() as i64;
            if pods.len() as i64 > replicas + surge || ready < replicas - unavailable {
                seen.borrow_mut().push((state.revision(), pods.len(), ready));
            }
        }));
        cluster.set_image("web", "v2");
        let mut order = order.iter().cycle();
        for _ in 0..200 {
            cluster.settle();
            let waiting: Vec<_> =
                cluster.active().into_iter().filter(|p| !p.pod().unwrap().ready && p.pod().unwrap().node.is_some()).collect();
            if waiting.is_empty() {
                break;
            }
            let one = order.next().unwrap().get(&waiting).clone();
            cluster.report_ready(&[one], true);
        }
        cluster.work_out();
        prop_assert_eq!(&*broken.borrow(), &Vec::new());
        prop_assert_eq!(cluster.sizes(), vec![0, replicas]);
        let condition = cluster.condition(Kind::DEPLOYMENT, "web", "Progressing").unwrap();
        prop_assert_eq!(condition.1, "NewReplicaSetAvailable");
    }
}

/// A large set counts its pods a moment late, and says that some do not work which do by then.
#[test]
fn what_a_large_set_said_a_moment_ago_takes_no_working_pod() {
    let mut cluster = Cluster::new(3);
    let mut web = deployment("web", 60);
    web["spec"]["strategy"]["rollingUpdate"] = json!({"maxSurge": 2, "maxUnavailable": 0});
    cluster.create(Kind::DEPLOYMENT, web);
    cluster.work_out();
    cluster.advance(1);
    cluster.set_replicas(Kind::DEPLOYMENT, "web", 120);
    cluster.report_ready(&cluster.active(), true);
    let set = cluster.replica_sets()[0].key.name.clone();
    assert_eq!(cluster.status(Kind::REPLICA_SET, &set)["availableReplicas"], 60, "it has not counted again");
    // Two pods come, and are not ready when their template is not the present one any more: these may go, the working ones may not.
    cluster.set_image("web", "v2");
    cluster.set_image("web", "v3");
    let ready = cluster.active().iter().filter(|pod| pod.pod().unwrap().ready).count();
    assert_eq!(ready, 120);
    for _ in 0..200 {
        cluster.work_out();
        cluster.advance(1);
    }
    assert_eq!(cluster.sizes(), [0, 0, 120]);
}
