//! A repository of one registry, as one user: requests with authorization, redirects and second tries.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::header::{AUTHORIZATION, LOCATION, RETRY_AFTER};
use http::uri::Scheme;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};

use super::auth::Challenge;
use super::config::Endpoint;
use super::reference::Reference;
use super::wire::{Answer, Wire, authority};
use super::{Credential, RegistryError};

/// From one place to the next, at most.
const REDIRECTS_MAX: usize = 5;
/// Asked again so often, for what is no download.
const RETRIES_MAX: u32 = 2;
/// What a registry says about a refusal, as far as it is read and told.
const DETAIL_READ_MAX: u64 = 16 << 10;
const DETAIL_TOLD_MAX: usize = 200;

/// A repository of one registry, as one user.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) wire: Wire,
    endpoint: Endpoint,
    repository: String,
    credential: Option<Credential>,
    /// What convinced the registry last.
    authorization: Mutex<Option<HeaderValue>>,
}

impl Session {
    pub(super) fn new(
        wire: Wire,
        endpoint: Endpoint,
        reference: &Reference,
        credential: Option<Credential>,
    ) -> Self {
        let repository = reference.repository.clone();
        Self { wire, endpoint, repository, credential, authorization: Mutex::new(None) }
    }

    /// The host and port, for people.
    pub(super) fn host(&self) -> &str {
        self.endpoint.authority.as_str()
    }

    /// Asks for something of the repository, such as `manifests/1`, and again if the failure may pass.
    /// Answers success (2xx) only.
    pub(super) async fn get(
        &self,
        method: Method,
        what: &str,
        headers: &HeaderMap,
    ) -> Result<Answer, RegistryError> {
        let mut tries = 0;
        loop {
            match self.get_once(method.clone(), what, headers).await {
                Err(error) if error.is_transient() && tries < self.wire.patience.retries.min(RETRIES_MAX) => {
                    self.pause(tries, &error).await;
                    tries += 1;
                }
                done => return done,
            }
        }
    }

    /// Waits before the next try: as long as the registry asks for, or twice as long as before.
    pub(super) async fn pause(&self, tries: u32, error: &RegistryError) {
        let patience = &self.wire.patience;
        let doubled = patience.pause.saturating_mul(1 << tries.min(16));
        let asked = match error {
            RegistryError::Status { retry_after: Some(seconds), .. } => Duration::from_secs(*seconds),
            _ => doubled,
        };
        tokio::time::sleep(asked.min(patience.pause_max)).await;
    }

    pub(super) async fn get_once(
        &self,
        method: Method,
        what: &str,
        headers: &HeaderMap,
    ) -> Result<Answer, RegistryError> {
        let scheme = if self.endpoint.plain { Scheme::HTTP } else { Scheme::HTTPS };
        let uri = Uri::builder()
            .scheme(scheme)
            .authority(self.endpoint.authority.clone())
            .path_and_query(format!("/v2/{}/{what}", self.repository))
            .build()
            .map_err(|source| self.refused(source.to_string()))?;
        let answer = self.follow(method.clone(), uri.clone(), headers).await?;
        let mut answer = if answer.status == StatusCode::UNAUTHORIZED {
            self.authorize(&answer, &uri).await?;
            self.follow(method, uri, headers).await?
        } else {
            answer
        };
        if answer.status.is_success() {
            return Ok(answer);
        }
        let what = format!("{}/{what}", self.repository);
        let host = self.host().to_owned();
        let detail = detail(&mut answer).await;
        Err(match answer.status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                let detail = if detail.is_empty() { answer.status.to_string() } else { detail };
                RegistryError::Unauthorized { host, what: self.repository.clone(), detail }
            }
            StatusCode::NOT_FOUND => RegistryError::NotFound { host, what },
            status => {
                let detail = if detail.is_empty() { detail } else { format!(": {detail}") };
                let retry_after = retry_after(&answer);
                RegistryError::Status { host, what, status: status.as_u16(), detail, retry_after }
            }
        })
    }

    /// Asks, and goes where it is sent. The authorization goes to the registry only, and nothing goes from TLS to none.
    async fn follow(
        &self,
        method: Method,
        mut uri: Uri,
        headers: &HeaderMap,
    ) -> Result<Answer, RegistryError> {
        for _ in 0..=REDIRECTS_MAX {
            let mut headers = headers.clone();
            let own = uri.authority() == Some(&self.endpoint.authority)
                && (uri.scheme() == Some(&Scheme::HTTP)) == self.endpoint.plain;
            let known = self.authorization.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if let Some(known) = known.filter(|_| own) {
                headers.insert(AUTHORIZATION, known);
            }
            let answer = self.wire.ask(method.clone(), &uri, headers).await?;
            if !answer.status.is_redirection() || answer.status == StatusCode::NOT_MODIFIED {
                return Ok(answer);
            }
            let location = answer.header(LOCATION).unwrap_or_default();
            let next = redirected(&uri, location).ok_or_else(|| {
                self.refused(format!("it redirects to \"{location}\", which is not an address"))
            })?;
            authority(&next)?;
            if next.scheme() == Some(&Scheme::HTTP) && uri.scheme() == Some(&Scheme::HTTPS) {
                return Err(self.refused(format!("it redirects to {next}, which is without TLS")));
            }
            uri = next;
        }
        Err(self.refused(format!("it redirects more than {REDIRECTS_MAX} times")))
    }

    async fn authorize(&self, answer: &Answer, uri: &Uri) -> Result<(), RegistryError> {
        let unauthorized = |detail: &str| RegistryError::Unauthorized {
            host: self.host().to_owned(),
            what: self.repository.clone(),
            detail: detail.to_owned(),
        };
        let challenge = Challenge::of(&answer.headers)
            .ok_or_else(|| unauthorized("it does not say how it wants to be convinced"))?;
        let credential = self.credential.as_ref();
        let authorization = challenge.answer(&self.wire, uri, &self.repository, credential).await?;
        let Some(authorization) = authorization else {
            return Err(unauthorized(match credential {
                Some(_) => "the credentials are not accepted",
                None => "it wants credentials and there are none",
            }));
        };
        *self.authorization.lock().unwrap_or_else(PoisonError::into_inner) = Some(authorization);
        Ok(())
    }

    pub(super) fn refused(&self, cause: String) -> RegistryError {
        RegistryError::Refused { host: self.host().to_owned(), cause }
    }
}

/// Where a redirect leads; a path alone stays on the host.
fn redirected(from: &Uri, location: &str) -> Option<Uri> {
    let to: Uri = location.parse().ok()?;
    if to.scheme().is_some() {
        return Some(to);
    }
    if !location.starts_with('/') || location.starts_with("//") {
        return None;
    }
    let mut parts = from.clone().into_parts();
    parts.path_and_query = to.into_parts().path_and_query;
    Uri::from_parts(parts).ok()
}

pub(super) fn retry_after(answer: &Answer) -> Option<u64> {
    answer.header(RETRY_AFTER)?.trim().parse().ok()
}

/// What a registry says about its refusal (`{"errors": [{"code": ..., "message": ...}]}`), cut short.
async fn detail(answer: &mut Answer) -> String {
    let Ok(body) = answer.read(DETAIL_READ_MAX).await else { return String::new() };
    let json: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
    let first = &json["errors"][0];
    let text = first["message"].as_str().or(first["code"].as_str()).unwrap_or_default();
    text.chars().filter(|letter| !letter.is_control()).take(DETAIL_TOLD_MAX).collect()
}
