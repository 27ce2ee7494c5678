//! Who vouches for registries: the machine's certificate authorities, and those that a file adds.

use std::path::Path;
use std::sync::Arc;

use kontiki_pki::trust::{add_file, client_config, machine_roots};
use rustls::ClientConfig;

/// The machine's authorities. A machine without any trusts nobody, which a registry's error tells.
pub(super) fn of_machine() -> Result<Arc<ClientConfig>, String> {
    client_config(machine_roots()?)
}

/// The machine's authorities and those of this file.
pub(super) fn with_file(path: &Path) -> Result<Arc<ClientConfig>, String> {
    let mut roots = machine_roots()?;
    if add_file(&mut roots, path)? == 0 {
        return Err(format!("{} holds no certificate in PEM", path.display()));
    }
    client_config(roots)
}
