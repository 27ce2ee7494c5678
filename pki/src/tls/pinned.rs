//! Trust before the CA is known: a newcomer trusts a server whose chain ends in the CA that its join token names, and
//! that is a controller. A worker has the same CA, and must not be able to collect the tokens of others.

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::members::refuse;
use super::{provider, roots};
use crate::{Error, Peer, Refusal, Role, ca, names};

/// For joining: trusts only a controller whose chain contains the CA with this fingerprint, whatever name it is dialed
/// by, and shows no certificate.
pub fn pinned_client_config(ca_fingerprint: &str) -> Result<Arc<ClientConfig>, Error> {
    let crypto = provider();
    let verifier =
        PinnedVerifier { fingerprint: ca_fingerprint.to_ascii_lowercase(), crypto: crypto.clone() };
    let mut config = ClientConfig::builder_with_provider(crypto)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

#[derive(Debug)]
struct PinnedVerifier {
    fingerprint: String,
    crypto: Arc<CryptoProvider>,
}

impl ServerCertVerifier for PinnedVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let pinned = intermediates.iter().find(|der| names::fingerprint(der) == self.fingerprint);
        let Some(pinned) = pinned else { return Err(refuse(Refusal::NotPinned(self.fingerprint.clone()))) };
        rustls::client::verify_server_cert_signed_by_trust_anchor(
            &ParsedCertificate::try_from(end_entity)?,
            &roots(pinned)?,
            &[],
            now,
            self.crypto.signature_verification_algorithms.all,
        )?;
        let no_identity = |e: Error| refuse(Refusal::NoIdentity(e.to_string()));
        let peer = Peer::from_certificate(end_entity).map_err(no_identity)?;
        let cluster = ca::cluster_of(pinned).map_err(no_identity)?;
        if peer.cluster != cluster {
            let who = peer.to_string();
            return Err(refuse(Refusal::OtherCluster { who, theirs: peer.cluster, ours: cluster }));
        }
        if peer.role != Role::Controller {
            return Err(refuse(Refusal::NotController(peer.to_string())));
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(
            message,
            cert,
            dss,
            &self.crypto.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            cert,
            dss,
            &self.crypto.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.crypto.signature_verification_algorithms.supported_schemes()
    }
}
