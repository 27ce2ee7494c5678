//! Who vouches for servers outside of the cluster: the machine's certificate authorities, or those that somebody names. Servers of the
//! cluster itself are not for this: they are known by the cluster's CA only.

use std::{path::Path, sync::Arc};

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, pem::PemObject};

/// Where distributions keep the authorities that the machine trusts; the first that is there counts.
const BUNDLES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
/// Names another file, as OpenSSL and its kin take it.
const VARIABLE: &str = "SSL_CERT_FILE";

/// The machine's authorities. A machine without any trusts nobody, which the error of a connection tells.
///
/// # Errors
/// The file that holds them cannot be read.
pub fn machine_roots() -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    match std::env::var_os(VARIABLE) {
        Some(path) => {
            add_file(&mut roots, Path::new(&path))?;
        }
        None => {
            if let Some(path) = BUNDLES.iter().map(Path::new).find(|path| path.exists()) {
                add_file(&mut roots, path)?;
            }
        }
    }
    Ok(roots)
}

/// Adds a file's certificates and tells how many; those that cannot be read are passed over, as every reader of such bundles does.
///
/// # Errors
/// The file cannot be read.
pub fn add_file(roots: &mut RootCertStore, path: &Path) -> Result<usize, String> {
    let certificates = CertificateDer::pem_file_iter(path)
        .map_err(|source| format!("read certificates in {}: {source}", path.display()))?;
    Ok(roots.add_parsable_certificates(certificates.flatten()).0)
}

/// The authorities of a bundle in PEM, and no others.
///
/// # Errors
/// It holds none.
pub fn roots_of(pem: &[u8]) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    match roots.add_parsable_certificates(CertificateDer::pem_slice_iter(pem).flatten()).0 {
        0 => Err("it holds no certificate in PEM".to_owned()),
        _ => Ok(roots),
    }
}

/// Dials servers that these authorities vouch for, without a certificate of its own.
///
/// # Errors
/// TLS cannot be set up.
pub fn client_config(roots: RootCertStore) -> Result<Arc<ClientConfig>, String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|source| format!("TLS: {source}"))?;
    Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}
