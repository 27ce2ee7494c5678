//! A webhook as its configuration says it.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use kontiki_actors::Object;
use kontiki_pki::trust;
use serde_json::Value;
use tokio_rustls::rustls::ClientConfig;

use super::{conditions::Conditions, matching::Scope, place::Place, review::Version};
use crate::resource::fields::{items, text};

/// A webhook.
#[derive(Debug)]
pub(super) struct Hook {
    pub(super) name: String,
    pub(super) configuration: String,
    /// Tells it from all others, also from those that it was before its configuration changed: connections are kept by it.
    pub(super) id: String,
    pub(super) scope: Scope,
    pub(super) conditions: Conditions,
    /// Whether the request goes on when the webhook cannot be asked.
    pub(super) ignored: bool,
    /// How long it may take.
    pub(super) seconds: u64,
    /// Whether it may be asked about what is only tried.
    pub(super) dry_run: bool,
    /// The form of the question; none if it takes none that is known here.
    pub(super) version: Option<Version>,
    /// Whether it is asked again when others after it changed the object.
    pub(super) again: bool,
    pub(super) place: Place,
    /// Who vouches for it, in PEM; empty for those that the machine trusts.
    bundle: Vec<u8>,
    tls: OnceLock<Result<Arc<ClientConfig>, String>>,
}

impl Hook {
    /// The webhooks of a configuration.
    pub(super) fn all(configuration: &Object) -> impl Iterator<Item = Hook> {
        let value = configuration.to_value();
        let read: Vec<Hook> = items(&value, "webhooks")
            .map(|(at, told)| {
                let id = format!("{}/{}/{at}", configuration.meta.uid, configuration.revision);
                Hook::read(&configuration.key.name, id, told)
            })
            .collect();
        read.into_iter()
    }

    fn read(configuration: &str, id: String, told: &Value) -> Hook {
        let client = &told["clientConfig"];
        Hook {
            name: text(told, "name").to_owned(),
            configuration: configuration.to_owned(),
            id,
            scope: Scope::of_webhook(told),
            conditions: Conditions::read(told, false),
            ignored: text(told, "failurePolicy") == "Ignore",
            seconds: told["timeoutSeconds"].as_u64().unwrap_or(10).clamp(1, 30),
            dry_run: matches!(text(told, "sideEffects"), "None" | "NoneOnDryRun"),
            version: items(told, "admissionReviewVersions")
                .find_map(|(_, version)| Version::of(version.as_str().unwrap_or_default())),
            again: text(told, "reinvocationPolicy") == "IfNeeded",
            place: Place::read(client),
            bundle: STANDARD.decode(text(client, "caBundle")).unwrap_or_default(),
            tls: OnceLock::new(),
        }
    }

    /// How long it may take.
    pub(super) fn timeout(&self) -> Duration {
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
