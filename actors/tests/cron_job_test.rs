//! The cron job: starts, policies, missed starts, history.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod driver;

use driver::{Cluster, START_MS, key};
use kontiki_actors::{Change, Document, Input, Kind, input::Life, object::rfc3339};
use serde_json::{Value, json};

const CRON: Kind = Kind::CRON_JOB;
const JOB: Kind = Kind::JOB;

fn cron(spec: &Value) -> Value {
    let pod = json!({"metadata": {"labels": {"app": "tick"}}, "spec": {"containers": [{"name": "main", "image": "v1"}],
        "restartPolicy": "Never", "schedulerName": "default-scheduler"}});
    let mut all = json!({"schedule": "*/10 * * * *", "concurrencyPolicy": "Allow", "suspend": false,
        "successfulJobsHistoryLimit": 3, "failedJobsHistoryLimit": 1,
        "jobTemplate": {"metadata": {"annotations": {"a": "b"}}, "spec": {"template": pod}}});
    for (field, value) in spec.as_object().unwrap() {
        all[field] = value.clone();
    }
    json!({"metadata": {"name": "tick", "namespace": "default"}, "spec": all})
}

fn made(spec: &Value) -> Cluster {
    let mut cluster = Cluster::new(2);
    cluster.create(CRON, cron(spec));
    cluster.settle();
    cluster
}

/// Jobs by the minutes since the start of the test.
fn jobs(cluster: &Cluster) -> Vec<i64> {
    let minute = |name: &str| Some(name.strip_prefix("tick-")?.parse::<i64>().ok()? - START_MS / 60_000);
    cluster.state.list(JOB, None).filter_map(|job| minute(&job.key.name)).collect()
}

fn name(minute: i64) -> String {
    format!("tick-{}", START_MS / 60_000 + minute)
}

fn end(cluster: &mut Cluster, minute: i64, phase: &str) {
    let uid = cluster.get(JOB, &name(minute)).meta.uid.clone();
    let pods = cluster.active().into_iter();
    let pods: Vec<_> = pods.filter(|pod| pod.meta.controller().unwrap().uid == uid).collect();
    assert!(!pods.is_empty(), "minute {minute}");
    cluster.report(&pods, |_| (json!({"phase": phase}), false));
    cluster.settle();
}

fn active(cluster: &Cluster) -> usize {
    cluster.status(CRON, "tick")["active"].as_array().map_or(0, Vec::len)
}

#[test]
fn a_job_is_started_at_each_time_of_the_schedule() {
    let mut cluster = made(&json!({}));
    assert_eq!((jobs(&cluster).len(), cluster.status(CRON, "tick")), (0, json!({})));
    cluster.advance(599);
    assert_eq!(jobs(&cluster).len(), 0);
    cluster.advance(1);
    assert_eq!(jobs(&cluster), [10]);
    let job = cluster.get(JOB, &name(10));
    assert_eq!(
        (job.meta.controller().unwrap().kind.as_str(), job.meta.annotations["a"].as_str()),
        ("CronJob", "b")
    );
    assert_eq!(
        job.meta.annotations["batch.kubernetes.io/cronjob-scheduled-timestamp"],
        "2026-01-01T00:10:00Z"
    );
    let spec = job.document.spec_value();
    assert_eq!(
        (&spec["completions"], &spec["backoffLimit"]),
        (&json!(1), &json!(6)),
        "with the defaults of jobs"
    );
    assert_eq!(spec["selector"]["matchLabels"]["batch.kubernetes.io/controller-uid"], job.meta.uid.as_str());
    assert_eq!(cluster.active().len(), 1, "and its pod is there");
    let status = cluster.status(CRON, "tick");
    assert_eq!(
        (&status["lastScheduleTime"], &status["active"][0]["name"]),
        (&json!("2026-01-01T00:10:00Z"), &json!(name(10)))
    );
    cluster.advance(60);
    end(&mut cluster, 10, "Succeeded");
    let status = cluster.status(CRON, "tick");
    assert_eq!((status.get("active"), &status["lastSuccessfulTime"]), (None, &json!("2026-01-01T00:11:00Z")));
    assert_eq!(
        cluster.events("SawCompletedJob"),
        [format!("Saw completed job: {}, condition: Complete", name(10))]
    );
    cluster.advance(540);
    assert_eq!(jobs(&cluster), [10, 20]);
}

#[test]
fn one_that_runs_is_joined_kept_alone_or_replaced() {
    for (policy, running) in [("Allow", vec![10, 20]), ("Forbid", vec![10]), ("Replace", vec![20])] {
        let mut cluster = made(&json!({"concurrencyPolicy": policy}));
        cluster.advance(1200);
        assert_eq!(jobs(&cluster), running, "{policy}");
        assert_eq!(active(&cluster), running.len(), "{policy}");
    }
    let mut cluster = made(&json!({"concurrencyPolicy": "Forbid"}));
    cluster.advance(1500);
    assert_eq!(cluster.events("JobAlreadyActive").len(), 1);
    end(&mut cluster, 10, "Succeeded");
    assert_eq!(jobs(&cluster), [10, 20], "the start that had to wait");
}

#[test]
fn of_many_missed_starts_the_last_is_made_up_for() {
    let mut cluster = made(&json!({}));
    cluster.now_ms += 3 * 3_600_000 + 5000;
    cluster.settle();
    assert_eq!(jobs(&cluster), [180]);
    assert_eq!(cluster.events("TooManyMissedTimes").len(), 0);
    cluster.now_ms += 24 * 3_600_000;
    cluster.settle();
    assert_eq!(jobs(&cluster), [180, 180 + 1440]);
    assert_eq!(cluster.events("TooManyMissedTimes").len(), 1);
}

#[test]
fn a_start_that_comes_too_late_is_left_out() {
    let mut cluster = made(&json!({"startingDeadlineSeconds": 30}));
    cluster.now_ms += 640_000;
    cluster.settle();
    assert_eq!(jobs(&cluster).len(), 0);
    cluster.now_ms = START_MS + 1_225_000;
    cluster.settle();
    assert_eq!(jobs(&cluster), [20]);
}

#[test]
fn a_suspended_one_starts_nothing_and_then_what_is_due() {
    let mut cluster = made(&json!({"suspend": true}));
    cluster.advance(1500);
    assert_eq!(jobs(&cluster).len(), 0);
    cluster.edit(CRON, "tick", |cron| cron["spec"]["suspend"] = false.into());
    cluster.settle();
    assert_eq!(jobs(&cluster), [20]);
}

#[test]
fn as_many_jobs_that_ended_are_kept_as_it_says() {
    let mut cluster = made(&json!({"successfulJobsHistoryLimit": 2, "failedJobsHistoryLimit": 0}));
    for minute in [10, 20, 30, 40] {
        cluster.advance(600);
        end(&mut cluster, minute, "Succeeded");
    }
    assert_eq!(jobs(&cluster), [30, 40]);
    assert_eq!(cluster.pods().len(), 2, "with their pods");
    cluster.edit(CRON, "tick", |cron| cron["spec"]["jobTemplate"]["spec"]["backoffLimit"] = 0.into());
    cluster.advance(600);
    end(&mut cluster, 50, "Failed");
    assert_eq!(jobs(&cluster), [30, 40]);
}

#[test]
fn the_clock_is_that_of_the_zone() {
    let mut cluster = made(&json!({"schedule": "30 2 * * *", "timeZone": "Asia/Kolkata"}));
    cluster.advance(21 * 3600);
    let job = cluster.state.list(JOB, None).next().unwrap().clone();
    assert_eq!(rfc3339(job.meta.created_ms), "2026-01-01T21:00:00Z");
    assert_eq!(
        job.meta.annotations["batch.kubernetes.io/cronjob-scheduled-timestamp"],
        "2026-01-02T02:30:00+05:30"
    );
    let cluster = made(&json!({"timeZone": "Mars/Olympus"}));
    assert_eq!(
        cluster.events("UnknownTimeZone"),
        ["invalid timeZone: \"Mars/Olympus\": unknown time zone Mars/Olympus"]
    );
}

#[test]
fn what_is_no_schedule_is_told() {
    assert_eq!(made(&json!({"schedule": "x * * * *"})).events("UnparseableSchedule").len(), 1);
    assert_eq!(made(&json!({"schedule": "59 23 31 2 *"})).events("InvalidSchedule").len(), 1);
}

#[test]
fn jobs_that_go_missing_or_come_from_nowhere_are_noticed() {
    let mut cluster = made(&json!({}));
    cluster.advance(600);
    cluster.delete(JOB, &name(10), Some(kontiki_actors::input::Propagation::Background));
    cluster.settle();
    assert_eq!((active(&cluster), cluster.events("MissingJob").len()), (0, 1));
    cluster.advance(600);
    let status = json!({"lastScheduleTime": "2026-01-01T00:20:00Z"});
    let cron = cluster.get(CRON, "tick");
    cluster.decide(kontiki_actors::Input::Api(kontiki_actors::Request::Update {
        key: cron.key.clone(),
        document: cron.document.with_status(status),
        part: kontiki_actors::input::Part::Status,
        revision: None,
        uid: None,
        dry_run: false,
    }));
    assert_eq!(cluster.events("UnexpectedJob").len(), 1);
}

/// Whoever leads next starts what is due, once.
#[test]
fn a_start_is_made_once_whoever_is_told_of_it() {
    let mut cluster = made(&json!({}));
    cluster.advance(600);
    cluster.verdicts(&["node-0"], Life::Suspect);
    cluster.edit(CRON, "tick", |cron| cron["metadata"]["labels"] = json!({"x": "y"}));
    cluster.settle();
    assert_eq!(
        (jobs(&cluster), cluster.events("SuccessfulCreate").iter().filter(|e| e.contains("job")).count()),
        (vec![10], 1)
    );
}

/// As after an upgrade from a build that only stored these kinds.
#[test]
fn what_no_actor_has_looked_at_runs_from_the_next_term_on() {
    let mut cluster = Cluster::new(1);
    let pods = cron(&json!({}))["spec"]["jobTemplate"]["spec"]["template"].clone();
    let set = json!({"selector": {"matchLabels": {"app": "tick"}}, "template": pods, "replicas": 1});
    for (kind, spec) in [
        (Kind::DAEMON_SET, set.clone()),
        (Kind::STATEFUL_SET, set),
        (JOB, json!({"template": pods})),
        (CRON, cron(&json!({}))["spec"].clone()),
    ] {
        let value = json!({"metadata": {"name": "tick", "namespace": "default", "uid": kind.info().kind, "generation": 1,
            "creationTimestamp": rfc3339(START_MS), "labels": {}}, "spec": spec});
        let document = Document::from_value(value);
        let change = Change::between(key(kind, "tick"), None, &document).unwrap();
        cluster.state.apply(&change);
        cluster.follower.apply(&change);
    }
    cluster.decide(Input::Bootstrap(Vec::new()));
    cluster.settle();
    assert_eq!(cluster.pods().len(), 3);
    cluster.advance(600);
    assert!(jobs(&cluster).contains(&10));
}
