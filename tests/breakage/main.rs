//! Bad input, strangers, broken disks and changes of members, on real processes: what is refused is refused in words, and what was
//! acknowledged stays.
#![allow(clippy::unwrap_used, missing_docs)]

mod bad_input;
mod data_directory;
mod full_disk;
mod levels;
mod membership;
mod snapshot;
mod stage;
mod stranger;
mod token;
