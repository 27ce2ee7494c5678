//! Shuffle sharding: each flow gets a hand of queues, so that one that fills its own leaves others most of theirs.
//! <https://kubernetes.io/docs/concepts/cluster-administration/flow-control/#queuing>

/// Bits of a hash that may be used up by dealing.
pub(crate) const MOST_BITS: i64 = 60;
/// No hand that [`too_many_bits`] lets through is larger.
const LARGEST_HAND: usize = 16;

/// The bits of a hash that dealing such a hand uses up, if they are too many.
pub(crate) fn too_many_bits(deck: i64, hand: i64) -> Option<i64> {
    let bits = ((deck as f64).log2() * hand as f64).ceil() as i64;
    (bits > MOST_BITS).then_some(bits)
}

/// Different cards of a deck, as many as a hand holds; the same ones for the same hash.
pub(super) fn deal(mut hash: u64, deck: u32, hand: u32) -> impl Iterator<Item = u32> {
    let hand = (hand.min(deck) as usize).min(LARGEST_HAND);
    let (mut cards, mut sorted) = ([0; LARGEST_HAND], [0; LARGEST_HAND]);
    for (drawn, dealt) in cards.iter_mut().enumerate().take(hand) {
        let left = u64::from(deck) - drawn as u64;
        // The card among those that are left: those that are gone are counted over.
        let mut card = u32::try_from(hash % left).unwrap_or_default();
        hash /= left;
        let mut at = 0;
        while at < drawn && card >= sorted[at] {
            card += 1;
            at += 1;
        }
        sorted.copy_within(at..drawn, at + 1);
        sorted[at] = card;
        *dealt = card;
    }
    cards.into_iter().take(hand)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_hand_has_different_cards_of_the_deck() {
        for (deck, hand) in [(1, 1), (2, 2), (16, 4), (16, 15), (64, 6), (128, 6), (1000, 6)] {
            for hash in (0..200_u64).map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15)) {
                let cards: BTreeSet<u32> = deal(hash, deck, hand).collect();
                assert_eq!(cards.len(), hand as usize, "{deck} {hand} {hash}");
                assert!(cards.iter().all(|card| *card < deck));
            }
        }
    }

    #[test]
    fn all_cards_are_dealt_about_as_often() {
        let mut dealt = [0; 16];
        (0..16 * 15 * 14_u64).for_each(|hash| deal(hash, 16, 3).for_each(|card| dealt[card as usize] += 1));
        assert_eq!(dealt, [3 * 15 * 14; 16], "every hand once");
    }

    #[test]
    fn hands_that_need_more_than_a_hash_has() {
        assert_eq!(too_many_bits(1024, 6), None);
        assert_eq!(too_many_bits(512, 8), Some(72));
        assert_eq!(too_many_bits(16, 15), None);
    }
}
