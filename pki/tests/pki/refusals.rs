//! Certificates that are shown to a controller and must not be taken, each with its reason in the log.

use std::sync::Arc;

use kontiki_pki::{Ca, KeyPairPem};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair, SanType};
use rustls::ClientConfig;

use crate::stage::{self, Log, Port};

/// Signed by the CA itself, with content that it would never sign.
fn forge(ca: &Ca, change: impl FnOnce(&mut CertificateParams)) -> KeyPairPem {
    let issuer = Issuer::from_ca_cert_pem(ca.cert_pem(), KeyPair::from_pem(&ca.key_pem()).unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    change(&mut params);
    let cert_pem = params.signed_by(&key, &issuer).unwrap().pem();
    KeyPairPem { cert_pem, key_pem: key.serialize_pem() }
}

fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

async fn refused(ca: &Ca, client: Arc<ClientConfig>) -> String {
    let log = Log::capture();
    let port = Port::open(&stage::controller(ca, 1)).await;
    let answer = port.who(client, stage::localhost()).await;
    assert!(answer.is_err(), "{answer:?}");
    // The next one is not harmed by it.
    assert_eq!(port.who(stage::anonymous_client(ca), stage::localhost()).await.unwrap(), "anonymous");
    port.close().await;
    log.text()
}

#[tokio::test]
async fn a_foreign_ca() {
    let (ours, theirs) = (Ca::create("pacific").unwrap(), Ca::create("atlantic").unwrap());
    let stranger = stage::user(&theirs, "jane", &["system:masters"]);
    let log = refused(&ours, stage::client_showing(&ours, stranger.cert_pem(), stranger.key_pem())).await;
    for part in ["WARN", "user jane of cluster atlantic", "foreign CA", "O=atlantic", "cluster pacific"] {
        assert!(log.contains(part), "{part} is not in: {log}");
    }
}

#[tokio::test]
async fn a_foreign_ca_that_calls_itself_like_ours() {
    let (ours, theirs) = (Ca::create("pacific").unwrap(), Ca::create("pacific").unwrap());
    let stranger = stage::controller(&theirs, 1);
    let log = refused(&ours, stage::client_showing(&ours, stranger.cert_pem(), stranger.key_pem())).await;
    assert!(log.contains("foreign CA"), "{log}");
}

#[tokio::test]
async fn another_cluster_under_our_ca() {
    let ca = Ca::create("pacific").unwrap();
    let forged = forge(&ca, |params| params.subject_alt_names = vec![uri("kontiki://atlantic/user/jane")]);
    let log = refused(&ca, stage::client_showing(&ca, &forged.cert_pem, &forged.key_pem)).await;
    assert!(log.contains("belongs to cluster atlantic, this is cluster pacific"), "{log}");
}

#[tokio::test]
async fn an_expired_certificate() {
    let ca = Ca::create("pacific").unwrap();
    let forged = forge(&ca, |params| {
        params.subject_alt_names = vec![uri("kontiki://pacific/user/jane")];
        params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    });
    let log = refused(&ca, stage::client_showing(&ca, &forged.cert_pem, &forged.key_pem)).await;
    assert!(log.contains("user jane") && log.contains("expired"), "{log}");
}

#[tokio::test]
async fn a_certificate_for_servers_only() {
    let ca = Ca::create("pacific").unwrap();
    let forged = forge(&ca, |params| {
        params.subject_alt_names = vec![uri("kontiki://pacific/user/jane")];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    });
    let log = refused(&ca, stage::client_showing(&ca, &forged.cert_pem, &forged.key_pem)).await;
    assert!(log.contains("not valid"), "{log}");
}

#[tokio::test]
async fn no_identity_or_a_doubtful_one() {
    let ca = Ca::create("pacific").unwrap();
    let doubtful: [&[&str]; 7] = [
        &[],
        &["https://pacific/user/jane"],
        &["kontiki://pacific/user/jane", "kontiki://pacific/controller/1/crew-1"],
        &["kontiki://pacific/controller/one/crew-1"],
        &["kontiki://pacific/captain/thor"],
        &["kontiki://pacific/user/%zz"],
        &["kontiki://pacific/user/"],
    ];
    for uris in doubtful {
        let forged = forge(&ca, |params| params.subject_alt_names = uris.iter().map(|u| uri(u)).collect());
        let log = refused(&ca, stage::client_showing(&ca, &forged.cert_pem, &forged.key_pem)).await;
        assert!(log.contains("no identity of this cluster"), "{uris:?}: {log}");
    }
}

#[tokio::test]
async fn tls_1_2() {
    let ca = Ca::create("pacific").unwrap();
    kontiki_pki::install_crypto();
    let old = ClientConfig::builder_with_protocol_versions(&[&rustls::version::TLS12])
        .with_root_certificates(stage::roots(&ca))
        .with_no_client_auth();
    let log = refused(&ca, Arc::new(old)).await;
    assert!(log.contains("handshake failed"), "{log}");
}
