//! The entries of a tar archive that nobody trusts, one after another, without holding more of it in memory than is fit.

use std::cell::Cell;
use std::io::{self, Read};
use std::rc::Rc;

/// What may come before an entry: its long names and attributes, which the tar library reads into memory whole. Go's
/// archive/tar, and so every other container runtime, refuses longer ones.
const HEADERS_BYTES_MAX: u64 = 1 << 20;
/// The kernel's own bound (PATH_MAX): what is longer names no file.
const NAME_BYTES_MAX: usize = 4096;

/// How much may be read of an archive until its next entry is there.
#[derive(Default)]
pub(super) struct Pace(Rc<Cell<u64>>);

/// An archive that is read at that pace.
pub(super) struct Paced<R> {
    inner: R,
    left: Rc<Cell<u64>>,
}

impl Pace {
    pub(super) fn of<R: Read>(&self, inner: R) -> Paced<R> {
        Paced { inner, left: Rc::clone(&self.0) }
    }

    /// The next entry that is something itself, rather than a description of others. Give it to [`Pace::skip`] at its end.
    pub(super) fn next<'a, R: Read + 'a>(
        &self,
        entries: &mut tar::Entries<'a, R>,
    ) -> io::Result<Option<tar::Entry<'a, R>>> {
        loop {
            self.0.set(HEADERS_BYTES_MAX);
            let Some(entry) = entries.next().transpose()? else { return Ok(None) };
            self.0.set(u64::MAX);
            if describes_others(entry.header().entry_type()) {
                self.skip(entry)?;
                continue;
            }
            let link_bytes = entry.link_name_bytes().map_or(0, |name| name.len());
            if entry.path_bytes().len().max(link_bytes) > NAME_BYTES_MAX {
                return Err(io::Error::other(format!("a name is longer than {NAME_BYTES_MAX} bytes")));
            }
            return Ok(Some(entry));
        }
    }

    /// Reads what nobody wanted of an entry, so that it does not count as what comes before the next.
    pub(super) fn skip<R: Read>(&self, mut entry: tar::Entry<'_, R>) -> io::Result<()> {
        // The holes of a sparse file take no bytes and may never end.
        if !entry.header().entry_type().is_gnu_sparse() {
            io::copy(&mut entry, &mut io::sink())?;
        }
        Ok(())
    }
}

/// Attributes for all entries, or such as the library did not take for what they are: it would read them into memory, too.
fn describes_others(kind: tar::EntryType) -> bool {
    kind.is_pax_global_extensions()
        || kind.is_pax_local_extensions()
        || kind.is_gnu_longname()
        || kind.is_gnu_longlink()
}

impl<R: Read> Read for Paced<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        let left = self.left.get().checked_sub(count as u64);
        self.left.set(left.ok_or_else(|| {
            io::Error::other("more than 1 MiB of names and attributes comes before an entry")
        })?);
        Ok(count)
    }
}
