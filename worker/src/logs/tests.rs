#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::io::Write;

use kontiki_proto::worker::LogsRequest;
use tokio::sync::{mpsc, watch};
use tokio_stream::StreamExt;

use super::Service;
use super::reader::{Cut, Reader};
use crate::agent::crew::{Command, Subject};
use crate::agent::layout::Layout;
use crate::pod::driver::{LogState, Runs};

const FIRST: &str = "2026-01-01T00:00:01.5Z stdout F one\n2026-01-01T00:00:02Z stderr P tw\n\
                     2026-01-01T00:00:02.1Z stderr F o\n2026-01-01T00:00:03Z stdout F three\n";

struct Fixture {
    dir: tempfile::TempDir,
    service: Service,
    runs: watch::Sender<Runs>,
}

fn fixture(state: LogState) -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::new(dir.path());
    std::fs::create_dir_all(layout.logs("ns", "p", "u").join("c")).unwrap();
    let (crew, mut commands) = mpsc::channel(1);
    let runs = watch::Sender::new(BTreeMap::from([("c".to_owned(), state)]));
    let watched = runs.subscribe();
    tokio::spawn(async move {
        while let Some(command) = commands.recv().await {
            if let Command::Subject(uid, answer) = command {
                let subject = Subject { namespace: "ns".into(), name: "p".into(), runs: watched.clone() };
                answer.send((uid == "u").then_some(subject)).ok();
            }
        }
    });
    let fixture = Fixture { service: Service::new(crew, layout), dir, runs };
    fixture.append(FIRST);
    fixture
}

impl Fixture {
    fn append(&self, text: &str) {
        let path = self.dir.path().join("logs/ns_p_u/c/1.log");
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    async fn all(&self, request: LogsRequest) -> Result<String, tonic::Status> {
        let request = LogsRequest { pod_uid: "u".into(), container: "c".into(), ..request };
        let mut chunks = self.service.read(request).await?;
        let mut text = String::new();
        while let Some(chunk) = chunks.next().await {
            text.push_str(std::str::from_utf8(&chunk?.data).unwrap());
        }
        Ok(text)
    }
}

fn ended() -> LogState {
    LogState { attempt: Some(1), previous: None, running: false, waiting: String::new() }
}

#[tokio::test]
async fn a_log_is_cut_as_it_was_asked_for() {
    let fixture = fixture(ended());
    let ask = LogsRequest::default;
    assert_eq!(fixture.all(ask()).await.unwrap(), "one\ntwo\nthree\n");
    assert_eq!(fixture.all(LogsRequest { tail_lines: Some(1), ..ask() }).await.unwrap(), "three\n");
    assert_eq!(fixture.all(LogsRequest { tail_lines: Some(0), ..ask() }).await.unwrap(), "");
    assert_eq!(
        fixture.all(LogsRequest { tail_lines: Some(99), ..ask() }).await.unwrap(),
        "one\ntwo\nthree\n"
    );
    assert_eq!(fixture.all(LogsRequest { limit_bytes: Some(5), ..ask() }).await.unwrap(), "one\nt");
    let since = "2026-01-01T00:00:02Z".parse::<jiff::Timestamp>().unwrap().as_millisecond();
    assert_eq!(
        fixture.all(LogsRequest { since_time_ms: Some(since), ..ask() }).await.unwrap(),
        "two\nthree\n"
    );
    assert_eq!(
        fixture.all(LogsRequest { timestamps: true, ..ask() }).await.unwrap(),
        "2026-01-01T00:00:01.5Z one\n2026-01-01T00:00:02Z two\n2026-01-01T00:00:03Z three\n"
    );
}

#[tokio::test]
async fn lines_that_come_while_it_is_read_are_not_among_the_last() {
    let fixture = fixture(ended());
    let path = fixture.dir.path().join("logs/ns_p_u/c/1.log");
    let cut = Cut { tail_lines: Some(1), ..Cut::default() };
    let mut reader = Reader::open(&path, cut).await.unwrap();
    fixture.append("2026-01-01T00:00:04Z stdout F four\n");
    assert_eq!(reader.next().await.unwrap().unwrap(), b"three\n");
    assert_eq!(reader.next().await.unwrap(), None);
}

#[tokio::test]
async fn following_ends_with_the_container_and_misses_nothing() {
    let fixture = fixture(LogState { running: true, ..ended() });
    let request =
        LogsRequest { pod_uid: "u".into(), container: "c".into(), follow: true, ..LogsRequest::default() };
    let mut chunks = fixture.service.read(request).await.unwrap();
    assert_eq!(chunks.next().await.unwrap().unwrap().data, "one\ntwo\nthree\n");
    fixture.append("2026-01-01T00:00:04Z stdout F four\n");
    assert_eq!(chunks.next().await.unwrap().unwrap().data, "four\n");
    let path = fixture.dir.path().join("logs/ns_p_u/c/1.log");
    std::fs::rename(&path, path.with_extension("log.1")).unwrap();
    fixture.append("2026-01-01T00:00:05Z stdout F five\n");
    assert_eq!(chunks.next().await.unwrap().unwrap().data, "five\n", "it goes on after a rotation");
    fixture.append("2026-01-01T00:00:06Z stdout F six\n");
    fixture.runs.send_modify(|runs| drop(runs.insert("c".into(), ended())));
    assert_eq!(chunks.next().await.unwrap().unwrap().data, "six\n");
    assert!(chunks.next().await.is_none());
}

#[tokio::test]
async fn what_is_not_there_is_said_in_kubernetes_words() {
    let fixture = fixture(LogState { attempt: None, waiting: "ContainerCreating".into(), ..ended() });
    let status = fixture.all(LogsRequest::default()).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::FailedPrecondition);
    assert_eq!(status.message(), "container \"c\" in pod \"p\" is waiting to start: ContainerCreating");
    let status = fixture.all(LogsRequest { previous: true, ..LogsRequest::default() }).await.unwrap_err();
    assert_eq!(status.message(), "previous terminated container \"c\" in pod \"p\" not found");
}

#[tokio::test]
async fn only_controllers_may_read() {
    use kontiki_proto::worker::node_server::Node;
    let fixture = fixture(ended());
    let refused = fixture.service.logs(tonic::Request::new(LogsRequest::default())).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Unauthenticated);
}
