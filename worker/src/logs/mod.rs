//! The logs of containers, as controllers ask for them: the files that the runtime writes in CRI format, cut to what was
//! asked, to the end or for as long as the container runs.

mod growth;
mod line;
mod reader;
mod service;
#[cfg(test)]
mod tests;

pub use service::Service;
