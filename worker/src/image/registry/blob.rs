//! One layer from a registry to a file: counted and hashed on the way, and taken up again where a connection broke.

use std::fs::File;
use std::io::{Seek, Write};
use std::path::Path;

use http::header::{CONTENT_RANGE, RANGE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::RegistryError;
use super::manifest::{Descriptor, mismatch};
use super::session::Session;
use super::wire::Answer;
use crate::image::ImageError;
use crate::image::archive::{Spooled, digest_text};

/// What is there of a layer.
struct Part {
    file: File,
    hasher: Sha256,
    bytes: u64,
}

/// Fetches a layer into a new file. `received` is told how much is there, which may become less: a registry may not know
/// how to go on in the middle. Files are written on the calling thread, which is the pulls' own.
pub(super) async fn fetch(
    session: &Session,
    layer: &Descriptor,
    target: &Path,
    received: &(dyn Fn(u64) + Sync),
) -> Result<Spooled, RegistryError> {
    let file = File::create_new(target).map_err(ImageError::io("make a layer's file"))?;
    let mut part = Part { file, hasher: Sha256::new(), bytes: 0 };
    let mut tries = 0;
    while let Err(error) = go_on(session, layer, &mut part, received).await {
        if !error.is_interruption() || tries >= session.wire.patience.retries {
            return Err(error);
        }
        session.pause(tries, &error).await;
        tries += 1;
    }
    let digest = digest_text(part.hasher);
    if digest != layer.digest {
        return Err(mismatch(&format!("a layer from registry {}", session.host()), &layer.digest, digest));
    }
    Ok(Spooled { path: target.to_owned(), size: part.bytes, digest })
}

/// Fetches what is missing.
async fn go_on(
    session: &Session,
    layer: &Descriptor,
    part: &mut Part,
    received: &(dyn Fn(u64) + Sync),
) -> Result<(), RegistryError> {
    let mut headers = HeaderMap::new();
    if part.bytes > 0 {
        let range = HeaderValue::from_str(&format!("bytes={}-", part.bytes));
        headers.insert(RANGE, range.map_err(|source| session.refused(source.to_string()))?);
    }
    let mut answer = session.get_once(Method::GET, &format!("blobs/{}", layer.digest), &headers).await?;
    if part.bytes > 0 && !goes_on(&answer, part.bytes) {
        part.start_over()?;
        received(0);
    }
    let patience = &session.wire.patience;
    let (mut window, mut window_bytes) = (Instant::now(), 0);
    while part.bytes < layer.size {
        let Some(piece) = answer.piece().await? else {
            let cause = format!("a layer ended after {} of {} bytes", part.bytes, layer.size);
            return Err(RegistryError::Broken { host: session.host().to_owned(), cause });
        };
        if piece.len() as u64 > layer.size - part.bytes {
            return Err(longer(session, layer));
        }
        part.add(&piece)?;
        received(part.bytes);
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

impl Part {
    fn add(&mut self, piece: &[u8]) -> Result<(), ImageError> {
        self.file.write_all(piece).map_err(ImageError::io("write a layer"))?;
        self.hasher.update(piece);
        self.bytes += piece.len() as u64;
        Ok(())
    }

    fn start_over(&mut self) -> Result<(), ImageError> {
        let failed = || ImageError::io("write a layer anew");
        self.file.set_len(0).map_err(failed())?;
        self.file.rewind().map_err(failed())?;
        (self.hasher, self.bytes) = (Sha256::new(), 0);
        Ok(())
    }
}
