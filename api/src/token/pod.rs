//! Tokens for pods, asked for by the worker that runs them.

use kontiki_actors::{Kind, Object, ObjectKey, State};
use serde_json::Value;

use super::{Bound, Claims, ISSUER, Issuer, Reference};
use crate::resource::fields::{items, text};

/// Seconds that a token of a projected volume lives unless it says otherwise.
const LIFETIME_S: i64 = 3600;

/// What a worker asks for.
#[derive(Clone, Copy, Debug)]
pub struct PodToken<'a> {
    /// Who asks.
    pub node: &'a str,
    /// The pod's uid.
    pub pod: &'a str,
    /// For whom it is to be; empty for the API.
    pub audience: &'a str,
    /// Seconds.
    pub lifetime_s: i64,
    /// Its own id.
    pub id: &'a str,
}

/// Makes a token of a pod's account, bound to the pod. A worker gets none but those that pods which are placed on it ask for in their specs: as
/// with Kubernetes' node authorizer and its NodeRestriction, a worker that was taken over speaks for the pods that it runs and for no others.
/// The error says why not, in words for people.
pub fn for_pod(issuer: &Issuer, state: &State, ask: PodToken<'_>, now_ms: i64) -> Result<String, String> {
    let PodToken { node, pod, audience, lifetime_s, id } = ask;
    let placed = |object: &&Object| {
        object.key.kind == Kind::POD && object.pod().is_some_and(|pod| pod.node.as_deref() == Some(node))
    };
    let pod = state.by_uid(pod).map(|object| &**object).filter(placed);
    let pod = pod.ok_or_else(|| format!("no relationship found between node {node:?} and this pod"))?;
    let spec = pod.document.spec_value();
    if !asks_for(&spec, audience, lifetime_s) {
        return Err(format!(
            "the pod's spec has no projected token for audience {audience:?} and {lifetime_s} seconds"
        ));
    }
    let name = text(&spec, "serviceAccountName");
    let account = state.get(&ObjectKey::new(Kind::SERVICE_ACCOUNT, &pod.key.namespace, name));
    let account = account.ok_or_else(|| format!("serviceaccounts {name:?} not found"))?;
    let reference =
        |object: &Object| Reference { name: object.key.name.to_string(), uid: object.meta.uid.to_string() };
    let bound = Bound {
        namespace: pod.key.namespace.to_string(),
        serviceaccount: reference(account),
        pod: Some(reference(pod)),
        node: state.get(&ObjectKey::new(Kind::NODE, "", node)).map(|node| reference(node)),
        ..Bound::default()
    };
    let audience = if audience.is_empty() { ISSUER } else { audience };
    let now_s = now_ms.div_euclid(1000);
    let claims = Claims::new(bound, vec![audience.to_owned()], lifetime_s, now_s, id.to_owned());
    tracing::debug!(account = claims.sub, node, pod = %pod.key.name, id, "a token was made for a pod");
    issuer.sign(&claims).ok_or_else(|| "the token could not be signed".to_owned())
}

/// Whether a pod's spec has a projected token like that.
fn asks_for(spec: &Value, audience: &str, lifetime_s: i64) -> bool {
    let sources = items(spec, "volumes").flat_map(|(_, volume)| items(&volume["projected"], "sources"));
    sources.map(|(_, source)| &source["serviceAccountToken"]).any(|token| {
        let asked_s = token["expirationSeconds"].as_i64().unwrap_or(LIFETIME_S);
        token.is_object() && text(token, "audience") == audience && asked_s == lifetime_s
    })
}
