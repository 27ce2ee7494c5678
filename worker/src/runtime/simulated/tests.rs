#![allow(clippy::unwrap_used)]

use super::*;
use crate::runtime::RuntimeClass;

fn worker() -> (SimulatedRuntime, mpsc::Receiver<RuntimeEvent>) {
    let simulation = Simulation { images: vec!["web:1".to_owned()], ..Simulation::default() };
    let runtime = SimulatedRuntime::new(simulation);
    let events = runtime.events();
    (runtime, events)
}

fn sandbox() -> PodSandbox {
    PodSandbox {
        uid: "pod".to_owned(),
        namespace: "default".to_owned(),
        name: "web".to_owned(),
        hostname: "web".to_owned(),
        class: RuntimeClass::Container,
        blob: vec![1],
        ..PodSandbox::default()
    }
}

fn spec(runtime: &SimulatedRuntime, attempt: u32, script: &str) -> ContainerSpec {
    ContainerSpec {
        name: "main".to_owned(),
        attempt,
        image: runtime.resolve_image("web:1").unwrap(),
        command: vec!["sh".to_owned(), "-c".to_owned(), script.to_owned()],
        ..ContainerSpec::default()
    }
}

fn code_of(event: Option<RuntimeEvent>) -> (u32, i32, i64) {
    match event {
        Some(RuntimeEvent::Exited { attempt, exit, .. }) => {
            (attempt, exit.code, exit.finished_at_ms - exit.started_at_ms)
        }
        other => panic!("{other:?} is no exit"),
    }
}

#[tokio::test(start_paused = true)]
async fn containers_do_what_their_command_says() {
    let (runtime, mut events) = worker();
    runtime.start_pod(sandbox()).await.unwrap();
    runtime.start_container("pod", spec(&runtime, 0, "exit 3")).await.unwrap();
    assert_eq!(code_of(events.recv().await), (0, 3, 0));
    runtime.start_container("pod", spec(&runtime, 1, "sleep 5")).await.unwrap();
    assert_eq!(code_of(events.recv().await), (1, 0, 5000));
    let missing = runtime.start_container("pod", spec(&runtime, 2, "missing")).await.unwrap_err();
    assert_eq!(missing.reason(), "StartError");
    runtime.start_container("pod", spec(&runtime, 3, "serve")).await.unwrap();
    runtime.signal("pod", "main", 15).await.unwrap();
    assert_eq!(code_of(events.recv().await).1, 143);
    runtime.start_container("pod", spec(&runtime, 4, "serve ignore-term")).await.unwrap();
    runtime.signal("pod", "main", 15).await.unwrap();
    runtime.signal("pod", "main", 9).await.unwrap();
    assert_eq!(code_of(events.recv().await).1, 137);
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_restarts_finds_its_pods() {
    let (runtime, _events) = worker();
    runtime.start_pod(sandbox()).await.unwrap();
    runtime.start_container("pod", spec(&runtime, 0, "serve")).await.unwrap();
    let successor = runtime.clone();
    let mut events = successor.events();
    let adopted = successor.adopt().await.unwrap();
    assert_eq!((adopted.len(), adopted[0].alive, &adopted[0].sandbox), (1, true, &sandbox()));
    runtime.set_healthy("pod", "main", false);
    let command = vec!["probe".to_owned()];
    assert_eq!(successor.exec("pod", "main", command, Duration::from_secs(1)).await.unwrap().code, 1);
    assert!(successor.connect("pod", 80, Duration::from_secs(1)).await.is_err());
    runtime.lose_pod("pod");
    assert_eq!(events.recv().await, Some(RuntimeEvent::PodLost { pod_uid: "pod".to_owned() }));
    assert!(!successor.adopt().await.unwrap()[0].alive);
    successor.remove_pod("pod").await.unwrap();
    assert_eq!(successor.adopt().await.unwrap(), []);
}
