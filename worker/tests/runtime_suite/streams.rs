//! Commands with streams, in a pod `pod` whose container `main` waits.

use kontiki_worker::runtime::{ProcessStreams, Runtime, StdStreams};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::runtime_support::Agent;

pub const ALL: StdStreams = StdStreams { stdin: true, stdout: true, stderr: true, tty: false };
pub const TERMINAL: StdStreams = StdStreams { stdin: true, stdout: true, stderr: false, tty: true };

pub async fn run(agent: &Agent, script: &str, streams: StdStreams) -> ProcessStreams {
    let command = ["sh", "-c", script].map(str::to_owned).to_vec();
    agent.runtime.run("pod", "main", command, streams).await.unwrap()
}

pub async fn all_of(from: Option<impl AsyncReadExt + Unpin>) -> Vec<u8> {
    let mut bytes = Vec::new();
    from.unwrap().read_to_end(&mut bytes).await.unwrap();
    bytes
}

pub async fn a_command_is_given_and_says_what_is_its_own(agent: &Agent) {
    let script = "read word; echo out $word; echo err $word >&2; exit 7";
    let ProcessStreams { stdin, stdout, stderr, terminal, exit } = run(agent, script, ALL).await;
    assert!(terminal.is_none());
    stdin.unwrap().write_all(b"hello\n").await.unwrap();
    assert_eq!(all_of(stdout).await, b"out hello\n");
    assert_eq!(all_of(stderr).await, b"err hello\n");
    assert_eq!(exit.await, Ok(7));

    let only = StdStreams { stdout: true, ..StdStreams::default() };
    let ProcessStreams { stdin, stdout, stderr, exit, .. } =
        run(agent, "cat; echo x >&2; kill -9 $$", only).await;
    assert!(stdin.is_none() && stderr.is_none());
    assert_eq!(all_of(stdout).await, b"", "an input that was not asked for has ended");
    assert_eq!(exit.await, Ok(137));
}

pub async fn bytes_go_through_as_they_are_and_the_end_of_the_input_is_seen(agent: &Agent) {
    let sent: Vec<u8> = (0..5_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let ProcessStreams { stdin, stdout, exit, .. } = run(agent, "cat", ALL).await;
    let given = sent.clone();
    let giving = tokio::spawn(async move { stdin.unwrap().write_all(&given).await });
    let back = all_of(stdout).await;
    giving.await.unwrap().unwrap();
    assert!(back == sent, "{} bytes of {}", back.len(), sent.len());
    assert_eq!(exit.await, Ok(0));
}

pub async fn a_terminal_is_one_of_the_containers_own_and_changes_its_size(agent: &Agent) {
    // A daemon may be told of the size a moment after the command began.
    let script = "tty; echo $TERM; read word; until [ \"$(stty size)\" = '43 132' ]; do :; done; stty size; read word; exit 3";
    let ProcessStreams { stdin, stdout, stderr, terminal, exit } = run(agent, script, TERMINAL).await;
    assert!(stderr.is_none());
    terminal.as_ref().unwrap().resize(132, 43).unwrap();
    let (mut stdin, terminal) = (stdin.unwrap(), terminal.unwrap());
    stdin.write_all(b"one\ntwo\n").await.unwrap();
    let shown = String::from_utf8(all_of(stdout).await).unwrap();
    assert!(shown.contains("/dev/pts/") && shown.contains("xterm\r\n"), "{shown}");
    assert!(shown.contains("43 132\r\n"), "{shown}");
    assert_eq!(exit.await, Ok(3));
    drop(terminal);
}

pub async fn a_key_of_the_terminal_interrupts(agent: &Agent) {
    let streams =
        run(agent, "trap 'echo caught; exit 9' INT; echo ready; while :; do sleep 1; done", TERMINAL);
    let ProcessStreams { stdin, stdout, exit, .. } = streams.await;
    let mut stdout = stdout.unwrap();
    let mut seen = Vec::new();
    while !seen.ends_with(b"ready\r\n") {
        stdout.read_buf(&mut seen).await.unwrap();
    }
    stdin.as_ref().unwrap().clone().write_all(&[3]).await.unwrap();
    assert_eq!(exit.await, Ok(9));
}

pub async fn who_does_not_read_holds_up_nobody_else(agent: &Agent) -> ProcessStreams {
    let held = run(agent, "while :; do echo 0123456789012345678901234567890123456789; done", ALL).await;
    // The pod answers others meanwhile, and its container can be asked.
    let ProcessStreams { stdout, exit, .. } = run(agent, "echo here", ALL).await;
    assert_eq!(all_of(stdout).await, b"here\n");
    assert_eq!(exit.await, Ok(0));
    held
}
