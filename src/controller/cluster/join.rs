//! A newcomer with a token becomes a member of the cluster's trust: it gets a certificate, and a controller gets its
//! number and the CA's key. That alone makes no controller a member of the consensus: it adds itself when it runs.

use std::time::Instant;

use kontiki_actors::{Kind, ObjectKey};
use kontiki_pki::{Ca, DEFAULT_LIFETIME, JoinToken, PeerAddr, Role, Subject};
use kontiki_proto::cluster::{self, JoinRequest, JoinResponse, RemoveRequest};
use parking_lot::Mutex;
use tonic::{Request, Response, Status};

use super::forward::{self, Place};
use super::{Shared, levels, members, numbers, objects, tokens};

/// Attempts that may come at once, and how many a second on and on. A secret cannot be guessed; this bounds the work
/// that strangers can cause.
const BURST: f64 = 50.0;
const PER_SECOND: f64 = 10.0;
/// Names and addresses are short.
const MAX_ADDRESSES: usize = 16;
const MAX_TEXT: usize = 256;

pub(super) async fn join(
    shared: &Shared,
    request: Request<JoinRequest>,
) -> Result<Response<JoinResponse>, Status> {
    shared.joins.take(Instant::now())?;
    let from = request
        .extensions()
        .get::<PeerAddr>()
        .map_or_else(|| "unknown".to_owned(), |peer| peer.0.to_string());
    let JoinRequest { name, role, .. } = request.get_ref();
    let (name, role) = (name.clone(), *role);
    match joined(shared, request.into_inner()).await {
        Ok(response) => {
            tracing::info!(from, name, role, id = response.node_id, "joined");
            Ok(Response::new(response))
        }
        Err(status) => {
            tracing::warn!(from, name, role, reason = status.message(), "a join was refused");
            Err(status)
        }
    }
}

async fn joined(shared: &Shared, request: JoinRequest) -> Result<JoinResponse, Status> {
    let handles = &shared.handles;
    let Some(ca) = &handles.ca else { return Err(no_ca()) };
    let backend = &*handles.local;
    let role = check_shape(&request)?;
    let token: JoinToken = request.token.parse().map_err(|e| Status::unauthenticated(format!("{e}")))?;
    let view = objects::view(backend).await?;
    let record = view.get(&objects::key(Kind::SECRET, &tokens::name(&token)));
    tokens::check(record.map(AsRef::as_ref), &token, role, tokens::now_ms()).map_err(|refusal| {
        tracing::warn!(id = token.id(), %refusal, "a join token was refused");
        Status::unauthenticated(
            "the join token is not valid (unknown, used up, expired, or for another role): \
             make a new one with `kontiki token create`",
        )
    })?;
    let known = members::list(&handles.node).members;
    let mut response = JoinResponse {
        cluster_id: handles.cluster_id.clone(),
        ca_cert_pem: ca.cert_pem().to_owned(),
        members: known.clone(),
        ..JoinResponse::default()
    };
    match role {
        Role::Controller => {
            if let Some(refused) = levels::too_old(&request.name, levels::known(request.level), view.level())
            {
                return Err(Status::failed_precondition(refused));
            }
            let taken: Vec<(u64, String)> = known.iter().map(|m| (m.id, m.name.clone())).collect();
            let id = numbers::next(backend, &taken, &request.name, request.replace).await?;
            let subject =
                Subject::Controller { id, name: request.name.clone(), addresses: request.addresses.clone() };
            (response.node_id, response.ca_key_pem) = (id, ca.key_pem());
            response.cert_pem = sign(ca, &request.csr_pem, &subject)?;
            for old in taken.iter().filter(|(_, name)| *name == request.name) {
                remove(shared, old.0).await?;
            }
            // Last, so that nothing but success uses a token up. Of two that come with one token, one deletes it.
            if let Some(record) = record
                && objects::delete(backend, record).await?.is_err()
            {
                return Err(Status::unauthenticated("the join token was used up by somebody else just now"));
            }
        }
        _ => {
            if !request.replace && view.get(&ObjectKey::new(Kind::NODE, "", &request.name)).is_some() {
                return Err(Status::already_exists(format!(
                    "there is a worker {} already: choose another name, or if that machine is lost, join with --replace",
                    request.name
                )));
            }
            response.cert_pem = sign(ca, &request.csr_pem, &Subject::Worker { name: request.name.clone() })?;
        }
    }
    Ok(response)
}

/// What can be said of a request before anything is looked up.
fn check_shape(request: &JoinRequest) -> Result<Role, Status> {
    let texts = request.addresses.iter().chain([&request.name, &request.zone, &request.advertise_address]);
    if request.addresses.len() > MAX_ADDRESSES || texts.into_iter().any(|text| text.len() > MAX_TEXT) {
        return Err(Status::invalid_argument(format!(
            "at most {MAX_ADDRESSES} addresses, and no text over {MAX_TEXT} bytes"
        )));
    }
    match request.role() {
        cluster::Role::Controller => Ok(Role::Controller),
        cluster::Role::Worker => Ok(Role::Worker),
        cluster::Role::Unspecified => Err(Status::invalid_argument("join as what? a role is missing")),
    }
}

fn sign(ca: &Ca, csr_pem: &str, subject: &Subject) -> Result<String, Status> {
    ca.sign_csr(csr_pem, subject, DEFAULT_LIFETIME).map_err(|e| Status::invalid_argument(e.to_string()))
}

/// Takes the lost controller out before its successor comes, or the cluster would count a dead voter more.
async fn remove(shared: &Shared, id: u64) -> Result<(), Status> {
    let request = Request::new(RemoveRequest { id });
    match shared.place(&request)? {
        Place::Here => members::remove(&shared.handles.node, id).await?,
        Place::There(mut leader) => leader.remove(forward::marked(request.into_inner())).await?,
    };
    Ok(())
}

/// For what only a holder of the CA can do.
pub(super) fn no_ca() -> Status {
    Status::failed_precondition("this controller does not hold the cluster's CA: ask another one")
}

/// Bounds attempts in time.
pub(super) struct Limit(Mutex<(f64, Instant)>);

impl Limit {
    pub(super) fn new() -> Limit {
        Limit(Mutex::new((BURST, Instant::now())))
    }

    fn take(&self, now: Instant) -> Result<(), Status> {
        let mut state = self.0.lock();
        let (left, since) = *state;
        let refilled = left + now.saturating_duration_since(since).as_secs_f64() * PER_SECOND;
        let left = refilled.min(BURST) - 1.0;
        if left < 0.0 {
            return Err(Status::resource_exhausted("too many join attempts: try again in a second"));
        }
        *state = (left, now.max(since));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use super::*;

    #[test]
    fn attempts_are_bounded_and_come_back() {
        let limit = Limit::new();
        let start = Instant::now();
        let taken = (0..100).filter(|_| limit.take(start).is_ok()).count();
        assert!((50..=51).contains(&taken), "{taken}");
        let later = start + Duration::from_secs(1);
        let again = (0..100).filter(|_| limit.take(later).is_ok()).count();
        assert!((10..=11).contains(&again), "{again}");
    }

    #[test]
    fn monstrous_requests_are_refused_first() {
        let request = |name: &str, role: cluster::Role| JoinRequest {
            name: name.into(),
            role: role.into(),
            ..JoinRequest::default()
        };
        assert_eq!(check_shape(&request("w4", cluster::Role::Worker)).unwrap(), Role::Worker);
        assert!(check_shape(&request("w4", cluster::Role::Unspecified)).is_err());
        assert!(check_shape(&request(&"w".repeat(300), cluster::Role::Worker)).is_err());
    }
}
