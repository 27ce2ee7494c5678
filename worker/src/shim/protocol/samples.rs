//! A value of every kind that crosses the wire, for tests of its encodings.

use super::{Answer, Call, Message, Request};
use crate::image::Root;
use crate::runtime::{
    ContainerPhase, ContainerSpec, ContainerState, ExecOutput, Exit, ImageRef, Mount, PodSandbox,
    RuntimeClass, RuntimeError, Started,
};
use crate::shim::Launch;
use crate::shim::state::{PodState, Record};

fn text(text: &str) -> String {
    text.to_owned()
}

fn image() -> ImageRef {
    ImageRef { name: text("docker.io/library/web:1"), digest: text("sha256:ab"), size_bytes: 1 << 33 }
}

fn started() -> Started {
    Started { container_id: text("kontiki://1"), pid: 4711, started_at_ms: 1_700_000_000_000 }
}

fn exit() -> Exit {
    Exit {
        code: 137,
        signal: Some(9),
        oom_killed: true,
        started_at_ms: 1_700_000_000_000,
        finished_at_ms: 1_700_000_060_000,
        message: text("no memory"),
    }
}

pub(super) fn launch() -> Launch {
    let spec = ContainerSpec {
        name: text("web"),
        attempt: 3,
        image: image(),
        command: vec![text("sh")],
        args: vec![text("-c"), text("true")],
        env: vec![(text("A"), text("1"))],
        working_dir: Some(text("/srv")),
        mounts: vec![Mount { source: "/a".into(), target: "/b".into(), read_only: true, sub_path: None }],
        cpu_milli_limit: Some(500),
        cpu_milli_request: None,
        memory_limit_bytes: Some(64 << 20),
        pids_limit: Some(100),
        user: Some(1000),
        group: Some(2000),
        privileged: true,
        read_only_root: false,
        add_capabilities: vec![text("NET_ADMIN")],
        drop_capabilities: vec![text("ALL")],
        no_new_privileges: true,
        log_path: "/log/3.log".into(),
        termination_message_path: text("/dev/termination-log"),
        termination_message_from_log: true,
        ..ContainerSpec::default()
    };
    Launch {
        spec,
        rootfs: Root::Flat("/images/ab".into()),
        args: vec![text("sh"), text("-c"), text("true")],
        env: vec![(text("PATH"), text("/bin"))],
        working_dir: text("/srv"),
        uid: 1000,
        gid: 2000,
        groups: vec![3000],
    }
}

fn state() -> PodState {
    let sandbox = PodSandbox {
        uid: text("u-1"),
        namespace: text("shop"),
        name: text("web-0"),
        hostname: text("web"),
        class: RuntimeClass::Host,
        host_network: true,
        blob: vec![0, 255, 7],
        ..PodSandbox::default()
    };
    let container = |attempt, phase| ContainerState {
        name: text("web"),
        attempt,
        image: image(),
        started: started(),
        phase,
    };
    let containers = vec![
        Record { state: container(2, ContainerPhase::Exited(exit())), told: true },
        Record { state: container(3, ContainerPhase::Running), told: false },
    ];
    PodState { format: 1, shim_pid: 42, sandbox, containers }
}

/// Every call.
pub(super) fn requests() -> Vec<Request> {
    let container = || text("web");
    let calls = vec![
        Call::Hello,
        Call::StartContainer(Box::new(launch())),
        Call::Signal { container: container(), signal: 15 },
        Call::Exec { container: container(), command: vec![text("true")], timeout_ms: 1000 },
        Call::Socket,
        Call::StoreBlob(vec![0, 255, 7]),
        Call::Acknowledge { container: container(), attempt: 3 },
        Call::Shutdown,
    ];
    calls.into_iter().zip(300..).map(|(call, id)| Request { id, call }).collect()
}

/// Every message, answer and error.
pub(super) fn messages() -> Vec<Message> {
    let pod_uid = || text("u-1");
    let cause = || text("cause");
    let answers = vec![
        Ok(Answer::Welcome(Box::new(state()))),
        Ok(Answer::Started { started: started(), warnings: vec![text("warning")] }),
        Ok(Answer::Output(ExecOutput {
            code: 1,
            stdout: vec![0, 255],
            stderr: vec![104, 105],
            timed_out: true,
        })),
        Ok(Answer::Done),
        Err(RuntimeError::ImageMissing(text("web:1"))),
        Err(RuntimeError::ImageBroken { image: text("web:1"), cause: cause() }),
        Err(RuntimeError::StartFailed(cause())),
        Err(RuntimeError::CreateFailed(cause())),
        Err(RuntimeError::Invalid(cause())),
        Err(RuntimeError::PodUnknown(pod_uid())),
        Err(RuntimeError::ContainerUnknown { pod_uid: pod_uid(), container: text("web") }),
        Err(RuntimeError::Connect { pod_uid: pod_uid(), port: 80, cause: cause() }),
        Err(RuntimeError::Shim { pod_uid: pod_uid(), cause: cause() }),
    ];
    let answers = answers.into_iter().zip(300..).map(|(answer, id)| Message::Answer { id, answer });
    answers.chain([Message::Exited { container: text("web"), attempt: 3, exit: exit() }]).collect()
}
