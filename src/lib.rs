//! Kontiki as a library: what the binary is made of, and the parts that tests and simulations run by themselves.
//!
//! Not an API to build on: the binary is the product.

mod cli;
pub mod controller;

/// The command line: reads the arguments, does what they say, and answers the process's exit status.
pub fn main() -> std::process::ExitCode {
    cli::main()
}
