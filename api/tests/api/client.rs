//! A client without a network.

use std::sync::Arc;

use axum::{Router, body::Body};
use bytes::Bytes;
use futures_util::StreamExt;
use http::{HeaderMap, Request, header};
use http_body_util::BodyExt;
use hyper::{body::Incoming, client::conn::http2::SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use kontiki_api::{FeedLimits, Options, router};
use kontiki_pki::{Peer, Role};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tower::ServiceExt;

use crate::memory::Memory;

pub(crate) const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
pub(crate) const MERGE: &str = "application/merge-patch+json";

pub(crate) struct Client {
    pub(crate) memory: Arc<Memory>,
    app: Router,
    peer: Option<Peer>,
}

pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) bytes: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or_else(|_| panic!("not JSON: {:?}", self.bytes))
    }

    /// The body of an answer that must have this code.
    pub(crate) fn with(self, code: u16) -> Value {
        assert_eq!(self.code, code, "{}", String::from_utf8_lossy(&self.bytes));
        self.json()
    }
}

pub(crate) fn master() -> Peer {
    peer(Role::User, "admin", "system:masters")
}

pub(crate) fn peer(role: Role, name: &str, group: &str) -> Peer {
    Peer {
        cluster: "test".into(),
        role,
        name: name.into(),
        node_id: None,
        groups: vec![group.into()],
        fingerprint: String::new(),
    }
}

impl Client {
    pub(crate) fn new() -> Client {
        Client::with(FeedLimits::default(), Options::default())
    }

    pub(crate) fn with(limits: FeedLimits, options: Options) -> Client {
        let memory = Memory::new(limits);
        let app = router(memory.clone(), options);
        Client { memory, app, peer: Some(master()) }
    }

    pub(crate) fn as_peer(&self, peer: Option<Peer>) -> Client {
        Client { memory: self.memory.clone(), app: self.app.clone(), peer }
    }

    pub(crate) fn peer(&self) -> Option<&Peer> {
        self.peer.as_ref()
    }

    pub(crate) fn app(&self) -> Router {
        self.app.clone()
    }

    pub(crate) async fn raw(
        &self,
        method: &str,
        uri: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Answer {
        let response = self.open(method, uri, headers, body).await;
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        Answer { code: parts.status.as_u16(), headers: parts.headers, bytes }
    }

    pub(crate) async fn open(
        &self,
        method: &str,
        uri: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> http::Response<Body> {
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(body.into()).unwrap();
        if let Some(peer) = &self.peer {
            request.extensions_mut().insert(peer.clone());
        }
        self.app.clone().oneshot(request).await.unwrap()
    }

    /// A connection of HTTP/2, of whose answers only so many bytes are taken before they are read.
    pub(crate) async fn connect(&self, window: u32) -> (SendRequest<Body>, JoinHandle<()>) {
        let (near, far) = tokio::io::duplex(1 << 10);
        let (app, peer) = (self.app.clone(), self.peer.clone());
        let service = hyper::service::service_fn(move |request: Request<Incoming>| {
            let mut request = request.map(Body::new);
            peer.clone().map(|peer| request.extensions_mut().insert(peer));
            app.clone().oneshot(request)
        });
        let serving = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        let serving = serving.serve_connection(TokioIo::new(far), service);
        let mut client = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
        client.initial_stream_window_size(window);
        let (requests, connection) = client.handshake(TokioIo::new(near)).await.unwrap();
        tokio::spawn(serving);
        let connection = tokio::spawn(async move { drop(connection.await) });
        (requests, connection)
    }

    pub(crate) async fn get(&self, uri: &str) -> Answer {
        self.raw("GET", uri, &[], Body::empty()).await
    }

    pub(crate) async fn table(&self, uri: &str) -> Value {
        self.raw("GET", uri, &[(header::ACCEPT.as_str(), TABLE)], Body::empty()).await.with(200)
    }

    pub(crate) async fn post(&self, uri: &str, body: &Value) -> Answer {
        self.raw("POST", uri, &[], body.to_string()).await
    }

    pub(crate) async fn put(&self, uri: &str, body: &Value) -> Answer {
        self.raw("PUT", uri, &[], body.to_string()).await
    }

    pub(crate) async fn patch(&self, uri: &str, media: &str, body: &Value) -> Answer {
        self.raw("PATCH", uri, &[("content-type", media)], body.to_string()).await
    }

    pub(crate) async fn delete(&self, uri: &str) -> Answer {
        self.raw("DELETE", uri, &[], Body::empty()).await
    }

    /// A config map in the default namespace.
    pub(crate) async fn config_map(&self, name: &str, labels: Value) -> Value {
        let body = json!({"metadata": {"name": name, "labels": labels}, "data": {"k": name}});
        self.post("/api/v1/namespaces/default/configmaps", &body).await.with(201)
    }

    pub(crate) async fn watch(&self, uri: &str, accept: &str) -> Watch {
        let response = self.open("GET", uri, &[("accept", accept)], Body::empty()).await;
        assert_eq!(response.status(), 200);
        Watch { body: response.into_body().into_data_stream(), lines: Vec::new() }
    }
}

/// A watch that is read line by line.
pub(crate) struct Watch {
    body: axum::body::BodyDataStream,
    lines: Vec<u8>,
}

impl Watch {
    /// The next event; none when the stream ended.
    pub(crate) async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.lines.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = self.lines.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).unwrap());
            }
            let chunk = self.body.next().await?;
            self.lines.extend_from_slice(&chunk.unwrap());
        }
    }

    /// The next event as (type, name).
    pub(crate) async fn named(&mut self) -> (String, String) {
        let event = self.next().await.expect("the watch goes on");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        (text(&event["type"]), text(&event["object"]["metadata"]["name"]))
    }
}

pub(crate) fn revision(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap()
}

pub(crate) fn deployment(name: &str, replicas: i64) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": {
            "metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "c", "image": "nginx:1"}]}}},
    })
}

pub(crate) fn pod(name: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "nginx"}]}})
}

/// The cells of a table's first row.
pub(crate) fn cells(table: &Value) -> &[Value] {
    table["rows"][0]["cells"].as_array().unwrap()
}
