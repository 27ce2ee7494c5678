//! One question to a container: a command, an HTTP GET, gRPC's question for health, or whether a port takes connections.

use std::time::Duration;

use futures_util::FutureExt;
use http::{Request, header};
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use tokio::time::timeout;

use super::{health, tls};
use crate::pod::document::{Container, Grpc, HttpGet, PortRef, Probe};
use crate::runtime::{PodStream, Runtime, RuntimeError};

/// How a container is asked.
#[derive(Clone, Copy, Debug)]
pub enum Action<'a> {
    /// A command in it ends with 0.
    Exec(&'a [String]),
    /// An HTTP GET is answered with 200 to 399.
    Http(&'a HttpGet),
    /// A TCP connection is taken.
    Tcp(&'a PortRef),
    /// A gRPC server says that it serves.
    Grpc(&'a Grpc),
}

impl<'a> Action<'a> {
    /// A probe's action, if it is one of these.
    pub fn of(probe: &'a Probe) -> Option<Action<'a>> {
        let exec = probe.exec.as_ref().map(|exec| Action::Exec(&exec.command));
        let http = || probe.http_get.as_ref().map(Action::Http);
        let tcp = || probe.tcp_socket.as_ref().map(|tcp| Action::Tcp(&tcp.port));
        let grpc = || probe.grpc.as_ref().map(Action::Grpc);
        exec.or_else(http).or_else(tcp).or_else(grpc)
    }
}

/// Who asks.
pub(super) const USER_AGENT: &str = "kube-probe/1.32";
/// What a message quotes of a command's output.
const OUTPUT_MAX: usize = 1024;

/// Why a question did not go well, in the kubelet's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The container was asked, and did not do as it should.
    #[error("{0}")]
    Failed(String),
    /// It could not be asked, which is not its fault: nothing is known of it.
    #[error("{0}")]
    Unknown(String),
}

impl Error {
    fn unknown(cause: impl ToString) -> Error {
        Error::Unknown(cause.to_string())
    }
}

/// Asks a container. The time is its own: what the pod's shim takes to let it be asked does not count, and connecting and
/// answering may each take all of it.
pub async fn perform(
    runtime: &dyn Runtime,
    uid: &str,
    container: &Container,
    action: Action<'_>,
    time: Duration,
) -> Result<(), Error> {
    match action {
        Action::Exec(command) => {
            let output = runtime.exec(uid, &container.name, command.to_vec(), time).await;
            let output = output.map_err(Error::unknown)?;
            if output.timed_out {
                return Err(Error::Failed(format!("command timed out after {}s", time.as_secs())));
            }
            if output.code != 0 {
                let said = [output.stdout, output.stderr].concat();
                let said = String::from_utf8_lossy(&said[..said.len().min(OUTPUT_MAX)]).trim().to_owned();
                return Err(Error::Failed(if said.is_empty() {
                    format!("command ended with exit code {}", output.code)
                } else {
                    said
                }));
            }
            Ok(())
        }
        Action::Tcp(port) => {
            let port = number(port, container)?;
            connect(runtime, uid, port, time).await.map(drop)
        }
        Action::Grpc(grpc) => {
            let stream = connect(runtime, uid, grpc.port, time).await.map_err(|error| match error {
                Error::Failed(cause) => Error::Failed(health::not_connected(grpc.port, cause)),
                unknown => unknown,
            })?;
            health::ask(stream, grpc, time).await.map_err(Error::Failed)
        }
        Action::Http(get) => {
            let port = number(&get.port, container)?;
            let status = http_get(runtime, uid, get, port, time).await?;
            if (200..400).contains(&status) {
                return Ok(());
            }
            Err(Error::Failed(format!("HTTP probe failed with statuscode: {status}")))
        }
    }
}

fn number(port: &PortRef, container: &Container) -> Result<u16, Error> {
    port.number(container).ok_or_else(|| match port {
        PortRef::Name(name) => {
            Error::Unknown(format!("couldn't find port \"{name}\" of container {}", container.name))
        }
        PortRef::Number(number) => Error::Unknown(format!("invalid port number {number}")),
    })
}

async fn connect(
    runtime: &dyn Runtime,
    uid: &str,
    port: u16,
    time: Duration,
) -> Result<Box<dyn PodStream>, Error> {
    runtime.connect(uid, port, time).await.map_err(|error| match error {
        RuntimeError::Connect { .. } => Error::Failed(error.to_string()),
        other => Error::unknown(other),
    })
}

/// The status of the answer.
async fn http_get(
    runtime: &dyn Runtime,
    uid: &str,
    get: &HttpGet,
    port: u16,
    time: Duration,
) -> Result<u16, Error> {
    let path = get.path.as_deref().filter(|path| !path.is_empty()).unwrap_or("/");
    let address = format!("127.0.0.1:{port}");
    let scheme = if is_https(get) { "https" } else { "http" };
    let in_words = |cause| format!("Get \"{scheme}://{address}{path}\": {cause}");
    let stream = connect(runtime, uid, port, time).await.map_err(|error| match error {
        Error::Failed(cause) => Error::Failed(in_words(cause)),
        Error::Unknown(cause) => Error::Unknown(in_words(cause)),
    })?;
    let answer = timeout(time, ask(stream, get, path, &address)).await;
    let answer = answer.unwrap_or_else(|_| Err("context deadline exceeded".to_owned()));
    answer.map_err(|cause| Error::Failed(in_words(cause)))
}

fn is_https(get: &HttpGet) -> bool {
    get.scheme.as_deref().is_some_and(|scheme| scheme.eq_ignore_ascii_case("https"))
}

async fn ask(
    mut stream: Box<dyn PodStream>,
    get: &HttpGet,
    path: &str,
    address: &str,
) -> Result<u16, String> {
    if is_https(get) {
        stream = tls::connect(stream, get.host.as_deref()).await?;
    }
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let mut request = Request::get(path);
    let named = |name: &str| get.http_headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
    let own_host = get.host.as_deref().filter(|host| !host.is_empty());
    let defaults = [
        (header::HOST, own_host.unwrap_or(address)),
        (header::USER_AGENT, USER_AGENT),
        (header::ACCEPT, "*/*"),
        (header::CONNECTION, "close"),
    ];
    for (name, value) in defaults {
        if named(name.as_str()).is_none() {
            request = request.header(name, value);
        }
    }
    for header in &get.http_headers {
        request = request.header(&header.name, &header.value);
    }
    let request = request.body(Empty::<bytes::Bytes>::new()).map_err(|error| error.to_string())?;
    let connected = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = connected.map_err(|error| error.to_string())?;
    // The connection is driven here and dropped with the answer's head: its body is nobody's business.
    let mut connection = std::pin::pin!(connection);
    let mut answer = std::pin::pin!(sender.send_request(request));
    let response = tokio::select! {
        biased;
        response = &mut answer => response,
        // Whoever closes as soon as it has answered has answered.
        ended = &mut connection => match (ended, (&mut answer).now_or_never()) {
            (_, Some(Ok(response))) => Ok(response),
            (Err(error), _) | (Ok(()), Some(Err(error))) => Err(error),
            (Ok(()), None) => answer.await,
        },
    };
    Ok(response.map_err(|error| error.to_string())?.status().as_u16())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::Arc;

    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

    use super::*;

    /// Answers one request with 204, over TLS, with a certificate for somebody else that nobody vouches for. Says what it was
    /// asked, and for whom.
    async fn serve(far: tokio::io::DuplexStream) -> (String, Option<String>) {
        let key = rcgen::generate_simple_self_signed(["elsewhere".to_owned()]).unwrap();
        let private = rustls_pki_types::PrivateKeyDer::try_from(key.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![key.cert.der().clone()], private)
            .unwrap();
        let stream = tokio_rustls::TlsAcceptor::from(Arc::new(config)).accept(far).await.unwrap();
        let name = stream.get_ref().1.server_name().map(str::to_owned);
        let (mut stream, mut line) = (BufReader::new(stream), String::new());
        stream.read_line(&mut line).await.unwrap();
        stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
        stream.flush().await.unwrap();
        (line, name)
    }

    #[tokio::test]
    async fn an_https_server_is_asked_whatever_its_certificate_says() {
        for (host, name) in [(None, None), (Some("web.example"), Some("web.example"))] {
            let get: HttpGet =
                serde_json::from_value(serde_json::json!({ "scheme": "HTTPS", "port": 8443, "host": host }))
                    .unwrap();
            let (near, far) = tokio::io::duplex(1 << 16);
            let (answer, (line, asked)) =
                tokio::join!(ask(Box::new(near), &get, "/healthz", "127.0.0.1:8443"), serve(far));
            assert_eq!((answer, line.as_str()), (Ok(204), "GET /healthz HTTP/1.1\r\n"));
            assert_eq!(asked.as_deref(), name);
        }
    }
}
