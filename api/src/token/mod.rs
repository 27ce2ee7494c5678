//! Tokens of service accounts: made, and believed.
//! <https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/>
//!
//! A token is a JSON Web Token (RFC 7519) that one of the cluster's keys has signed with ES256. There is one algorithm and no choice of it,
//! so nothing that a token says of itself can weaken the check. What a signature proves does not change: it is verified once for a token that
//! comes again, while time, audience, and that account, pod and so on are still there, are looked at each time.

mod claims;
mod jws;
mod pod;

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

pub use claims::{Bound, Claims, Reference};
use kontiki_actors::{Kind, Object, ObjectKey, State, object::service_account};
use kontiki_pki::AccountKeys;
use parking_lot::Mutex;
pub use pod::{PodToken, for_pod};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::rest::User;

/// Who issues the tokens, and for whom those are that name nobody else: the cluster's own API, by the name that Kubernetes gives it.
pub const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

/// Clocks of controllers may differ by so much: a token of another one may begin a little later here.
const SKEW_S: i64 = 60;
/// What is being deleted counts as there for so long after it was to be gone.
const LEAVING_MS: i64 = 60_000;
/// Tokens whose signatures are remembered.
const REMEMBERED: usize = 4096;

/// Makes and believes tokens.
pub struct Issuer {
    keys: AccountKeys,
    /// By the hash of the whole token.
    proven: Mutex<HashMap<[u8; 32], Arc<Claims>>>,
    /// Uses of tokens that are to be replaced long before they end: before that, and after.
    fresh: AtomicU64,
    stale: AtomicU64,
}

/// Why a token is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not a token of this cluster.
    #[error("invalid bearer token")]
    Foreign,
    /// Its time is over.
    #[error("service account token has expired")]
    Expired,
    /// Its time has not come.
    #[error("service account token is not valid yet")]
    Early,
    /// Made for somebody else.
    #[error("token audiences {theirs:?} is invalid for the target audiences {wanted:?}")]
    Audience {
        /// Whom it was made for.
        theirs: Vec<String>,
        /// Who is asked.
        wanted: Vec<String>,
    },
    /// Its account, or what it is bound to, is not there any more.
    #[error("service account token has been invalidated")]
    Gone,
    /// An issuer elsewhere made it, and it does not hold: why.
    #[error("{0}")]
    Elsewhere(String),
}

/// Whom a believed token stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Believed {
    /// The user.
    pub user: User,
    /// Those of the audiences asked for that it was made for.
    pub audiences: Vec<String>,
    /// How it stands with a token that is to be replaced long before it ends; none for all others.
    pub age: Option<Age>,
}

/// How it stands with a token that is to be replaced long before it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Age {
    /// It need not be replaced yet.
    Fresh,
    /// Whoever uses it should have replaced it so many seconds ago: he reads his token only once.
    Stale(i64),
}

impl Issuer {
    /// With these keys.
    pub fn new(keys: AccountKeys) -> Issuer {
        Issuer { keys, proven: Mutex::default(), fresh: AtomicU64::new(0), stale: AtomicU64::new(0) }
    }

    /// Counts a use of a token.
    pub(crate) fn count(&self, age: Age) {
        let count = if age == Age::Fresh { &self.fresh } else { &self.stale };
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// How often tokens were used, as Prometheus text.
    pub(crate) fn metrics(&self) -> String {
        let [fresh, stale] = [&self.fresh, &self.stale].map(|count| count.load(Ordering::Relaxed));
        format!(
            "# HELP kontiki_serviceaccount_valid_tokens uses of tokens that pods read anew in time.\n\
             # TYPE kontiki_serviceaccount_valid_tokens counter\nkontiki_serviceaccount_valid_tokens_total {fresh}\n\
             # HELP kontiki_serviceaccount_stale_tokens uses of tokens that pods should have read anew before.\n\
             # TYPE kontiki_serviceaccount_stale_tokens counter\nkontiki_serviceaccount_stale_tokens_total {stale}\n"
        )
    }

    /// The token of these claims; none when the library fails.
    pub fn sign(&self, claims: &Claims) -> Option<String> {
        jws::sign(&self.keys, &serde_json::to_vec(claims).ok()?)
    }

    /// What a token claims, if this cluster made it. Time and existence are not looked at.
    pub fn prove(&self, token: &str) -> Result<Arc<Claims>, Refusal> {
        if token.len() > jws::LENGTH_LIMIT {
            return Err(Refusal::Foreign);
        }
        let hash: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        if let Some(claims) = self.proven.lock().get(&hash) {
            return Ok(claims.clone());
        }
        let payload = jws::verify(&self.keys, token).ok_or(Refusal::Foreign)?;
        let claims: Claims = serde_json::from_slice(&payload).map_err(|_| Refusal::Foreign)?;
        let Bound { namespace, serviceaccount, .. } = &claims.bound;
        if claims.iss != ISSUER || claims.sub != service_account(namespace, &serviceaccount.name) {
            return Err(Refusal::Foreign);
        }
        let claims = Arc::new(claims);
        let mut proven = self.proven.lock();
        if proven.len() >= REMEMBERED {
            proven.clear();
        }
        proven.insert(hash, claims.clone());
        Ok(claims)
    }

    /// The keys for those who verify tokens themselves: a JSON Web Key Set.
    pub fn key_set(&self) -> Value {
        let keys = self.keys.public().map(|key| {
            json!({"use": "sig", "kty": "EC", "kid": key.id, "crv": "P-256", "alg": "ES256",
                "x": jws::encode(key.x), "y": jws::encode(key.y)})
        });
        json!({"keys": keys.collect::<Vec<_>>()})
    }

    /// What OpenID Connect's discovery says of this issuer.
    pub fn configuration(&self, advertised: &str) -> Value {
        json!({
            "issuer": ISSUER,
            "jwks_uri": format!("https://{advertised}/openid/v1/jwks"),
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
        })
    }
}

impl std::fmt::Debug for Issuer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issuer").field("keys", &self.keys).finish_non_exhaustive()
    }
}

/// Whether proven claims hold now, on a view, for one of these audiences.
pub fn believe(claims: &Claims, wanted: &[String], now_ms: i64, state: &State) -> Result<Believed, Refusal> {
    let now_s = now_ms.div_euclid(1000);
    if claims.exp <= now_s {
        return Err(Refusal::Expired);
    }
    if claims.nbf > now_s + SKEW_S {
        return Err(Refusal::Early);
    }
    let audiences: Vec<String> = wanted.iter().filter(|a| claims.aud.contains(a)).cloned().collect();
    if audiences.is_empty() {
        return Err(Refusal::Audience { theirs: claims.aud.clone(), wanted: wanted.to_vec() });
    }
    let Bound { namespace, serviceaccount, pod, secret, node, .. } = &claims.bound;
    // Of a pod's node only the name is told: the pod is what the token is bound to.
    let node = node.as_ref().filter(|_| pod.is_none());
    let all = [
        (Kind::SERVICE_ACCOUNT, namespace.as_str(), Some(serviceaccount)),
        (Kind::POD, namespace, pod.as_ref()),
        (Kind::SECRET, namespace, secret.as_ref()),
        (Kind::NODE, "", node),
    ];
    for (kind, namespace, reference) in all {
        let Some(Reference { name, uid }) = reference else { continue };
        let object = state.get(&ObjectKey::new(kind, namespace, name));
        if !object.is_some_and(|object| object.meta.uid == *uid && is_there(object, now_ms)) {
            return Err(Refusal::Gone);
        }
    }
    let age = claims.bound.warnafter.map(|until| match now_s - until {
        late if late > 0 => Age::Stale(late),
        _ => Age::Fresh,
    });
    Ok(Believed { user: claims.user(), audiences, age })
}

fn is_there(object: &Object, now_ms: i64) -> bool {
    object.meta.deletion_ms.is_none_or(|at| at.saturating_add(LEAVING_MS) > now_ms)
}

#[cfg(test)]
mod tests;
