//! What one process holds to prove who it is.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::{ClientConfig, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};

use crate::{Error, Peer, ca, files, names, tls};

/// One file for key and certificates, so that a crash during a renewal cannot leave a key beside a foreign certificate.
const FILE: &str = "identity.pem";

/// What one process holds to prove who it is: its key, its certificate, and the CA by which it knows the others.
#[derive(Clone)]
pub struct Identity {
    peer: Peer,
    ca_cert_pem: String,
    cert_pem: String,
    key_pem: String,
    valid_until: SystemTime,
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
    any_controller: ServerName<'static>,
}

impl Identity {
    /// Checks that the three belong together: the certificate is signed by the CA, for the CA's cluster and this key.
    pub fn new(ca_cert_pem: &str, cert_pem: &str, key_pem: &str) -> Result<Identity, Error> {
        let ca_der = CertificateDer::from_pem_slice(ca_cert_pem.as_bytes())
            .map_err(|_| Error::Pem("certificate of the CA"))?;
        let der =
            CertificateDer::from_pem_slice(cert_pem.as_bytes()).map_err(|_| Error::Pem("certificate"))?;
        let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).map_err(|_| Error::Pem("private key"))?;
        let cluster = ca::cluster_of(&ca_der)?;
        let peer = Peer::from_certificate(&der)?;
        if peer.cluster != cluster {
            let why = format!("it belongs to cluster {}, and its CA to cluster {cluster}", peer.cluster);
            return Err(Error::Certificate(why));
        }
        tls::check_signed_by(&der, &ca_der)?;
        let server = tls::server_config(&cluster, &ca_der, &der, key.clone_key())?;
        let client = tls::client_config(&ca_der, &der, key)?;
        Ok(Identity {
            any_controller: names::server_name(names::any_controller(&cluster))?,
            valid_until: valid_until(&der)?,
            peer,
            ca_cert_pem: ca_cert_pem.to_owned(),
            cert_pem: cert_pem.to_owned(),
            key_pem: key_pem.to_owned(),
            server: Arc::new(server),
            client: Arc::new(client),
        })
    }

    /// Reads what [`Identity::store`] wrote. Refuses a key that others on the machine can read.
    pub fn load(dir: &Path) -> Result<Identity, Error> {
        files::check_folder(dir)?;
        let text = files::read_private(&dir.join(FILE))?;
        let (key_pem, certificates) =
            text.split_once(CERTIFICATE).ok_or(Error::Pem("certificate beside the private key"))?;
        let (cert, ca_cert) =
            certificates.split_once(CERTIFICATE).ok_or(Error::Pem("certificate of the CA"))?;
        Identity::new(&format!("{CERTIFICATE}{ca_cert}"), &format!("{CERTIFICATE}{cert}"), key_pem)
    }

    /// Writes it into a folder that only its owner can enter, whole or not at all.
    pub fn store(&self, dir: &Path) -> Result<(), Error> {
        files::create_folder(dir)?;
        let ending = |pem: &str| if pem.ends_with('\n') { "" } else { "\n" };
        let parts = [&self.key_pem, &self.cert_pem, &self.ca_cert_pem];
        let text: String = parts.iter().map(|pem| format!("{pem}{}", ending(pem))).collect();
        files::write_private(dir, FILE, &text)
    }

    /// Who this is.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// The cluster that it belongs to.
    pub fn cluster_id(&self) -> &str {
        &self.peer.cluster
    }

    /// The CA's certificate.
    pub fn ca_cert_pem(&self) -> &str {
        &self.ca_cert_pem
    }

    /// Its own certificate.
    pub fn cert_pem(&self) -> &str {
        &self.cert_pem
    }

    /// Its private key.
    pub fn key_pem(&self) -> &str {
        &self.key_pem
    }

    /// When its certificate ends.
    pub fn valid_until(&self) -> SystemTime {
        self.valid_until
    }

    /// For accepting: TLS 1.3 only. A client's certificate is asked for; a connection without one is anonymous, and one
    /// with a certificate that is not of this cluster is refused.
    pub fn server_config(&self, alpn: &[&[u8]]) -> Arc<ServerConfig> {
        let mut config = ServerConfig::clone(&self.server);
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        Arc::new(config)
    }

    /// For dialing: TLS 1.3 only, with its own certificate, trusting only the cluster's CA.
    pub fn client_config(&self) -> Arc<ClientConfig> {
        self.client.clone()
    }

    /// The name of one controller, or of any.
    pub fn controller_server_name(&self, id: Option<u64>) -> ServerName<'static> {
        match id {
            // Falling back to the name of all controllers here would accept a wrong one.
            Some(id) => names::server_name(names::controller(&self.peer.cluster, id))
                .expect("the cluster id was checked, and a number always fits"),
            None => self.any_controller.clone(),
        }
    }

    /// The name of a worker.
    pub fn worker_server_name(&self, node: &str) -> Result<ServerName<'static>, Error> {
        names::check_name("node name", node)?;
        names::server_name(names::worker(&self.peer.cluster, node))
    }
}

const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----";

fn valid_until(der: &[u8]) -> Result<SystemTime, Error> {
    let (_, cert) = x509_parser::parse_x509_certificate(der)
        .map_err(|e| Error::Certificate(format!("it cannot be read: {e}")))?;
    let seconds = u64::try_from(cert.validity().not_after.timestamp()).unwrap_or(0);
    Ok(UNIX_EPOCH + Duration::from_secs(seconds))
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({} of cluster {})", self.peer, self.peer.cluster)
    }
}
