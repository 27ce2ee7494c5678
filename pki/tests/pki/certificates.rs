use std::time::{Duration, SystemTime};

use kontiki_pki::{Ca, DEFAULT_LIFETIME, Error, Identity, Peer, Role, SigningRequest, Subject};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use crate::stage;

fn der(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}

#[test]
fn a_certificate_says_who_it_is_for() {
    let ca = Ca::create("pacific").unwrap();
    let peer = stage::controller(&ca, 7).peer().clone();
    assert_eq!((peer.role, peer.node_id, peer.name.as_str()), (Role::Controller, Some(7), "crew-7"));
    assert_eq!((peer.cluster.as_str(), peer.user_name().as_str()), ("pacific", "system:controller:crew-7"));
    assert_eq!(peer.groups, ["system:controllers"]);

    let peer = stage::worker(&ca, "node-1.zone-a").peer().clone();
    assert_eq!((peer.role, peer.node_id), (Role::Worker, None));
    assert_eq!(peer.user_name(), "system:node:node-1.zone-a");
    assert_eq!(peer.groups, ["system:nodes"]);

    let peer =
        stage::user(&ca, "Thor H./<thor@example.com>", &["system:masters", "crew", "a/b"]).peer().clone();
    assert_eq!((peer.role, peer.user_name().as_str()), (Role::User, "Thor H./<thor@example.com>"));
    assert_eq!(peer.groups, ["system:masters", "crew", "a/b"]);
    assert!(stage::user(&ca, "nobody", &[]).peer().groups.is_empty());
}

#[test]
fn a_user_cannot_take_the_name_of_a_member() {
    // A user may be *called* like a node, but its role stays what it is.
    let ca = Ca::create("pacific").unwrap();
    let peer = stage::user(&ca, "system:node:node-1", &["system:nodes"]).peer().clone();
    assert_eq!(peer.role, Role::User);
    let peer = stage::user(&ca, "../controller/1/crew-1", &[]).peer().clone();
    assert_eq!((peer.role, peer.name.as_str()), (Role::User, "../controller/1/crew-1"));
}

#[test]
fn a_loaded_ca_signs_as_before() {
    let made = Ca::create("pacific").unwrap();
    let loaded = Ca::load(made.cert_pem(), &made.key_pem()).unwrap();
    assert_eq!((loaded.cluster_id(), loaded.fingerprint()), ("pacific", made.fingerprint()));
    let pair = loaded.issue(&Subject::Worker { name: "node-1".into() }, DEFAULT_LIFETIME).unwrap();
    Identity::new(made.cert_pem(), &pair.cert_pem, &pair.key_pem).unwrap();
}

#[test]
fn a_ca_and_a_foreign_key_do_not_go_together() {
    let (one, two) = (Ca::create("one").unwrap(), Ca::create("two").unwrap());
    assert!(matches!(Ca::load(one.cert_pem(), &two.key_pem()), Err(Error::KeyMismatch)));
    let leaf = stage::worker(&one, "node-1");
    assert!(matches!(Ca::load(leaf.cert_pem(), leaf.key_pem()), Err(Error::Certificate(_))));
}

#[test]
fn an_identity_is_refused_unless_its_parts_belong_together() {
    let (one, two) = (Ca::create("one").unwrap(), Ca::create("two").unwrap());
    // The same cluster id does not make it the same cluster.
    let twin = Ca::create("one").unwrap();
    let (a, b) = (stage::worker(&one, "a"), stage::worker(&one, "b"));
    let refused = |ca: &Ca, cert: &str, key: &str| Identity::new(ca.cert_pem(), cert, key).unwrap_err();
    assert!(matches!(refused(&one, a.cert_pem(), b.key_pem()), Error::KeyMismatch));
    assert!(refused(&two, a.cert_pem(), a.key_pem()).to_string().contains("cluster two"));
    assert!(refused(&twin, a.cert_pem(), a.key_pem()).to_string().contains("not signed by the CA"));
}

#[test]
fn a_signing_request_decides_nothing_but_the_key() {
    let ca = Ca::create("pacific").unwrap();
    // A request that asks to be a CA and a master.
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
    params.distinguished_name.push(rcgen::DnType::OrganizationName, "system:masters");
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let greedy = params.serialize_request(&key).unwrap().pem().unwrap();
    let subject = Subject::Worker { name: "node-1".into() };
    let cert = ca.sign_csr(&greedy, &subject, DEFAULT_LIFETIME).unwrap();
    let peer = Peer::from_certificate(&der(&cert)).unwrap();
    assert_eq!((peer.role, peer.groups), (Role::Worker, vec!["system:nodes".to_owned()]));
    let der = der(&cert);
    let (_, parsed) = x509_parser::parse_x509_certificate(&der).unwrap();
    assert!(!parsed.is_ca());
    let names = parsed.subject_alternative_name().unwrap().unwrap().value.general_names.len();
    assert_eq!(names, 2, "its dial name and its identity, not the requested localhost");

    let honest = SigningRequest::generate().unwrap();
    let cert = ca.sign_csr(&honest.csr_pem, &subject, DEFAULT_LIFETIME).unwrap();
    Identity::new(ca.cert_pem(), &cert, &honest.key_pem).unwrap();
    for broken in [
        "",
        "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n",
        &"x".repeat(1 << 20),
    ] {
        assert!(ca.sign_csr(broken, &subject, DEFAULT_LIFETIME).is_err());
    }
}

#[test]
fn names_that_cannot_stand_in_a_certificate_are_refused() {
    assert!(Ca::create("two.labels").is_err());
    let ca = Ca::create("pacific").unwrap();
    for name in ["", "Node", "node/1", "node\n1", "*.node"] {
        assert!(ca.issue(&Subject::Worker { name: name.into() }, DEFAULT_LIFETIME).is_err(), "{name:?}");
    }
    let subject = Subject::Controller { id: 1, name: "a".into(), addresses: vec!["not an address".into()] };
    assert!(ca.issue(&subject, DEFAULT_LIFETIME).is_err());
}

#[test]
fn lifetimes_end_and_serials_differ() {
    let ca = Ca::create("pacific").unwrap();
    let subject = Subject::Worker { name: "node-1".into() };
    let before = SystemTime::now();
    let pair = ca.issue(&subject, Duration::from_secs(3600)).unwrap();
    let ends = Identity::new(ca.cert_pem(), &pair.cert_pem, &pair.key_pem).unwrap().valid_until();
    assert!(
        ends > before + Duration::from_secs(3590) && ends <= SystemTime::now() + Duration::from_secs(3600)
    );
    let serial = |pem: &str| x509_parser::parse_x509_certificate(&der(pem)).unwrap().1.raw_serial().to_vec();
    let again = ca.issue(&subject, Duration::from_secs(3600)).unwrap();
    assert_ne!(serial(&pair.cert_pem), serial(&again.cert_pem));
}

#[test]
fn private_keys_are_not_in_debug() {
    let ca = Ca::create("pacific").unwrap();
    let pair = ca.issue(&Subject::Worker { name: "a".into() }, DEFAULT_LIFETIME).unwrap();
    let identity = Identity::new(ca.cert_pem(), &pair.cert_pem, &pair.key_pem).unwrap();
    let request = SigningRequest::generate().unwrap();
    let shown = format!("{ca:?} {pair:?} {identity:?} {request:?}");
    assert!(!shown.contains("PRIVATE KEY"), "{shown}");
}
