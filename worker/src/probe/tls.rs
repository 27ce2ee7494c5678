//! TLS for probes. As the kubelet's, they take any certificate: a probe asks whether somebody answers, not who.

use std::sync::{Arc, LazyLock};

use rustls::ClientConfig;
use rustls_pki_types::{IpAddr, Ipv4Addr, ServerName};
use tokio_rustls::TlsConnector;

use crate::runtime::PodStream;

/// Speaks TLS over a connection to the pod, to the host of that name if the probe says one.
pub(super) async fn connect(
    stream: Box<dyn PodStream>,
    host: Option<&str>,
) -> Result<Box<dyn PodStream>, String> {
    static CONFIG: LazyLock<Result<Arc<ClientConfig>, rustls::Error>> =
        LazyLock::new(kontiki_pki::unverified_client_config);
    let config = CONFIG.as_ref().map_err(|error| format!("tls: {error}"))?;
    let named = host.and_then(|host| ServerName::try_from(host.to_owned()).ok());
    // An address is not sent to the server.
    let name = named.unwrap_or(ServerName::IpAddress(IpAddr::V4(Ipv4Addr::from([127, 0, 0, 1]))));
    let connected = TlsConnector::from(Arc::clone(config)).connect(name, stream).await;
    connected.map(|stream| Box::new(stream) as Box<dyn PodStream>).map_err(|error| format!("tls: {error}"))
}
