//! What an issuer publishes, fetched over https and nothing else: what there is to know about it, and its keys. Everything has an end.

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{Request, header};
use http_body_util::{BodyExt, Full};
use kontiki_pki::trust;
use serde::Deserialize;
use tokio::time::timeout;
use tokio_rustls::rustls::ClientConfig;

use super::{config::Place, keys::KeySet, url::Url};
use crate::admission::{chain, open};

/// Bytes of an issuer's description, and of its keys: real ones have a few thousand.
const DESCRIPTION: usize = 256 << 10;
const KEYS: usize = 1 << 20;
/// Bytes of a text of somebody else in an error.
const SHOWN: usize = 200;

#[derive(Deserialize)]
struct Description {
    issuer: String,
    jwks_uri: String,
}

/// Fetches the keys of an issuer; each of the two answers may take so long.
///
/// # Errors
/// What went wrong, with the URL that was asked.
pub(super) async fn keys(place: &Place, patience: Duration) -> Result<KeySet, String> {
    let tls = trust::client_config(match place.authority.as_str() {
        // Read each time: whom the machine trusts may change while a controller runs.
        "" => trust::machine_roots()?,
        authority => trust::roots_of(authority.as_bytes())?,
    })?;
    let url = &place.discovery;
    let bytes = get(url, &tls, DESCRIPTION, patience).await?;
    let description: Description = serde_json::from_slice(&bytes)
        .map_err(|error| format!("{url} does not describe an issuer (issuer, jwks_uri): {error}"))?;
    if description.issuer != place.issuer {
        return Err(format!(
            "{url} describes the issuer {:?}, and {:?} is configured: they must be the same, to the letter",
            cut(&description.issuer),
            place.issuer
        ));
    }
    let keys = Url::read(&description.jwks_uri)
        .map_err(|why| format!("{url} names {:?} for its keys: {why}", cut(&description.jwks_uri)))?;
    let bytes = get(&keys, &tls, KEYS, patience).await?;
    KeySet::read(&bytes).map_err(|why| format!("{keys}: {why}"))
}

async fn get(url: &Url, tls: &Arc<ClientConfig>, limit: usize, patience: Duration) -> Result<Bytes, String> {
    match timeout(patience, exchange(url, tls.clone(), limit)).await {
        Ok(answer) => answer.map_err(|why| format!("Get {:?}: {why}", url.to_string())),
        Err(_) => Err(format!("Get {:?}: no answer within {} s", url.to_string(), patience.as_secs_f32())),
    }
}

async fn exchange(url: &Url, tls: Arc<ClientConfig>, limit: usize) -> Result<Bytes, String> {
    let (mut sender, _) = open(tls, &url.server, &url.to()).await?;
    let request = Request::get(&url.path)
        .header(header::HOST, &url.authority)
        .header(header::USER_AGENT, concat!("kontiki/", env!("CARGO_PKG_VERSION")))
        .header(header::ACCEPT, "application/json")
        .header(header::CONNECTION, "close")
        .body(Full::new(Bytes::new()))
        .map_err(|error| error.to_string())?;
    sender.ready().await.map_err(|error| chain(&error))?;
    let answer = sender.send_request(request).await.map_err(|error| chain(&error))?;
    let status = answer.status();
    if status.is_redirection() {
        let to =
            answer.headers().get(header::LOCATION).map(|to| cut(&String::from_utf8_lossy(to.as_bytes())));
        return Err(format!(
            "it was answered with {status} to {:?}, and nobody goes there: configure the URL that it leads to",
            to.unwrap_or_default()
        ));
    }
    if status != http::StatusCode::OK {
        return Err(format!("it was answered with {status}"));
    }
    let (mut bytes, mut body) = (BytesMut::new(), answer.into_body());
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| chain(&error))?;
        let Ok(data) = frame.into_data() else { continue };
        if bytes.len() + data.len() > limit {
            return Err(format!("the answer is longer than {limit} bytes"));
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes.freeze())
}

/// The beginning of a text of somebody else.
fn cut(text: &str) -> String {
    text.chars().take(SHOWN).collect()
}
