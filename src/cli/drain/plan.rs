//! Which pods of a node a drain sends away, by kubectl's rules.

use serde_json::Value;

/// What may be lost.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Consent {
    /// Pods that nobody makes anew.
    pub(super) force: bool,
    /// What is in their emptyDir volumes.
    pub(super) delete_emptydir_data: bool,
}

/// One pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pod {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) uid: String,
    /// It is on its way out already.
    pub(super) leaving: bool,
}

/// What is done with the pods of a node.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// These are sent away.
    pub(super) evict: Vec<Pod>,
    /// These stay, and why.
    pub(super) stay: Vec<(String, &'static str)>,
    /// These would be lost, and what would allow that.
    pub(super) refuse: Vec<(String, &'static str)>,
}

const DAEMON: &str = "a DaemonSet keeps it there";
const MIRROR: &str = "it is a mirror of a static pod";
const LOST: &str = "nobody makes it anew: --force deletes it for good";
const DATA: &str = "it has data in an emptyDir: --delete-emptydir-data gives that up";

/// Sorts the pods of a node.
pub(super) fn plan(pods: &[Value], consent: Consent) -> Plan {
    let mut plan = Plan::default();
    for pod in pods {
        let metadata = &pod["metadata"];
        let text = |key: &str| metadata[key].as_str().unwrap_or_default().to_owned();
        let name = format!("{}/{}", text("namespace"), text("name"));
        let owners = metadata["ownerReferences"].as_array().into_iter().flatten();
        let controller =
            owners.into_iter().find(|owner| owner["controller"] == true).map(|owner| &owner["kind"]);
        let ended = matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
        if metadata["annotations"]["kubernetes.io/config.mirror"].is_string() {
            plan.stay.push((name, MIRROR));
        } else if controller.is_some_and(|kind| kind == "DaemonSet") && !ended {
            plan.stay.push((name, DAEMON));
        } else if controller.is_none() && !ended && !consent.force {
            plan.refuse.push((name, LOST));
        } else if has_data(pod) && !ended && !consent.delete_emptydir_data {
            plan.refuse.push((name, DATA));
        } else {
            plan.evict.push(Pod {
                namespace: text("namespace"),
                name: text("name"),
                uid: text("uid"),
                leaving: !metadata["deletionTimestamp"].is_null(),
            });
        }
    }
    plan
}

fn has_data(pod: &Value) -> bool {
    let volumes = pod["spec"]["volumes"].as_array().into_iter().flatten();
    volumes.into_iter().any(|volume| volume["emptyDir"].is_object())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(name: &str, owner: Option<&str>, emptydir: bool, phase: &str) -> Value {
        let owners: Vec<Value> =
            owner.iter().map(|kind| json!({"kind": kind, "name": "o", "controller": true})).collect();
        let volumes = if emptydir { json!([{"name": "v", "emptyDir": {}}]) } else { json!([]) };
        json!({
            "metadata": {"namespace": "n", "name": name, "uid": name, "ownerReferences": owners},
            "spec": {"volumes": volumes}, "status": {"phase": phase},
        })
    }

    fn sorted(consent: Consent) -> (Vec<String>, Vec<String>, Vec<String>) {
        let mut mirror = pod("mirror", None, false, "Running");
        mirror["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "x"});
        let pods = [
            pod("owned", Some("ReplicaSet"), false, "Running"),
            pod("data", Some("ReplicaSet"), true, "Running"),
            pod("bare", None, false, "Running"),
            pod("daemon", Some("DaemonSet"), true, "Running"),
            pod("done", None, true, "Succeeded"),
            mirror,
        ];
        let Plan { evict, stay, refuse } = plan(&pods, consent);
        let names = |list: Vec<(String, &str)>| list.into_iter().map(|(name, _)| name).collect();
        (evict.into_iter().map(|pod| pod.name).collect(), names(stay), names(refuse))
    }

    #[test]
    fn nothing_is_lost_that_was_not_given_up() {
        let (evict, stay, refuse) = sorted(Consent::default());
        assert_eq!(evict, ["owned", "done"]);
        assert_eq!(stay, ["n/daemon", "n/mirror"]);
        assert_eq!(refuse, ["n/data", "n/bare"]);
        let (evict, _, refuse) = sorted(Consent { force: true, delete_emptydir_data: false });
        assert_eq!((evict.len(), refuse), (3, vec!["n/data".to_owned()]));
        let (evict, stay, refuse) = sorted(Consent { force: true, delete_emptydir_data: true });
        assert_eq!((evict.len(), stay.len(), refuse.len()), (4, 2, 0));
    }
}
