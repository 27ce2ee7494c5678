//! The one way to connect.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint, Uri};
use tower::service_fn;

use crate::accept::{BULK, BULK_FRAME, BULK_WINDOW, LANE};
use crate::gulp::Gulp;
use crate::{Error, Identity, JoinToken, names, tls};

/// How patient a channel is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DialOptions {
    /// For TCP and TLS together.
    pub connect_timeout: Duration,
    /// How often HTTP/2 asks whether the other end is still there, also while nothing else is sent.
    pub keepalive_interval: Duration,
    /// How long it waits for the answer before the connection is given up.
    pub keepalive_timeout: Duration,
}

impl Default for DialOptions {
    /// For a local network: a silent peer is given up after 3 seconds.
    fn default() -> Self {
        DialOptions {
            connect_timeout: Duration::from_secs(2),
            keepalive_interval: Duration::from_secs(1),
            keepalive_timeout: Duration::from_secs(2),
        }
    }
}

/// Connects by TCP and TLS 1.3, and verifies on every connection that the other end is who was dialed.
#[derive(Clone)]
pub struct Dialer {
    config: Arc<ClientConfig>,
    bulk: bool,
}

impl Dialer {
    /// Dials as a member of the cluster.
    pub fn new(identity: &Identity) -> Dialer {
        Dialer::with_config(&identity.client_config())
    }

    /// The same for the consensus: controllers serve such connections apart from all others, see [`serve`](crate::serve). One that
    /// does not know of this serves it like any other.
    pub fn of_lane(identity: &Identity) -> Dialer {
        let mut dialer = Dialer::new(identity);
        Arc::make_mut(&mut dialer.config).alpn_protocols.push(LANE.to_vec());
        dialer
    }

    /// The same for connections that carry one stream of bytes each: both ends use larger frames, and windows that are always the same. A
    /// controller that does not know of this serves it like any other.
    #[must_use]
    pub fn for_bulk(&self) -> Dialer {
        let mut dialer = self.clone();
        Arc::make_mut(&mut dialer.config).alpn_protocols.push(BULK.to_vec());
        Dialer { bulk: true, ..dialer }
    }

    /// Dials as a newcomer without a certificate: any controller of the token's cluster, under any server name
    /// ([`Dialer::joining_server_name`]).
    pub fn joining(token: &JoinToken) -> Result<Dialer, Error> {
        Ok(Dialer::with_config(&*tls::pinned_client_config(token.ca_fingerprint())?))
    }

    /// What a newcomer calls the server: it does not know the cluster's id yet, and its check needs no name.
    pub fn joining_server_name() -> ServerName<'static> {
        names::server_name("controllers.kontiki.internal".to_owned()).expect("this is a DNS name")
    }

    fn with_config(config: &ClientConfig) -> Dialer {
        let mut config = config.clone();
        config.alpn_protocols = vec![b"h2".to_vec()];
        Dialer { config: Arc::new(config), bulk: false }
    }

    /// A channel to `address` (host:port). It connects at its first use, and again after a failure. Channels share
    /// nothing: take one per purpose where one must not wait behind the other.
    pub fn channel(&self, address: &str, name: ServerName<'static>, options: DialOptions) -> Channel {
        let authority = Uri::builder().scheme("https").authority(&*name.to_str()).path_and_query("/").build();
        // The URI only fills the requests' headers: where to connect is the connector's business, and so is TLS, which
        // an `https` URI would make tonic look for in itself.
        let mut endpoint = Endpoint::from_static("http://controllers.kontiki.internal")
            .tcp_nodelay(true)
            .http2_keep_alive_interval(options.keepalive_interval)
            .keep_alive_timeout(options.keepalive_timeout)
            .keep_alive_while_idle(true)
            .http2_adaptive_window(!self.bulk);
        if self.bulk {
            endpoint = endpoint
                .initial_stream_window_size(BULK_WINDOW)
                .initial_connection_window_size(BULK_WINDOW)
                .max_frame_size(BULK_FRAME);
        }
        if let Ok(authority) = authority {
            endpoint = endpoint.origin(authority);
        }
        let dialer = self.clone();
        let address: Arc<str> = address.into();
        endpoint.connect_with_connector_lazy(service_fn(move |_: Uri| {
            let (dialer, address, name) = (dialer.clone(), address.clone(), name.clone());
            async move {
                let connected =
                    timeout(options.connect_timeout, dialer.connect(&address, name, Gulp::new)).await;
                let stream = connected.unwrap_or_else(|_| {
                    let waited = format!("no connection to {address} within {:?}", options.connect_timeout);
                    Err(io::Error::new(io::ErrorKind::TimedOut, waited))
                })?;
                Ok::<_, io::Error>(TokioIo::new(stream))
            }
        }))
    }

    /// One TLS connection that speaks HTTP/2. The caller bounds its time.
    pub async fn tls(&self, address: &str, name: ServerName<'static>) -> io::Result<TlsStream<TcpStream>> {
        self.connect(address, name, |stream| stream).await
    }

    async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        address: &str,
        name: ServerName<'static>,
        over: impl FnOnce(TcpStream) -> S,
    ) -> io::Result<TlsStream<S>> {
        let explain = |step: &'static str, error: io::Error| {
            let cause = tls::refusal_in(&error).map_or_else(|| error.to_string(), ToString::to_string);
            io::Error::new(error.kind(), format!("cannot {step} {address}: {cause}"))
        };
        let stream = TcpStream::connect(address).await.map_err(|e| explain("connect to", e))?;
        stream.set_nodelay(true)?;
        let connector = TlsConnector::from(self.config.clone());
        connector.connect(name, over(stream)).await.map_err(|e| explain("trust", e))
    }
}
