//! kube-rs against a real cluster: the program in `tests/kube-rs/`, which is built here.
#![allow(clippy::unwrap_used, missing_docs)]

use std::{path::Path, process::Command};

use kontiki_chaos_tests::{Cluster, Plan, drive, example_image};

#[test]
fn kube_rs_is_served() {
    kontiki_pki::install_crypto();
    let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kube-rs");
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("kube-rs");
    let build = ["build", "--quiet", "--locked", "--manifest-path"];
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(build).arg(home.join("Cargo.toml")).arg("--target-dir").arg(&target);
    assert!(cargo.status().unwrap().success(), "{cargo:?}");

    let image = Some(example_image().unwrap());
    let cluster = Cluster::start(Plan { image, ..Plan::of(env!("CARGO_BIN_EXE_kontiki")) }).unwrap();
    drive(&cluster, Command::new(target.join("debug/kontiki-kube-rs"))).unwrap();
}
