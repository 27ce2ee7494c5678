//! One line of a log in CRI format: `<RFC3339Nano> stdout|stderr F|P <text>`.

/// A line that was read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line<'a> {
    /// When it was written, as it is in the file.
    pub(super) time: &'a [u8],
    /// It does not end here: the next of its stream goes on.
    pub(super) partial: bool,
    /// What was written, without the end of the line.
    pub(super) text: &'a [u8],
}

impl<'a> Line<'a> {
    /// Reads a line without its end; none if it is not of this format, as after a crash of the writer.
    pub(super) fn parse(line: &'a [u8]) -> Option<Line<'a>> {
        let mut parts = line.splitn(4, |byte| *byte == b' ');
        let (time, stream, tags) = (parts.next()?, parts.next()?, parts.next()?);
        if !matches!(stream, b"stdout" | b"stderr") {
            return None;
        }
        // Tags are separated by colons; the first is the one that is defined.
        let partial = match tags.split(|byte| *byte == b':').next()? {
            b"F" => false,
            b"P" => true,
            _ => return None,
        };
        Some(Line { time, partial, text: parts.next().unwrap_or_default() })
    }

    /// When it was written, in milliseconds since 1970.
    pub(super) fn time_ms(&self) -> Option<i64> {
        let time: jiff::Timestamp = std::str::from_utf8(self.time).ok()?.parse().ok()?;
        Some(time.as_millisecond())
    }
}
