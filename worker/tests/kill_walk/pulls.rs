//! A registry for all walks, and the image that pods pull from it.

use std::sync::OnceLock;

use kontiki_worker::image::{ImageError, Store};
use tokio::runtime::{Builder, Runtime};

use super::registry_support::Registry;
use super::runtime_support::{Tar, busybox_layer, hex};

/// The bytes of its larger file: enough for many writes.
const LARGE: usize = 300 << 10;
const TAG: &str = "walk";

/// The name of the image.
pub fn image() -> String {
    static REGISTRY: OnceLock<(Runtime, Registry)> = OnceLock::new();
    let (_, registry) = REGISTRY.get_or_init(|| {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let registry = runtime.block_on(Registry::start());
        let base = Tar::default().dir("data/", 0o755).file("data/gone", 0o644, b"lower");
        let base = base.file("data/large", 0o644, &large()).finish();
        let top = Tar::default().file("data/.wh.gone", 0o644, b"").file("data/word", 0o644, b"upper");
        registry.put_image(TAG, &[busybox_layer(), base, top.finish()]);
        (runtime, registry)
    });
    registry.name(TAG)
}

fn large() -> Vec<u8> {
    (0..LARGE).map(|at| u8::try_from(at * at % 251).unwrap()).collect()
}

/// A script that fails where the files of the image are not what they should be.
pub fn check() -> String {
    let sum = hex(&large());
    format!(
        "test \"$(busybox sha256sum /data/large)\" = \"{sum}  /data/large\" && test \"$(cat /data/word)\" = upper \
        && test ! -e /data/gone"
    )
}

/// Removes the image, and the packed layers of a pull that died between its last step and the removal of what it was through with: for
/// an hour the next one could go on with them.
pub fn clear(store: &Store) -> Result<(), ImageError> {
    store.remove(&image())?;
    store.prune(false).map(drop)
}
