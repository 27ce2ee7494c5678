//! A webhook as its configuration says it.

use kontiki_actors::Object;
use serde_json::Value;

use super::{conditions::Conditions, endpoint::Endpoint, matching::Scope, review::Version};
use crate::resource::fields::{items, text};

/// Bytes of an answer: a patch of an object as large as one may be, in base64, and some more.
const ANSWER: usize = 5 << 20;

/// A webhook.
#[derive(Debug)]
pub(super) struct Hook {
    pub(super) name: String,
    pub(super) configuration: String,
    pub(super) scope: Scope,
    pub(super) conditions: Conditions,
    /// Whether the request goes on when the webhook cannot be asked.
    pub(super) ignored: bool,
    /// Whether it may be asked about what is only tried.
    pub(super) dry_run: bool,
    /// The form of the question; none if it takes none that is known here.
    pub(super) version: Option<Version>,
    /// Whether it is asked again when others after it changed the object.
    pub(super) again: bool,
    /// Where it is, and how it is asked.
    pub(super) endpoint: Endpoint,
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
        let seconds = told["timeoutSeconds"].as_u64().unwrap_or(10).clamp(1, 30);
        Hook {
            name: text(told, "name").to_owned(),
            configuration: configuration.to_owned(),
            scope: Scope::of_webhook(told),
            conditions: Conditions::read(told, false),
            ignored: text(told, "failurePolicy") == "Ignore",
            dry_run: matches!(text(told, "sideEffects"), "None" | "NoneOnDryRun"),
            version: items(told, "admissionReviewVersions")
                .find_map(|(_, version)| Version::of(version.as_str().unwrap_or_default())),
            again: text(told, "reinvocationPolicy") == "IfNeeded",
            endpoint: Endpoint::read(id, seconds, ANSWER, &told["clientConfig"]),
        }
    }
}
