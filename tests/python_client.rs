//! The Python `kubernetes` client against a real cluster: `tests/python/drive.py`, in a virtual environment made here, or
//! with the interpreter that `KONTIKI_PYTHON` names. Skipped, with the reason, only where no such environment can be made.
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

#[test]
fn the_python_client_is_served() {
    let python = match interpreter() {
        Ok(python) => python,
        Err(why) => return eprintln!("skipped: no Python environment with the client can be made: {why}"),
    };
    kontiki_pki::install_crypto();
    let image = Some(example_image().unwrap());
    let cluster = Cluster::start(Plan { image, ..Plan::of(env!("CARGO_BIN_EXE_kontiki")) }).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/drive.py");
    let mut program = Command::new(python);
    program.arg(script);
    drive(&cluster, program).unwrap();
}
