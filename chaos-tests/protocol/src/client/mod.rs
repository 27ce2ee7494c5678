//! Clients: they ask the REST API of one controller or another, over a link that delays and loses, and write down what they see.

mod ops;
mod requests;
mod watches;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Method, StatusCode};
use http_body_util::BodyExt;
use kontiki_raft::Scope;
use parking_lot::Mutex;
use serde_json::Value;
use tower::ServiceExt;

pub use ops::Client;
pub use watches::Watcher;

use crate::{
    controller::REQUEST_ID,
    network::HostId,
    player::{Book, Fabric},
};

/// A client waits no longer for an answer.
const TIMEOUT: Duration = Duration::from_secs(8);

/// The doors of the controllers that run.
#[derive(Default)]
pub struct Doors(Mutex<BTreeMap<u32, Door>>);

/// The door of one.
#[derive(Clone)]
struct Door {
    service: axum::Router,
    scope: Scope,
}

impl Doors {
    /// A controller answers from now on.
    pub fn open(&self, controller: u32, service: axum::Router, scope: Scope) {
        self.0.lock().insert(controller, Door { service, scope });
    }

    /// It does no more.
    pub fn close(&self, controller: u32) {
        self.0.lock().remove(&controller);
    }

    fn get(&self, controller: u32) -> Option<Door> {
        self.0.lock().get(&controller).cloned()
    }
}

/// What clients need.
#[derive(Clone)]
pub struct Outside {
    /// The controllers' doors.
    pub doors: Arc<Doors>,
    /// What lies in between.
    pub fabric: Arc<Fabric>,
    /// Where it is written down.
    pub book: Arc<Book>,
    /// How many controllers there are.
    pub controllers: u32,
}

/// A request.
pub struct Ask {
    /// How.
    pub method: Method,
    /// Path and query.
    pub path: String,
    /// Its body.
    pub body: Option<Value>,
    /// The media type of the body.
    pub media: &'static str,
    /// The id under which it is decided.
    pub id: String,
}

/// No answer came: nobody knows what became of it.
#[derive(Debug)]
pub struct Lost;

impl Outside {
    /// A message takes its time, or never arrives.
    async fn travel(&self, from: HostId, to: HostId) {
        match self.fabric.delay(from, to) {
            Some(delay) => tokio::time::sleep(delay).await,
            None => std::future::pending().await,
        }
    }

    /// Asks a controller, and waits for the whole answer.
    pub async fn ask(&self, client: u32, controller: u32, ask: Ask) -> Result<(StatusCode, Value), Lost> {
        let (status, body) =
            match tokio::time::timeout(TIMEOUT, self.exchange(client, controller, ask, whole)).await {
                Ok(Ok(answer)) => answer,
                _ => return Err(Lost),
            };
        Ok((status, serde_json::from_slice(&body).unwrap_or(Value::Null)))
    }

    /// Sends a request and carries back what `read` makes of the answer, in the controller's own tasks.
    async fn exchange<T, F, R>(&self, client: u32, controller: u32, ask: Ask, read: F) -> Result<T, Lost>
    where
        F: FnOnce(http::Response<axum::body::Body>) -> R + Send + 'static,
        R: Future<Output = Option<T>> + Send,
        T: Send + 'static,
    {
        let (here, there) = (self.fabric.client(client), self.fabric.controller(controller));
        self.travel(here, there).await;
        let door = self.doors.get(controller).ok_or(Lost)?;
        let request = ask.into_request(self.fabric.certificate(here));
        let answered = door.scope.spawn(async move {
            match door.service.oneshot(request).await {
                Ok(response) => read(response).await,
                Err(never) => match never {},
            }
        });
        // The controller died: the connection is reset.
        let answer = answered.await.ok().flatten().ok_or(Lost)?;
        self.travel(there, here).await;
        Ok(answer)
    }
}

async fn whole(response: http::Response<axum::body::Body>) -> Option<(StatusCode, Bytes)> {
    let status = response.status();
    let body = response.into_body().collect().await.ok()?.to_bytes();
    Some((status, body))
}

impl Ask {
    /// Without a body.
    pub fn new(method: Method, path: impl Into<String>, id: impl Into<String>) -> Ask {
        Ask { method, path: path.into(), body: None, media: "application/json", id: id.into() }
    }

    /// With one.
    pub fn with(self, body: Value) -> Ask {
        Ask { body: Some(body), ..self }
    }

    fn into_request(self, who: kontiki_pki::Peer) -> http::Request<axum::body::Body> {
        let body = self.body.map(|body| body.to_string()).unwrap_or_default();
        let mut request = http::Request::new(axum::body::Body::from(body));
        *request.method_mut() = self.method;
        if let Ok(uri) = self.path.parse() {
            *request.uri_mut() = uri;
        }
        let headers = request.headers_mut();
        headers.insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static(self.media));
        if let Ok(id) = self.id.parse() {
            headers.insert(REQUEST_ID, id);
        }
        request.extensions_mut().insert(who);
        request
    }
}
