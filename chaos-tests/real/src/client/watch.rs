//! Watches of the registers: list, watch, and resume elsewhere when it breaks, until the run ends.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, bail};
use futures_util::StreamExt;
use http::Method;
use http_body_util::BodyExt;
use kontiki_chaos_plan::{history::WatchStep, names::REGISTERS, plan::Client};
use serde_json::Value;

use super::{
    Book, answers,
    book::WatchNumber,
    rest::{Rest, Sent},
};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const PAUSE: Duration = Duration::from_millis(100);
/// No line of ours is longer; a server that sends more is broken.
const LINE_MAX: usize = 4 << 20;

/// Starts a watch that reads nothing for a while after it was opened.
pub(super) fn start(client: Client, book: &Arc<Book>, vias: [u32; 2], stall_ms: u64) {
    let book = book.clone();
    tokio::spawn(async move {
        let number = book.watch(client, REGISTERS);
        let mut watch = Watch { book, number, at: None };
        for via in vias.into_iter().cycle() {
            if watch.book.stopped() {
                return;
            }
            if watch.follow(via, Duration::from_millis(stall_ms)).await.is_err() {
                tokio::time::sleep(PAUSE).await;
            }
        }
    });
}

struct Watch {
    book: Arc<Book>,
    number: WatchNumber,
    /// The revision up to which everything was seen; none: it has to list.
    at: Option<u64>,
}

impl Watch {
    fn step(&self, step: WatchStep) {
        self.book.step(self.number, step);
    }

    /// Watches through one controller until that breaks.
    async fn follow(&mut self, via: u32, stall: Duration) -> anyhow::Result<()> {
        let (server, address) = self.book.server(via);
        let rest = Rest::connect(&self.book.identity, address).await?;
        let from = match self.at {
            Some(from) => from,
            None => self.list(&rest, server).await?,
        };
        let path = format!("{MAPS}?watch=true&allowWatchBookmarks=true&resourceVersion={from}");
        let opened = tokio::time::timeout(Duration::from_secs(7), rest.open(Method::GET, &path, None));
        let response = opened.await.context("no answer")??;
        let code = response.status().as_u16();
        if code != 200 {
            return self.closed(Some(code));
        }
        self.step(WatchStep::Opened { server, from });
        tokio::time::sleep(stall).await;
        let mut body = response.into_body().into_data_stream();
        let mut buffer = Vec::new();
        while let Some(Ok(bytes)) = body.next().await {
            buffer.extend_from_slice(&bytes);
            while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = buffer.drain(..=end).collect();
                let event: Value = serde_json::from_slice(&line).context("a line of a watch")?;
                if let Some(code) = self.event(&event) {
                    return self.closed(Some(code));
                }
            }
            if buffer.len() > LINE_MAX {
                bail!("a line of a watch has no end");
            }
            if self.book.stopped() {
                return Ok(());
            }
        }
        self.closed(None)
    }

    fn closed(&mut self, code: Option<u16>) -> anyhow::Result<()> {
        self.step(WatchStep::Closed { code });
        if code == Some(410) {
            self.at = None;
        }
        bail!("the watch ended: {code:?}")
    }

    async fn list(&mut self, rest: &Rest, server: u32) -> anyhow::Result<u64> {
        let Sent::Answered(reply) = rest.send(Method::GET, MAPS, None).await else { bail!("no list") };
        if reply.code != 200 {
            bail!("no list: {}", reply.code);
        }
        let revision = answers::revision(&reply.body);
        let items = reply.body["items"].as_array().into_iter().flatten().filter_map(answers::register);
        self.step(WatchStep::Listed { server, revision, items: items.collect() });
        self.at = Some(revision);
        Ok(revision)
    }

    /// Writes an event down. Answers the code of one that ends the watch.
    fn event(&mut self, event: &Value) -> Option<u16> {
        let object = &event["object"];
        let kind = event["type"].as_str().unwrap_or_default();
        if kind == "ERROR" {
            return Some(object["code"].as_u64().and_then(|code| u16::try_from(code).ok()).unwrap_or(500));
        }
        let revision = answers::revision(object);
        self.at = Some(revision);
        match (kind, answers::register(object)) {
            ("BOOKMARK", _) => self.step(WatchStep::Bookmark { revision }),
            ("ADDED" | "MODIFIED", Some((key, value, revision))) => {
                self.step(WatchStep::Put { key, value, revision });
            }
            ("DELETED", Some((key, _, revision))) => self.step(WatchStep::Deleted { key, revision }),
            // Another object of the same kind.
            _ => {}
        }
        None
    }
}
