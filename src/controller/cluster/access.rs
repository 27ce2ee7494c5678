//! Who may call what. The caller is whom the accept loop has read from its certificate.

use kontiki_pki::{Peer, Role};
use tonic::{Request, Status};

/// The group whose users may do everything.
const MASTERS: &str = "system:masters";

fn caller<T>(request: &Request<T>) -> Result<&Peer, Status> {
    let anonymous = || Status::unauthenticated("this call needs a client certificate of this cluster");
    request.extensions().get::<Peer>().ok_or_else(anonymous)
}

fn is_master(peer: &Peer) -> bool {
    peer.role == Role::User && peer.groups.iter().any(|group| group == MASTERS)
}

/// Members of the cluster and its administrators.
pub(super) fn require_member<T>(request: &Request<T>) -> Result<(), Status> {
    let peer = caller(request)?;
    if peer.role != Role::User || is_master(peer) {
        return Ok(());
    }
    Err(Status::permission_denied(format!("{peer} may not: it needs to be in the group {MASTERS}")))
}

/// Administrators, and controllers, which forward an administrator's call or speak for themselves.
pub(super) fn require_admin<T>(request: &Request<T>) -> Result<(), Status> {
    let peer = caller(request)?;
    if peer.role == Role::Controller || is_master(peer) {
        return Ok(());
    }
    Err(Status::permission_denied(format!("{peer} may not: only users of the group {MASTERS} may")))
}

/// Controllers only.
pub(super) fn require_controller<T>(request: &Request<T>) -> Result<(), Status> {
    let peer = caller(request)?;
    if peer.role == Role::Controller {
        return Ok(());
    }
    Err(Status::permission_denied(format!("{peer} may not: this is between controllers")))
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    fn request(role: Role, groups: &[&str]) -> Request<()> {
        let mut request = Request::new(());
        request.extensions_mut().insert(Peer {
            cluster: "test".into(),
            role,
            name: "x".into(),
            node_id: None,
            groups: groups.iter().map(|group| (*group).to_owned()).collect(),
            fingerprint: String::new(),
        });
        request
    }

    #[test]
    fn each_call_has_its_callers() {
        let code = |result: Result<(), Status>| result.map_err(|status| status.code()).err();
        let cases = [
            (request(Role::User, &[MASTERS]), [None, None, Some(Code::PermissionDenied)]),
            (request(Role::User, &["dev"]), [Some(Code::PermissionDenied); 3]),
            // A worker that claims the group is still a worker.
            (
                request(Role::Worker, &[MASTERS]),
                [None, Some(Code::PermissionDenied), Some(Code::PermissionDenied)],
            ),
            (request(Role::Controller, &[]), [None, None, None]),
            (Request::new(()), [Some(Code::Unauthenticated); 3]),
        ];
        for (request, expected) in cases {
            let got =
                [require_member(&request), require_admin(&request), require_controller(&request)].map(code);
            assert_eq!(got, expected, "{request:?}");
        }
    }
}
