//! One layer from a registry to a file: counted and hashed on the way, and taken up again where a connection broke, or where
//! an earlier pull ended.

use std::time::Duration;

use http::header::{CONTENT_RANGE, RANGE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use tokio::time::Instant;

use super::RegistryError;
use super::manifest::{Descriptor, mismatch};
use super::session::Session;
use super::wire::Answer;
use crate::image::ImageError;
use crate::image::blobs::{Blob, Blobs, Claimed, Part};

/// What a registry says that has nothing from there on.
const RANGE_REFUSED: u16 = 416;
/// How often it is looked whether another pull is through with the same layer.
const BUSY_CHECK: Duration = Duration::from_millis(100);

/// Fetches a layer, or what is missing of it; nothing if it is `here` in another way meanwhile. `received` is told how much is there, which may become less: a registry may not
/// know how to go on in the middle. Files are written on the calling thread, which is the pulls' own.
pub(super) async fn fetch(
    session: &Session,
    layer: &Descriptor,
    blobs: &Blobs,
    here: impl Fn() -> bool,
    received: &(dyn Fn(u64) + Sync),
) -> Result<Option<Blob>, RegistryError> {
    let mut part = loop {
        let (blobs, digest, size) = (blobs.clone(), layer.digest.clone(), layer.size);
        let host = session.host().to_owned();
        // What is there is read, which may be much.
        let claimed = tokio::task::spawn_blocking(move || blobs.claim(&digest, size, &host)).await;
        match claimed
            .map_err(std::io::Error::other)
            .flatten()
            .map_err(ImageError::io("open a layer's file"))?
        {
            Claimed::Whole(blob) if blob.spooled.size == layer.size => {
                received(layer.size);
                return Ok(Some(blob));
            }
            Claimed::Whole(blob) => {
                let (digest, size) = (&layer.digest, blob.spooled.size);
                let cause =
                    format!("layer {digest} has {size} bytes, not {} as its manifest says", layer.size);
                return Err(ImageError::Malformed(cause).into());
            }
            // Whoever fetched it has unpacked it, too.
            Claimed::Part(part) if here() => {
                part.discard();
                received(layer.size);
                return Ok(None);
            }
            Claimed::Part(part) => break part,
            Claimed::Busy => tokio::time::sleep(BUSY_CHECK).await,
        }
    };
    received(part.bytes());
    loop {
        if let Err(error) = download(session, layer, &mut part, received).await {
            if matches!(error, RegistryError::Refused { .. }) {
                part.discard();
            }
            return Err(error);
        }
        let digest = part.digest();
        if digest == layer.digest {
            return Ok(Some(part.finish().map_err(ImageError::io("keep a layer"))?));
        }
        // Power may have failed in the middle of what another pull left.
        if part.is_resumed() {
            start_over(&mut part, received)?;
            continue;
        }
        part.discard();
        return Err(mismatch(&format!("a layer from registry {}", session.host()), &layer.digest, digest));
    }
}

/// Fetches what is missing, however often the connection breaks within reason.
async fn download(
    session: &Session,
    layer: &Descriptor,
    part: &mut Part,
    received: &(dyn Fn(u64) + Sync),
) -> Result<(), RegistryError> {
    let mut tries = 0;
    while part.bytes() < layer.size || (tries == 0 && part.bytes() == 0) {
        let Err(error) = go_on(session, layer, part, received).await else { break };
        if matches!(error, RegistryError::Status { status: RANGE_REFUSED, .. }) && part.bytes() > 0 {
            start_over(part, received)?;
        } else if !error.is_interruption() || tries >= session.wire.patience.retries {
            return Err(error);
        } else {
            session.pause(tries, &error).await;
        }
        tries += 1;
    }
    Ok(())
}

fn start_over(part: &mut Part, received: &(dyn Fn(u64) + Sync)) -> Result<(), ImageError> {
    part.start_over().map_err(ImageError::io("write a layer anew"))?;
    received(0);
    Ok(())
}

/// Fetches what is missing.
async fn go_on(
    session: &Session,
    layer: &Descriptor,
    part: &mut Part,
    received: &(dyn Fn(u64) + Sync),
) -> Result<(), RegistryError> {
    let mut headers = HeaderMap::new();
    if part.bytes() > 0 {
        let range = HeaderValue::from_str(&format!("bytes={}-", part.bytes()));
        headers.insert(RANGE, range.map_err(|source| session.refused(source.to_string()))?);
    }
    let mut answer = session.get_once(Method::GET, &format!("blobs/{}", layer.digest), &headers).await?;
    if part.bytes() > 0 && !goes_on(&answer, part.bytes()) {
        start_over(part, received)?;
    }
    let patience = &session.wire.patience;
    let (mut window, mut window_bytes) = (Instant::now(), 0);
    while part.bytes() < layer.size {
        let Some(piece) = answer.piece().await? else {
            let cause = format!("a layer ended after {} of {} bytes", part.bytes(), layer.size);
            return Err(RegistryError::Broken { host: session.host().to_owned(), cause });
        };
        if piece.len() as u64 > layer.size - part.bytes() {
            return Err(longer(session, layer));
        }
        part.add(&piece).map_err(ImageError::io("write a layer"))?;
        received(part.bytes());
        window_bytes += piece.len() as u64;
        if window.elapsed() >= patience.window {
            if window_bytes < patience.window_bytes {
                let what = format!("{window_bytes} bytes of a layer in {:?}", patience.window);
                return Err(RegistryError::TooSlow { host: session.host().to_owned(), what });
            }
            (window, window_bytes) = (Instant::now(), 0);
        }
    }
    match answer.piece().await? {
        Some(more) if !more.is_empty() => Err(longer(session, layer)),
        _ => Ok(()),
    }
}

/// Whether the answer begins where the part ends.
fn goes_on(answer: &Answer, bytes: u64) -> bool {
    let range = answer.header(CONTENT_RANGE).and_then(|range| range.strip_prefix("bytes "));
    let first = range.and_then(|range| range.split_once('-')).and_then(|(first, _)| first.parse().ok());
    answer.status == StatusCode::PARTIAL_CONTENT && first == Some(bytes)
}

fn longer(session: &Session, layer: &Descriptor) -> RegistryError {
    session.refused(format!(
        "layer {} is longer than the {} bytes that its manifest says",
        layer.digest, layer.size
    ))
}
