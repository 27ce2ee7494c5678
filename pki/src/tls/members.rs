//! Checks of a client's certificate: signed by the cluster's CA, valid today, and naming this cluster. What is refused
//! is refused with words that say which of these failed.

use std::io;
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, OtherError, RootCertStore, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, UnixTime};

use crate::{Error, Peer, Refusal, peer};

/// The library's own verifier, and then the cluster id.
#[derive(Debug)]
pub(super) struct MemberVerifier {
    cluster: String,
    inner: Arc<dyn ClientCertVerifier>,
}

impl MemberVerifier {
    pub(super) fn new(
        cluster: &str,
        roots: RootCertStore,
        crypto: Arc<CryptoProvider>,
    ) -> Result<Self, Error> {
        let inner = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), crypto)
            .allow_unauthenticated()
            .build()
            .map_err(|e| Error::Certificate(format!("the CA cannot be used to verify others: {e}")))?;
        Ok(MemberVerifier { cluster: cluster.to_owned(), inner })
    }
}

impl ClientCertVerifier for MemberVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.inner.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let verified = self.inner.verify_client_cert(end_entity, intermediates, now).map_err(|error| {
            let (who, issuer) = peer::claims(end_entity);
            refuse(match error {
                rustls::Error::InvalidCertificate(
                    CertificateError::UnknownIssuer | CertificateError::BadSignature,
                ) => Refusal::ForeignCa { who, issuer, cluster: self.cluster.clone() },
                other => Refusal::Invalid { who, cause: other.to_string() },
            })
        })?;
        let peer =
            Peer::from_certificate(end_entity).map_err(|e| refuse(Refusal::NoIdentity(e.to_string())))?;
        if peer.cluster != self.cluster {
            let who = peer.to_string();
            return Err(refuse(Refusal::OtherCluster {
                who,
                theirs: peer.cluster,
                ours: self.cluster.clone(),
            }));
        }
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// Wraps a refusal so that it travels through the TLS library.
pub(super) fn refuse(refusal: Refusal) -> rustls::Error {
    rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(refusal))))
}

/// Our refusal in a failed handshake's error, if it was us who refused.
pub(crate) fn refusal_in(error: &io::Error) -> Option<&Refusal> {
    match error.get_ref()?.downcast_ref::<rustls::Error>()? {
        rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(cause))) => cause.downcast_ref(),
        _ => None,
    }
}
