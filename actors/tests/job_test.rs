//! The job: each pod that ends is counted once, and the job ends as in Kubernetes.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod driver;

use std::sync::Arc;

use driver::{Cluster, START_MS, key, time};
use kontiki_actors::{
    Input, Kind, Object, Request,
    input::{DeleteOptions, Life, Part, Propagation},
    object::rfc3339,
};
use serde_json::{Value, json};

const JOB: Kind = Kind::JOB;
const FINALIZER: &str = "batch.kubernetes.io/job-tracking";
const INDEX: &str = "batch.kubernetes.io/job-completion-index";

fn job(spec: &Value) -> Value {
    let mut all = json!({"parallelism": 1, "completions": 1, "backoffLimit": 6, "completionMode": "NonIndexed", "suspend": false,
        "podReplacementPolicy": "TerminatingOrFailed", "template": {"metadata": {"labels": {"app": "sum"}}, "spec": {
            "containers": [{"name": "main", "image": "v1"}], "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 30, "schedulerName": "default-scheduler"}}});
    for (field, value) in spec.as_object().unwrap() {
        all[field] = value.clone();
    }
    if spec.get("parallelism").is_some() && spec.get("completions").is_none() {
        all.as_object_mut().unwrap().remove("completions");
    }
    json!({"metadata": {"name": "sum", "namespace": "default"}, "spec": all})
}

fn made(nodes: usize, spec: &Value) -> Cluster {
    let mut cluster = Cluster::new(nodes);
    cluster.create(JOB, job(spec));
    cluster.settle();
    cluster
}

fn end(cluster: &mut Cluster, pods: &[Arc<Object>], phase: &str) {
    let at = rfc3339(cluster.now_ms);
    let code = i64::from(phase == "Failed");
    end_with(cluster, pods, phase, code, &at);
}

fn end_with(cluster: &mut Cluster, pods: &[Arc<Object>], phase: &str, code: i64, at: &str) {
    let status = json!({"phase": phase, "containerStatuses": [
        {"name": "main", "state": {"terminated": {"exitCode": code, "finishedAt": at}}}]});
    cluster.report(pods, |_| (status.clone(), false));
    cluster.settle();
}

fn conditions(cluster: &Cluster) -> Vec<String> {
    let status = cluster.status(JOB, "sum");
    let list = status["conditions"].as_array().into_iter().flatten();
    list.map(|c| {
        let text = |field: &str| c[field].as_str().unwrap_or_default().to_string();
        format!("{}={} {}", text("type"), text("status"), text("reason"))
    })
    .collect()
}

fn count(cluster: &Cluster, field: &str) -> i64 {
    cluster.status(JOB, "sum")[field].as_i64().unwrap_or(0)
}

fn tracked(pod: &Object) -> bool {
    pod.meta.finalizers.iter().any(|f| f == FINALIZER)
}

fn indexes(cluster: &Cluster) -> Vec<i64> {
    let mut all: Vec<i64> =
        cluster.active().iter().map(|pod| pod.meta.annotations[INDEX].parse().unwrap()).collect();
    all.sort_unstable();
    all
}

fn of_index(cluster: &Cluster, index: i64) -> Vec<Arc<Object>> {
    let pods = cluster.active().into_iter();
    pods.filter(|pod| pod.meta.annotations[INDEX] == index.to_string()).collect()
}

#[test]
fn one_pod_that_succeeds_completes_it() {
    let mut cluster = made(1, &json!({}));
    let pod = cluster.active()[0].clone();
    assert!(pod.key.name.starts_with("sum-") && tracked(&pod));
    let uid = cluster.get(JOB, "sum").meta.uid.to_string();
    for label in ["batch.kubernetes.io/controller-uid", "controller-uid"] {
        assert_eq!(pod.meta.labels[label], uid);
    }
    for label in ["batch.kubernetes.io/job-name", "job-name"] {
        assert_eq!(pod.meta.labels[label], "sum");
    }
    cluster.report_ready(std::slice::from_ref(&pod), true);
    assert_eq!(
        cluster.status(JOB, "sum"),
        json!({"active": 1, "ready": 1, "terminating": 0, "startTime": rfc3339(START_MS), "uncountedTerminatedPods": {}})
    );
    cluster.now_ms += 5000;
    end(&mut cluster, std::slice::from_ref(&pod), "Succeeded");
    let status = cluster.status(JOB, "sum");
    assert_eq!((&status["succeeded"], &status["ready"], status.get("active")), (&json!(1), &json!(0), None));
    assert_eq!(time(&status["completionTime"]), START_MS + 5000);
    assert_eq!(
        conditions(&cluster),
        ["SuccessCriteriaMet=True CompletionsReached", "Complete=True CompletionsReached"]
    );
    assert!(!tracked(&cluster.get(Kind::POD, &pod.key.name)), "the pod stays, and is held by nobody");
    assert_eq!(
        (cluster.events("SuccessfulCreate").len(), cluster.events("Completed")),
        (1, vec!["Job completed".to_string()])
    );
    assert_eq!(cluster.state.wake_of(&key(JOB, "sum")), None);
}

#[test]
fn no_more_run_at_a_time_than_may_and_no_more_than_are_missing() {
    let mut cluster = made(3, &json!({"parallelism": 3, "completions": 5}));
    for (ended, active) in [(1, 3), (1, 3), (2, 1), (1, 0)] {
        let pods = cluster.active();
        end(&mut cluster, &pods[..ended], "Succeeded");
        assert_eq!(cluster.active().len(), active);
    }
    assert_eq!(count(&cluster, "succeeded"), 5);
    assert!(conditions(&cluster).contains(&"Complete=True CompletionsReached".to_string()));
}

#[test]
fn with_a_queue_of_work_one_success_lets_the_others_end() {
    let mut cluster = made(3, &json!({"parallelism": 3}));
    let pods = cluster.active();
    end(&mut cluster, &pods[..1], "Succeeded");
    end(&mut cluster, &pods[1..2], "Failed");
    assert_eq!((cluster.active().len(), conditions(&cluster).len()), (1, 0), "nobody comes any more");
    end(&mut cluster, &pods[2..], "Succeeded");
    assert!(conditions(&cluster).contains(&"Complete=True CompletionsReached".to_string()));
    assert_eq!((count(&cluster, "succeeded"), count(&cluster, "failed")), (2, 1));
}

#[test]
fn after_failures_it_waits_longer_and_longer_and_gives_up() {
    let mut cluster = made(1, &json!({"backoffLimit": 2}));
    let mut waits = Vec::new();
    for _ in 0..2 {
        let pods = cluster.active();
        end(&mut cluster, &pods, "Failed");
        let at = cluster.now_ms;
        while cluster.active().is_empty() {
            cluster.now_ms = cluster.state.next_wake_ms().unwrap();
            cluster.settle();
        }
        waits.push((cluster.now_ms - at) / 1000);
    }
    assert_eq!(waits, [10, 20]);
    let pods = cluster.active();
    end(&mut cluster, &pods, "Failed");
    assert_eq!(count(&cluster, "failed"), 3);
    assert_eq!(
        conditions(&cluster),
        ["FailureTarget=True BackoffLimitExceeded", "Failed=True BackoffLimitExceeded"]
    );
    assert_eq!(cluster.events("BackoffLimitExceeded"), ["Job has reached the specified backoff limit"]);
    assert!(cluster.pods().iter().all(|pod| !tracked(pod)));
}

#[test]
fn containers_and_init_containers_that_are_started_again_too_often_fail_it() {
    let template = json!({"metadata": {"labels": {"app": "sum"}}, "spec": {
        "initContainers": [{"name": "migrate", "image": "v1"}], "containers": [{"name": "main", "image": "v1"}],
        "restartPolicy": "OnFailure", "terminationGracePeriodSeconds": 30, "schedulerName": "default-scheduler"}});
    let mut cluster = made(1, &json!({"backoffLimit": 3, "template": template}));
    let pods = cluster.active();
    for (init, main, failed) in [(2, 0, false), (2, 1, true)] {
        let status = json!({"phase": "Pending",
            "initContainerStatuses": [{"name": "migrate", "restartCount": init}],
            "containerStatuses": [{"name": "main", "restartCount": main}]});
        cluster.report(&pods, |_| (status.clone(), false));
        cluster.settle();
        let said = conditions(&cluster).contains(&"FailureTarget=True BackoffLimitExceeded".to_string());
        assert_eq!(said, failed, "{init} and {main} restarts");
    }
}

#[test]
fn a_success_ends_the_waiting() {
    let mut cluster = made(2, &json!({"parallelism": 2, "completions": 3}));
    let pods = cluster.active();
    end(&mut cluster, &pods[..1], "Failed");
    assert_eq!(cluster.active().len(), 1);
    cluster.now_ms += 1000;
    end(&mut cluster, &pods[1..], "Succeeded");
    assert_eq!(cluster.active().len(), 2);
    assert!(cluster.get(JOB, "sum").meta.annotations.is_empty());
}

#[test]
fn past_its_deadline_it_fails_and_its_pods_go_before_it_says_so() {
    let mut cluster = made(2, &json!({"parallelism": 2, "completions": 4, "activeDeadlineSeconds": 60}));
    let pods = cluster.active();
    cluster.report_ready(&pods, true);
    cluster.advance(60);
    assert_eq!(conditions(&cluster), ["FailureTarget=True DeadlineExceeded"]);
    assert_eq!(
        (count(&cluster, "terminating"), count(&cluster, "failed"), cluster.active().len()),
        (2, 2, 0)
    );
    cluster.report(&pods, |_| (Value::Null, true));
    cluster.settle();
    assert_eq!(conditions(&cluster), ["FailureTarget=True DeadlineExceeded", "Failed=True DeadlineExceeded"]);
    assert_eq!((count(&cluster, "terminating"), count(&cluster, "failed"), cluster.pods().len()), (0, 2, 0));
}

#[test]
fn a_suspended_one_has_no_pods_and_its_deadline_counts_from_when_it_goes_on() {
    let mut cluster = made(2, &json!({"suspend": true, "activeDeadlineSeconds": 60}));
    assert_eq!(
        (cluster.pods().len(), conditions(&cluster)),
        (0, vec!["Suspended=True JobSuspended".to_string()])
    );
    assert_eq!(cluster.status(JOB, "sum").get("startTime"), None);
    cluster.advance(100);
    cluster.edit(JOB, "sum", |job| job["spec"]["suspend"] = false.into());
    cluster.settle();
    assert_eq!(conditions(&cluster), ["Suspended=False JobResumed"]);
    assert_eq!(time(&cluster.status(JOB, "sum")["startTime"]), START_MS + 100_000);
    cluster.edit(JOB, "sum", |job| job["spec"]["suspend"] = true.into());
    cluster.settle();
    assert_eq!(
        (cluster.active().len(), count(&cluster, "failed")),
        (0, 0),
        "who is sent away has not failed"
    );
    assert_eq!((cluster.events("Suspended").len(), cluster.events("Resumed").len()), (1, 1));
}

#[test]
fn a_pod_that_leaves_has_failed_once_and_is_replaced() {
    let mut cluster = made(2, &json!({}));
    let pod = cluster.active()[0].clone();
    let node = pod.pod().unwrap().node.clone().unwrap();
    cluster.verdicts(&[&node], Life::Down);
    cluster.settle();
    assert_eq!((count(&cluster, "failed"), count(&cluster, "terminating")), (1, 1));
    cluster.advance(10);
    assert_eq!(cluster.active().len(), 1);
    // Its worker comes back and says how it ended: that changes nothing.
    cluster.hello(&node);
    end(&mut cluster, std::slice::from_ref(&pod), "Succeeded");
    cluster.report(&[pod], |_| (Value::Null, true));
    cluster.settle();
    assert_eq!(
        (count(&cluster, "failed"), count(&cluster, "succeeded"), count(&cluster, "terminating")),
        (1, 0, 0)
    );
}

#[test]
fn where_only_ended_pods_are_replaced_one_that_leaves_is_waited_for() {
    let mut cluster = made(2, &json!({"podReplacementPolicy": "Failed"}));
    let pod = cluster.active()[0].clone();
    cluster.delete(Kind::POD, &pod.key.name, None);
    cluster.advance(60);
    assert_eq!(
        (cluster.active().len(), count(&cluster, "failed"), count(&cluster, "terminating")),
        (0, 0, 1)
    );
    cluster.report(&[pod], |_| (Value::Null, true));
    cluster.settle();
    assert_eq!(
        (count(&cluster, "failed"), count(&cluster, "terminating"), cluster.active().len()),
        (1, 0, 1)
    );
}

/// Whatever else happens in the same entry, whoever was seen to end is in the status when nothing holds it any more.
#[test]
fn each_pod_is_counted_in_the_entry_that_lets_go_of_it() {
    let mut cluster = Cluster::new(3);
    cluster.create(JOB, job(&json!({"parallelism": 40, "completions": 40, "backoffLimit": 1000})));
    cluster.settle();
    for round in 0..40 {
        let pods = cluster.active();
        let some: Vec<_> = pods.iter().step_by(3).cloned().collect();
        end(&mut cluster, &some, if round % 2 == 0 { "Failed" } else { "Succeeded" });
        let ended = cluster.pods().iter().filter(|pod| pod.pod().unwrap().terminal()).count();
        assert!(cluster.pods().iter().all(|pod| tracked(pod) != pod.pod().unwrap().terminal()));
        assert_eq!(count(&cluster, "failed") + count(&cluster, "succeeded"), ended as i64, "round {round}");
        cluster.advance(600);
        if cluster.active().is_empty() {
            break;
        }
    }
    assert_eq!((count(&cluster, "succeeded"), conditions(&cluster).len()), (40, 2));
    // Deleting ended pods takes nothing back.
    let failed = count(&cluster, "failed");
    for pod in cluster.pods() {
        cluster.delete(Kind::POD, &pod.key.name, None);
    }
    assert_eq!((count(&cluster, "failed"), cluster.pods().len()), (failed, 0));
}

#[test]
fn each_index_has_its_pod_and_succeeds_once() {
    let mut cluster = made(3, &json!({"parallelism": 3, "completions": 5, "completionMode": "Indexed"}));
    assert_eq!(indexes(&cluster), [0, 1, 2]);
    let pod = of_index(&cluster, 1)[0].clone();
    assert!(pod.key.name.starts_with("sum-1-"), "{}", pod.key.name);
    let spec = pod.document.spec_value();
    assert_eq!((&spec["hostname"], pod.meta.labels[INDEX].as_str()), (&json!("sum-1"), "1"));
    assert_eq!(
        spec["containers"][0]["env"],
        json!([{"name": "JOB_COMPLETION_INDEX", "valueFrom": {"fieldRef": {"apiVersion": "v1",
            "fieldPath": "metadata.labels['batch.kubernetes.io/job-completion-index']"}}}])
    );
    let first = of_index(&cluster, 0);
    end(&mut cluster, &first, "Failed");
    cluster.advance(10);
    assert_eq!(indexes(&cluster), [0, 1, 2]);
    for index in [1, 2, 0, 4, 3] {
        let pods = of_index(&cluster, index);
        end(&mut cluster, &pods, "Succeeded");
        if index == 4 {
            assert_eq!(cluster.status(JOB, "sum")["completedIndexes"], "0-2,4");
        }
    }
    let status = cluster.status(JOB, "sum");
    assert_eq!(
        (&status["completedIndexes"], &status["succeeded"], &status["failed"]),
        (&json!("0-4"), &json!(5), &json!(1))
    );
    assert!(conditions(&cluster).contains(&"Complete=True CompletionsReached".to_string()));
}

#[test]
fn an_index_that_fails_too_often_fails_alone() {
    let spec = json!({"parallelism": 2, "completions": 2, "completionMode": "Indexed", "backoffLimitPerIndex": 1, "backoffLimit": i32::MAX});
    let mut cluster = made(2, &spec);
    let pods = of_index(&cluster, 0);
    assert_eq!(pods[0].meta.annotations["batch.kubernetes.io/job-index-failure-count"], "0");
    end(&mut cluster, &pods, "Failed");
    assert_eq!((indexes(&cluster), count(&cluster, "failed")), (vec![1], 0), "counted when it is followed");
    cluster.advance(10);
    assert_eq!((indexes(&cluster), count(&cluster, "failed")), (vec![0, 1], 1));
    let pods = of_index(&cluster, 0);
    assert_eq!(pods[0].meta.annotations["batch.kubernetes.io/job-index-failure-count"], "1");
    end(&mut cluster, &pods, "Failed");
    assert_eq!(
        (cluster.status(JOB, "sum")["failedIndexes"].clone(), count(&cluster, "failed")),
        (json!("0"), 2)
    );
    assert_eq!(conditions(&cluster).len(), 0, "the other one goes on");
    let pods = of_index(&cluster, 1);
    end(&mut cluster, &pods, "Succeeded");
    assert_eq!(conditions(&cluster), ["FailureTarget=True FailedIndexes", "Failed=True FailedIndexes"]);
}

#[test]
fn a_failed_pod_means_what_the_rules_say() {
    let rules = json!({"rules": [
        {"action": "FailJob", "onExitCodes": {"containerName": "main", "operator": "In", "values": [42]}},
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
    ]});
    let mut cluster =
        made(2, &json!({"podFailurePolicy": rules, "backoffLimit": 0, "podReplacementPolicy": "Failed"}));
    let pods = cluster.active();
    cluster.report(&pods, |_| {
        (json!({"phase": "Failed", "conditions": [{"type": "DisruptionTarget", "status": "True"}]}), false)
    });
    cluster.settle();
    assert_eq!(
        (count(&cluster, "failed"), conditions(&cluster).len()),
        (0, 0),
        "a disruption is nobody's failure"
    );
    cluster.advance(10);
    let pods = cluster.active();
    let at = rfc3339(cluster.now_ms);
    end_with(&mut cluster, &pods, "Failed", 42, &at);
    assert_eq!(conditions(&cluster), ["FailureTarget=True PodFailurePolicy", "Failed=True PodFailurePolicy"]);
    let message = format!(
        "Container main for pod default/{} failed with exit code 42 matching FailJob rule at index 0",
        pods[0].key.name
    );
    assert_eq!(cluster.status(JOB, "sum")["conditions"][0]["message"], message.as_str());
}

#[test]
fn enough_successes_may_be_fewer_than_all() {
    let rules = json!({"rules": [{"succeededIndexes": "1-2", "succeededCount": 1}]});
    let spec =
        json!({"parallelism": 3, "completions": 3, "completionMode": "Indexed", "successPolicy": rules});
    let mut cluster = made(3, &spec);
    let pods = of_index(&cluster, 0);
    end(&mut cluster, &pods, "Succeeded");
    assert_eq!(conditions(&cluster).len(), 0);
    let rest = of_index(&cluster, 1);
    let pods = of_index(&cluster, 2);
    end(&mut cluster, &pods, "Succeeded");
    assert_eq!(conditions(&cluster), ["SuccessCriteriaMet=True SuccessPolicy"], "one still runs");
    cluster.report(&rest, |_| (Value::Null, true));
    cluster.settle();
    assert_eq!(
        conditions(&cluster),
        ["SuccessCriteriaMet=True SuccessPolicy", "Complete=True SuccessPolicy"]
    );
    assert_eq!((count(&cluster, "succeeded"), count(&cluster, "failed")), (2, 0));
}

#[test]
fn it_goes_when_its_time_is_over() {
    let mut cluster = made(1, &json!({"ttlSecondsAfterFinished": 30}));
    let pods = cluster.active();
    end(&mut cluster, &pods, "Succeeded");
    cluster.advance(29);
    assert!(cluster.find(JOB, "sum").is_some());
    cluster.advance(1);
    assert!(cluster.find(JOB, "sum").is_none() && cluster.pods().is_empty());
}

#[test]
fn pods_of_a_job_that_is_gone_are_held_by_nobody() {
    for propagation in [Propagation::Background, Propagation::Foreground, Propagation::Orphan] {
        let mut cluster = made(1, &json!({}));
        let pod = cluster.active()[0].clone();
        cluster.delete(JOB, "sum", Some(propagation));
        cluster.settle();
        let left = cluster.get(Kind::POD, &pod.key.name);
        assert!(!tracked(&left), "{propagation:?}");
        assert_eq!(left.meta.deleting(), propagation != Propagation::Orphan, "{propagation:?}");
        cluster.report(&[pod], |_| (Value::Null, true));
        cluster.settle();
        assert!(cluster.find(JOB, "sum").is_none(), "{propagation:?}");
        assert_eq!(cluster.pods().is_empty(), propagation != Propagation::Orphan, "{propagation:?}");
    }
}

#[test]
fn a_large_one_goes_by_parts_and_counts_every_pod() {
    let mut cluster = Cluster::new(10);
    cluster.create(JOB, job(&json!({"parallelism": 1200, "completions": 1200})));
    cluster.advance(1);
    assert_eq!(cluster.active().len(), 1200);
    for pods in cluster.active().chunks(50) {
        end(&mut cluster, pods, "Succeeded");
    }
    cluster.advance(5);
    assert_eq!(count(&cluster, "succeeded"), 1200);
    assert!(conditions(&cluster).contains(&"Complete=True CompletionsReached".to_string()));
    let request = Request::Delete {
        key: key(JOB, "sum"),
        options: DeleteOptions { propagation: Some(Propagation::Background), ..DeleteOptions::default() },
        dry_run: false,
    };
    cluster.decide(Input::Api(request));
    cluster.advance(5);
    assert!(cluster.pods().is_empty());
}

fn write_status(cluster: &mut Cluster, edit: impl FnOnce(&mut Value)) {
    let mut status = cluster.status(JOB, "sum");
    edit(&mut status);
    let request = Request::Update {
        key: key(JOB, "sum"),
        document: cluster.get(JOB, "sum").document.with_status(status),
        part: Part::Status,
        revision: None,
        uid: None,
        dry_run: false,
    };
    cluster.decide(Input::Api(request));
    cluster.settle();
}

/// Neither what its spec says nor what somebody writes into its status is looked at index by index.
#[test]
fn billions_of_completions_cost_no_more_than_few() {
    let rules = json!({"rules": [{"succeededIndexes": "0-2147483646", "succeededCount": 2147483646}]});
    let spec = json!({"completions": i32::MAX, "completionMode": "Indexed", "successPolicy": rules, "backoffLimitPerIndex": 1});
    let mut cluster = made(1, &spec);
    assert_eq!(indexes(&cluster), [0]);
    write_status(&mut cluster, |status| {
        status["completedIndexes"] = "1-2000000000".into();
        status["failedIndexes"] = "2000000001-2147483640,2147483642-2147483644".into();
    });
    let pods = of_index(&cluster, 0);
    end(&mut cluster, &pods, "Succeeded");
    assert_eq!(cluster.status(JOB, "sum")["completedIndexes"], "0-2000000000");
    assert_eq!(indexes(&cluster), [2_147_483_641], "the first that is still to be done");
    write_status(&mut cluster, |status| {
        status["completedIndexes"] = "0-2147483640,2147483642-2147483645".into();
        status["failedIndexes"] = "".into();
    });
    assert_eq!(conditions(&cluster).len(), 0, "one is missing");
    let pods = of_index(&cluster, 2_147_483_641);
    end(&mut cluster, &pods, "Succeeded");
    assert!(conditions(&cluster).contains(&"Complete=True SuccessPolicy".to_string()));
}

/// What decided it is seen once: when its pod is counted.
#[test]
fn a_verdict_stands_though_there_is_more_to_count_than_one_reaction_does() {
    let rules = json!({"rules": [
        {"action": "FailJob", "onExitCodes": {"containerName": "main", "operator": "In", "values": [42]}},
    ]});
    let mut cluster = Cluster::new(3);
    cluster.create(
        JOB,
        job(
            &json!({"parallelism": 700, "completions": 2000, "podFailurePolicy": rules, "podReplacementPolicy": "Failed"}),
        ),
    );
    cluster.advance(1);
    let pods = cluster.active();
    assert_eq!(pods.len(), 700);
    let decides = pods[0].key.clone();
    cluster.report(&pods, |pod| {
        let (phase, code) = if pod.key == decides { ("Failed", 42) } else { ("Succeeded", 0) };
        let ended = json!({"exitCode": code, "finishedAt": rfc3339(START_MS + 1000)});
        let status =
            json!({"phase": phase, "containerStatuses": [{"name": "main", "state": {"terminated": ended}}]});
        (status, false)
    });
    cluster.advance(5);
    assert_eq!(conditions(&cluster), ["FailureTarget=True PodFailurePolicy", "Failed=True PodFailurePolicy"]);
    assert_eq!(
        (count(&cluster, "succeeded"), count(&cluster, "failed"), cluster.active().len()),
        (699, 1, 0)
    );
    assert!(cluster.pods().iter().all(|pod| !tracked(pod)));
}

#[test]
fn of_two_pods_for_one_completion_one_goes() {
    let mut cluster = made(3, &json!({"parallelism": 3, "completions": 3, "completionMode": "Indexed"}));
    let one = of_index(&cluster, 1)[0].clone();
    let double = json!({
        "metadata": {"name": "double", "namespace": "default", "labels": one.meta.labels, "annotations": one.meta.annotations},
        "spec": one.document.spec_value(), "status": {"phase": "Pending"},
    });
    cluster.create(Kind::POD, double);
    cluster.settle();
    assert_eq!(indexes(&cluster), [0, 1, 2]);
}

#[test]
fn a_pod_that_may_take_for_ever_to_leave_is_not_gone_long_ago() {
    let mut cluster = made(1, &json!({}));
    let pod = cluster.active()[0].clone();
    let options = DeleteOptions { grace_s: Some(i64::MAX), ..DeleteOptions::default() };
    cluster.decide(Input::Api(Request::Delete { key: pod.key.clone(), options, dry_run: false }));
    let leaving = cluster.get(Kind::POD, &pod.key.name);
    assert_eq!(leaving.meta.deletion_grace_s, Some(i64::MAX));
    assert!(leaving.meta.deletion_ms.unwrap() > cluster.now_ms, "{:?}", leaving.meta.deletion_ms);
    // One that leaves counts as failed at once, whenever it ends.
    cluster.settle();
    cluster.report(&[leaving], |_| (json!({"phase": "Failed"}), true));
    cluster.settle();
    assert_eq!(count(&cluster, "failed"), 1);
}
