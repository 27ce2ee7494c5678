//! A newcomer's half of getting a certificate.

use std::fmt;

use rcgen::{CertificateParams, DistinguishedName};

use crate::{Error, ca};

/// A new private key, which stays where it was made, and the request to have it certified.
pub struct SigningRequest {
    /// The request (PKCS#10), to be sent with the join token.
    pub csr_pem: String,
    /// The private key (PKCS#8), to be kept.
    pub key_pem: String,
}

impl SigningRequest {
    /// Makes a key and the request for it. The request carries no names: the signer decides those.
    pub fn generate() -> Result<SigningRequest, Error> {
        let key = ca::generate_key()?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        let csr_pem = params
            .serialize_request(&key)
            .and_then(|csr| csr.pem())
            .map_err(|source| Error::Signing { action: "write a signing request", source })?;
        Ok(SigningRequest { csr_pem, key_pem: key.serialize_pem() })
    }
}

impl fmt::Debug for SigningRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningRequest")
            .field("csr_pem", &self.csr_pem)
            .field("key_pem", &"(secret)")
            .finish()
    }
}
