//! The decision alone: no runtime, no task, no clock.

use crate::pod::document::Pod;
use crate::pod::observed::{Ending, MountFailure, Observed, Outcome, Run};
use crate::pod::status;
use crate::pod::step::{Step, next};
use crate::runtime::{AdoptedPod, ContainerPhase, ContainerState, Exit, ImageRef, PodSandbox, Started};

fn pod(spec: &str) -> Pod {
    let json = format!(r#"{{"metadata":{{"name":"p","namespace":"ns","uid":"u"}},"spec":{{{spec}}}}}"#);
    Pod::parse(json.as_bytes()).unwrap()
}

fn ready() -> Observed {
    Observed { sandbox: true, volumes: true, start_ms: Some(0), ..Observed::default() }
}

fn begin(seen: &mut Observed, name: &str, now_ms: i64) {
    let attempt = seen.record(name).starts;
    let run = Run {
        attempt,
        container_id: format!("kontiki://{name}"),
        image: ImageRef::default(),
        started_ms: now_ms,
    };
    let record = seen.record_mut(name);
    record.begin(run);
    (record.started, record.ready) = (true, true);
}

fn end(seen: &mut Observed, name: &str, code: i32, now_ms: i64) {
    let started_at_ms = seen.record(name).run().unwrap().started_ms;
    let exit = Exit {
        code,
        signal: None,
        oom_killed: false,
        started_at_ms,
        finished_at_ms: now_ms,
        message: String::new(),
    };
    seen.record_mut(name).end(exit, None);
}

fn start(name: &str) -> Step {
    Step::Start(name.to_owned())
}

#[test]
fn what_is_found_of_a_pod_that_does_not_live_is_removed_first_whatever_was_noted_of_it() {
    let pod = pod(r#""containers":[{"name":"a"}]"#);
    let found =
        AdoptedPod { sandbox: PodSandbox::default(), alive: false, estranged: None, containers: Vec::new() };
    for delete_by_ms in [None, Some(0)] {
        let mut seen = Observed { delete_by_ms, ..Observed::default() };
        seen.adopt(&pod, Some(&found), 0);
        assert_eq!(next(&pod, &seen, 0), Step::RemoveSandbox);
    }
    let mut seen = Observed { delete_by_ms: Some(0), ..Observed::default() };
    seen.adopt(&pod, None, 0);
    assert_eq!(next(&pod, &seen, 0), Step::Gone);
}

#[test]
fn of_a_pod_whose_shim_cannot_be_spoken_to_ends_need_not_be_seen() {
    let pod = pod(r#""containers":[{"name":"a"}]"#);
    let mut seen = ready();
    seen.estranged = Some("it speaks version 9".to_owned());
    assert_eq!(next(&pod, &seen, 0), Step::Wait { until_ms: None }, "nothing is started");
    begin(&mut seen, "a", 0);
    seen.delete_by_ms = Some(1000);
    assert_eq!(next(&pod, &seen, 0), Step::Stop("a".to_owned(), 1000));
    assert_eq!(next(&pod, &seen, 3000), Step::RemoveSandbox, "though it still seems to run");
}

#[test]
fn everything_is_prepared_in_order_and_init_containers_go_first() {
    let pod =
        pod(r#""initContainers":[{"name":"i1"},{"name":"i2"}],"containers":[{"name":"a"},{"name":"b"}]"#);
    let mut seen = Observed::default();
    assert_eq!(next(&pod, &seen, 0), Step::MountVolumes);
    seen.volumes = true;
    assert_eq!(next(&pod, &seen, 0), Step::StartSandbox);
    seen.sandbox = true;
    assert_eq!(next(&pod, &seen, 0), start("i1"));
    begin(&mut seen, "i1", 0);
    assert_eq!(next(&pod, &seen, 0), Step::Wait { until_ms: None });
    end(&mut seen, "i1", 0, 5);
    assert_eq!(next(&pod, &seen, 5), start("i2"));
    begin(&mut seen, "i2", 5);
    end(&mut seen, "i2", 0, 9);
    assert_eq!(next(&pod, &seen, 9), start("a"));
    begin(&mut seen, "a", 9);
    assert_eq!(next(&pod, &seen, 9), start("b"));
    begin(&mut seen, "b", 9);
    assert_eq!(next(&pod, &seen, 9), Step::Wait { until_ms: None });
}

#[test]
fn an_ephemeral_container_is_started_once_and_decides_nothing() {
    let spec = |policy: &str| {
        pod(&format!(
            r#""restartPolicy":"{policy}","initContainers":[{{"name":"i"}}],"containers":[{{"name":"a"}}],
            "ephemeralContainers":[{{"name":"d","targetContainerName":"a"}}]"#
        ))
    };
    for policy in ["Always", "OnFailure", "Never"] {
        let pod = spec(policy);
        let mut seen = ready();
        assert_eq!(next(&pod, &seen, 0), start("d"), "also into a pod that does not get ready");
        begin(&mut seen, "d", 0);
        seen.record_mut("d").ready = false;
        assert_eq!(next(&pod, &seen, 0), start("i"));
        begin(&mut seen, "i", 0);
        end(&mut seen, "i", 0, 0);
        begin(&mut seen, "a", 0);
        assert_eq!(status::document(&pod, &seen, &Default::default())["phase"], "Running");
        end(&mut seen, "d", 1, 1);
        assert_eq!(next(&pod, &seen, 1), Step::Wait { until_ms: None }, "it is not restarted: {policy}");
        assert_eq!(seen.outcome(&pod), None);
        let told = &status::document(&pod, &seen, &Default::default())["ephemeralContainerStatuses"][0];
        assert_eq!(told["state"]["terminated"]["exitCode"], 1, "{told}");
        assert_eq!((&told["restartCount"], &told["ready"]), (&0.into(), &false.into()));
        assert_eq!(told.get("started"), None);
    }
    // It does not keep a pod that is through, and ends with it.
    let pod = spec("Never");
    let mut seen = ready();
    for name in ["i", "a"] {
        begin(&mut seen, name, 0);
        end(&mut seen, name, 0, 1);
    }
    begin(&mut seen, "d", 0);
    assert_eq!(seen.outcome(&pod), Some(Outcome::Succeeded));
    assert!(matches!(next(&pod, &seen, 1), Step::Stop(name, _) if name == "d"));
    seen = ready();
    begin(&mut seen, "d", 0);
    seen.delete_by_ms = Some(1000);
    assert_eq!(next(&pod, &seen, 0), Step::Stop("d".to_owned(), 1000));
    // Its sandbox is lost: it is over, whatever starts anew.
    seen.delete_by_ms = None;
    seen.lose(&pod, 5);
    (seen.sandbox, seen.leftovers, seen.volumes) = (true, false, true);
    assert_eq!(next(&pod, &seen, 5), start("i"));
}

#[test]
fn crashes_are_followed_by_ever_longer_pauses_until_it_runs_well() {
    let pod = pod(r#""containers":[{"name":"a"}]"#);
    let mut seen = ready();
    let mut now_ms = 0;
    let mut pauses = Vec::new();
    for _ in 0..8 {
        assert_eq!(next(&pod, &seen, now_ms), start("a"));
        begin(&mut seen, "a", now_ms);
        end(&mut seen, "a", 1, now_ms);
        let before = now_ms;
        if let Step::Wait { until_ms: Some(until_ms) } = next(&pod, &seen, now_ms) {
            now_ms = until_ms;
        }
        pauses.push((now_ms - before) / 1000);
    }
    assert_eq!(pauses, [0, 10, 20, 40, 80, 160, 300, 300]);
    assert_eq!(seen.record("a").restart_count(), 7);
    begin(&mut seen, "a", now_ms);
    now_ms += 600_000;
    end(&mut seen, "a", 1, now_ms);
    assert_eq!(next(&pod, &seen, now_ms), start("a"), "after ten good minutes the next restart is at once");
}

#[test]
fn the_restart_policy_decides_how_a_pod_ends() {
    for (policy, code, outcome) in [
        ("Always", 0, None),
        ("OnFailure", 0, Some(Outcome::Succeeded)),
        ("OnFailure", 1, None),
        ("Never", 0, Some(Outcome::Succeeded)),
        ("Never", 3, Some(Outcome::Failed)),
    ] {
        let pod = pod(&format!(r#""restartPolicy":"{policy}","containers":[{{"name":"a"}}]"#));
        let mut seen = ready();
        begin(&mut seen, "a", 0);
        end(&mut seen, "a", code, 1);
        assert_eq!(seen.outcome(&pod), outcome, "{policy} {code}");
        let expected = if outcome.is_some() { Step::RemoveSandbox } else { start("a") };
        assert_eq!(next(&pod, &seen, 1), expected, "{policy} {code}");
    }
}

#[test]
fn a_failed_init_container_ends_a_pod_that_never_restarts() {
    let pod = pod(r#""restartPolicy":"Never","initContainers":[{"name":"i"}],"containers":[{"name":"a"}]"#);
    let mut seen = ready();
    begin(&mut seen, "i", 0);
    end(&mut seen, "i", 1, 1);
    assert_eq!(seen.outcome(&pod), Some(Outcome::Failed));
    let status = status::document(&pod, &seen, &Default::default());
    assert_eq!(status["phase"], "Failed");
    assert_eq!(status["initContainerStatuses"][0]["state"]["terminated"]["exitCode"], 1);
}

#[test]
fn a_deleted_pod_is_asked_first_and_killed_at_its_deadline() {
    let pod =
        pod(r#""containers":[{"name":"a","lifecycle":{"preStop":{"exec":{"command":["x"]}}}},{"name":"b"}]"#);
    let mut seen = ready();
    begin(&mut seen, "a", 0);
    begin(&mut seen, "b", 0);
    seen.delete_by_ms = Some(30_000);
    let a = || "a".to_owned();
    let b = || "b".to_owned();
    assert_eq!(next(&pod, &seen, 0), Step::Stop(a(), 30_000));
    seen.record_mut("a").stopping =
        Some(crate::pod::observed::Stopping { by_ms: 30_000, ..Default::default() });
    assert_eq!(next(&pod, &seen, 0), Step::PreStop(a()));
    seen.record_mut("a").stopping.as_mut().unwrap().hook_begun = true;
    assert_eq!(next(&pod, &seen, 0), Step::Stop(b(), 30_000));
    seen.record_mut("b").stopping =
        Some(crate::pod::observed::Stopping { by_ms: 30_000, ..Default::default() });
    assert_eq!(next(&pod, &seen, 0), Step::Ask(b()), "b has no hook to wait for");
    seen.record_mut("b").stopping.as_mut().unwrap().asked = true;
    assert_eq!(next(&pod, &seen, 0), Step::Wait { until_ms: Some(30_000) });
    seen.record_mut("a").stopping.as_mut().unwrap().hook_over = true;
    assert_eq!(next(&pod, &seen, 1), Step::Ask(a()));
    seen.record_mut("a").stopping.as_mut().unwrap().asked = true;
    end(&mut seen, "b", 143, 2);
    assert_eq!(next(&pod, &seen, 30_000), Step::Kill(a()));
    seen.record_mut("a").stopping.as_mut().unwrap().killed_ms = Some(30_000);
    end(&mut seen, "a", 137, 30_001);
    assert_eq!(next(&pod, &seen, 30_001), Step::RemoveSandbox);
    seen.sandbox = false;
    assert_eq!(next(&pod, &seen, 30_001), Step::Gone, "only now does nothing of it run");
}

#[test]
fn a_shorter_grace_overtakes_a_longer_one() {
    let pod = pod(r#""containers":[{"name":"a"}]"#);
    let mut seen = ready();
    begin(&mut seen, "a", 0);
    seen.delete_by_ms = Some(30_000);
    seen.record_mut("a").stopping =
        Some(crate::pod::observed::Stopping { by_ms: 30_000, asked: true, ..Default::default() });
    seen.delete_by_ms = Some(100);
    assert_eq!(next(&pod, &seen, 100), Step::Stop("a".to_owned(), 100));
}

#[test]
fn sidecars_start_before_and_end_after_the_others() {
    let pod = pod(
        r#""restartPolicy":"Never","initContainers":[{"name":"s","restartPolicy":"Always"}],"containers":[{"name":"a"}]"#,
    );
    let mut seen = ready();
    assert_eq!(next(&pod, &seen, 0), start("s"));
    begin(&mut seen, "s", 0);
    assert_eq!(next(&pod, &seen, 0), start("a"));
    begin(&mut seen, "a", 0);
    end(&mut seen, "a", 0, 5);
    assert_eq!(next(&pod, &seen, 5), Step::Stop("s".to_owned(), 30_005));
    end(&mut seen, "s", 143, 6);
    assert_eq!(next(&pod, &seen, 6), Step::RemoveSandbox);
}

#[test]
fn a_container_whose_start_was_not_written_down_counts_as_started_when_it_is_found() {
    let pod = pod(r#""initContainers":[{"name":"s","restartPolicy":"Always"}],"containers":[
            {"name":"a","startupProbe":{"exec":{"command":["x"]}}},
            {"name":"b","readinessProbe":{"exec":{"command":["x"]}}}]"#);
    let running = |name: &str| ContainerState {
        name: name.to_owned(),
        attempt: 0,
        image: ImageRef::default(),
        started: Started { container_id: format!("kontiki://{name}"), pid: 1, started_at_ms: 1 },
        phase: ContainerPhase::Running,
    };
    let adopted = |names: &[&str]| AdoptedPod {
        sandbox: PodSandbox::default(),
        alive: true,
        estranged: None,
        containers: names.iter().map(|name| running(name)).collect(),
    };
    let mut seen = Observed { volumes: true, ..Observed::default() };
    seen.adopt(&pod, Some(&adopted(&["s"])), 2);
    assert_eq!(next(&pod, &seen, 2), start("a"), "nothing waits for its sidecar");
    seen.adopt(&pod, Some(&adopted(&["s", "a", "b"])), 3);
    let probed = ["s", "a", "b"].map(|name| (seen.record(name).started, seen.record(name).ready));
    assert_eq!(
        probed,
        [(true, true), (false, false), (true, false)],
        "but probes still decide where there are some"
    );
}

#[test]
fn what_crashes_is_restarted_although_its_volumes_are_not_to_be_had_any_more() {
    let pod = pod(r#""containers":[{"name":"a"}]"#);
    let mut seen = ready();
    begin(&mut seen, "a", 0);
    seen.volumes = false;
    seen.mount_failure =
        Some(MountFailure { message: "not found".to_owned(), retry_ms: 9000, delay_ms: 9000 });
    assert_eq!(next(&pod, &seen, 1), Step::Wait { until_ms: Some(9000) });
    end(&mut seen, "a", 1, 2);
    assert_eq!(next(&pod, &seen, 2), start("a"), "the files are there as they were");
    assert_eq!(next(&pod, &seen, 9000), Step::MountVolumes);
    seen.sandbox = false;
    assert_eq!(next(&pod, &seen, 2), Step::Wait { until_ms: Some(9000) }, "nothing is there any more");
}

#[test]
fn a_clock_that_is_set_back_holds_up_no_next_try() {
    const MONTH_MS: i64 = 30 * 24 * 3_600_000;
    let pod = pod(r#""containers":[{"name":"a"}]"#);
    let mut seen = ready();
    begin(&mut seen, "a", MONTH_MS);
    seen.record_mut("a").crash_delay_ms = 300_000;
    end(&mut seen, "a", 1, MONTH_MS);
    assert_eq!(next(&pod, &seen, MONTH_MS), Step::Wait { until_ms: Some(MONTH_MS + 300_000) });
    assert_eq!(next(&pod, &seen, 0), start("a"));
    let mut seen = Observed { sandbox_retry_ms: MONTH_MS, ..Observed::default() };
    seen.mount_failure = Some(MountFailure { message: String::new(), retry_ms: MONTH_MS, delay_ms: 1000 });
    assert_eq!(next(&pod, &seen, 0), Step::MountVolumes);
    seen.volumes = true;
    assert_eq!(next(&pod, &seen, 0), Step::StartSandbox);
}

#[test]
fn conditions_keep_their_times_and_say_what_is_not_ready() {
    let pod = pod(r#""containers":[{"name":"a"},{"name":"b"}]"#);
    let mut seen = ready();
    begin(&mut seen, "a", 0);
    begin(&mut seen, "b", 0);
    seen.record_mut("b").ready = false;
    status::settle_conditions(&pod, &mut seen, 1000);
    status::settle_conditions(&pod, &mut seen, 9000);
    let document = status::document(&pod, &seen, &Default::default());
    let condition = |document: &serde_json::Value, name: &str| {
        document["conditions"].as_array().unwrap().iter().find(|c| c["type"] == name).unwrap().clone()
    };
    let ready = condition(&document, "Ready");
    assert_eq!(ready["status"], "False");
    assert_eq!(ready["lastTransitionTime"], "1970-01-01T00:00:01Z");
    assert_eq!(ready["message"], "containers with unready status: [b]");
    assert_eq!(document["phase"], "Running");
    seen.record_mut("b").ready = true;
    status::settle_conditions(&pod, &mut seen, 10_000);
    let ready = condition(&status::document(&pod, &seen, &Default::default()), "Ready");
    assert_eq!(
        (&ready["status"], &ready["lastTransitionTime"]),
        (&"True".into(), &"1970-01-01T00:00:10Z".into())
    );
    assert!(ready.get("reason").is_none());
}

#[test]
fn an_ending_of_the_worker_itself_fails_the_pod() {
    let pod = pod(r#""activeDeadlineSeconds":5,"containers":[{"name":"a"}]"#);
    let mut seen = ready();
    begin(&mut seen, "a", 0);
    assert_eq!(next(&pod, &seen, 0), Step::Wait { until_ms: Some(5000) });
    assert_eq!(next(&pod, &seen, 5000), Step::Expire);
    let reason = "DeadlineExceeded".to_owned();
    seen.ending = Some(Ending { reason, message: String::new(), by_ms: 6000, disrupted_ms: None });
    assert_eq!(next(&pod, &seen, 5000), Step::Stop("a".to_owned(), 6000));
    end(&mut seen, "a", 0, 5500);
    let status = status::document(&pod, &seen, &Default::default());
    assert_eq!((&status["phase"], &status["reason"]), (&"Failed".into(), &"DeadlineExceeded".into()));
}
