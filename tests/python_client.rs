//! Programs in Python against a real cluster: the `kubernetes` client (`tests/python/drive.py`), and a share of what schemathesis asks
//! (`tests/schemathesis/run.py`, by `make schemathesis` for all of it). In a virtual environment made here, or with the interpreter that
//! `KONTIKI_PYTHON` names. Skipped, with the reason, only where no such environment can be made.
#![allow(clippy::unwrap_used, missing_docs)]

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use kontiki_chaos_tests::{Cluster, Plan, drive, example_image, run};

const REQUIREMENTS: &str = include_str!("python/requirements.txt");

/// An interpreter that has the client; or why there is none.
fn interpreter() -> Result<PathBuf, String> {
    if let Some(named) = std::env::var_os("KONTIKI_PYTHON") {
        return Ok(named.into());
    }
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("python");
    let (python, installed) = (home.join("bin/python"), home.join("installed.txt"));
    if std::fs::read_to_string(&installed).is_ok_and(|text| text == REQUIREMENTS) {
        return Ok(python);
    }
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&home))?;
    let requirements = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/requirements.txt");
    let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"];
    run(Command::new(&python).args(install).arg(requirements))?;
    std::fs::write(installed, REQUIREMENTS).map_err(|error| error.to_string())?;
    Ok(python)
}

/// Of some 700 operations so many are asked, the same in each run, each with so many requests that keep to its document and as many that
/// do not: about half a minute. All that can be read is read besides.
const SHARE: [&str; 4] = ["--operations", "60", "--examples", "2"];

#[test]
fn the_python_client_is_served_and_the_documents_hold() {
    let python = match interpreter() {
        Ok(python) => python,
        Err(why) => return eprintln!("skipped: no Python environment with the client can be made: {why}"),
    };
    kontiki_pki::install_crypto();
    let image = Some(example_image().unwrap());
    let cluster = Cluster::start(Plan { image, ..Plan::of(env!("CARGO_BIN_EXE_kontiki")) }).unwrap();
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let mut client = Command::new(&python);
    client.arg(tests.join("python/drive.py"));
    drive(&cluster, client).unwrap();
    // It makes and changes whatever it can, so it comes last.
    let mut documents = Command::new(&python);
    documents
        .arg(tests.join("schemathesis/run.py"))
        .arg("--kubeconfig")
        .arg(cluster.kubeconfig())
        .args(SHARE);
    drive(&cluster, documents).unwrap();
}
