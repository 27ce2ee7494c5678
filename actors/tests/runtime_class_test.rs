//! Pods get what their RuntimeClass says.
#![allow(clippy::unwrap_used)]

mod driver;

use driver::Cluster;
use kontiki_actors::{Kind, kinds::pod::apply_runtime_class};
use serde_json::{Value, json};

fn applied(cluster: &Cluster, spec: Value) -> Result<Value, String> {
    let mut spec = spec;
    apply_runtime_class(&cluster.state, &mut spec).map(|()| spec)
}

#[test]
fn a_pod_gets_what_its_runtime_class_says_or_is_refused() {
    let mut cluster = Cluster::new(1);
    let tolerations = json!([{"key": "vm", "operator": "Exists"}]);
    cluster.create(
        Kind::RUNTIME_CLASS,
        json!({"metadata": {"name": "vm"}, "handler": "vm", "overhead": {"podFixed": {"cpu": "10m"}},
            "scheduling": {"nodeSelector": {"a": "b"}, "tolerations": tolerations}}),
    );
    let all = json!({"runtimeClassName": "vm", "overhead": {"cpu": "10m"}, "nodeSelector": {"a": "b"},
        "tolerations": tolerations});
    assert_eq!(applied(&cluster, json!({"runtimeClassName": "vm"})), Ok(all.clone()));
    assert_eq!(applied(&cluster, all.clone()), Ok(all), "done again it stays");
    for (spec, why) in [
        (json!({"runtimeClassName": "none"}), "pod rejected: RuntimeClass \"none\" not found"),
        (
            json!({"runtimeClassName": "vm", "overhead": {"cpu": "1"}}),
            "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead",
        ),
        (
            json!({"overhead": {"cpu": "1"}}),
            "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead",
        ),
        (
            json!({"runtimeClassName": "vm", "nodeSelector": {"a": "c"}}),
            "conflict: runtimeClass.scheduling.nodeSelector[a] = b; pod.spec.nodeSelector[a] = c",
        ),
    ] {
        assert_eq!(applied(&cluster, spec), Err(why.to_owned()));
    }
    for free in [json!({}), json!({"runtimeClassName": "host"})] {
        let same = |spec: &Value, field: &str| spec[field].is_null();
        let spec = applied(&cluster, free).unwrap();
        assert!(["overhead", "nodeSelector", "tolerations"].iter().all(|field| same(&spec, field)));
    }
    // What is no map is refused by its field, later; here it must not end the turn.
    let strange = json!({"runtimeClassName": "vm", "nodeSelector": "a", "tolerations": "b"});
    assert_eq!(applied(&cluster, strange).unwrap()["nodeSelector"], "a");
}
