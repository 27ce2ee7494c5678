//! Commands with streams: what they are given and what they say, at any size, in pipes and in terminals, and how they end.
#![allow(missing_docs, clippy::unwrap_used)]

mod runtime_suite;
mod runtime_support;

use std::time::Duration;

use kontiki_worker::runtime::{ContainerSpec, ProcessStreams, RuntimeClass, RuntimeError, StdStreams};
use runtime_suite::streams::{self, ALL, TERMINAL, all_of, run};
use runtime_support::{Agent, PATIENCE, Worker, cannot_run_containers};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A pod with a container that does nothing; both classes where both can run.
async fn each_class(test: impl AsyncFn(&Agent)) {
    for class in [RuntimeClass::Container, RuntimeClass::Host] {
        if class == RuntimeClass::Container && cannot_run_containers() {
            continue;
        }
        let worker = Worker::default();
        let agent = worker.runtime();
        agent.start_pod("pod", class).await;
        agent.runtime.start_container("pod", agent.spec("main", "sleep 1000")).await.unwrap();
        tokio::time::timeout(PATIENCE, test(&agent)).await.expect("it ends");
        agent.runtime.remove_pod("pod").await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_is_given_and_says_what_is_its_own() {
    each_class(async |agent| streams::a_command_is_given_and_says_what_is_its_own(agent).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_go_through_as_they_are_and_the_end_of_the_input_is_seen() {
    each_class(async |agent| {
        streams::bytes_go_through_as_they_are_and_the_end_of_the_input_is_seen(agent).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_terminal_is_one_of_the_containers_own_and_changes_its_size() {
    each_class(async |agent| {
        streams::a_terminal_is_one_of_the_containers_own_and_changes_its_size(agent).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_of_the_terminal_interrupts_and_hanging_up_ends() {
    each_class(async |agent| {
        streams::a_key_of_the_terminal_interrupts(agent).await;
        let ProcessStreams { stdin, stdout, terminal, exit, .. } = run(agent, "sleep 1000", TERMINAL).await;
        drop((stdin, stdout, terminal));
        assert_eq!(exit.await, Ok(129), "SIGHUP");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_read_holds_up_the_command_and_nobody_else() {
    each_class(async |agent| {
        let held = streams::who_does_not_read_holds_up_nobody_else(agent).await;
        let ProcessStreams { stdin, stdout, stderr, exit, .. } = held;
        drop((stdin, stdout, stderr));
        assert_eq!(exit.await, Ok(141), "SIGPIPE: nobody reads any more");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_say_what_is_wrong() {
    each_class(async |agent| {
        let command = |name: &str| vec![name.to_owned()];
        let missing = agent.runtime.run("pod", "main", command("no-such-program"), ALL).await.err().unwrap();
        assert!(matches!(missing, RuntimeError::StartFailed(_)), "{missing:?}");
        assert!(missing.to_string().contains("executable file not found in $PATH"), "{missing}");
        let unknown = agent.runtime.run("pod", "other", command("true"), ALL).await.err().unwrap();
        assert!(matches!(&unknown, RuntimeError::ContainerUnknown { container, .. } if container == "other"));
        let unknown = agent.runtime.run("nowhere", "main", command("true"), ALL).await.err().unwrap();
        assert!(matches!(unknown, RuntimeError::PodUnknown(_)));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn there_are_only_so_many_at_a_time_and_those_left_alone_do_not_count() {
    each_class(async |agent| {
        let mut held = Vec::new();
        let refusal = loop {
            let command = ["sleep", "1000"].map(str::to_owned).to_vec();
            match agent.runtime.run("pod", "main", command, ALL).await {
                Ok(streams) => held.push(streams),
                Err(refusal) => break refusal,
            }
            assert!(held.len() < 1000);
        };
        assert!(matches!(refusal, RuntimeError::Invalid(_)), "{refusal:?}");
        assert!(held.len() >= 16, "{}", held.len());
        held.clear();
        // The shim hears of it a moment later.
        loop {
            match agent.runtime.run("pod", "main", vec!["true".to_owned()], ALL).await {
                Ok(streams) => break assert_eq!(streams.exit.await, Ok(0)),
                Err(RuntimeError::Invalid(_)) => tokio::task::yield_now().await,
                Err(other) => panic!("{other:?}"),
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_the_pod_ends_the_streams() {
    if cannot_run_containers() {
        return;
    }
    let worker = Worker::default();
    let agent = worker.runtime();
    agent.start_pod("pod", RuntimeClass::Container).await;
    agent.runtime.start_container("pod", agent.spec("main", "sleep 1000")).await.unwrap();
    let ProcessStreams { stdout, exit, .. } = run(&agent, "echo up; sleep 1000", ALL).await;
    let mut stdout = stdout.unwrap();
    tokio::time::timeout(PATIENCE, hears(&mut stdout, "up\n")).await.unwrap();
    agent.runtime.signal("pod", "main", 9).await.unwrap();
    assert_eq!(tokio::time::timeout(PATIENCE, exit).await.unwrap(), Ok(137), "it ends with its container");
    assert_eq!(all_of(Some(stdout)).await, b"");

    let mut again = agent.spec("main", "sleep 1000");
    again.attempt = 1;
    while let Err(RuntimeError::Invalid(_)) = agent.runtime.start_container("pod", again.clone()).await {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let ProcessStreams { exit, .. } = run(&agent, "sleep 1000", ALL).await;
    agent.runtime.remove_pod("pod").await.unwrap();
    let ended = tokio::time::timeout(PATIENCE, exit).await.unwrap();
    assert!(ended == Ok(137) || matches!(ended, Err(RuntimeError::Shim { .. })), "{ended:?}");
}

/// A pod whose container `main` is this; both classes where both can run.
async fn each_class_with(spec: impl Fn(&Agent) -> ContainerSpec, test: impl AsyncFn(&Agent)) {
    for class in [RuntimeClass::Container, RuntimeClass::Host] {
        if class == RuntimeClass::Container && cannot_run_containers() {
            continue;
        }
        let worker = Worker::default();
        let agent = worker.runtime();
        agent.start_pod("pod", class).await;
        agent.runtime.start_container("pod", spec(&agent)).await.unwrap();
        tokio::time::timeout(PATIENCE, test(&agent)).await.expect("it ends");
        agent.runtime.remove_pod("pod").await.unwrap();
    }
}

/// Reads until it has seen this.
async fn hears(from: &mut (impl AsyncReadExt + Unpin), what: &str) {
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains(what) {
        let count = from.read_buf(&mut seen).await.unwrap();
        assert!(count > 0, "{what:?} did not come, but {:?}", String::from_utf8_lossy(&seen));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_attaches_hears_what_comes_and_may_write() {
    let spec = |agent: &Agent| ContainerSpec {
        stdin: true,
        ..agent.spec("main", "while read word; do echo out $word; echo err $word >&2; done")
    };
    each_class_with(spec, async |agent| {
        let mut one = agent.runtime.attach("pod", "main", ALL).await.unwrap();
        let only = StdStreams { stdout: true, ..StdStreams::default() };
        let mut two = agent.runtime.attach("pod", "main", only).await.unwrap();
        assert!(two.stdin.is_none() && two.stderr.is_none());
        one.stdin.as_mut().unwrap().write_all(b"a\n").await.unwrap();
        hears(one.stdout.as_mut().unwrap(), "out a\n").await;
        hears(one.stderr.as_mut().unwrap(), "err a\n").await;
        hears(two.stdout.as_mut().unwrap(), "out a\n").await;
        // Who leaves takes nothing with him: not the input, and nobody else's ears.
        drop(one);
        let mut three = agent.runtime.attach("pod", "main", ALL).await.unwrap();
        three.stdin.as_mut().unwrap().write_all(b"b\n").await.unwrap();
        hears(two.stdout.as_mut().unwrap(), "out b\n").await;
        assert_eq!(agent.log("main", "stdout"), "out a\nout b\n");
        agent.runtime.signal("pod", "main", 9).await.unwrap();
        assert_eq!((two.exit.await, three.exit.await), (Ok(137), Ok(137)));
        assert_eq!(all_of(two.stdout).await, b"");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_input_that_is_meant_for_one_ends_with_him() {
    let spec = |agent: &Agent| ContainerSpec {
        stdin: true,
        stdin_once: true,
        ..agent.spec("main", "cat; echo over; exit 3")
    };
    each_class_with(spec, async |agent| {
        let ProcessStreams { stdin, stdout, exit, .. } =
            agent.runtime.attach("pod", "main", ALL).await.unwrap();
        let late = agent.runtime.attach("pod", "main", ALL).await.unwrap();
        assert!(late.stdin.is_none());
        let mut stdin = stdin.unwrap();
        stdin.write_all(b"words\n").await.unwrap();
        drop(stdin);
        assert_eq!(all_of(stdout).await, b"words\nover\n");
        assert_eq!((exit.await, late.exit.await), (Ok(3), Ok(3)));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_may_have_a_terminal_of_its_own() {
    let spec = |agent: &Agent| ContainerSpec {
        stdin: true,
        tty: true,
        ..agent.spec("main", "tty; echo $TERM; read word; echo got $word; stty size; read word; exit 4")
    };
    each_class_with(spec, async |agent| {
        let refused = agent.runtime.attach("pod", "main", ALL).await.err().unwrap();
        assert!(matches!(refused, RuntimeError::Invalid(_)), "{refused:?}");
        let ProcessStreams { stdin, stdout, stderr, terminal, exit } =
            agent.runtime.attach("pod", "main", TERMINAL).await.unwrap();
        assert!(stderr.is_none());
        terminal.as_ref().unwrap().resize(111, 22).unwrap();
        let (mut stdin, mut stdout) = (stdin.unwrap(), stdout.unwrap());
        stdin.write_all(b"one\n").await.unwrap();
        hears(&mut stdout, "got one\r\n").await;
        stdin.write_all(b"two\n").await.unwrap();
        assert_eq!(exit.await, Ok(4));
        let rest = String::from_utf8(all_of(Some(stdout)).await).unwrap();
        let log = agent.log("main", "stdout");
        assert!(log.contains("/dev/pts/") && log.contains("xterm\n"), "{log}");
        assert!(log.contains("22 111\n"), "{log}: {rest}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_container_waits_for_who_is_attached() {
    let spec =
        |agent: &Agent| agent.spec("main", "while :; do echo 0123456789012345678901234567890123456789; done");
    each_class_with(spec, async |agent| {
        let slow = agent.runtime.attach("pod", "main", ALL).await.unwrap();
        let cut = slow.exit.await.unwrap_err();
        assert!(cut.to_string().contains("faster than it was read"), "{cut}");
        // What came until then is there, and then its end.
        assert!(all_of(slow.stdout).await.starts_with(b"0123456789"));
        let size = || std::fs::metadata(agent.logs.join("main/0.log")).map(|log| log.len()).unwrap_or(0);
        let before = size();
        while size() == before {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
