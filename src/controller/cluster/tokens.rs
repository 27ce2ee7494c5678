//! Join tokens as the cluster keeps them: a Secret each, with the hash of the token's secret and never the secret.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kontiki_actors::{Kind, Object};
use kontiki_api::Backend;
use kontiki_pki::{JoinToken, Role};
use kontiki_proto::cluster::{self, CreateTokenReply, CreateTokenRequest};
use serde_json::{Value, json};
use tonic::Status;

use super::objects;

const PREFIX: &str = "join-token-";
const TYPE: &str = "kontiki.io/join-token";
const DEFAULT_TTL: Duration = Duration::from_secs(3600);
/// A token that lives longer is a password.
const MAX_TTL: Duration = Duration::from_secs(30 * 24 * 3600);
/// More tokens than that at a time are a mistake of some script.
const MAX_TOKENS: usize = 1000;

/// Makes a token, and forgets those that have expired.
pub(super) async fn create(
    backend: &dyn Backend,
    ca_fingerprint: &str,
    request: &CreateTokenRequest,
) -> Result<CreateTokenReply, Status> {
    let role = match request.role() {
        cluster::Role::Controller => Role::Controller,
        cluster::Role::Worker => Role::Worker,
        cluster::Role::Unspecified => {
            return Err(Status::invalid_argument("a token is for a controller or a worker"));
        }
    };
    let ttl = match request.ttl_seconds {
        0 => DEFAULT_TTL,
        seconds => Duration::from_secs(seconds),
    };
    if ttl > MAX_TTL {
        let days = MAX_TTL.as_secs() / 86_400;
        return Err(Status::invalid_argument(format!("a token lives {days} days at most")));
    }
    let now_ms = now_ms();
    let expires_at_ms = now_ms.saturating_add(i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX));
    let kept = forget_expired(backend, now_ms).await?;
    if kept >= MAX_TOKENS {
        return Err(Status::resource_exhausted(format!(
            "{kept} join tokens have not expired yet: delete some (secrets of type {TYPE} in {})",
            objects::NAMESPACE
        )));
    }
    let token = JoinToken::generate(role, ca_fingerprint).map_err(|e| Status::internal(e.to_string()))?;
    let name = name(&token);
    let made =
        objects::create(backend, objects::key(Kind::SECRET, &name), record(&token, &name, expires_at_ms))
            .await?;
    made.map_err(|e| Status::failed_precondition(format!("the token cannot be kept: {e}")))?;
    tracing::info!(id = token.id(), ?role, expires_at_ms, "a join token was made");
    Ok(CreateTokenReply { token: token.to_string(), expires_at_ms })
}

/// Why a token is not taken. The caller gets one answer for all of them, so that it cannot probe for what exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("it was never made, was used up or has expired long ago")]
    Unknown,
    #[error("its secret is wrong")]
    Secret,
    #[error("it has expired")]
    Expired,
    #[error("it was made for the other role")]
    Role,
}

/// Checks a token against its record.
pub(super) fn check(
    record: Option<&Object>,
    token: &JoinToken,
    role: Role,
    now_ms: i64,
) -> Result<(), Refusal> {
    let record = record.ok_or(Refusal::Unknown)?.document.to_value();
    let (hash, expires) = (objects::secret_field(&record, "hash"), expires_at(&record));
    if record["type"] != TYPE || !token.matches(&hash.unwrap_or_default()) {
        return Err(Refusal::Secret);
    }
    if expires.is_none_or(|at| at <= now_ms) {
        return Err(Refusal::Expired);
    }
    let for_role = objects::secret_field(&record, "role");
    if token.role() != role || for_role.as_deref() != Some(word(role)) {
        return Err(Refusal::Role);
    }
    Ok(())
}

/// The name of a token's record.
pub(super) fn name(token: &JoinToken) -> String {
    format!("{PREFIX}{}", token.id())
}

/// Unix milliseconds.
pub(super) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

fn record(token: &JoinToken, name: &str, expires_at_ms: i64) -> Value {
    json!({
        "metadata": { "name": name, "namespace": objects::NAMESPACE },
        "type": TYPE,
        "data": {
            "role": objects::encoded(word(token.role())),
            "hash": objects::encoded(&token.hash()),
            "expires": objects::encoded(&expires_at_ms.to_string()),
        },
    })
}

fn expires_at(record: &Value) -> Option<i64> {
    objects::secret_field(record, "expires")?.parse().ok()
}

fn word(role: Role) -> &'static str {
    match role {
        Role::Controller => "controller",
        Role::Worker => "worker",
        Role::User => "user",
    }
}

/// Deletes the records of expired tokens; answers how many others there are.
async fn forget_expired(backend: &dyn Backend, now_ms: i64) -> Result<usize, Status> {
    let view = objects::view(backend).await?;
    let secrets = view.list(Kind::SECRET, Some(objects::NAMESPACE));
    let records: Vec<_> = secrets.filter(|object| object.key.name.starts_with(PREFIX)).cloned().collect();
    let mut kept = 0;
    for object in &records {
        if expires_at(&object.document.to_value()).is_some_and(|at| at > now_ms) {
            kept += 1;
        } else if let Err(rejection) = objects::delete(backend, object).await? {
            // Somebody else was quicker.
            tracing::debug!(%rejection, "an expired join token was not deleted");
        }
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use kontiki_actors::Document;

    use super::*;

    fn kept(token: &JoinToken, expires_at_ms: i64) -> Object {
        let name = name(token);
        let document = Document::from_value(record(token, &name, expires_at_ms));
        Object::new(objects::key(Kind::SECRET, &name), 1, document)
    }

    #[test]
    fn a_token_is_good_for_its_role_and_time_only() {
        let make = |role| JoinToken::generate(role, &"ab".repeat(32)).unwrap();
        let token = make(Role::Worker);
        let record = kept(&token, 1000);
        let check = |record: Option<&Object>, token: &JoinToken, role, now| check(record, token, role, now);
        assert_eq!(check(Some(&record), &token, Role::Worker, 999), Ok(()));
        assert_eq!(check(Some(&record), &token, Role::Worker, 1000), Err(Refusal::Expired));
        assert_eq!(check(Some(&record), &token, Role::Controller, 0), Err(Refusal::Role));
        assert_eq!(check(Some(&record), &make(Role::Worker), Role::Worker, 0), Err(Refusal::Secret));
        assert_eq!(check(None, &token, Role::Worker, 0), Err(Refusal::Unknown));
    }

    #[test]
    fn a_token_that_calls_itself_another_role_is_refused() {
        let token = JoinToken::generate(Role::Worker, &"ab".repeat(32)).unwrap();
        let forged: JoinToken = token.to_string().replace(".w.", ".c.").parse().unwrap();
        assert_eq!(check(Some(&kept(&token, 1000)), &forged, Role::Controller, 0), Err(Refusal::Role));
    }

    #[test]
    fn the_secret_is_not_kept() {
        let token = JoinToken::generate(Role::Controller, &"ab".repeat(32)).unwrap();
        let text = record(&token, "x", 1).to_string();
        let secret = token.to_string();
        let secret = secret.rsplit('.').next().unwrap();
        assert!(!text.contains(secret) && !text.contains(&objects::encoded(secret)));
    }
}
