//! A Kubernetes client that costs little: one HTTP/2 connection that many share, as kubectl and the Go client have it, bodies that are
//! bytes, answers that are not parsed.

use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use kontiki_pki::{Dialer, Identity};
use serde_json::Value;

/// By then a connection stands, or there is none.
const CONNECT: Duration = Duration::from_secs(5);

/// An answer that takes longer is none.
const ANSWER: Duration = Duration::from_secs(30);

/// An answer that is a refusal.
#[derive(Debug, thiserror::Error)]
#[error("{words}")]
pub struct Refused {
    /// Its code.
    pub code: StatusCode,
    words: String,
}

/// A connection to one controller. Clones share it.
#[derive(Clone)]
pub struct Rest {
    sender: http2::SendRequest<Full<Bytes>>,
}

impl Rest {
    /// Connects.
    pub async fn connect(identity: &Identity, address: &str) -> anyhow::Result<Rest> {
        let connecting = async {
            let name = identity.controller_server_name(None);
            let stream = Dialer::new(identity).tls(address, name).await?;
            let mut builder = http2::Builder::new(TokioExecutor::new());
            let (sender, connection) = builder.adaptive_window(true).handshake(TokioIo::new(stream)).await?;
            tokio::spawn(connection);
            Ok::<_, anyhow::Error>(Rest { sender })
        };
        tokio::time::timeout(CONNECT, connecting)
            .await
            .with_context(|| format!("{address} took over {CONNECT:?}"))?
    }

    /// Sends a request and gives the answer when its head is there. An error if it is refused ([`Refused`]).
    pub async fn open(&self, method: Method, path: &str, body: Bytes) -> anyhow::Result<Response<Incoming>> {
        let request = Request::builder()
            .method(method)
            .uri(format!("https://kubernetes.default.svc{path}"))
            .header("content-type", "application/json")
            .header("accept", "application/json")
            .body(Full::new(body))?;
        let response = self.sender.clone().send_request(request).await?;
        if !response.status().is_success() {
            let code = response.status();
            let status = response.into_body().collect().await?.to_bytes();
            let words = serde_json::from_slice::<Value>(&status).ok();
            let words = words.and_then(|status| status["message"].as_str().map(str::to_owned));
            bail!(Refused { code, words: format!("{path}: {code}: {}", words.unwrap_or_default()) });
        }
        Ok(response)
    }

    /// Sends a request and reads the whole answer. An error if it is refused ([`Refused`]), or takes too long.
    pub async fn send(&self, method: Method, path: &str, body: Bytes) -> anyhow::Result<Bytes> {
        let answered =
            async { Ok(self.open(method, path, body).await?.into_body().collect().await?.to_bytes()) };
        let answer = tokio::time::timeout(ANSWER, answered).await;
        answer.with_context(|| format!("{path}: no answer within {ANSWER:?}"))?
    }
}
