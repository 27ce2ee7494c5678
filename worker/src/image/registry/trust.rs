//! Who vouches for registries: the machine's certificate authorities, and those that a file adds.

use std::path::Path;
use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

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

/// The machine's authorities. A machine without any trusts nobody, which a registry's error tells.
pub(super) fn of_machine() -> Result<Arc<ClientConfig>, String> {
    config(machine_roots()?)
}

/// The machine's authorities and those of this file.
pub(super) fn with_file(path: &Path) -> Result<Arc<ClientConfig>, String> {
    let mut roots = machine_roots()?;
    if add(&mut roots, path)? == 0 {
        return Err(format!("{} holds no certificate in PEM", path.display()));
    }
    config(roots)
}

fn machine_roots() -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    match std::env::var_os(VARIABLE) {
        Some(path) => {
            add(&mut roots, Path::new(&path))?;
        }
        None => {
            if let Some(path) = BUNDLES.iter().map(Path::new).find(|path| path.exists()) {
                add(&mut roots, path)?;
            }
        }
    }
    Ok(roots)
}

/// Adds a file's certificates; those that cannot be read are passed over, as every reader of such bundles does.
fn add(roots: &mut RootCertStore, path: &Path) -> Result<usize, String> {
    let certificates = CertificateDer::pem_file_iter(path)
        .map_err(|source| format!("read certificates in {}: {source}", path.display()))?;
    Ok(roots.add_parsable_certificates(certificates.flatten()).0)
}

fn config(roots: RootCertStore) -> Result<Arc<ClientConfig>, String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|source| format!("TLS: {source}"))?;
    Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}
