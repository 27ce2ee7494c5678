//! One question to a registry and its answer, over a connection of its own. Everything that can take long has an end.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{HOST, USER_AGENT};
use http::uri::{Authority, Scheme};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_util::task::AbortOnDropHandle;

use super::{Registries, RegistryError};

const AGENT: &str = concat!("kontiki/", env!("CARGO_PKG_VERSION"));
/// Headers that a registry may send.
const HEADERS_MAX: usize = 100;
const HEADER_BYTES_MAX: usize = 64 << 10;

/// How long a registry may take, and how often it is asked again.
#[derive(Clone, Debug)]
pub struct Patience {
    /// For one address to accept a connection, its TLS included.
    pub connect: Duration,
    /// For an answer to begin.
    pub answer: Duration,
    /// Between two pieces of an answer.
    pub idle: Duration,
    /// For a whole document: a manifest, a token, a refusal.
    pub document: Duration,
    /// In this time a layer must bring `window_bytes`, so that dripping bytes do not count as going on.
    pub window: Duration,
    /// See `window`.
    pub window_bytes: u64,
    /// How often a download that broke is taken up again. Anything else is asked again at most twice: who pulls for pods
    /// has a back-off of its own.
    pub retries: u32,
    /// Before the first time it is asked again; it doubles. A registry that names a time gets it, up to `pause_max`.
    pub pause: Duration,
    /// The longest pause.
    pub pause_max: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            connect: seconds(10),
            answer: seconds(30),
            idle: seconds(30),
            document: seconds(60),
            window: seconds(60),
            window_bytes: 64 << 10,
            retries: 5,
            pause: seconds(1),
            pause_max: seconds(30),
        }
    }
}

/// Speaks HTTP/1.1 to registries.
#[derive(Clone, Debug)]
pub(super) struct Wire {
    pub(super) registries: Arc<Registries>,
    pub(super) patience: Arc<Patience>,
}

/// The head of an answer, and the road to the rest of it.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    host: String,
    body: Incoming,
    idle: Duration,
    document: Duration,
    _connection: AbortOnDropHandle<()>,
}

impl Wire {
    /// Asks once: no redirects, no second try.
    pub(super) async fn ask(
        &self,
        method: Method,
        uri: &Uri,
        headers: HeaderMap,
    ) -> Result<Answer, RegistryError> {
        let authority = authority(uri)?;
        let host = authority.to_string();
        let plain = uri.scheme() == Some(&Scheme::HTTP);
        if plain && !self.registries.may_be_plain(&authority) {
            let cause = "it is not on loopback, and without TLS nobody knows who answers: set plain-http in the registries file if that is meant";
            return Err(RegistryError::Refused { host, cause: cause.to_owned() });
        }
        let port = authority.port_u16().unwrap_or(if plain { 80 } else { 443 });
        let stream = self.connect(&authority, port).await?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let mut request = Request::builder().method(method).uri(path).body(Empty::<Bytes>::new());
        if let Ok(request) = &mut request {
            *request.headers_mut() = headers;
            let named = HeaderValue::from_str(&host).unwrap_or(HeaderValue::from_static(""));
            request.headers_mut().insert(HOST, named);
            request.headers_mut().insert(USER_AGENT, HeaderValue::from_static(AGENT));
        }
        let broken = |source: &dyn std::error::Error| RegistryError::Unreachable {
            host: host.clone(),
            cause: chain(source),
        };
        let request = request.map_err(|source| broken(&source))?;
        if plain {
            return self.exchange(stream, request, &host).await;
        }
        let name = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(name).map_err(|source| broken(&source))?;
        let connector = TlsConnector::from(self.registries.trust(&authority));
        let what = "no TLS connection";
        let stream = within(self.patience.connect, &host, what, connector.connect(name, stream)).await?;
        let stream = stream.map_err(|source| RegistryError::Unreachable {
            host: host.clone(),
            cause: format!("TLS: {}", chain(&source)),
        })?;
        self.exchange(stream, request, &host).await
    }

    async fn connect(&self, authority: &Authority, port: u16) -> Result<TcpStream, RegistryError> {
        let host = authority.to_string();
        let name = authority.host().trim_start_matches('[').trim_end_matches(']');
        let unreachable = |cause: String| RegistryError::Unreachable { host: host.clone(), cause };
        let looked_up = within(
            self.patience.connect,
            &host,
            "its name did not resolve",
            tokio::net::lookup_host((name, port)),
        );
        let addresses =
            looked_up.await?.map_err(|source| unreachable(format!("look up {name}: {source}")))?;
        let mut last = unreachable(format!("{name} has no address"));
        for address in addresses.take(8) {
            match timeout(self.patience.connect, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    stream.set_nodelay(true).ok();
                    return Ok(stream);
                }
                Ok(Err(source)) => last = unreachable(format!("dial {address}: {source}")),
                Err(_) => last = unreachable(format!("dial {address}: i/o timeout")),
            }
        }
        Err(last)
    }

    async fn exchange(
        &self,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        request: Request<Empty<Bytes>>,
        host: &str,
    ) -> Result<Answer, RegistryError> {
        let broken =
            |source: hyper::Error| RegistryError::Broken { host: host.to_owned(), cause: chain(&source) };
        let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
            .max_headers(HEADERS_MAX)
            .max_buf_size(HEADER_BYTES_MAX)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(broken)?;
        // How it ended is told by the body.
        let connection = AbortOnDropHandle::new(tokio::spawn(async move {
            connection.await.ok();
        }));
        let answer = within(self.patience.answer, host, "no answer", sender.send_request(request)).await?;
        let (parts, body) = answer.map_err(broken)?.into_parts();
        let (status, headers) = (parts.status, parts.headers);
        let Patience { idle, document, .. } = *self.patience;
        Ok(Answer { status, headers, host: host.to_owned(), body, idle, document, _connection: connection })
    }
}

impl Answer {
    /// The next piece of the body; none at its end.
    pub(super) async fn piece(&mut self) -> Result<Option<Bytes>, RegistryError> {
        loop {
            let frame = within(self.idle, &self.host, "nothing came", self.body.frame()).await?;
            let Some(frame) = frame else { return Ok(None) };
            let frame = frame.map_err(|source| {
                let (host, cause) = (self.host.clone(), chain(&source));
                RegistryError::Broken { host, cause }
            })?;
            if let Ok(data) = frame.into_data() {
                return Ok(Some(data));
            }
        }
    }

    /// The whole body, which must not be longer than this.
    pub(super) async fn read(&mut self, max: u64) -> Result<Vec<u8>, RegistryError> {
        let (time, host) = (self.document, self.host.clone());
        within(time, &host, "a document did not arrive", self.read_all(max)).await?
    }

    async fn read_all(&mut self, max: u64) -> Result<Vec<u8>, RegistryError> {
        let mut body = Vec::new();
        while let Some(piece) = self.piece().await? {
            body.extend_from_slice(&piece);
            if body.len() as u64 > max {
                let cause = format!("its answer is longer than {max} bytes");
                return Err(RegistryError::Refused { host: self.host.clone(), cause });
            }
        }
        Ok(body)
    }

    /// A header as text.
    pub(super) fn header(&self, name: impl http::header::AsHeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// A registry that does not do it in this time hangs.
async fn within<F: Future>(
    time: Duration,
    host: &str,
    what: &str,
    it: F,
) -> Result<F::Output, RegistryError> {
    timeout(time, it).await.map_err(|_| RegistryError::TooSlow {
        host: host.to_owned(),
        what: format!("{what} within {time:?}"),
    })
}

pub(super) fn authority(uri: &Uri) -> Result<Authority, RegistryError> {
    let authority = uri.authority().filter(|it| !it.host().is_empty() && !it.as_str().contains('@'));
    let known = matches!(uri.scheme_str(), Some("http" | "https"));
    authority.filter(|_| known).cloned().ok_or_else(|| RegistryError::Refused {
        host: uri.host().unwrap_or_default().to_owned(),
        cause: format!("\"{uri}\" is not an address to go to"),
    })
}

/// An error and its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
