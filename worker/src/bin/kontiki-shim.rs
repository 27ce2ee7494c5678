//! The shim as a program of its own, for tests and for workers that want it smaller than the whole binary.
//!
//! With `KONTIKI_SHIM_VERSION=9` it is, as far as agents can tell, one of a future build.

use std::process::ExitCode;

use kontiki_worker::shim;

fn main() -> ExitCode {
    let args = std::env::args().skip(1);
    match std::env::var("KONTIKI_SHIM_VERSION").ok().and_then(|version| version.parse().ok()) {
        Some(version) => shim::main_of_version(args, version),
        None => shim::main(args),
    }
}
