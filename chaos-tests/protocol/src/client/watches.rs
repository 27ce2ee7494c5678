//! A watcher: it lists, watches from there, and goes on elsewhere when its watch breaks.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::{Method, StatusCode};
use http_body_util::BodyExt;
use kontiki_chaos_plan::{history::WatchStep, names};
use serde_json::Value;
use tokio::sync::mpsc;

use super::{Ask, Outside, TIMEOUT, ops};

/// Chunks on their way to a watcher: what it does not take stays in the feed.
const CHUNKS: usize = 4;
/// The pause before a watch is opened again.
const AGAIN: Duration = Duration::from_millis(200);
/// A watch through which nothing comes for so long is given up: bookmarks come more often.
const SILENCE: Duration = Duration::from_secs(5);

/// A watcher of the registers.
pub struct Watcher {
    client: u32,
    via: u32,
    resume_via: u32,
    stall: Option<Duration>,
    outside: Outside,
    place: usize,
}

/// How a watch ended.
enum End {
    /// It is to be opened again from its last revision.
    Broken(Option<u16>),
    /// Its revision is too old: list anew.
    Expired,
}

impl Watcher {
    /// One that begins at `via` and goes on at `resume_via`, and then at the next. It does not read for `stall` once.
    pub fn new(client: u32, via: u32, resume_via: u32, stall: Option<Duration>, outside: Outside) -> Watcher {
        let place = outside.book.watch(client, names::REGISTERS);
        Watcher { client, via, resume_via, stall, outside, place }
    }

    fn note(&self, step: WatchStep) {
        self.outside.book.watched(self.place, step);
    }

    fn elsewhere(&mut self) {
        self.via = self.resume_via % self.outside.controllers.max(1);
        self.resume_via += 1;
    }

    /// Watches until it is dropped.
    pub async fn run(mut self) {
        loop {
            let Some(mut from) = self.list().await else {
                self.elsewhere();
                tokio::time::sleep(AGAIN).await;
                continue;
            };
            loop {
                let end = self.follow(&mut from).await;
                let code = match &end {
                    End::Broken(code) => *code,
                    End::Expired => Some(410),
                };
                self.note(WatchStep::Closed { code });
                if matches!(end, End::Expired) {
                    break;
                }
                self.elsewhere();
                tokio::time::sleep(AGAIN).await;
            }
        }
    }

    async fn list(&self) -> Option<u64> {
        let path = format!("/api/v1/namespaces/{}/configmaps", names::NAMESPACE);
        let asked = self.outside.ask(self.client, self.via, Ask::new(Method::GET, path, "")).await;
        let (status, body) = asked.ok()?;
        if !status.is_success() {
            return None;
        }
        let (server, revision) = (self.via, ops::revision(&body));
        self.note(WatchStep::Listed { server, revision, items: ops::registers(&body) });
        Some(revision)
    }

    async fn follow(&mut self, from: &mut u64) -> End {
        let path = format!(
            "/api/v1/namespaces/{}/configmaps?watch=true&allowWatchBookmarks=true&timeoutSeconds=20&resourceVersion={from}",
            names::NAMESPACE
        );
        let (sender, mut chunks) = mpsc::channel(CHUNKS);
        let scope = self.outside.doors.get(self.via).map(|door| door.scope);
        let read = move |response: http::Response<Body>| async move {
            let status = response.status();
            if let Some(scope) = scope.filter(|_| status.is_success()) {
                // The controller's end of the connection: what the client does not take waits here.
                scope.spawn(pump(response.into_body(), sender));
            }
            Some(status)
        };
        let ask = Ask::new(Method::GET, path, "");
        let asked = self.outside.exchange(self.client, self.via, ask, read);
        match tokio::time::timeout(TIMEOUT, asked).await {
            Ok(Ok(status)) if status.is_success() => {}
            Ok(Ok(StatusCode::GONE)) => return End::Expired,
            Ok(Ok(status)) => return End::Broken(Some(status.as_u16())),
            _ => return End::Broken(None),
        }
        self.note(WatchStep::Opened { server: self.via, from: *from });
        if let Some(stall) = self.stall.take() {
            tokio::time::sleep(stall).await;
        }
        let fabric = self.outside.fabric.clone();
        let (here, there) = (fabric.client(self.client), fabric.controller(self.via));
        let mut line = Vec::new();
        loop {
            let Ok(Some(chunk)) = tokio::time::timeout(SILENCE, chunks.recv()).await else {
                return End::Broken(None);
            };
            let Some(delay) = fabric.delay(there, here) else {
                // What is lost on the way shows as silence.
                tokio::time::sleep(SILENCE).await;
                return End::Broken(None);
            };
            tokio::time::sleep(delay).await;
            line.extend_from_slice(&chunk);
            while let Some(end) = line.iter().position(|byte| *byte == b'\n') {
                let event: Value = serde_json::from_slice(&line[..end]).unwrap_or(Value::Null);
                line.drain(..=end);
                if let Some(end) = self.take(&event, from) {
                    return end;
                }
            }
        }
    }

    fn take(&self, event: &Value, from: &mut u64) -> Option<End> {
        let object = &event["object"];
        let revision = ops::revision(object);
        match event["type"].as_str() {
            Some("ADDED" | "MODIFIED") => {
                if let Some((key, value, revision)) = ops::register(object) {
                    self.note(WatchStep::Put { key, value, revision });
                }
            }
            Some("DELETED") => {
                if let Some((key, _, revision)) = ops::register(object) {
                    self.note(WatchStep::Deleted { key, revision });
                }
            }
            Some("BOOKMARK") => self.note(WatchStep::Bookmark { revision }),
            Some("ERROR") if object["code"] == 410 => return Some(End::Expired),
            _ => {
                let code = object["code"].as_u64().and_then(|code| u16::try_from(code).ok());
                return Some(End::Broken(code));
            }
        }
        *from = revision;
        None
    }
}

async fn pump(mut body: Body, chunks: mpsc::Sender<Bytes>) {
    loop {
        let frame = tokio::select! {
            frame = body.frame() => frame,
            () = chunks.closed() => return,
        };
        let Some(Ok(frame)) = frame else { return };
        if let Ok(data) = frame.into_data()
            && chunks.send(data).await.is_err()
        {
            return;
        }
    }
}
