//! The Node.js client against a real cluster: `tests/node/drive.js`, in a folder that is made here with what
//! `package-lock.json` says, or in the one that `KONTIKI_NODE` names. Skipped, with the reason, only where no such folder
//! can be made.
#![allow(clippy::unwrap_used, missing_docs)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use kontiki_chaos_tests::{Cluster, Plan, at_least, drive, example_image, run};

/// What `tests/node/package.json` asks for.
const NODE: (u32, u32) = (20, 0);
const LOCK: &str = include_str!("node/package-lock.json");

/// A folder with the client; or why there is none.
fn installed() -> Result<PathBuf, String> {
    if let Some(named) = std::env::var_os("KONTIKI_NODE") {
        return Ok(named.into());
    }
    at_least(NODE, Command::new("node").arg("--version"))?;
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("node");
    if fs::read_to_string(home.join("installed.json")).is_ok_and(|text| text == LOCK) {
        return Ok(home);
    }
    let copied = fs::create_dir_all(&home)
        .and_then(|()| fs::write(home.join("package.json"), include_str!("node/package.json")))
        .and_then(|()| fs::write(home.join("package-lock.json"), LOCK));
    copied.map_err(|error| error.to_string())?;
    let install = ["ci", "--ignore-scripts", "--no-audit", "--no-fund"];
    run(Command::new("npm").args(install).current_dir(&home))?;
    fs::write(home.join("installed.json"), LOCK).map_err(|error| error.to_string())?;
    Ok(home)
}

#[test]
fn the_node_client_is_served() {
    let home = match installed() {
        Ok(home) => home,
        Err(why) => return eprintln!("skipped: the Node.js client cannot be installed: {why}"),
    };
    kontiki_pki::install_crypto();
    let image = Some(example_image().unwrap());
    let cluster = Cluster::start(Plan { image, ..Plan::of(env!("CARGO_BIN_EXE_kontiki")) }).unwrap();
    // Node.js looks for packages beside the file.
    let script = home.join("drive.js");
    fs::write(&script, include_str!("node/drive.js")).unwrap();
    let mut program = Command::new("node");
    program.arg(script);
    drive(&cluster, program).unwrap();
}
