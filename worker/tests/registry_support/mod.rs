//! A small registry on loopback that serves what it is given, and misbehaves on request.
#![allow(dead_code, unreachable_pub, missing_docs, clippy::unwrap_used)]

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use kontiki_worker::image::Patience;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::sync::Notify;
use tokio_util::task::AbortOnDropHandle;

pub const REPOSITORY: &str = "team/web";
const PIECE: usize = 8 << 10;

/// What goes wrong with one request; the next to the same path is served well.
#[derive(Clone, Debug)]
pub enum Trick {
    /// The connection breaks after so many bytes of the body.
    Cut(usize),
    /// The answer never begins.
    Hang,
    /// The body stops after so many bytes, and the connection stays.
    Stall(usize),
    /// The body does not end.
    Endless,
    /// A byte now and then.
    Drip,
    /// Other bytes.
    Bytes(Vec<u8>),
    /// A refusal, and perhaps when to ask again.
    Status(u16, Option<&'static str>),
    /// Elsewhere.
    Redirect(String),
    /// The whole body, whatever range was asked for.
    IgnoreRange,
    /// Waits until it is told to go on.
    Wait(Arc<Notify>),
}

/// One request as it came.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    pub method: String,
    pub path: String,
    pub range: Option<String>,
    pub authorization: Option<String>,
}

#[derive(Default)]
pub struct Shelf {
    files: BTreeMap<String, Vec<u8>>,
    tricks: BTreeMap<String, VecDeque<Trick>>,
    asked: Vec<Asked>,
    /// Who may: `Authorization` of the registry; the challenge to others; `Authorization` at the token's realm.
    guard: Option<(String, String, Option<String>)>,
}

type Shared = Arc<Mutex<Shelf>>;

pub struct Registry {
    pub address: String,
    shelf: Shared,
    /// Is told of each request.
    pub arrived: Arc<Notify>,
    _server: AbortOnDropHandle<()>,
}

pub fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

pub fn architecture() -> &'static str {
    if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }
}

/// Asks again at once.
pub fn patient() -> Patience {
    let minute = Duration::from_secs(60);
    Patience {
        connect: minute,
        answer: minute,
        idle: minute,
        document: minute,
        retries: 3,
        pause: Duration::ZERO,
        pause_max: Duration::ZERO,
        ..Patience::default()
    }
}

/// Takes silence for a hang soon.
pub fn impatient() -> Patience {
    Patience { answer: Duration::from_secs(1), idle: Duration::from_secs(1), ..patient() }
}

impl Registry {
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (shelf, arrived) = (Shared::default(), Arc::new(Notify::new()));
        let app = axum::Router::new().fallback(serve).with_state((shelf.clone(), arrived.clone()));
        let server = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { address, shelf, arrived, _server: AbortOnDropHandle::new(server) }
    }

    /// The name of an image here.
    pub fn name(&self, version: &str) -> String {
        let separator = if version.starts_with("sha256:") { '@' } else { ':' };
        format!("{}/{REPOSITORY}{separator}{version}", self.address)
    }

    pub fn blob_path(digest: &str) -> String {
        format!("/v2/{REPOSITORY}/blobs/{digest}")
    }

    pub fn manifest_path(version: &str) -> String {
        format!("/v2/{REPOSITORY}/manifests/{version}")
    }

    pub fn put(&self, path: &str, bytes: &[u8]) {
        self.shelf.lock().unwrap().files.insert(path.to_owned(), bytes.to_vec());
    }

    pub fn take_away(&self, path: &str) {
        self.shelf.lock().unwrap().files.remove(path);
    }

    pub fn trick(&self, path: &str, trick: Trick) {
        self.shelf.lock().unwrap().tricks.entry(path.to_owned()).or_default().push_back(trick);
    }

    pub fn guard(&self, authorization: &str, challenge: &str, at_realm: Option<&str>) {
        let guard = (authorization.to_owned(), challenge.to_owned(), at_realm.map(str::to_owned));
        self.shelf.lock().unwrap().guard = Some(guard);
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.shelf.lock().unwrap().asked.clone()
    }

    pub fn forget(&self) {
        self.shelf.lock().unwrap().asked.clear();
    }

    /// How often a path was asked for.
    pub fn count(&self, path: &str) -> usize {
        self.asked().iter().filter(|asked| asked.path == path).count()
    }

    pub fn put_blob(&self, bytes: &[u8]) -> Value {
        let digest = digest(bytes);
        self.put(&Self::blob_path(&digest), bytes);
        json!({ "mediaType": "application/octet-stream", "digest": digest, "size": bytes.len() })
    }

    /// A manifest under its digest and, perhaps, a tag; answers its digest.
    pub fn put_manifest(&self, tag: Option<&str>, manifest: &Value) -> String {
        let bytes = manifest.to_string().into_bytes();
        let digest = digest(&bytes);
        for version in [Some(digest.as_str()), tag].into_iter().flatten() {
            self.put(&Self::manifest_path(version), &bytes);
        }
        digest
    }

    /// An image of these uncompressed layers; answers its digest.
    pub fn put_image(&self, tag: &str, layers: &[Vec<u8>]) -> String {
        self.put_image_for(Some(tag), layers, architecture())
    }

    pub fn put_image_for(&self, tag: Option<&str>, layers: &[Vec<u8>], architecture: &str) -> String {
        let diff_ids: Vec<_> = layers.iter().map(|layer| digest(layer)).collect();
        let config = json!({ "architecture": architecture, "os": "linux",
            "config": { "Cmd": ["sh"], "Env": ["PATH=/bin"] }, "rootfs": { "diff_ids": diff_ids } });
        let config = self.put_blob(config.to_string().as_bytes());
        let layers: Vec<_> = layers.iter().map(|layer| self.put_blob(layer)).collect();
        self.put_manifest(tag, &json!({ "schemaVersion": 2, "config": config, "layers": layers }))
    }
}

async fn serve(State((shelf, arrived)): State<(Shared, Arc<Notify>)>, request: Request) -> Response {
    let text = |headers: &HeaderMap, name| headers.get(name).map(|it| it.to_str().unwrap().to_owned());
    let asked = Asked {
        method: request.method().to_string(),
        path: request.uri().path_and_query().unwrap().to_string(),
        range: text(request.headers(), header::RANGE),
        authorization: text(request.headers(), header::AUTHORIZATION),
    };
    let (trick, file, guard) = {
        let mut shelf = shelf.lock().unwrap();
        shelf.asked.push(asked.clone());
        let trick = shelf.tricks.get_mut(&asked.path).and_then(VecDeque::pop_front);
        (trick, shelf.files.get(&asked.path).cloned(), shelf.guard.clone())
    };
    arrived.notify_one();
    if let Some((wanted, challenge, at_realm)) = guard {
        if asked.path.starts_with("/token") {
            if at_realm.is_some() && asked.authorization != at_realm {
                return StatusCode::UNAUTHORIZED.into_response();
            }
        } else if asked.authorization.as_deref() != Some(wanted.as_str()) {
            return (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, challenge)]).into_response();
        }
    }
    match &trick {
        Some(Trick::Hang) => std::future::pending::<()>().await,
        Some(Trick::Wait(go)) => go.notified().await,
        Some(Trick::Status(status, after)) => {
            let status = StatusCode::from_u16(*status).unwrap();
            let mut refusal = status.into_response();
            if let Some(after) = after {
                refusal.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static(after));
            }
            return refusal;
        }
        Some(Trick::Redirect(to)) => {
            return (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, to.clone())]).into_response();
        }
        _ => {}
    }
    let Some(file) = (match &trick {
        Some(Trick::Bytes(bytes)) => Some(bytes.clone()),
        _ => file,
    }) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let tag = digest(&file);
    let from = asked
        .range
        .as_deref()
        .and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
    let from: usize = from.filter(|_| !matches!(trick, Some(Trick::IgnoreRange))).unwrap_or(0);
    let mut answer = Response::builder().header("docker-content-digest", tag);
    if from > 0 {
        let range = format!("bytes {from}-{}/{}", file.len() - 1, file.len());
        answer = answer.status(StatusCode::PARTIAL_CONTENT).header(header::CONTENT_RANGE, range);
    }
    // Of a manifest that says what it is, for clients that go by the header.
    let kind = serde_json::from_slice::<Value>(&file)
        .ok()
        .and_then(|it| it["mediaType"].as_str().map(str::to_owned));
    if let Some(kind) = kind.filter(|_| asked.path.contains("/manifests/")) {
        answer = answer.header(header::CONTENT_TYPE, kind);
    }
    let rest = file[from..].to_vec();
    if asked.method == "HEAD" {
        return answer.header(header::CONTENT_LENGTH, file.len()).body(Body::empty()).unwrap();
    }
    if !matches!(trick, Some(Trick::Endless)) {
        answer = answer.header(header::CONTENT_LENGTH, rest.len());
    }
    answer.body(body(rest, trick)).unwrap()
}

fn body(bytes: Vec<u8>, trick: Option<Trick>) -> Body {
    let (sender, receiver) = tokio::sync::mpsc::channel::<Result<Bytes, std::io::Error>>(1);
    tokio::spawn(async move {
        let end = match trick {
            Some(Trick::Cut(end) | Trick::Stall(end)) => end.min(bytes.len()),
            Some(Trick::Drip) => 0,
            _ => bytes.len(),
        };
        for piece in bytes[..end].chunks(PIECE) {
            if sender.send(Ok(Bytes::copy_from_slice(piece))).await.is_err() {
                return;
            }
        }
        match trick {
            Some(Trick::Cut(_)) => drop(sender.send(Err(std::io::Error::other("cut"))).await),
            Some(Trick::Drip) => {
                for byte in bytes {
                    if sender.send(Ok(Bytes::from(vec![byte]))).await.is_err() {
                        return;
                    }
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
            Some(Trick::Stall(_)) => std::future::pending::<()>().await,
            Some(Trick::Endless) => while sender.send(Ok(Bytes::from_static(&[0; PIECE]))).await.is_ok() {},
            _ => {}
        }
    });
    Body::from_stream(tokio_stream::wrappers::ReceiverStream::new(receiver))
}
