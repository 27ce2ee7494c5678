//! The thread on which a worker's session lives.

use std::io;

use tokio::runtime::{Builder, Runtime};

/// A thread for sessions alone. A leader takes a worker for gone that it does not hear; so what says that it is there must wait for
/// nothing else that the worker does, least of all for a disk: while a journal is written, making a small file may take seconds.
pub fn session_thread() -> io::Result<Runtime> {
    Builder::new_multi_thread().worker_threads(1).thread_name("session").enable_all().build()
}
