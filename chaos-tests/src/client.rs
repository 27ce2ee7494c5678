//! A Kubernetes client that speaks to one address, with the certificate of a kubeconfig. Small on purpose: it measures
//! what a request costs, and hides nothing.

use std::{path::Path, time::Duration};

use anyhow::{Context, bail};
use base64::{Engine, engine::general_purpose::STANDARD};
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use hyper::{body::Bytes, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use kontiki_pki::{Dialer, Identity};
use serde_json::Value;

/// What a server answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// HTTP status.
    pub code: u16,
    /// The body; `null` when it is not JSON.
    pub body: Value,
}

/// A connection to one controller.
pub struct Client {
    sender: http2::SendRequest<Full<Bytes>>,
}

/// The certificate that a kubeconfig of `kontiki up` carries.
pub fn identity(kubeconfig: &Path) -> anyhow::Result<Identity> {
    let text = std::fs::read_to_string(kubeconfig)?;
    let field = |name: &str| -> anyhow::Result<String> {
        let line = text.lines().map(str::trim).find_map(|l| l.strip_prefix(name)?.strip_prefix(':'));
        let value = line.with_context(|| format!("no {name} in {}", kubeconfig.display()))?;
        Ok(String::from_utf8(STANDARD.decode(value.trim().trim_matches('"'))?)?)
    };
    let (ca, cert, key) =
        (field("certificate-authority-data")?, field("client-certificate-data")?, field("client-key-data")?);
    Ok(Identity::new(&ca, &cert, &key)?)
}

impl Client {
    /// Connects, within a second.
    pub async fn connect(identity: &Identity, address: &str) -> anyhow::Result<Client> {
        let connecting = async {
            let name = identity.controller_server_name(None);
            let stream = Dialer::new(identity).tls(address, name).await?;
            let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
            tokio::spawn(connection);
            Ok::<_, anyhow::Error>(Client { sender })
        };
        tokio::time::timeout(Duration::from_secs(1), connecting).await.context("connecting took over 1 s")?
    }

    /// Sends one request and reads the whole answer.
    pub async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Answer> {
        let media = if method == Method::PATCH { "application/merge-patch+json" } else { "application/json" };
        let bytes = body.map(serde_json::to_vec).transpose()?.unwrap_or_default();
        let request = Request::builder()
            .method(method)
            .uri(format!("https://kubernetes.default.svc{path}"))
            .header("content-type", media)
            .header("accept", "application/json")
            .body(Full::new(Bytes::from(bytes)))?;
        let response = self.sender.clone().send_request(request).await?;
        let code = response.status().as_u16();
        let body = response.into_body().collect().await?.to_bytes();
        Ok(Answer { code, body: serde_json::from_slice(&body).unwrap_or(Value::Null) })
    }

    /// Sends one request that must succeed.
    pub async fn expect(&self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        let answer = self.send(method, path, body).await?;
        if answer.code >= 300 {
            bail!("{path}: {} {}", answer.code, answer.body["message"]);
        }
        Ok(answer.body)
    }
}
