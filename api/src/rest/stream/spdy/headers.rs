//! Names and values of a stream, compressed. Each direction has one compression for the whole connection, which begins with
//! words that both sides know.

use bytes::{Buf, Bytes};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

/// Bytes of a block, uncompressed: those of Kubernetes have some hundred, and a few that are compressed may be a thousand
/// times as many.
const BLOCK_MAX: usize = 16 << 10;
/// Names of a block: those of Kubernetes have four at most, and an empty one is small in a block, but not in memory.
const PAIRS_MAX: u32 = 64;

/// The words that both sides know (section 2.6.10.1): each with its length before it, then a text.
const WORDS: [&str; 65] = [
    "options",
    "head",
    "post",
    "put",
    "delete",
    "trace",
    "accept",
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "accept-ranges",
    "age",
    "allow",
    "authorization",
    "cache-control",
    "connection",
    "content-base",
    "content-encoding",
    "content-language",
    "content-length",
    "content-location",
    "content-md5",
    "content-range",
    "content-type",
    "date",
    "etag",
    "expect",
    "expires",
    "from",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "last-modified",
    "location",
    "max-forwards",
    "pragma",
    "proxy-authenticate",
    "proxy-authorization",
    "range",
    "referer",
    "retry-after",
    "server",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "vary",
    "via",
    "warning",
    "www-authenticate",
    "method",
    "get",
    "status",
    "200 OK",
    "version",
    "HTTP/1.1",
    "url",
    "public",
    "set-cookie",
    "keep-alive",
    "origin",
];
const TEXT: &str = "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505203 \
                    Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 \
                    Unauthorized403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented503 Service \
                    UnavailableJan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, \
                    Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,application/xml,\
                    application/xhtml+xml,text/plain,text/javascript,publicprivatemax-age=gzip,deflate,\
                    sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0.";

fn dictionary() -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in WORDS {
        bytes.extend_from_slice(&(word.len() as u32).to_be_bytes());
        bytes.extend_from_slice(word.as_bytes());
    }
    bytes.extend_from_slice(TEXT.as_bytes());
    bytes
}

/// Why a block cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Malformed {
    #[error("a block that is not compressed as it must be")]
    Compression,
    #[error("a block that is too long")]
    TooLong,
    #[error("a block that ends too soon")]
    Cut,
}

/// Reads blocks, in their order.
pub(super) struct Inflate(Decompress);

impl Inflate {
    pub(super) fn new() -> Self {
        Self(Decompress::new(true))
    }

    /// The names and values of a block.
    pub(super) fn read(&mut self, block: &[u8]) -> Result<Vec<(String, String)>, Malformed> {
        pairs(self.inflate(block)?.into())
    }

    fn inflate(&mut self, block: &[u8]) -> Result<Vec<u8>, Malformed> {
        let mut plain = Vec::with_capacity(1024);
        let begun = self.0.total_in();
        loop {
            let used = (self.0.total_in() - begun) as usize;
            let (in_before, out_before) = (self.0.total_in(), plain.len());
            let rest = block.get(used..).unwrap_or_default();
            match self.0.decompress_vec(rest, &mut plain, FlushDecompress::Sync) {
                Ok(Status::StreamEnd) => return Err(Malformed::Compression),
                Ok(Status::Ok | Status::BufError) => {}
                Err(error) if error.needs_dictionary().is_some() => {
                    self.0.set_dictionary(&dictionary()).map_err(|_| Malformed::Compression)?;
                    continue;
                }
                Err(_) => return Err(Malformed::Compression),
            }
            if plain.len() > BLOCK_MAX {
                return Err(Malformed::TooLong);
            }
            let all_used = (self.0.total_in() - begun) as usize >= block.len();
            if plain.len() == plain.capacity() {
                plain.reserve(4096);
            } else if all_used {
                return Ok(plain);
            } else if self.0.total_in() == in_before && plain.len() == out_before {
                return Err(Malformed::Compression);
            }
        }
    }
}

fn pairs(mut plain: Bytes) -> Result<Vec<(String, String)>, Malformed> {
    let text = |plain: &mut Bytes| {
        let length = plain.try_get_u32().map_err(|_| Malformed::Cut)? as usize;
        if length > plain.len() {
            return Err(Malformed::Cut);
        }
        Ok(String::from_utf8_lossy(&plain.split_to(length)).into_owned())
    };
    let count = plain.try_get_u32().map_err(|_| Malformed::Cut)?;
    if count > PAIRS_MAX {
        return Err(Malformed::TooLong);
    }
    (0..count).map(|_| Ok((text(&mut plain)?.to_ascii_lowercase(), text(&mut plain)?))).collect()
}

/// Writes blocks, in their order.
pub(super) struct Deflate(Compress);

impl Deflate {
    pub(super) fn new() -> Self {
        let mut compress = Compress::new(Compression::fast(), true);
        // A compression that has not begun takes any dictionary.
        compress.set_dictionary(&dictionary()).ok();
        Self(compress)
    }

    /// A block of these.
    pub(super) fn write(&mut self, pairs: &[(&str, &str)]) -> Bytes {
        let mut plain = (pairs.len() as u32).to_be_bytes().to_vec();
        for text in pairs.iter().flat_map(|(name, value)| [name, value]) {
            plain.extend_from_slice(&(text.len() as u32).to_be_bytes());
            plain.extend_from_slice(text.as_bytes());
        }
        // Far more than a compression can add to it.
        let mut block = Vec::with_capacity(plain.len() + 256);
        self.0.compress_vec(&plain, &mut block, FlushCompress::Sync).ok();
        block.into()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_words_are_those_of_the_protocol() {
        let (mut a, mut b) = (1_u32, 0_u32);
        for byte in dictionary() {
            a = (a + u32::from(byte)) % 65521;
            b = (b + a) % 65521;
        }
        assert_eq!(
            (dictionary().len(), b << 16 | a),
            (1423, 0xe3c6_a7c2),
            "its Adler-32, by which peers know it"
        );
    }

    #[test]
    fn one_compression_serves_all_blocks() {
        let (mut deflate, mut inflate) = (Deflate::new(), Inflate::new());
        for id in 0..50 {
            let id = id.to_string();
            let sent = [("streamtype", "data"), ("port", "80"), ("requestid", &*id)];
            let read = inflate.read(&deflate.write(&sent)).unwrap();
            let read: Vec<(&str, &str)> = read.iter().map(|(name, value)| (&**name, &**value)).collect();
            assert_eq!(read, sent);
        }
        let long = "x".repeat(10_000);
        assert_eq!(inflate.read(&deflate.write(&[("long", &long)])).unwrap(), [("long".to_owned(), long)]);
        let bomb = "x".repeat(BLOCK_MAX + 1);
        assert_eq!(inflate.read(&deflate.write(&[("bomb", &bomb)])), Err(Malformed::TooLong));
    }

    #[test]
    fn a_block_has_no_more_names_than_anybody_needs() {
        let (mut deflate, mut inflate) = (Deflate::new(), Inflate::new());
        let all = [("", ""); PAIRS_MAX as usize];
        assert_eq!(inflate.read(&deflate.write(&all)).unwrap().len(), all.len());
        let more = [("", ""); PAIRS_MAX as usize + 1];
        assert_eq!(inflate.read(&deflate.write(&more)), Err(Malformed::TooLong));
    }

    proptest! {
        #[test]
        fn any_block_is_read_or_refused(block in proptest::collection::vec(any::<u8>(), 0..2048)) {
            Inflate::new().read(&block).ok();
            pairs(block.into()).ok();
        }
    }
}
