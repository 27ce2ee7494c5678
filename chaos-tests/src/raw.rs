//! HTTP/1.1 by hand over TLS: for requests that no client library would send, byte by byte and as slowly as wanted.

use std::{io, sync::Arc, time::Duration};

use anyhow::{Context, bail};
use kontiki_pki::Identity;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig, RootCertStore,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
};

use crate::client::Answer;

/// A server that takes longer than this hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// A connection on which anything may be written.
pub struct Raw {
    stream: TlsStream<TcpStream>,
}

impl Raw {
    /// Connects with these TLS settings: those of an identity, or of a stranger.
    pub async fn connect(
        config: Arc<ClientConfig>,
        identity: &Identity,
        address: &str,
    ) -> anyhow::Result<Raw> {
        let stream = TcpStream::connect(address).await?;
        // As Go's clients have it: what follows the handshake would else wait for its acknowledgement.
        stream.set_nodelay(true)?;
        let name = identity.controller_server_name(None);
        Ok(Raw { stream: TlsConnector::from(config).connect(name, stream).await? })
    }

    /// Writes these bytes.
    pub async fn write(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        self.stream.write_all(bytes).await?;
        Ok(self.stream.flush().await?)
    }

    /// Reads until these bytes have come.
    pub async fn until(&mut self, end: &[u8]) -> anyhow::Result<()> {
        let mut bytes = Vec::new();
        let reading = async {
            while !bytes.windows(end.len()).any(|window| window == end) {
                if self.stream.read_buf(&mut bytes).await? == 0 {
                    bail!("it ended with {:?}", String::from_utf8_lossy(&bytes));
                }
            }
            Ok(())
        };
        timeout(PATIENCE, reading).await.context("they did not come")?
    }

    /// Reads to the end of the connection what must be one whole answer.
    pub async fn answer(mut self) -> anyhow::Result<Answer> {
        let mut bytes = Vec::new();
        match timeout(PATIENCE, self.stream.read_to_end(&mut bytes)).await.context("no end of the answer")? {
            Ok(_) => {}
            // Some servers end a connection without saying so.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && !bytes.is_empty() => {}
            Err(error) => return Err(error).context("the connection broke"),
        }
        let text = String::from_utf8_lossy(&bytes);
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            bail!("no whole answer, but {text:?}");
        };
        let code = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        let code = code.with_context(|| format!("no status in {head:?}"))?;
        Ok(Answer { code, body: serde_json::from_str(body).unwrap_or(Value::Null) })
    }
}

/// One request of a connection of its own: the head without its last line, and the body.
pub async fn exchange(
    config: Arc<ClientConfig>,
    identity: &Identity,
    address: &str,
    head: &str,
    body: &[u8],
) -> anyhow::Result<Answer> {
    let mut raw = Raw::connect(config, identity, address).await?;
    let head = format!("{head}\r\nhost: k\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
    raw.write(head.as_bytes()).await?;
    raw.write(body).await?;
    raw.answer().await
}

/// TLS settings of a stranger: it trusts a CA and shows a certificate that this CA has not signed.
pub fn stranger(trusted_pem: &str, cert_pem: &str, key_pem: &str) -> anyhow::Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    for cert in CertificateDer::pem_slice_iter(trusted_pem.as_bytes()) {
        roots.add(cert?)?;
    }
    let chain = CertificateDer::pem_slice_iter(cert_pem.as_bytes()).collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes())?;
    Ok(Arc::new(ClientConfig::builder().with_root_certificates(roots).with_client_auth_cert(chain, key)?))
}
