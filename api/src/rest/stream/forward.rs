//! Port-forward: the client opens two streams for each connection, one for data and one for what goes wrong.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use futures_util::{StreamExt, future::BoxFuture};
use tokio::{sync::mpsc, task::JoinSet};

use super::spdy::{Event, Session, Writer};
use crate::streams::{FromClient, FromPod, PodStream, StreamError};

/// Its name in handshakes.
pub(super) const PROTOCOL: &str = "portforward.k8s.io";
/// The same in a WebSocket.
pub(super) const TUNNEL: &str = "SPDY/3.1+portforward.k8s.io";
/// Connections of one client at a time, those included that have half of their streams.
const CONNECTIONS_MAX: usize = 128;
/// What may wait for a port.
const INPUT_MAX: usize = 2;

/// Opens a stream to a port of the pod.
pub(super) type Dial = Arc<dyn Fn(u16) -> BoxFuture<'static, Result<PodStream, StreamError>> + Send + Sync>;

/// Serves a client's connections until it is gone.
pub(super) async fn serve(mut session: Session, pod: String, dial: Dial) -> Session {
    let mut forwards =
        Forwards { pod, dial, out: session.writer(), halves: HashMap::new(), inputs: HashMap::new() };
    // Those that are left end with this.
    let mut tasks = JoinSet::new();
    while let Some(event) = session.next().await {
        while tasks.try_join_next().is_some() {}
        forwards.inputs.retain(|_, input| !input.is_closed());
        match event {
            Event::Opened { stream, headers } => {
                if let Err(cause) = forwards.opened(stream, &headers, &mut tasks) {
                    tracing::debug!(cause, "a port-forward stream is refused");
                    if session.writer().reset(stream).await.is_none() {
                        break;
                    }
                }
            }
            Event::Data { stream, bytes, fin } => {
                if forwards.data(stream, bytes, fin).await.is_none() {
                    break;
                }
            }
            Event::Reset { stream } => forwards.forget(stream),
        }
    }
    session
}

struct Forwards {
    pod: String,
    dial: Dial,
    out: Writer,
    /// By request: the first of its two streams.
    halves: HashMap<String, Half>,
    /// By data stream.
    inputs: HashMap<u32, mpsc::Sender<FromClient>>,
}

enum Half {
    Error(u32),
    /// With what the client says already.
    Data(u32, mpsc::Receiver<FromClient>),
}

impl Half {
    fn is(&self, stream: u32) -> bool {
        let (Half::Error(this) | Half::Data(this, _)) = self;
        *this == stream
    }
}

impl Forwards {
    fn opened(
        &mut self,
        stream: u32,
        headers: &[(String, String)],
        tasks: &mut JoinSet<()>,
    ) -> Result<(), &'static str> {
        // Those count that are still dialed for a client which wants them no more.
        if tasks.len() >= CONNECTIONS_MAX {
            return Err("too many connections");
        }
        let header =
            |name: &str| headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        let port: u16 = header("port").and_then(|port| port.parse().ok()).ok_or("no port")?;
        let request = header("requestid").ok_or("no request id")?.to_owned();
        let this = match header("streamtype") {
            Some("error") => Half::Error(stream),
            Some("data") if self.inputs.len() >= CONNECTIONS_MAX => return Err("too many connections"),
            Some("data") => {
                let (input, said) = mpsc::channel(INPUT_MAX);
                self.inputs.insert(stream, input);
                Half::Data(stream, said)
            }
            _ => return Err("neither data nor error"),
        };
        let (data, said, error) = match (self.halves.remove(&request), this) {
            (Some(Half::Error(error)), Half::Data(data, said))
            | (Some(Half::Data(data, said)), Half::Error(error)) => (data, said, error),
            (Some(half), _) => {
                self.halves.insert(request, half);
                return Err("the same stream twice");
            }
            (None, this) => {
                if self.halves.len() >= CONNECTIONS_MAX {
                    return Err("too many connections");
                }
                self.halves.insert(request, this);
                return Ok(());
            }
        };
        let forward = Forward { pod: self.pod.clone(), port, data, error, said, out: self.out.clone() };
        tasks.spawn(forward.run((self.dial)(port)));
        Ok(())
    }

    /// Hands on what the client says; nothing, when it is gone.
    async fn data(&mut self, stream: u32, bytes: Bytes, fin: bool) -> Option<()> {
        let words = (!bytes.is_empty()).then_some(FromClient::Data(bytes));
        for said in words.into_iter().chain(fin.then_some(FromClient::Eof)) {
            // What is on the error stream is the client's business, as is what comes after a port has closed.
            let Some(input) = self.inputs.get(&stream) else { break };
            // Nobody takes it before the other half is there, which is not heard of while this waits.
            if input.capacity() == 0 && self.halves.values().any(|half| half.is(stream)) {
                self.forget(stream);
                return self.out.reset(stream).await;
            }
            self.out.hand_on(input, said).await?;
        }
        Some(())
    }

    /// The client wants no more of a stream, or has to do without it.
    fn forget(&mut self, stream: u32) {
        self.inputs.remove(&stream);
        self.halves.retain(|_, half| !half.is(stream));
    }
}

/// One connection.
struct Forward {
    pod: String,
    port: u16,
    data: u32,
    error: u32,
    said: mpsc::Receiver<FromClient>,
    out: Writer,
}

impl Forward {
    async fn run(mut self, dialing: BoxFuture<'static, Result<PodStream, StreamError>>) {
        let failed = match dialing.await {
            Ok(stream) => self.carry(stream).await,
            Err(error) => Some(error.to_string()),
        };
        // What the client still says is not waited for: it may read the end only when it has said everything.
        self.said.close();
        if let Some(cause) = failed {
            let words = format!("error forwarding port {} to pod {}: {cause}", self.port, self.pod);
            self.out.data(self.error, &words.into()).await;
        }
        self.out.finish(self.error).await;
        self.out.finish(self.data).await;
    }

    /// Carries until one side is done; tells what went wrong.
    async fn carry(&mut self, PodStream { input, mut output }: PodStream) -> Option<String> {
        let said = &mut self.said;
        let up = async {
            while let Some(said) = said.recv().await {
                // A port that has closed is told by the other direction.
                input.send(said).await.ok();
            }
        };
        let (out, data) = (&self.out, self.data);
        let down = async {
            loop {
                match output.next().await {
                    Some(FromPod::Stdout(bytes) | FromPod::Stderr(bytes)) => out.data(data, &bytes).await?,
                    Some(FromPod::Exited(_)) => return None,
                    Some(FromPod::Failed(cause)) => return Some(cause),
                    None => return Some("the worker broke the connection off".to_owned()),
                };
            }
        };
        tokio::select! { () = up => None, failed = down => failed }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        time::Duration,
    };

    use futures_util::{FutureExt, stream};
    use tokio::{task::JoinHandle, time::timeout};

    use super::*;
    use crate::rest::stream::spdy::{client::Client, wire::Wire};

    /// A pod that says everything twice, until it is told the end; on port 1 nobody listens.
    fn pod() -> (Dial, mpsc::UnboundedReceiver<u16>) {
        let (closed, watching) = mpsc::unbounded_channel();
        let dial: Dial = Arc::new(move |port| {
            let closed = closed.clone();
            async move {
                if port == 1 {
                    return Err(StreamError::Failed("connection refused".into()));
                }
                let (input, mut said) = mpsc::channel(1);
                let (output, heard) = mpsc::channel(1);
                tokio::spawn(async move {
                    while let Some(FromClient::Data(bytes)) = said.recv().await {
                        for _ in 0..2 {
                            output.send(FromPod::Stdout(bytes.clone())).await.ok();
                        }
                    }
                    output.send(FromPod::Exited(0)).await.ok();
                    closed.send(port).ok();
                });
                let heard =
                    stream::unfold(heard, async |mut heard| heard.recv().await.map(|said| (said, heard)));
                Ok(PodStream { input, output: heard.boxed() })
            }
            .boxed()
        });
        (dial, watching)
    }

    fn begin(dial: Dial) -> Client {
        begin_and_watch(dial).0
    }

    /// With what is over when the client's place is free again.
    fn begin_and_watch(dial: Dial) -> (Client, JoinHandle<()>) {
        let (near, far) = tokio::io::duplex(4096);
        let wire = Wire::of_connection(far);
        let served = tokio::spawn(wire.serve(|session| serve(session, "web".into(), dial)));
        (Client::new(near), served)
    }

    /// A pod that never reads what it is told.
    fn deaf_pod() -> Dial {
        Arc::new(|_| {
            let (input, said) = mpsc::channel(1);
            let output = stream::once(async move {
                let _unread = said;
                std::future::pending().await
            });
            async { Ok(PodStream { input, output: output.boxed() }) }.boxed()
        })
    }

    async fn connection(client: &mut Client, request: &str, port: &str) -> (u32, u32) {
        let of = |kind: &'static str| [("streamtype", kind), ("port", port), ("requestid", request)];
        let error = client.open(&of("error")).await;
        client.says(error, "", true).await;
        (client.open(&of("data")).await, error)
    }

    #[tokio::test]
    async fn connections_are_carried_each_to_its_port() {
        let (dial, _) = pod();
        let mut client = begin(dial);
        let (one, one_error) = connection(&mut client, "0", "80").await;
        let (two, two_error) = connection(&mut client, "1", "81").await;
        client.says(two, "b", false).await;
        client.pings(7).await;
        client.says(one, "a", true).await;
        assert_eq!(client.all_of(one).await, "aa");
        assert_eq!(client.all_of(one_error).await, "");
        client.says(two, "c", true).await;
        assert_eq!(client.all_of(two).await, "bbcc");
        assert_eq!(client.all_of(two_error).await, "");
        assert_eq!(client.pongs, [7]);
    }

    #[tokio::test]
    async fn a_port_where_nobody_listens_is_told_on_the_error_stream() {
        let (dial, _) = pod();
        let mut client = begin(dial);
        let (data, error) = connection(&mut client, "0", "1").await;
        assert_eq!(client.all_of(error).await, "error forwarding port 1 to pod web: connection refused");
        assert_eq!(client.all_of(data).await, "");
        // The others go on.
        let (data, _) = connection(&mut client, "1", "80").await;
        client.says(data, "on", true).await;
        assert_eq!(client.all_of(data).await, "onon");
    }

    #[tokio::test]
    async fn who_resets_or_leaves_closes_the_connection_in_the_pod() {
        let (dial, mut closed) = pod();
        let mut client = begin(dial);
        let (data, _) = connection(&mut client, "0", "80").await;
        connection(&mut client, "1", "81").await;
        client.says(data, "a", false).await;
        client.resets(data).await;
        assert_eq!(closed.recv().await, Some(80));
        drop(client);
        assert_eq!(closed.recv().await, Some(81));
    }

    #[tokio::test(start_paused = true)]
    async fn who_leaves_a_port_that_does_not_read_is_noticed() {
        let (mut client, served) = begin_and_watch(deaf_pod());
        let (data, _) = connection(&mut client, "0", "80").await;
        // Or that these cannot be written would tell that it has left.
        client.hears_answers().await;
        for _ in 0..8 {
            client.says(data, "unread", false).await;
        }
        drop(client);
        timeout(Duration::from_secs(3600), served).await.expect("the connection is over").unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn half_a_connection_takes_some_data_and_holds_up_nobody() {
        let (dial, _) = pod();
        let mut client = begin(dial);
        let half = client.open(&[("streamtype", "data"), ("port", "80"), ("requestid", "0")]).await;
        for _ in 0..=INPUT_MAX {
            client.says(half, "unread", false).await;
        }
        let others = async {
            let (data, _) = connection(&mut client, "1", "80").await;
            client.says(data, "on", true).await;
            client.all_of(data).await
        };
        let heard = timeout(Duration::from_secs(3600), others).await.expect("the others go on");
        assert_eq!(heard, "onon");
        assert_eq!(client.resets, [half]);
    }

    #[tokio::test(start_paused = true)]
    async fn ports_are_dialed_for_no_more_connections_than_a_client_may_have() {
        const TOO_MANY: usize = 10;
        let dialed = Arc::new(AtomicUsize::new(0));
        let counted = dialed.clone();
        let mut client = begin(Arc::new(move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
            std::future::pending().boxed()
        }));
        for request in 0..CONNECTIONS_MAX + TOO_MANY {
            let (data, _) = connection(&mut client, &request.to_string(), "80").await;
            client.resets(data).await;
            assert!(client.hears().await);
        }
        while client.resets.len() < 2 * TOO_MANY {
            assert!(client.hears().await, "the streams of those are refused");
        }
        assert_eq!(dialed.load(Ordering::Relaxed), CONNECTIONS_MAX);
    }

    #[tokio::test]
    async fn streams_that_mean_nothing_are_refused_and_the_rest_goes_on() {
        let (dial, _) = pod();
        let mut client = begin(dial);
        let odd = client.open(&[("streamtype", "data"), ("port", "eighty"), ("requestid", "0")]).await;
        while client.resets.is_empty() {
            assert!(client.hears().await);
        }
        assert_eq!(client.resets, [odd]);
        let (data, _) = connection(&mut client, "1", "80").await;
        client.says(data, "on", true).await;
        assert_eq!(client.all_of(data).await, "onon");
    }
}
