//! Tar archives as nobody honest writes them.

/// The length of a block.
pub(crate) const BLOCK: usize = 512;

/// What stands in an entry's header.
#[derive(Clone, Debug, Default)]
pub(crate) struct Header<'a> {
    pub(crate) kind: u8,
    pub(crate) name: &'a str,
    pub(crate) link: &'a str,
    pub(crate) mode: u32,
    pub(crate) id: u32,
    pub(crate) size: u64,
}

/// Appends an entry, whose data need not be as long as its header says.
pub(crate) fn append(out: &mut Vec<u8>, header: &Header<'_>, data: &[u8]) {
    let mut block = [0_u8; BLOCK];
    let mut put = |at: usize, length: usize, bytes: &[u8]| {
        let bytes = &bytes[..bytes.len().min(length)];
        block[at..at + bytes.len()].copy_from_slice(bytes);
    };
    put(0, 100, header.name.as_bytes());
    put(100, 8, format!("{:07o}", header.mode & 0o7777).as_bytes());
    put(108, 8, format!("{:07o}", header.id & 0o777_7777).as_bytes());
    put(116, 8, format!("{:07o}", header.id & 0o777_7777).as_bytes());
    put(124, 12, format!("{:011o}", header.size & 0o777_7777_7777).as_bytes());
    put(136, 12, b"00000000001");
    put(156, 1, &[header.kind]);
    put(157, 100, header.link.as_bytes());
    put(257, 8, b"ustar\x0000");
    sum(&mut block);
    out.extend_from_slice(&block);
    out.extend_from_slice(data);
    out.resize(out.len().next_multiple_of(BLOCK), 0);
}

/// Ends an archive.
pub(crate) fn end(out: &mut Vec<u8>) {
    out.resize(out.len() + 2 * BLOCK, 0);
}

/// Puts the checksums of all headers right, so that changes to them are read.
pub(crate) fn put_right(archive: &mut [u8]) {
    for block in archive.chunks_exact_mut(BLOCK).filter(|block| block[257..262] == *b"ustar") {
        sum(block);
    }
}

fn sum(block: &mut [u8]) {
    block[148..156].copy_from_slice(b"        ");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

/// A record of attributes: its length, name and value.
pub(crate) fn record(name: &str, value: &str) -> String {
    // The length counts itself.
    let bare = name.len() + value.len() + 3;
    let digits = (bare + 1).to_string().len();
    let length = bare + (bare + digits).to_string().len();
    format!("{length} {name}={value}\n")
}
