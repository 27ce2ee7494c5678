use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use kontiki_pki::{Ca, Error, Identity};

use crate::stage;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn an_identity_is_kept_where_only_its_owner_can_read() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("data/pki");
    let kept = stage::worker(&Ca::create("pacific").unwrap(), "node-1");
    kept.store(&dir).unwrap();
    assert_eq!((mode(&dir), mode(&dir.join("identity.pem"))), (0o700, 0o600));
    assert_eq!(mode(&home.path().join("data")), 0o700, "a data directory that is made for it");
    let read = Identity::load(&dir).unwrap();
    assert_eq!((read.cert_pem(), read.key_pem()), (kept.cert_pem(), kept.key_pem()));
    assert_eq!((read.ca_cert_pem(), read.peer()), (kept.ca_cert_pem(), kept.peer()));
}

#[test]
fn a_key_that_others_can_read_is_refused_with_the_way_out() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("pki");
    let ca = Ca::create("pacific").unwrap();
    stage::controller(&ca, 1).store(&dir).unwrap();
    ca.store(&dir).unwrap();
    for open in [0o640, 0o604, 0o620, 0o666] {
        set_mode(&dir.join("identity.pem"), open);
        set_mode(&dir.join("ca.key"), open);
        let error = Identity::load(&dir).unwrap_err();
        assert!(matches!(error, Error::TooOpen { .. }), "{error}");
        assert!(error.to_string().contains("chmod 600"), "{error}");
        assert!(matches!(Ca::open(&dir), Err(Error::TooOpen { .. })));
    }
    set_mode(&dir.join("identity.pem"), 0o600);
    set_mode(&dir.join("ca.key"), 0o600);
    set_mode(&dir, 0o755);
    assert!(Identity::load(&dir).unwrap_err().to_string().contains("chmod 700"));
    assert!(matches!(ca.store(&dir), Err(Error::TooOpen { .. })));
    set_mode(&dir, 0o700);
    assert_eq!(Ca::open(&dir).unwrap().fingerprint(), ca.fingerprint());
}

#[test]
fn a_renewal_replaces_and_leaves_nothing_behind() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("pki");
    let ca = Ca::create("pacific").unwrap();
    stage::worker(&ca, "old").store(&dir).unwrap();
    // What a crash in the middle of a write leaves, open to everybody.
    fs::write(dir.join("identity.pem.new"), "half a key").unwrap();
    stage::worker(&ca, "new").store(&dir).unwrap();
    assert_eq!(Identity::load(&dir).unwrap().peer().name, "new");
    assert_eq!(mode(&dir.join("identity.pem")), 0o600);
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
}

#[test]
fn what_is_missing_is_named() {
    let home = tempfile::tempdir().unwrap();
    let missing = Identity::load(&home.path().join("pki")).unwrap_err();
    assert!(missing.to_string().contains("pki"), "{missing}");
    let dir = home.path().join("half");
    let kept = stage::worker(&Ca::create("pacific").unwrap(), "a");
    kept.store(&dir).unwrap();
    fs::write(dir.join("identity.pem"), kept.key_pem()).unwrap();
    assert!(matches!(Identity::load(&dir), Err(Error::Pem(_))));
}
