//! The TLS settings of every connection. TLS 1.3 only, one crypto provider, and no resumption: a resumed session would
//! carry over the check of an earlier connection, and each connection is to be checked anew.

mod members;
mod pinned;
mod unverified;

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::server::NoServerSessionStorage;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::Error;

pub(crate) use members::refusal_in;
pub use pinned::pinned_client_config;
pub use unverified::unverified_client_config;

/// Makes aws-lc-rs the process's crypto provider. First thing in every `main` and test; repeating it changes nothing.
pub fn install_crypto() {
    // It fails if one is installed already. That is either ours, or a choice that the process made before.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

fn provider() -> Arc<CryptoProvider> {
    // Not the process default, so that forgetting `install_crypto` is no error here.
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn roots(ca: &CertificateDer<'_>) -> Result<RootCertStore, rustls::Error> {
    let mut roots = RootCertStore::empty();
    roots.add(ca.clone().into_owned())?;
    Ok(roots)
}

/// Accepts members of the cluster, and strangers without a certificate.
pub(crate) fn server_config(
    cluster: &str,
    ca: &CertificateDer<'_>,
    cert: &CertificateDer<'_>,
    key: PrivateKeyDer<'static>,
) -> Result<ServerConfig, Error> {
    // The CA follows the certificate, so that a newcomer can compare it with its token.
    let chain = vec![cert.clone().into_owned(), ca.clone().into_owned()];
    let verifier = members::MemberVerifier::new(cluster, roots(ca)?, provider())?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_single_cert(chain, key)
        .map_err(key_error)?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// Dials with its own certificate, trusting only the cluster's CA.
pub(crate) fn client_config(
    ca: &CertificateDer<'_>,
    cert: &CertificateDer<'_>,
    key: PrivateKeyDer<'static>,
) -> Result<ClientConfig, Error> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots(ca)?)
        .with_client_auth_cert(vec![cert.clone().into_owned()], key)
        .map_err(key_error)?;
    config.resumption = Resumption::disabled();
    Ok(config)
}

fn key_error(error: rustls::Error) -> Error {
    match error {
        rustls::Error::InconsistentKeys(_) => Error::KeyMismatch,
        other => Error::Tls(other),
    }
}

/// Whether a certificate is signed by this CA. Its dates are not looked at: a process with an expired certificate must
/// still be able to start, to say so and to renew it.
pub(crate) fn check_signed_by(cert: &CertificateDer<'_>, ca: &CertificateDer<'_>) -> Result<(), Error> {
    let unreadable = |e| Error::Certificate(format!("it cannot be read: {e}"));
    let (_, cert) = x509_parser::parse_x509_certificate(cert).map_err(unreadable)?;
    let (_, ca) = x509_parser::parse_x509_certificate(ca).map_err(unreadable)?;
    cert.verify_signature(Some(ca.public_key()))
        .map_err(|_| Error::Certificate("it is not signed by the CA beside it".to_owned()))
}
