//! How long a round trip takes: TCP and TLS on loopback between two threads, without any protocol above.

use std::{
    thread,
    time::{Duration, Instant},
};

use kontiki_pki::{Ca, DEFAULT_LIFETIME, Dialer, Identity, Subject};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;

use super::BYTES;
use kontiki_load::Samples;

const PATIENCE: Duration = Duration::from_secs(10);

/// Times of round trips, one after the other.
pub(super) async fn trips(span: Duration) -> anyhow::Result<Samples> {
    let ca = Ca::create("physics")?;
    let subject = Subject::Controller { id: 1, name: "echo".into(), addresses: Vec::new() };
    let pair = ca.issue(&subject, DEFAULT_LIFETIME)?;
    let identity = Identity::new(ca.cert_pem(), &pair.cert_pem, &pair.key_pem)?;
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?.to_string();
    listener.set_nonblocking(true)?;
    let config = identity.server_config(&[b"h2"]);
    let echo = thread::spawn(move || -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let listener = TcpListener::from_std(listener)?;
            let (stream, _) = timeout(PATIENCE, listener.accept()).await??;
            stream.set_nodelay(true)?;
            let mut stream = TlsAcceptor::from(config).accept(stream).await?;
            let mut message = [0; BYTES];
            while stream.read_exact(&mut message).await.is_ok() {
                stream.write_all(&message).await?;
                stream.flush().await?;
            }
            Ok(())
        })
    });
    let mut samples = Samples::default();
    {
        let name = identity.controller_server_name(Some(1));
        let mut stream = timeout(PATIENCE, Dialer::new(&identity).tls(&address, name)).await??;
        let (mut message, began) = ([7; BYTES], Instant::now());
        while began.elapsed() < span {
            let from = Instant::now();
            stream.write_all(&message).await?;
            stream.flush().await?;
            timeout(PATIENCE, stream.read_exact(&mut message)).await??;
            samples.add(from.elapsed());
        }
    }
    echo.join().map_err(|_| anyhow::anyhow!("the echo panicked"))??;
    Ok(samples)
}
