//! How much an image may take.

use std::io::Read;

use super::ImageError;

/// What one image may take, packed and unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of file contents, all layers together, unpacked.
    pub bytes: u64,
    /// Files, directories and links, all layers together.
    pub inodes: u64,
    /// Bytes of a manifest or a configuration.
    pub document_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 32 << 30, inodes: 2_000_000, document_bytes: 4 << 20 }
    }
}

/// What is left of the limits while an image is unpacked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    limits: Limits,
    bytes: u64,
    inodes: u64,
}

impl Budget {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, bytes: 0, inodes: 0 }
    }

    pub(super) fn take_inode(&mut self) -> Result<(), ImageError> {
        self.inodes += 1;
        if self.inodes > self.limits.inodes {
            return Err(ImageError::TooBig { limit: self.limits.inodes, unit: "files" });
        }
        Ok(())
    }

    pub(super) fn take_bytes(&mut self, bytes: u64) -> Result<(), ImageError> {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > self.limits.bytes {
            return Err(ImageError::TooBig { limit: self.limits.bytes, unit: "bytes" });
        }
        Ok(())
    }

    /// Of a layer that is unpacked already.
    pub(super) fn take_layer(&mut self, bytes: u64, inodes: u64) -> Result<(), ImageError> {
        self.inodes = self.inodes.saturating_add(inodes);
        if self.inodes > self.limits.inodes {
            return Err(ImageError::TooBig { limit: self.limits.inodes, unit: "files" });
        }
        self.take_bytes(bytes)
    }

    pub(super) fn bytes_taken(&self) -> u64 {
        self.bytes
    }

    pub(super) fn inodes_taken(&self) -> u64 {
        self.inodes
    }
}

/// A reader that refuses to give more than a limit, so that a small archive cannot become an endless stream.
pub(super) struct Bounded<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Bounded<R> {
    pub(super) fn new(inner: R, limit: u64) -> Self {
        Self { inner, left: limit }
    }
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.left = self
            .left
            .checked_sub(count as u64)
            .ok_or_else(|| std::io::Error::other("stream is longer than the store's limits allow"))?;
        Ok(count)
    }
}
