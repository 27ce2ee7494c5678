//! Exec and attach over SPDY, as clients of before 1.30 have it: the client opens a stream for each of what it wants, and
//! one for how it ends.

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use serde::Deserialize;
use tokio::time::timeout;

use super::{
    outcome,
    spdy::{Event, Session, Writer},
    websocket::Opened,
};
use crate::streams::{FromClient, FromPod, PodStream, StdStreams};

/// The versions of the protocol, the best first. The two oldest differ from one another in nothing that is seen here.
pub(super) const VERSIONS: [&str; 4] =
    ["v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io"];
/// How long a client may take to open its streams, as with the kubelet.
const OPENED: Duration = Duration::from_secs(30);

/// What differs between the versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Version {
    /// The end is told as a Status, also the good one.
    pub(super) status: bool,
    /// The size of the client's terminal has a stream.
    pub(super) resize: bool,
}

impl Version {
    /// That of one of [`VERSIONS`].
    pub(super) fn of(name: &str) -> Version {
        Version { status: name == VERSIONS[0], resize: name == VERSIONS[0] || name == VERSIONS[1] }
    }
}

/// The client's streams, by their numbers.
#[derive(Debug, Default)]
struct Streams {
    error: Option<u32>,
    stdin: Option<u32>,
    stdout: Option<u32>,
    stderr: Option<u32>,
    resize: Option<u32>,
}

/// Serves the stream.
pub(super) async fn serve(
    mut session: Session,
    version: Version,
    wanted: StdStreams,
    opened: Opened,
) -> Session {
    carry(&mut session, version, wanted, opened).await;
    session
}

async fn carry(session: &mut Session, version: Version, wanted: StdStreams, opened: Opened) {
    let Ok(Some(streams)) = timeout(OPENED, collect(session, version, wanted)).await else { return };
    let out = Out { writer: session.writer(), version, streams };
    match opened {
        Ok(PodStream { input, mut output }) => {
            let listening = listen(session, &out.streams, input);
            tokio::select! {
                () = out.send_all(&mut output) => {}
                _ = listening => {}
            }
        }
        Err(cause) => out.end(&outcome::of_failure(&cause)).await,
    }
}

/// Waits for the streams that the query has announced.
async fn collect(session: &mut Session, version: Version, wanted: StdStreams) -> Option<Streams> {
    let mut streams = Streams::default();
    let StdStreams { stdin, stdout, stderr, tty } = wanted;
    let is_there = |streams: &Streams| {
        let has = |wanted: bool, stream: Option<u32>| !wanted || stream.is_some();
        streams.error.is_some()
            && has(stdin, streams.stdin)
            && has(stdout, streams.stdout)
            && has(stderr, streams.stderr)
            && has(tty && version.resize, streams.resize)
    };
    while !is_there(&streams) {
        match session.next().await? {
            Event::Opened { stream, headers } => {
                let name =
                    headers.iter().find(|(name, _)| name == "streamtype").map(|(_, kind)| kind.as_str());
                let place = match name? {
                    "error" => &mut streams.error,
                    "stdin" => &mut streams.stdin,
                    "stdout" => &mut streams.stdout,
                    "stderr" => &mut streams.stderr,
                    "resize" => &mut streams.resize,
                    _ => return None,
                };
                *place = Some(stream);
            }
            // The ends of streams on which the client has nothing to say.
            Event::Data { bytes, .. } if bytes.is_empty() => {}
            Event::Data { .. } | Event::Reset { .. } => return None,
        }
    }
    Some(streams)
}

/// Hands on what the client says, until it is gone. A process that has ended is told by the other direction.
async fn listen(
    session: &mut Session,
    streams: &Streams,
    input: tokio::sync::mpsc::Sender<FromClient>,
) -> Option<()> {
    let out = session.writer();
    loop {
        let Event::Data { stream, bytes, fin } = session.next().await? else { continue };
        if Some(stream) == streams.stdin {
            if !bytes.is_empty() {
                out.hand_on(&input, FromClient::Data(bytes)).await?;
            }
            if fin {
                out.hand_on(&input, FromClient::Eof).await?;
            }
        } else if Some(stream) == streams.resize
            && let Some(size) = size(&bytes)
        {
            out.hand_on(&input, size).await?;
        }
    }
}

fn size(bytes: &Bytes) -> Option<FromClient> {
    #[derive(Deserialize)]
    struct Size {
        #[serde(rename = "Width")]
        width: u16,
        #[serde(rename = "Height")]
        height: u16,
    }
    // Several may come at once: the last one counts.
    let sizes = serde_json::Deserializer::from_slice(bytes).into_iter::<Size>();
    let size = sizes.map_while(Result::ok).last()?;
    Some(FromClient::Resize { columns: size.width, rows: size.height })
}

/// The way to the client.
struct Out {
    writer: Writer,
    version: Version,
    streams: Streams,
}

impl Out {
    async fn send_all(&self, output: &mut (impl StreamExt<Item = FromPod> + Unpin)) {
        loop {
            let (stream, bytes) = match output.next().await {
                Some(FromPod::Stdout(bytes)) => (self.streams.stdout, bytes),
                Some(FromPod::Stderr(bytes)) => (self.streams.stderr, bytes),
                Some(FromPod::Exited(code)) => return self.end(&outcome::of_exit(code)).await,
                Some(FromPod::Failed(cause)) => return self.end(&outcome::of_failure(&cause)).await,
                None => {
                    return self.end(&outcome::of_failure("the worker broke the stream off")).await;
                }
            };
            if let Some(stream) = stream
                && self.writer.data(stream, &bytes).await.is_none()
            {
                return;
            }
        }
    }

    /// Tells how it ended, and ends all streams.
    async fn end(&self, status: &serde_json::Value) {
        let words = match self.version.status {
            true => Some(status.to_string()),
            false => outcome::in_words(status),
        };
        let Streams { error, stdin, stdout, stderr, resize } = self.streams;
        if let (Some(words), Some(error)) = (words, error) {
            self.writer.data(error, &words.into()).await;
        }
        for stream in [stdout, stderr, stdin, resize, error].into_iter().flatten() {
            self.writer.finish(stream).await;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use futures_util::stream;
    use tokio::sync::mpsc;

    use super::*;
    use crate::rest::stream::spdy::{client::Client, wire::Wire};

    const ALL: StdStreams = StdStreams { stdin: true, stdout: true, stderr: true, tty: false };

    fn begin(version: &str, wanted: StdStreams, opened: Opened) -> Client {
        let (near, far) = tokio::io::duplex(4096);
        let version = Version::of(version);
        tokio::spawn(Wire::of_connection(far).serve(move |session| serve(session, version, wanted, opened)));
        Client::new(near)
    }

    /// A process that says what it is told, and its end.
    fn process(ends: FromPod) -> PodStream {
        let (input, said) = mpsc::channel(1);
        let output = stream::unfold(Some((said, ends)), async |state| {
            let (mut said, ends) = state?;
            match said.recv().await {
                Some(FromClient::Data(bytes)) => Some((FromPod::Stdout(bytes), Some((said, ends)))),
                Some(FromClient::Resize { columns, rows }) => {
                    Some((FromPod::Stdout(format!("{columns}x{rows};").into()), Some((said, ends))))
                }
                Some(FromClient::Eof) | None => Some((ends, None)),
            }
        });
        PodStream { input, output: output.boxed() }
    }

    #[tokio::test]
    async fn each_of_what_is_wanted_has_its_stream() {
        let mut client = begin("v4.channel.k8s.io", ALL, Ok(process(FromPod::Exited(7))));
        let error = client.open(&[("streamtype", "error")]).await;
        let stdin = client.open(&[("streamtype", "stdin")]).await;
        let stdout = client.open(&[("streamtype", "stdout")]).await;
        let stderr = client.open(&[("streamtype", "stderr")]).await;
        client.says(stdin, "hello", false).await;
        client.says(stdin, " you", true).await;
        assert_eq!(client.all_of(stdout).await, "hello you");
        assert_eq!(client.all_of(stderr).await, "");
        let status: serde_json::Value = serde_json::from_str(&client.all_of(error).await).unwrap();
        assert_eq!(
            (&status["reason"], &status["details"]["causes"][0]["message"]),
            (&"NonZeroExitCode".into(), &"7".into())
        );
    }

    #[tokio::test]
    async fn a_terminal_has_its_size_on_a_stream() {
        let wanted = StdStreams { tty: true, stderr: false, ..ALL };
        let mut client = begin("v3.channel.k8s.io", wanted, Ok(process(FromPod::Exited(0))));
        let error = client.open(&[("streamtype", "error")]).await;
        let resize = client.open(&[("streamtype", "resize")]).await;
        let stdin = client.open(&[("streamtype", "stdin")]).await;
        let stdout = client.open(&[("streamtype", "stdout")]).await;
        client.says(resize, "{\"Width\":80,\"Height\":24}", false).await;
        client.says(stdin, "x", true).await;
        assert_eq!(client.all_of(stdout).await, "80x24;x");
        assert_eq!(client.all_of(error).await, "", "the good end has no words before version 4");
    }

    #[tokio::test(start_paused = true)]
    async fn who_leaves_a_process_that_does_not_read_is_noticed() {
        let (near, far) = tokio::io::duplex(4096);
        let version = Version::of("v4.channel.k8s.io");
        let wanted = StdStreams { stdin: true, ..StdStreams::default() };
        let (input, said) = mpsc::channel(1);
        let output = stream::once(async move {
            let _unread = said;
            std::future::pending().await
        });
        let opened = Ok(PodStream { input, output: output.boxed() });
        let wire = Wire::of_connection(far);
        let served = tokio::spawn(wire.serve(move |session| serve(session, version, wanted, opened)));
        let mut client = Client::new(near);
        client.open(&[("streamtype", "error")]).await;
        let stdin = client.open(&[("streamtype", "stdin")]).await;
        // Or that these cannot be written would tell that it has left.
        client.hears_answers().await;
        for _ in 0..5 {
            client.says(stdin, "unread", false).await;
        }
        drop(client);
        timeout(Duration::from_secs(3600), served).await.expect("the stream is over").unwrap();
    }

    #[tokio::test]
    async fn what_could_not_be_started_is_told_on_the_error_stream() {
        let wanted = StdStreams { stdout: true, ..StdStreams::default() };
        let mut client = begin("channel.k8s.io", wanted, Err("no such program".into()));
        let error = client.open(&[("streamtype", "error")]).await;
        client.open(&[("streamtype", "stdout")]).await;
        assert!(client.all_of(error).await.contains("no such program"));
    }
}
