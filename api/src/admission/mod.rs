//! Admission: webhooks, programs elsewhere that change what is written or say yes or no to it; and policies, expressions that say yes or no.
//! <https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/>
//!
//! ```text
//!   hook.rs        a webhook as its configuration says it, read once      conditions.rs  conditions of webhooks and policies, in CEL
//!   asked.rs       what is written, as webhooks are asked about it        matching.rs    what webhooks and policies are for
//!   dispatch.rs    all webhooks and policies of a write, in their order   review.rs      the question, and what an answer says
//!   client.rs      questions over HTTPS                                   place.rs       where a webhook is: URL or Service
//!   policies/      policies, their bindings and parameters                shown.rs       what expressions see, and may ask
//! ```
//!
//! They are asked by the controller that has the request, before the turn: a webhook that does not answer holds up the requests that it is
//! for, for as long as its configuration says, and nothing else. What they let pass is what is stored, since the turn is told on which
//! revision it was worked out.

mod asked;
mod client;
mod conditions;
mod dispatch;
mod hook;
mod matching;
mod place;
mod policies;
mod review;
mod shown;

pub(crate) use asked::{Asked, Operation};
pub(crate) use client::{chain, open};
pub(crate) use conditions::check as check_conditions;
pub(crate) use dispatch::Admission;
pub(crate) use place::To;
pub(crate) use policies::{Policies, check as check_policy};

use std::sync::Arc;

use kontiki_actors::{Kind, ObjectKey, State};
use parking_lot::Mutex;

use client::Client;
use hook::Hook;

/// The webhooks of the cluster, and the connections to them.
#[derive(Default)]
pub(crate) struct Webhooks {
    known: Mutex<Option<Known>>,
    client: Client,
}

/// All webhooks, each kind in the order in which they are asked: by the names of their configurations, then as these list them.
#[derive(Debug, Default)]
pub(crate) struct Hooks {
    mutating: Vec<Arc<Hook>>,
    validating: Vec<Arc<Hook>>,
}

struct Known {
    /// The configurations that were read, and at which revisions.
    read: Vec<(ObjectKey, u64)>,
    hooks: Arc<Hooks>,
}

impl Webhooks {
    /// The webhooks of a state; none if there is no configuration. They are read once, and again when a configuration changes.
    fn of(&self, state: &State) -> Option<Arc<Hooks>> {
        let kinds = [Kind::MUTATING_WEBHOOK_CONFIGURATION, Kind::VALIDATING_WEBHOOK_CONFIGURATION];
        let mut configurations = kinds.into_iter().flat_map(|kind| state.list(kind, None)).peekable();
        configurations.peek()?;
        let configurations: Vec<_> = configurations.cloned().collect();
        let mut known = self.known.lock();
        let same = |known: &&Known| {
            let read = known.read.iter().map(|(key, revision)| (key, *revision));
            read.eq(configurations.iter().map(|object| (&object.key, object.revision)))
        };
        if let Some(known) = known.as_ref().filter(same) {
            return Some(known.hooks.clone());
        }
        let mut hooks = Hooks::default();
        for object in &configurations {
            let list = match object.key.kind {
                Kind::MUTATING_WEBHOOK_CONFIGURATION => &mut hooks.mutating,
                _ => &mut hooks.validating,
            };
            list.extend(Hook::all(object).map(Arc::new));
        }
        let hooks = Arc::new(hooks);
        let read = configurations.iter().map(|object| (object.key.clone(), object.revision)).collect();
        *known = Some(Known { read, hooks: hooks.clone() });
        Some(hooks)
    }
}
