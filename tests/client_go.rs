//! client-go against real clusters: the program in `tests/client-go/`, which is built here, or the built one that
//! `KONTIKI_CLIENT_GO` names. Skipped, with the reason, only where it cannot be built.
#![allow(clippy::unwrap_used, missing_docs)]

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::LazyLock,
};

use kontiki_chaos_tests::{Cluster, Plan, at_least, drive, example_image, run};

/// What `tests/client-go/go.mod` asks for.
const GO: (u32, u32) = (1, 24);

/// The program, built once; or why there is none.
static PROGRAM: LazyLock<Result<PathBuf, String>> = LazyLock::new(|| {
    if let Some(named) = std::env::var_os("KONTIKI_CLIENT_GO") {
        return Ok(named.into());
    }
    at_least(GO, Command::new("go").arg("version"))?;
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("client-go");
    let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/client-go");
    // It also runs in a container, where no C library is.
    let mut build = Command::new("go");
    build.args(["build", "-o"]).arg(&program).arg(".").current_dir(home).env("CGO_ENABLED", "0");
    run(&mut build)?;
    Ok(program)
});

/// Plays scenarios on a cluster of their own.
fn play(scenarios: &[&str], watch_list: bool) {
    let program = match &*PROGRAM {
        Ok(program) => program,
        Err(why) => return eprintln!("skipped: no program with client-go can be built: {why}"),
    };
    kontiki_pki::install_crypto();
    let image = Some(example_image().unwrap());
    let cluster = Cluster::start(Plan { image, ..Plan::of(env!("CARGO_BIN_EXE_kontiki")) }).unwrap();
    let mut command = Command::new(program);
    command.args(scenarios).env("KUBE_FEATURE_WatchListClient", watch_list.to_string());
    drive(&cluster, command).unwrap();
}

#[test]
fn typed_and_generic_clients_are_served() {
    play(&["typed", "protobuf", "discovery", "readiness", "in-cluster"], false);
}

#[test]
fn informers_that_list_miss_nothing_when_the_leader_dies() {
    play(&["informers", "failover"], false);
}

#[test]
fn informers_that_only_watch_miss_nothing_when_the_leader_dies() {
    play(&["informers", "failover"], true);
}

#[test]
fn of_several_candidates_one_leads_when_the_leader_of_the_cluster_dies() {
    play(&["election"], true);
}
