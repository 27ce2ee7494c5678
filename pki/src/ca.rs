//! The cluster's certificate authority.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData, SerialNumber,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use time::OffsetDateTime;

use crate::{Error, Subject, files, names};

/// How long a certificate lives unless its issuer says otherwise.
pub const DEFAULT_LIFETIME: Duration = Duration::from_secs(365 * 24 * 3600);

/// The CA outlives everything that it signs.
const CA_LIFETIME: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Certificates begin to be valid a little earlier, for clocks that lag behind the signer's.
const CLOCK_SKEW: Duration = Duration::from_secs(3600);

/// A certificate signing request is a few hundred bytes; more is refused before it is parsed.
const MAX_CSR: usize = 16 * 1024;

const CERT_FILE: &str = "ca.crt";
const KEY_FILE: &str = "ca.key";

/// The cluster's certificate authority: an ECDSA P-256 key, and a certificate whose organization is the cluster id.
/// Every controller holds it, so that joining needs no particular one.
pub struct Ca {
    cluster_id: String,
    cert_pem: String,
    fingerprint: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate with its private key.
#[derive(Clone)]
pub struct KeyPairPem {
    /// The certificate.
    pub cert_pem: String,
    /// Its private key (PKCS#8).
    pub key_pem: String,
}

impl Ca {
    /// Makes the CA of a new cluster.
    pub fn create(cluster_id: &str) -> Result<Ca, Error> {
        names::check_cluster_id(cluster_id)?;
        let key = generate_key()?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, cluster_id);
        params.distinguished_name.push(DnType::CommonName, "kontiki-ca");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        set_validity(&mut params, CA_LIFETIME);
        let cert = params
            .self_signed(&key)
            .map_err(|source| Error::Signing { action: "sign the CA's certificate", source })?;
        Ok(Ca {
            cluster_id: cluster_id.to_owned(),
            fingerprint: names::fingerprint(cert.der()),
            cert_pem: cert.pem(),
            issuer: Issuer::new(params, key),
        })
    }

    /// Takes up a CA from its two PEM texts.
    pub fn load(cert_pem: &str, key_pem: &str) -> Result<Ca, Error> {
        let der =
            CertificateDer::from_pem_slice(cert_pem.as_bytes()).map_err(|_| Error::Pem("CA certificate"))?;
        let cluster_id = cluster_of(&der)?;
        let key = KeyPair::from_pem(key_pem).map_err(|_| Error::Pem("private key of the CA"))?;
        if public_key_of(&der)? != key.public_key_raw() {
            return Err(Error::KeyMismatch);
        }
        let issuer = Issuer::from_ca_cert_der(&der, key)
            .map_err(|source| Error::Signing { action: "read the CA's certificate", source })?;
        Ok(Ca { cluster_id, cert_pem: cert_pem.to_owned(), fingerprint: names::fingerprint(&der), issuer })
    }

    /// Reads a CA that [`Ca::store`] wrote. Refuses a key that others on the machine can read.
    pub fn open(dir: &Path) -> Result<Ca, Error> {
        files::check_folder(dir)?;
        Ca::load(&files::read_private(&dir.join(CERT_FILE))?, &files::read_private(&dir.join(KEY_FILE))?)
    }

    /// Writes the CA into a folder that only its owner can enter.
    pub fn store(&self, dir: &Path) -> Result<(), Error> {
        files::create_folder(dir)?;
        files::write_private(dir, KEY_FILE, &self.key_pem())?;
        files::write_private(dir, CERT_FILE, &self.cert_pem)
    }

    /// The cluster that this CA speaks for.
    pub fn cluster_id(&self) -> &str {
        &self.cluster_id
    }

    /// Its certificate, for everybody.
    pub fn cert_pem(&self) -> &str {
        &self.cert_pem
    }

    /// Its private key, for controllers only.
    pub fn key_pem(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// The same as PKCS#8, to derive other keys from it.
    pub(crate) fn key_der(&self) -> Vec<u8> {
        self.issuer.key().serialize_der()
    }

    /// The SHA-256 of its certificate in hexadecimal, by which join tokens name it.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Makes a key and a certificate for it.
    pub fn issue(&self, subject: &Subject, lifetime: Duration) -> Result<KeyPairPem, Error> {
        let key = generate_key()?;
        let cert_pem = self.sign(subject, &key, lifetime)?;
        Ok(KeyPairPem { cert_pem, key_pem: key.serialize_pem() })
    }

    /// Makes a certificate for the key of a signing request. Nothing else of the request is used: the subject is what
    /// the caller has decided that the requester may be.
    pub fn sign_csr(&self, csr_pem: &str, subject: &Subject, lifetime: Duration) -> Result<String, Error> {
        let refused = |source| Error::Signing { action: "read the certificate signing request", source };
        if csr_pem.len() > MAX_CSR {
            return Err(refused(rcgen::Error::CouldNotParseCertificationRequest));
        }
        let request = CertificateSigningRequestParams::from_pem(csr_pem).map_err(refused)?;
        self.sign(subject, &request.public_key, lifetime)
    }

    fn sign(&self, subject: &Subject, key: &impl PublicKeyData, lifetime: Duration) -> Result<String, Error> {
        let mut params = subject.params(&self.cluster_id)?;
        set_validity(&mut params, lifetime);
        let cert = params
            .signed_by(key, &self.issuer)
            .map_err(|source| Error::Signing { action: "sign a certificate", source })?;
        Ok(cert.pem())
    }
}

impl fmt::Debug for Ca {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ca({} {})", self.cluster_id, self.fingerprint)
    }
}

impl fmt::Debug for KeyPairPem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyPairPem").field("cert_pem", &self.cert_pem).field("key_pem", &"(secret)").finish()
    }
}

/// A new private key of the only kind that the cluster uses.
pub(crate) fn generate_key() -> Result<KeyPair, Error> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)
        .map_err(|source| Error::Signing { action: "make a key", source })
}

/// The cluster id in a CA's certificate.
pub(crate) fn cluster_of(ca_der: &[u8]) -> Result<String, Error> {
    let (_, cert) = x509_parser::parse_x509_certificate(ca_der)
        .map_err(|e| Error::Certificate(format!("the CA's certificate cannot be read: {e}")))?;
    let organization = cert.subject().iter_organization().next().and_then(|o| o.as_str().ok());
    let Some(cluster) = organization.filter(|_| cert.is_ca()) else {
        return Err(Error::Certificate("this is not the certificate of a Kontiki CA".to_owned()));
    };
    names::check_cluster_id(cluster)?;
    Ok(cluster.to_owned())
}

fn public_key_of(der: &[u8]) -> Result<Vec<u8>, Error> {
    let (_, cert) = x509_parser::parse_x509_certificate(der)
        .map_err(|e| Error::Certificate(format!("it cannot be read: {e}")))?;
    Ok(cert.public_key().subject_public_key.data.to_vec())
}

fn set_validity(params: &mut CertificateParams, lifetime: Duration) {
    let now = OffsetDateTime::now_utc();
    // A lifetime beyond the calendar's end is the CA's.
    let lifetime = lifetime.min(CA_LIFETIME);
    params.not_before = now - CLOCK_SKEW;
    params.not_after = now + lifetime;
    let mut serial: [u8; 16] = rand::random();
    // Positive and never shorter, as the standard wants it.
    serial[0] = serial[0] & 0x7f | 0x40;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
}
