//! The shim as a program of its own, for tests and for workers that want it smaller than the whole binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    kontiki_worker::shim::main(std::env::args().skip(1))
}
