//! Port-forward over channels of one WebSocket, for clients that do not speak SPDY in it: two channels for each port that the query
//! names, an even one for data and the odd one behind it for what went wrong. Each begins with the port's number.
//!
//! Source: Kubernetes' `kubelet/pkg/cri/streaming/portforward/websocket.go`.

use axum::extract::ws::{Message, close_code};
use bytes::Bytes;
use futures_util::{Sink, SinkExt, Stream, StreamExt, future::BoxFuture};
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, interval_at, timeout},
};

use super::{
    channels::{Form, Malformed},
    forward::Dial,
    websocket::{PING, SILENCE, close},
};
use crate::{
    rest::query::Query,
    status::Status,
    streams::{FromClient, FromPod, PodStream, StreamError},
};

/// Its names in handshakes.
pub(super) const PROTOCOLS: [&str; 2] = ["v4.channel.k8s.io", "v4.base64.channel.k8s.io"];
/// Ports of one client: their channels are numbered by a byte.
const PORTS_MAX: usize = 127;
/// What may wait for a port, and what may wait for the client.
const WAITING_MAX: usize = 2;

/// A message to the client: its channel and what it says.
type Said = (u8, Bytes);

/// The ports that a request names, by one parameter each or by one for all.
pub(super) fn asked(query: &Query) -> Result<Vec<u16>, Status> {
    let mut ports = Vec::new();
    for word in query.all("ports").flat_map(|words| words.split(',')) {
        let port = word.parse::<u16>().ok().filter(|port| *port > 0);
        ports.push(port.ok_or_else(|| Status::bad_request(format!("unable to parse {word:?} as a port")))?);
        if ports.len() > PORTS_MAX {
            return Err(Status::bad_request(format!("more than {PORTS_MAX} ports")));
        }
    }
    if ports.is_empty() {
        return Err(Status::bad_request("query parameter \"ports\" is required"));
    }
    Ok(ports)
}

/// Carries until the client is gone or all ports have closed.
pub(super) async fn serve<S, E>(socket: S, form: Form, pod: String, ports: Vec<u16>, dial: Dial)
where
    S: Stream<Item = Result<Message, E>> + Sink<Message, Error = E> + Unpin,
{
    let (mut sink, mut client) = socket.split();
    let (out, mut said) = mpsc::channel(WAITING_MAX);
    // Those that are left end with this.
    let mut tasks = JoinSet::new();
    let mut inputs = Vec::new();
    for (channel, port) in (0..).step_by(2).zip(ports) {
        let number = Bytes::copy_from_slice(&port.to_le_bytes());
        for channel in [channel, channel + 1] {
            if sink.send(form.message(channel, &number)).await.is_err() {
                return;
            }
        }
        let (input, heard) = mpsc::channel(WAITING_MAX);
        inputs.push(input);
        let connection = Connection { pod: pod.clone(), port, channel, out: out.clone() };
        tasks.spawn(connection.run(dial(port), heard));
    }
    drop(out);
    let sending = async {
        let mut pings = interval_at(Instant::now() + PING, PING);
        loop {
            let message = tokio::select! {
                said = said.recv() => match said {
                    Some((channel, bytes)) => form.message(channel, &bytes),
                    None => return Some(String::new()),
                },
                _ = pings.tick() => Message::Ping(Bytes::new()),
            };
            sink.send(message).await.ok()?;
        }
    };
    let listening = async {
        loop {
            let Ok(Some(Ok(message))) = timeout(SILENCE, client.next()).await else { return None };
            let message = match message {
                Message::Binary(bytes) => bytes,
                Message::Text(text) => Bytes::from(text),
                Message::Close(_) => return None,
                Message::Ping(_) | Message::Pong(_) => continue,
            };
            let (channel, bytes) = match form.open(message) {
                Ok(said) => said,
                Err(malformed) => return Some(malformed.to_string()),
            };
            match inputs.get(usize::from(channel / 2)) {
                _ if bytes.is_empty() => {}
                // A port that has closed is told by the other direction.
                Some(input) if channel % 2 == 0 => {
                    input.send(FromClient::Data(bytes)).await.ok();
                }
                _ => return Some(Malformed::Channel(channel).to_string()),
            }
        }
    };
    let why = tokio::select! { why = sending => why, why = listening => why };
    if let Some(why) = why {
        let code = if why.is_empty() { close_code::NORMAL } else { close_code::PROTOCOL };
        close(sink, client, code, &why).await;
    }
}

/// One port.
struct Connection {
    pod: String,
    port: u16,
    channel: u8,
    out: mpsc::Sender<Said>,
}

impl Connection {
    async fn run(
        self,
        dialing: BoxFuture<'static, Result<PodStream, StreamError>>,
        heard: mpsc::Receiver<FromClient>,
    ) {
        let failed = match dialing.await {
            Ok(stream) => self.carry(stream, heard).await,
            Err(error) => Some(error.to_string()),
        };
        if let Some(cause) = failed {
            let words = format!("error forwarding port {} to pod {}: {cause}", self.port, self.pod);
            self.out.send((self.channel + 1, words.into())).await.ok();
        }
    }

    /// Carries until the port has closed; tells what went wrong.
    async fn carry(&self, stream: PodStream, mut heard: mpsc::Receiver<FromClient>) -> Option<String> {
        // Held to the end: the worker takes a closed input for a client that is gone.
        let PodStream { input, mut output } = stream;
        let up = async {
            while let Some(said) = heard.recv().await {
                input.send(said).await.ok();
            }
        };
        let down = async {
            loop {
                match output.next().await {
                    Some(FromPod::Stdout(bytes) | FromPod::Stderr(bytes)) => {
                        self.out.send((self.channel, bytes)).await.ok();
                    }
                    Some(FromPod::Exited(_)) => return None,
                    Some(FromPod::Failed(cause)) => return Some(cause),
                    None => return Some("the worker broke the connection off".to_owned()),
                }
            }
        };
        tokio::select! { () = up => None, failed = down => failed }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use futures_util::{FutureExt, stream};

    use super::super::{channels::FORMS, websocket::tests::socket};
    use super::*;

    /// What says everything again and then closes; on port 1 nobody listens.
    fn echo() -> Dial {
        Arc::new(|port| {
            async move {
                if port == 1 {
                    return Err(StreamError::Failed("connection refused".into()));
                }
                let (input, said) = mpsc::channel(1);
                let output = stream::unfold((said, false), |(mut said, over)| async move {
                    if over {
                        return None;
                    }
                    let heard = match said.recv().await {
                        Some(FromClient::Data(bytes)) => FromPod::Stdout(bytes),
                        _ => FromPod::Exited(0),
                    };
                    let over = matches!(&heard, FromPod::Exited(_)) || heard == FromPod::Stdout("bye".into());
                    let heard = if over { FromPod::Exited(0) } else { heard };
                    Some((heard, (said, over)))
                });
                Ok(PodStream { input, output: output.boxed() })
            }
            .boxed()
        })
    }

    fn form(name: &str) -> Form {
        FORMS.into_iter().find(|form| form.name == name).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn each_port_has_its_channels() {
        let form = form(PROTOCOLS[0]);
        let (near, said, mut heard) = socket();
        let serving = tokio::spawn(serve(near, form, "web".into(), vec![8080, 1], echo()));
        let message = |channel: u8, bytes: &[u8]| form.message(channel, bytes);
        for (channel, port) in [(0, [0x90, 0x1f]), (1, [0x90, 0x1f]), (2, [1, 0]), (3, [1, 0])] {
            assert_eq!(heard.next().await.unwrap(), message(channel, &port));
        }
        let refused = b"error forwarding port 1 to pod web: connection refused";
        assert_eq!(heard.next().await.unwrap(), message(3, refused));
        said.send(message(0, b"hello")).await.unwrap();
        assert_eq!(heard.next().await.unwrap(), message(0, b"hello"));
        // With the last port the client has nothing to wait for.
        said.send(message(0, b"bye")).await.unwrap();
        let end = heard.next().await.unwrap();
        assert!(matches!(&end, Message::Close(Some(frame)) if frame.code == close_code::NORMAL), "{end:?}");
        drop(said);
        serving.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn what_means_nothing_ends_it() {
        let form = form(PROTOCOLS[1]);
        for wrong in [form.message(1, b"x"), form.message(2, b"x"), Message::Binary(Bytes::new())] {
            let (near, said, heard) = socket();
            said.send(wrong.clone()).await.unwrap();
            drop(said);
            serve(near, form, "web".into(), vec![8080], echo()).await;
            let last = heard.collect::<Vec<_>>().await.pop().unwrap();
            assert!(
                matches!(&last, Message::Close(Some(frame)) if frame.code == close_code::PROTOCOL),
                "{wrong:?}: {last:?}"
            );
        }
    }

    #[test]
    fn ports_are_named_in_the_query() {
        let asked = |query: &str| asked(&Query::of(&format!("/x?{query}").parse().unwrap()).unwrap());
        assert_eq!(asked("ports=80,8080&ports=1").unwrap(), [80, 8080, 1]);
        for (query, told) in [
            ("", "query parameter \"ports\" is required"),
            ("ports=", "unable to parse \"\" as a port"),
            ("ports=0", "unable to parse \"0\" as a port"),
            ("ports=80,x", "unable to parse \"x\" as a port"),
            ("ports=65536", "unable to parse \"65536\" as a port"),
        ] {
            assert_eq!(asked(query).unwrap_err().message, told);
        }
        let many = vec!["80"; PORTS_MAX + 1].join(",");
        assert_eq!(asked(&format!("ports={many}")).unwrap_err().code, 400);
    }
}
