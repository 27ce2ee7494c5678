//! Whom to ask over HTTPS: a webhook, as far as a client of it cares.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use kontiki_actors::State;
use kontiki_pki::trust;
use serde_json::Value;
use tokio_rustls::rustls::ClientConfig;

use super::place::{Place, Target};
use crate::resource::fields::text;

/// Somebody who is asked over HTTPS.
#[derive(Debug)]
pub(crate) struct Endpoint {
    /// Tells it from all others, also from those that it was before its configuration changed: connections are kept by it.
    pub(super) id: String,
    /// How long an answer may take.
    pub(super) seconds: u64,
    /// Bytes of an answer.
    pub(super) answer: usize,
    place: Place,
    /// Who vouches for it, in PEM; empty for those that the machine trusts.
    bundle: Vec<u8>,
    tls: OnceLock<Result<Arc<ClientConfig>, String>>,
}

impl Endpoint {
    /// As a `clientConfig` says it.
    pub(crate) fn read(id: String, seconds: u64, answer: usize, client: &Value) -> Endpoint {
        Endpoint {
            id,
            seconds,
            answer,
            place: Place::read(client),
            bundle: STANDARD.decode(text(client, "caBundle")).unwrap_or_default(),
            tls: OnceLock::new(),
        }
    }

    /// Where it is now.
    ///
    /// # Errors
    /// There is nobody.
    pub(crate) fn find(&self, state: &State) -> Result<Target, String> {
        self.place.find(state)
    }

    /// How long an answer may take.
    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }

    /// How connections to it are made.
    pub(super) fn tls(&self) -> Result<Arc<ClientConfig>, String> {
        let made = self.tls.get_or_init(|| {
            let roots = match self.bundle.as_slice() {
                [] => trust::machine_roots(),
                bundle => trust::roots_of(bundle).map_err(|why| format!("clientConfig.caBundle: {why}")),
            };
            trust::client_config(roots?)
        });
        made.clone()
    }
}
