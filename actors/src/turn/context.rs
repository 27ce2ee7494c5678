//! Where a turn's time, ids and names come from: the leader's clock reading and a seed, both in the entry.

/// The source of time and randomness of one turn.
#[derive(Clone, Debug)]
pub struct Context {
    /// The leader's clock, Unix milliseconds.
    pub now_ms: i64,
    seed: u64,
    state: u64,
}

/// The letters of generated names: no vowels, so no words.
const NAME_LETTERS: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

impl Context {
    /// A context from a clock reading and a seed.
    pub fn new(now_ms: i64, seed: u64) -> Context {
        Context { now_ms, seed, state: seed }
    }

    /// The seed it began with.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The next number: SplitMix64 (Steele, Lea, Flood 2014).
    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A new uid: RFC 4122, version 4.
    pub fn uid(&mut self) -> String {
        let (a, b) = (self.next_u64(), self.next_u64());
        format!(
            "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
            a >> 32,
            (a >> 16) & 0xffff,
            a & 0xfff,
            0x8000 | ((b >> 48) & 0x3fff),
            b & 0xffff_ffff_ffff
        )
    }

    /// The five letters after a generated name's prefix.
    pub fn name_suffix(&mut self) -> String {
        (0..5).map(|_| char::from(NAME_LETTERS[(self.next_u64() % 27) as usize])).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seed_decides_everything() {
        let (mut a, mut b) = (Context::new(1, 7), Context::new(1, 7));
        assert_eq!(a.uid(), b.uid());
        assert_eq!(a.name_suffix(), b.name_suffix());
        assert_ne!(a.uid(), Context::new(1, 8).uid());
        let uid = a.uid();
        assert_eq!((uid.len(), uid.as_bytes()[14]), (36, b'4'));
    }
}
