//! What a token says.

use std::collections::BTreeMap;

use kontiki_actors::object::service_account;
use serde::{Deserialize, Serialize};

use super::ISSUER;
use crate::rest::User;

/// Seconds for which tokens are asked that nobody asked for by himself: see [`Claims::new`].
const WARN_ONLY_S: i64 = 3607;
/// Seconds for which such a one is taken.
const EXTENDED_S: i64 = 365 * 24 * 3600;

/// The claims of a service account's token, as Kubernetes names them. Times are Unix seconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// For whom it is.
    pub aud: Vec<String>,
    /// Until when it is valid.
    pub exp: i64,
    /// When it was made.
    pub iat: i64,
    /// Who made it.
    pub iss: String,
    /// Its own id.
    pub jti: String,
    /// What it is bound to.
    #[serde(rename = "kubernetes.io")]
    pub bound: Bound,
    /// From when it is valid.
    pub nbf: i64,
    /// The user name of the account.
    pub sub: String,
}

/// What a token is bound to: it is worth nothing when one of them is gone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bound {
    /// The account's namespace.
    pub namespace: String,
    /// A node, or that of the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<Reference>,
    /// A pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<Reference>,
    /// A secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Reference>,
    /// The account.
    pub serviceaccount: Reference,
    /// Unix seconds: after this it was to have been replaced, though it is still taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warnafter: Option<i64>,
}

/// An object that was there when the token was made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reference {
    /// Its name.
    pub name: String,
    /// Which of those that had the name.
    pub uid: String,
}

impl Claims {
    /// Those of a new token that is to live for so many seconds. One that Kubernetes mounts in every pod is taken for longer, as there, since
    /// old clients read it only once: it says from when on it should have been read anew.
    pub fn new(mut bound: Bound, audiences: Vec<String>, lifetime_s: i64, now_s: i64, id: String) -> Claims {
        let for_api_only = audiences.iter().all(|audience| audience == ISSUER);
        let mut lives_s = lifetime_s;
        if bound.pod.is_some() && lifetime_s == WARN_ONLY_S && for_api_only {
            bound.warnafter = Some(now_s.saturating_add(lifetime_s));
            lives_s = EXTENDED_S;
        }
        Claims {
            aud: audiences,
            exp: now_s.saturating_add(lives_s),
            iat: now_s,
            iss: ISSUER.to_owned(),
            jti: id,
            sub: service_account(&bound.namespace, &bound.serviceaccount.name),
            bound,
            nbf: now_s,
        }
    }

    /// The user that the token stands for.
    pub(super) fn user(&self) -> User {
        let Bound { namespace, node, pod, serviceaccount, .. } = &self.bound;
        let mut extra = BTreeMap::new();
        let mut add = |key: &str, value: String| {
            extra.insert(format!("authentication.kubernetes.io/{key}"), vec![value]);
        };
        add("credential-id", format!("JTI={}", self.jti));
        for (what, reference) in [("node", node), ("pod", pod)] {
            if let Some(Reference { name, uid }) = reference {
                add(&format!("{what}-name"), name.clone());
                add(&format!("{what}-uid"), uid.clone());
            }
        }
        let groups = vec![
            "system:serviceaccounts".into(),
            format!("system:serviceaccounts:{namespace}"),
            "system:authenticated".into(),
        ];
        User { name: self.sub.clone(), uid: serviceaccount.uid.clone(), groups, extra }
    }
}
