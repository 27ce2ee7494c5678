//! One question to a container: a command, an HTTP GET, gRPC's question for health, or whether a port takes connections.

use std::time::Duration;

use http::{Request, header};
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use tokio::time::timeout;

use super::health;
use crate::pod::document::{Container, Grpc, HttpGet, PortRef, Probe};
use crate::runtime::Runtime;

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

/// Asks, and says what went wrong in the kubelet's words.
pub async fn perform(
    runtime: &dyn Runtime,
    uid: &str,
    container: &Container,
    action: Action<'_>,
    time: Duration,
) -> Result<(), String> {
    match action {
        Action::Exec(command) => {
            let output = runtime
                .exec(uid, &container.name, command.to_vec(), time)
                .await
                .map_err(|e| e.to_string())?;
            if output.timed_out {
                return Err(format!("command timed out after {}s", time.as_secs()));
            }
            if output.code != 0 {
                let said = [output.stdout, output.stderr].concat();
                let said = String::from_utf8_lossy(&said[..said.len().min(OUTPUT_MAX)]).trim().to_owned();
                return Err(if said.is_empty() {
                    format!("command ended with exit code {}", output.code)
                } else {
                    said
                });
            }
            Ok(())
        }
        Action::Tcp(port) => {
            let port = number(port, container)?;
            runtime.connect(uid, port, time).await.map(drop).map_err(|error| error.to_string())
        }
        Action::Grpc(grpc) => health::ask(runtime, uid, grpc, time).await,
        Action::Http(get) => {
            let port = number(&get.port, container)?;
            let path = get.path.as_deref().filter(|path| !path.is_empty()).unwrap_or("/");
            let address = format!("127.0.0.1:{port}");
            let asked = async { ask(runtime, uid, get, port, path, &address, time).await };
            let answer =
                timeout(time, asked).await.unwrap_or_else(|_| Err("context deadline exceeded".to_owned()));
            let status = answer.map_err(|cause| format!("Get \"http://{address}{path}\": {cause}"))?;
            if (200..400).contains(&status) {
                return Ok(());
            }
            Err(format!("HTTP probe failed with statuscode: {status}"))
        }
    }
}

fn number(port: &PortRef, container: &Container) -> Result<u16, String> {
    port.number(container).ok_or_else(|| match port {
        PortRef::Name(name) => format!("couldn't find port \"{name}\" of container {}", container.name),
        PortRef::Number(number) => format!("invalid port number {number}"),
    })
}

async fn ask(
    runtime: &dyn Runtime,
    uid: &str,
    get: &HttpGet,
    port: u16,
    path: &str,
    address: &str,
    time: Duration,
) -> Result<u16, String> {
    if get.scheme.as_deref().is_some_and(|scheme| scheme.eq_ignore_ascii_case("https")) {
        return Err("scheme HTTPS is not supported on this worker: use HTTP, tcpSocket or exec".to_owned());
    }
    let stream = runtime.connect(uid, port, time).await.map_err(|error| error.to_string())?;
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
        ended = &mut connection => match ended {
            Ok(()) => answer.await,
            Err(error) => Err(error),
        },
    };
    Ok(response.map_err(|error| error.to_string())?.status().as_u16())
}
