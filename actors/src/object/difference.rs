//! Bytes told as what is different from others: pieces of a text that many have in common, and between them what is their own. Objects that
//! were made from one template differ in a name, an id and some times, so they take a tenth of the room, and are told whole again by copying.
//! In memory only: how bytes are told is nobody's promise, that they come back to the last bit is.
//!
//! What is different is a sequence of steps: how many own bytes, these, how many bytes of the text, and from where: told as the distance from
//! where the text would go on, had the own bytes stood in it. Numbers are LEB128 (7 bits a byte, the lowest first).

use std::sync::Arc;

/// The longest text: what two bytes can point into.
pub(crate) const TEXT_MAX: usize = u16::MAX as usize;
/// What is looked up in the text: a shorter piece would hardly pay for being pointed at.
const GRAM: usize = 8;
/// The same where the text goes on as expected.
const GOES_ON: usize = 4;
/// Every so many places of the text can be looked up: a piece that is longer than both together is found.
const STEP: usize = 4;
/// As far as a step's numbers go: no text and no document is longer (documents have at most some megabytes).
const NUMBER_BYTES: u32 = 5;

/// A text to tell others by.
#[derive(Debug)]
pub(crate) struct Model {
    text: Arc<[u8]>,
    /// By the hash of a gram: one place of the text where it may stand, plus one; 0 is none.
    places: Box<[u16]>,
}

impl Model {
    /// A model of this text; none if it is longer than places can be told, or too short to be worth it.
    pub(crate) fn of(text: &[u8]) -> Option<Model> {
        if text.len() > TEXT_MAX || text.len() < 4 * GRAM {
            return None;
        }
        let mut places = vec![0_u16; (text.len() / 2).next_power_of_two()].into_boxed_slice();
        // The first place of several is kept: names of fields are followed by the most of what follows them there.
        for at in (0..text.len() - GRAM + 1).step_by(STEP).rev() {
            let slot = slot(gram(text, at), places.len());
            places[slot] = u16::try_from(at + 1).unwrap_or(0);
        }
        Some(Model { text: text.into(), places })
    }

    /// The text, which is all that is needed to read what was told by it.
    pub(crate) fn text(&self) -> &Arc<[u8]> {
        &self.text
    }

    /// Appends what is different.
    pub(crate) fn differences(&self, whole: &[u8], out: &mut Vec<u8>) {
        let text = &*self.text;
        let (mut at, mut own, mut expected) = (0, 0, 0);
        while at + GOES_ON <= whole.len() {
            let Some(from) = self.found(whole, at, expected + (at - own)) else {
                at += 1;
                continue;
            };
            let back = alike_before(&text[..from], &whole[own..at]);
            let (begin, start) = (from - back, at - back);
            let length = alike(&text[begin..], &whole[start..]);
            step(out, &whole[own..start]);
            number(out, length);
            number(out, zigzag(begin, expected + (start - own)));
            at = start + length;
            own = at;
            expected = begin + length;
        }
        if own < whole.len() {
            step(out, &whole[own..]);
        }
    }

    /// A place of the text where it says what stands here; first of all where it would go on.
    fn found(&self, whole: &[u8], at: usize, expected: usize) -> Option<usize> {
        let text = &*self.text;
        if text.get(expected..expected + GOES_ON).is_some_and(|here| here == &whole[at..at + GOES_ON]) {
            return Some(expected);
        }
        if at + GRAM > whole.len() {
            return None;
        }
        let from = usize::from(self.places[slot(gram(whole, at), self.places.len())]).checked_sub(1)?;
        (text[from..from + GRAM] == whole[at..at + GRAM]).then_some(from)
    }
}

/// Appends the whole to what is there, from the text that it was told by and what is different.
///
/// # Panics
/// If these are not differences from this text: both are made here, and held together.
pub(crate) fn restore(text: &[u8], mut differences: &[u8], out: &mut Vec<u8>) {
    let mut expected = 0_usize;
    while !differences.is_empty() {
        let own = read(&mut differences);
        let (own, rest) = differences.split_at(own);
        out.extend_from_slice(own);
        differences = rest;
        if differences.is_empty() {
            break;
        }
        let length = read(&mut differences);
        let from = unzigzag(read(&mut differences), expected + own.len());
        out.extend_from_slice(&text[from..from + length]);
        expected = from + length;
    }
}

fn gram(bytes: &[u8], at: usize) -> u64 {
    let mut eight = [0; GRAM];
    eight.copy_from_slice(&bytes[at..at + GRAM]);
    u64::from_le_bytes(eight)
}

/// Of a power of two: the upper bits of a product (Fibonacci hashing), in which all of the gram is.
fn slot(gram: u64, slots: usize) -> usize {
    (gram.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as usize & (slots - 1)
}

/// How many bytes are the same from the beginning: eight at a time, since most of a document is.
pub(super) fn alike(a: &[u8], b: &[u8]) -> usize {
    let eights = a.chunks_exact(GRAM).zip(b.chunks_exact(GRAM));
    let same = GRAM * eights.take_while(|(a, b)| a == b).count();
    same + a[same..].iter().zip(&b[same..]).take_while(|(a, b)| a == b).count()
}

fn alike_before(a: &[u8], b: &[u8]) -> usize {
    a.iter().rev().zip(b.iter().rev()).take_while(|(a, b)| a == b).count()
}

fn step(out: &mut Vec<u8>, own: &[u8]) {
    number(out, own.len());
    out.extend_from_slice(own);
}

/// How far off a place is, as a number that is small when it is near, before or behind.
fn zigzag(place: usize, expected: usize) -> usize {
    if place >= expected { (place - expected) << 1 } else { ((expected - place) << 1) - 1 }
}

fn unzigzag(told: usize, expected: usize) -> usize {
    if told & 1 == 0 { expected + (told >> 1) } else { expected - (told >> 1) - 1 }
}

pub(super) fn number(out: &mut Vec<u8>, mut number: usize) {
    while number > 0x7f {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

pub(super) fn read(bytes: &mut &[u8]) -> usize {
    let mut value = 0;
    for n in 0..NUMBER_BYTES {
        let (byte, rest) = bytes.split_first().expect("a number ends");
        *bytes = rest;
        value |= usize::from(byte & 0x7f) << (7 * n);
        if byte & 0x80 == 0 {
            break;
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn back(model: &Model, whole: &[u8]) -> usize {
        let mut differences = Vec::new();
        model.differences(whole, &mut differences);
        let mut out = b"before".to_vec();
        restore(model.text(), &differences, &mut out);
        assert_eq!(&out[6..], whole);
        differences.len()
    }

    fn pod(name: &str, uid: &str, node: &str) -> Vec<u8> {
        format!(
            r#"{{"creationTimestamp":"2026-01-01T00:00:00Z","generation":1,"name":"web-{name}","uid":"{uid}"}}{{"containers":[{{"image":"registry.example.com/app:1","name":"main","resources":{{}}}}],"nodeName":"{node}","restartPolicy":"Always"}}"#
        )
        .into_bytes()
    }

    #[test]
    fn what_is_alike_costs_little_and_comes_back() {
        let text = pod("aaaaa", "01234567-0123-4567-8901-234567890123", "node-1");
        let model = Model::of(&text).expect("long enough");
        assert!(back(&model, &text) < 8, "the text itself");
        let like = pod("bcdfg", "76543210-3210-7654-1098-321098765432", "node-4711");
        let own = "bcdfg".len() + 36 + "4711".len();
        assert!(back(&model, &like) < own + 24, "{}", back(&model, &like));
        for whole in [&b""[..], b"a", b"abcdefg", b"abcdefgh", &[0xff; 300]] {
            assert!(back(&model, whole) <= whole.len() + 4);
        }
    }

    #[test]
    fn a_text_has_a_length() {
        assert!(Model::of(&[b'a'; 4 * GRAM - 1]).is_none());
        assert!(Model::of(&[b'a'; TEXT_MAX + 1]).is_none());
        let model = Model::of(&[b'a'; TEXT_MAX]).expect("just short enough");
        assert!(back(&model, &vec![b'a'; 3 * TEXT_MAX]) < 64);
    }

    proptest! {
        #[test]
        fn whatever_it_is_comes_back(
            text in proptest::collection::vec(0_u8..4, 32..400),
            whole in proptest::collection::vec(0_u8..4, 0..400),
        ) {
            back(&Model::of(&text).expect("long enough"), &whole);
        }

        #[test]
        fn pieces_of_the_text_in_any_order_come_back(
            text in "[a-z]{64,300}",
            pieces in proptest::collection::vec((0_usize..300, 0_usize..80, "[a-z]{0,12}"), 0..20),
        ) {
            let mut whole = String::new();
            for (from, length, own) in pieces {
                let from = from.min(text.len());
                whole.push_str(&text[from..(from + length).min(text.len())]);
                whole.push_str(&own);
            }
            back(&Model::of(text.as_bytes()).expect("long enough"), whole.as_bytes());
        }
    }
}
