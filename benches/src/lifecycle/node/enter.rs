//! Getting into a container: a command in it, and a port of it.

use std::{
    io::{BufRead, BufReader, Lines},
    net::SocketAddr,
    process::{Child, ChildStdout, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, bail};
use kontiki_chaos_tests::{Raw, kubectl_path};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    time::Instant,
};

use super::{super::figures::Figures, Ground};

/// How long a stream is read.
const SPAN: Duration = Duration::from_secs(3);
/// Of it, before it counts.
const WARM_UP: Duration = Duration::from_millis(500);
const PORT: u16 = 9000;
/// An empty ping of a server and an empty pong of a client (RFC 6455, section 5.5).
const PING: &[u8] = &[0x89, 0];
/// How often the server asks whether the client listens before it sends anything.
const GREETINGS: usize = 3;
const PONG: &[u8] = &[0x8a, 0x80, 0, 0, 0, 0];

/// `true` in a running container over a WebSocket, from the connection's beginning to the exit code, as each `kubectl exec` does it.
pub(super) async fn exec(ground: &mut Ground, n: usize) -> anyhow::Result<()> {
    ground.create("entered", &[]).await?;
    ground.runs("entered").await?;
    let head = "GET /api/v1/namespaces/default/pods/entered/exec?command=true&stdout=true&stderr=true HTTP/1.1\r\nhost: k\r\n\
                connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
                sec-websocket-key: a29udGlraSBiZW5jaGVzIQ==\r\nsec-websocket-protocol: v5.channel.k8s.io\r\n\r\n";
    let mut figures = Figures::default();
    for _ in 0..n {
        let from = Instant::now();
        let mut raw =
            Raw::connect(ground.identity.client_config(), &ground.identity, &ground.address).await?;
        raw.write(head.as_bytes()).await?;
        for _ in 0..GREETINGS {
            raw.until(PING).await.context("exec of true")?;
            raw.write(PONG).await?;
        }
        raw.until(br#""status":"Success""#).await.context("exec of true")?;
        figures.add(from.elapsed());
    }
    figures.print("exec of `true`, connection to exit code", "p50 0.050 s");
    ground.clear().await
}

/// What comes through `kubectl port-forward`, beside a plain proxy between two sockets of loopback.
pub(super) async fn forward(ground: &mut Ground) -> anyhow::Result<()> {
    ground.create("source", &["nc", "-ll", "-p", &PORT.to_string(), "-e", "cat", "/dev/zero"]).await?;
    ground.runs("source").await?;
    let (_kubectl, address) = forwarded(ground)?;
    let ours = read(address).await?;
    let plain = read(plain_proxy().await?).await?;
    println!(
        "kubectl port-forward: {ours:.0} MB/s, a plain proxy {plain:.0} MB/s, {:.2}x   (target 500 MB/s, or 0.5x)",
        ours / plain
    );
    ground.clear().await
}

/// Ended when it is dropped. It says something of each connection: without a reader it would end.
struct Forwarder {
    child: Child,
    _output: Option<Lines<BufReader<ChildStdout>>>,
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn forwarded(ground: &Ground) -> anyhow::Result<(Forwarder, SocketAddr)> {
    let mut command = Command::new(kubectl_path());
    command.arg("--kubeconfig").arg(ground.cluster.kubeconfig());
    command.args(["port-forward", "pod/source", &format!(":{PORT}")]).stdout(Stdio::piped());
    let mut kubectl = Forwarder { child: command.spawn().context("kubectl")?, _output: None };
    let mut lines = BufReader::new(kubectl.child.stdout.take().context("its output")?).lines();
    let line = lines.next().context("kubectl port-forward ended")??;
    let address = line.strip_prefix("Forwarding from ").and_then(|rest| rest.split(' ').next());
    let address = address.with_context(|| format!("kubectl port-forward said {line:?}"))?.parse()?;
    kubectl._output = Some(lines);
    Ok((kubectl, address))
}

/// Megabytes per second that come from there.
async fn read(address: SocketAddr) -> anyhow::Result<f64> {
    let mut stream = TcpStream::connect(address).await?;
    let (mut buffer, mut bytes, from) = (vec![0; 256 << 10], 0, Instant::now());
    while from.elapsed() < SPAN {
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            bail!("{address} ended early");
        }
        if from.elapsed() > WARM_UP {
            bytes += count;
        }
    }
    Ok(bytes as f64 / 1e6 / (SPAN - WARM_UP).as_secs_f64())
}

/// A source of zeros behind a proxy that does nothing but copy.
async fn plain_proxy() -> anyhow::Result<SocketAddr> {
    let (source, proxy) = (TcpListener::bind("127.0.0.1:0").await?, TcpListener::bind("127.0.0.1:0").await?);
    let (from, address) = (source.local_addr()?, proxy.local_addr()?);
    tokio::spawn(async move {
        let (mut stream, _) = source.accept().await?;
        let zeros = vec![0; 64 << 10];
        loop {
            stream.write_all(&zeros).await?;
        }
        #[expect(unreachable_code, reason = "it says of what type the errors are")]
        Ok::<_, std::io::Error>(())
    });
    tokio::spawn(async move {
        let (mut reader, _) = proxy.accept().await?;
        copy_bidirectional(&mut reader, &mut TcpStream::connect(from).await?).await
    });
    Ok(address)
}
