//! Inputs out of inputs, the same for the same seed.

/// Longer inputs find little that shorter ones do not, and make a step slow.
pub(crate) const MAX_INPUT: usize = 4096;

/// SplitMix64: a few lines, and the same on every machine.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `bound`; 0 if that is 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % (bound.max(1) as u64)) as usize
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }
}

/// Bytes that mean something to some decoder: brackets, ends of ranges, what continues in UTF-8 and in varints.
const TELLING: &[u8] = b"\0\x01\x7f\x80\xff{}[]\",:.-+/~!=()e09 \n";

/// One to eight changes to an input, with parts of another.
pub(crate) fn mutate(random: &mut Random, input: &[u8], other: &[u8]) -> Vec<u8> {
    let mut out = input.to_vec();
    for _ in 0..=random.below(8) {
        let at = random.below(out.len() + 1);
        let end = (at + random.below(16)).min(out.len());
        match random.below(7) {
            0 => out.insert(at, TELLING[random.below(TELLING.len())]),
            1 => out.insert(at, random.byte()),
            2 => drop(out.drain(at..end)),
            3 => {
                let again = out[at..end].to_vec();
                out.splice(at..at, again);
            }
            4 => {
                let from = random.below(other.len() + 1);
                let part = other[from..(from + random.below(64)).min(other.len())].to_vec();
                out.splice(at..end, part);
            }
            5 if at < out.len() => out[at] ^= 1 << random.below(8),
            _ if at < out.len() => out[at] = TELLING[random.below(TELLING.len())],
            _ => {}
        }
    }
    out.truncate(MAX_INPUT);
    out
}
