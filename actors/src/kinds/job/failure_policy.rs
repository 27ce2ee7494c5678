//! What a failed pod means to its job: <https://kubernetes.io/docs/concepts/workloads/controllers/job/#pod-failure-policy>.

use serde_json::Value;

use crate::object::{
    JobDigest, Object,
    job::{ExitCodes, PodCondition},
};

/// What a failed pod means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// One failure more.
    Counts,
    /// None.
    Ignored,
    /// Its index has failed.
    FailsIndex,
    /// The job has failed, because of this.
    FailsJob(String),
}

/// Asks the rules; a pod that none of them matches counts.
pub(super) fn meaning(spec: &JobDigest, pod: &Object) -> Meaning {
    let Some(rules) = &spec.failure_rules else { return Meaning::Counts };
    let status = pod.document.status_value();
    let name = format!("{}/{}", pod.key.namespace, pod.key.name);
    for (at, rule) in rules.iter().enumerate() {
        let why = match &rule.on_exit_codes {
            Some(codes) => exit(codes, &status).map(|(container, code)| {
                format!("Container {container} for pod {name} failed with exit code {code} matching")
            }),
            None => condition(&rule.on_pod_conditions, &status)
                .map(|condition| format!("Pod {name} has condition {condition} matching")),
        };
        let Some(why) = why else { continue };
        return match rule.action.as_str() {
            "FailJob" => Meaning::FailsJob(format!("{why} FailJob rule at index {at}")),
            "FailIndex" => Meaning::FailsIndex,
            "Ignore" => Meaning::Ignored,
            _ => Meaning::Counts,
        };
    }
    Meaning::Counts
}

/// The first container that ended with one of the codes. Zero is no failure, so no rule is about it.
fn exit<'s>(codes: &ExitCodes, status: &'s Value) -> Option<(&'s str, i64)> {
    let containers = ["containerStatuses", "initContainerStatuses"];
    containers.iter().flat_map(|list| status[*list].as_array().into_iter().flatten()).find_map(|container| {
        let name = container["name"].as_str()?;
        let code = container["state"]["terminated"]["exitCode"].as_i64().filter(|code| *code != 0)?;
        let asked = codes.container_name.as_ref().is_none_or(|asked| asked == name);
        let listed = codes.values.contains(&code);
        (asked && listed == (codes.operator == "In")).then_some((name, code))
    })
}

fn condition<'s>(wanted: &[PodCondition], status: &'s Value) -> Option<&'s str> {
    status["conditions"].as_array().into_iter().flatten().find_map(|condition| {
        let (kind, value) = (condition["type"].as_str()?, condition["status"].as_str()?);
        wanted.iter().any(|want| want.r#type == kind && want.status == value).then_some(kind)
    })
}
