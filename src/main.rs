//! The `kontiki` binary: every role of the cluster and the command line, in one file to copy to a machine.

use std::process::ExitCode;

/// Rust and RocksDB share one allocator, so that neither holds memory the other could use.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const ALLOCATOR_OPTIONS: &[u8; 71] =
    b"narenas:2,background_thread:false,dirty_decay_ms:1000,muzzy_decay_ms:0\0";

/// Read by jemalloc before `main`. Few arenas and an early return of unused pages, since these processes are many and
/// mostly idle; no thread of its own, since a shim must not have a second one.
#[allow(non_upper_case_globals, reason = "the allocator looks for this name")]
#[allow(unsafe_code, reason = "a symbol that the allocator looks for must keep its name; it only reads it")]
#[unsafe(no_mangle)]
pub static malloc_conf: &[u8; 71] = ALLOCATOR_OPTIONS;

fn main() -> ExitCode {
    let mut args = std::env::args();
    // Before anything else: the shim must have no threads, so no runtime may exist yet.
    if args.nth(1).as_deref() == Some("shim") {
        return kontiki_worker::shim::main(args);
    }
    kontiki::main()
}
