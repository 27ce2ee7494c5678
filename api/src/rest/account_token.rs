//! Tokens as requests: who shows one, of a service account or of a user who is known elsewhere, and POST of
//! `serviceaccounts/NAME/token`, by which those of service accounts are made.

use kontiki_actors::{Kind, Object, ObjectKey, State};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    Api, admitted,
    call::{Call, now_ms},
    identity::User,
    patch,
    path::Target,
    read,
    reply::{Answered, Reply},
    write::Write,
};
use crate::{
    backend::Freshness,
    resource::{
        field::Errors,
        fields::{items, text},
    },
    status::Status,
    token::{Age, Believed, Bound, Claims, ISSUER, Reference, Refusal, believe},
};

/// Seconds that a token lives unless more or less is asked for, and how few and how many that may be.
const LIFETIME_S: i64 = 3600;
const LIFETIME_MIN_S: i64 = 600;
const LIFETIME_MAX_S: i64 = 1 << 32;

/// The user of a token that was shown with a request, and if it should have been replaced before, this in words for the audit. Whatever is
/// wrong with it is 401 and no word on why.
pub(super) async fn user(api: &Api, token: &str) -> Result<(User, Option<String>), Status> {
    match believed(api, token, &[ISSUER.to_owned()]).await? {
        Ok(Believed { user, age, .. }) => {
            if let (Some(issuer), Some(age)) = (&api.options.issuer, age) {
                issuer.count(age);
            }
            let stale = match age {
                Some(Age::Stale(late_s)) => {
                    Some(format!("subject: {}, seconds after warning threshold: {late_s}", user.name))
                }
                _ => None,
            };
            Ok((user, stale))
        }
        Err(refusal) => {
            tracing::debug!(%refusal, "a bearer token is not believed");
            Err(Status::unauthorized())
        }
    }
}

/// Whether a token holds now for one of these audiences, and for whom it stands.
pub(super) async fn believed(
    api: &Api,
    token: &str,
    audiences: &[String],
) -> Result<Result<Believed, Refusal>, Status> {
    let proven = api.options.issuer.as_ref().map(|issuer| issuer.prove(token));
    let claims = match proven.unwrap_or(Err(Refusal::Foreign)) {
        Ok(claims) => claims,
        // Asked after the cluster's own: whoever made it may first have to be asked for his keys.
        Err(Refusal::Foreign) => return Ok(elsewhere(api, token, audiences).await),
        Err(refusal) => return Ok(Err(refusal)),
    };
    let state = api.backend.view(Freshness::Any).await?;
    match believe(&claims, audiences, now_ms(), &state) {
        // What the token is bound to may be so new that this controller has not heard of it.
        Err(Refusal::Gone) => {
            let state = api.backend.view(Freshness::Linearizable).await?;
            Ok(believe(&claims, audiences, now_ms(), &state))
        }
        answer => Ok(answer),
    }
}

/// The same of a token that this cluster did not make. Those of issuers elsewhere are for the API, and for nobody else who asks about them.
async fn elsewhere(api: &Api, token: &str, audiences: &[String]) -> Result<Believed, Refusal> {
    let for_api = audiences.iter().any(|audience| audience == ISSUER);
    let Some(authenticators) = api.options.authenticators.as_ref().filter(|_| for_api) else {
        return Err(Refusal::Foreign);
    };
    match authenticators.believe(token, now_ms()).await {
        None => Err(Refusal::Foreign),
        Some(Ok(user)) => Ok(Believed { user, audiences: vec![ISSUER.to_owned()], age: None }),
        Some(Err(why)) => Err(Refusal::Elsewhere(why)),
    }
}

/// Makes a token.
pub(super) async fn create(mut call: Call, target: Target) -> Answered {
    let write = Write::of(&call)?;
    let key = read::key(&target)?;
    let decoded = patch::put_body(&mut call, &write, "authentication.k8s.io/v1", "TokenRequest").await?;
    let Some(issuer) = call.api.options.issuer.clone() else { return Err(Status::no_resource()) };
    let mut value = decoded.value;
    for (field, own) in [("name", &key.name), ("namespace", &key.namespace)] {
        let told = text(&value["metadata"], field);
        if !told.is_empty() && told != own.as_str() {
            let message = format!("{field} in URL does not match {field} in TokenRequest object");
            return Err(Status::bad_request(message));
        }
    }
    value = admitted::below(&call, &target, "authentication.k8s.io/v1", "TokenRequest", write.dry_run, value)
        .await?;
    let spec = &mut value["spec"];
    if spec["expirationSeconds"].is_null() {
        spec["expirationSeconds"] = LIFETIME_S.into();
    }
    if items(spec, "audiences").next().is_none() {
        spec["audiences"] = json!([ISSUER]);
    }
    let lifetime = check(&spec["expirationSeconds"])?;
    let state = call.view().await?;
    let account = state.get(&key).ok_or_else(|| Status::not_found(key.kind, &key.name))?;
    let mut bound = Bound {
        namespace: key.namespace.to_string(),
        serviceaccount: reference(account),
        ..Bound::default()
    };
    if value["spec"]["boundObjectRef"].is_object() {
        bind(&mut bound, &value["spec"]["boundObjectRef"], &key, &state)?;
    }
    let now_s = now_ms().div_euclid(1000);
    let audiences = items(&value["spec"], "audiences").filter_map(|(_, audience)| audience.as_str());
    let id = Uuid::new_v4().to_string();
    let claims = Claims::new(bound, audiences.map(str::to_owned).collect(), lifetime, now_s, id);
    let token = issuer.sign(&claims).ok_or_else(|| Status::internal("the token could not be signed"))?;
    let until = kontiki_actors::object::rfc3339(now_s.saturating_add(lifetime).saturating_mul(1000));
    value["status"] = json!({"token": token, "expirationTimestamp": until});
    let made = kontiki_actors::object::rfc3339(now_s * 1000);
    value["metadata"] = json!({"name": key.name, "namespace": key.namespace, "creationTimestamp": made});
    tracing::info!(account = claims.sub, by = call.user.name, id = claims.jti, until, "a token was made");
    Ok(Reply::in_media(201, write.form.media, value.to_string().into_bytes())?.warned(decoded.warnings))
}

/// The seconds that a token is to live.
fn check(seconds: &Value) -> Result<i64, Status> {
    let (number, mut errors) = (seconds.as_i64().unwrap_or(0), Errors::default());
    if number < LIFETIME_MIN_S {
        let why = "may not specify a duration less than 10 minutes";
        errors.invalid("spec.expirationSeconds", seconds, why);
    }
    if number > LIFETIME_MAX_S {
        let why = "may not specify a duration larger than 2^32 seconds";
        errors.invalid("spec.expirationSeconds", seconds, why);
    }
    if errors.is_empty() {
        return Ok(number);
    }
    Err(Status::invalid("authentication.k8s.io", "TokenRequest", "", errors.into_causes()))
}

fn reference(object: &Object) -> Reference {
    Reference { name: object.key.name.to_string(), uid: object.meta.uid.to_string() }
}

/// Binds a token to an object besides its account.
fn bind(bound: &mut Bound, to: &Value, account: &ObjectKey, state: &State) -> Result<(), Status> {
    let (api_version, kind) = (text(to, "apiVersion"), text(to, "kind"));
    let (kind, namespace) = match (api_version, kind) {
        ("v1", "Pod") => (Kind::POD, account.namespace.as_str()),
        ("v1", "Secret") => (Kind::SECRET, account.namespace.as_str()),
        ("v1", "Node") => (Kind::NODE, ""),
        _ => {
            let message = format!("cannot bind token to object of type {api_version}, Kind={kind}");
            return Err(Status::bad_request(message));
        }
    };
    let name = text(to, "name");
    let object = state.get(&ObjectKey::new(kind, namespace, name));
    let object = object.ok_or_else(|| Status::not_found(kind, name))?;
    let uid = text(to, "uid");
    if !uid.is_empty() && uid != object.meta.uid {
        let why = format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been deleted \
             and then recreated"
        );
        return Err(Status::conflict(kind, name, why));
    }
    match kind {
        Kind::SECRET => bound.secret = Some(reference(object)),
        Kind::NODE => bound.node = Some(reference(object)),
        _ => {
            if text(&object.document.spec_value(), "serviceAccountName") != account.name {
                return Err(Status::bad_request(format!(
                    "cannot bind token for serviceaccount {:?} to pod running with different serviceaccount name.",
                    account.name
                )));
            }
            bound.pod = Some(reference(object));
            let node = object.pod().and_then(|pod| pod.node.as_deref());
            let node = node.and_then(|name| state.get(&ObjectKey::new(Kind::NODE, "", name)));
            bound.node = node.map(|node| reference(node));
        }
    }
    Ok(())
}
