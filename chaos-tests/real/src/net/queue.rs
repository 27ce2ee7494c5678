//! What happens to one frame: decided by the troubles of its link and the switch's own random numbers.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use rand::{Rng, rngs::StdRng};

use super::link::{Link, Links, Troubled};

/// What waits for a slow link longer than this is dropped, as a router does.
const BACKLOG: Duration = Duration::from_millis(500);
/// How long an overtaken frame waits.
const OVERTAKEN: Duration = Duration::from_millis(10);
/// The VXLAN and Ethernet headers are never corrupted: a wire does not change who is meant.
const HEADERS: usize = 8 + 14;

fn hits(rng: &mut StdRng, per_mille: u32) -> bool {
    per_mille > 0 && rng.random_range(0..1000) < per_mille
}

/// When the copies of a frame are delivered; none if it is lost. May change the frame.
pub(super) fn fate(links: &Links, link: Link, frame: &mut [u8], rng: &mut StdRng) -> Vec<Instant> {
    let now = Instant::now();
    let (mut at, mut twice) = (now, false);
    for troubled in links.on(link) {
        let trouble = troubled.trouble;
        let mut done = !trouble.delay.is_zero() || !trouble.jitter.is_zero();
        if hits(rng, trouble.loss) {
            troubled.done.fetch_add(1, Ordering::Relaxed);
            return Vec::new();
        }
        if trouble.rate.is_some() {
            let Some(free) = through(&troubled, link, frame.len(), now) else {
                troubled.done.fetch_add(1, Ordering::Relaxed);
                return Vec::new();
            };
            done |= free > now;
            at = at.max(free);
        }
        at += trouble.delay + trouble.jitter.mul_f64(rng.random());
        if hits(rng, trouble.reorder) {
            (at, done) = (at + OVERTAKEN, true);
        }
        if hits(rng, trouble.duplicate) {
            (twice, done) = (true, true);
        }
        if hits(rng, trouble.corrupt) && frame.len() > HEADERS {
            let bit = rng.random_range(HEADERS * 8..frame.len() * 8);
            frame[bit / 8] ^= 1 << (bit % 8);
            done = true;
        }
        troubled.done.fetch_add(u64::from(done), Ordering::Relaxed);
    }
    if twice { vec![at, at] } else { vec![at] }
}

/// When a link with a rate has taken so many bytes; none if too many wait already.
fn through(troubled: &Troubled, link: Link, bytes: usize, now: Instant) -> Option<Instant> {
    let rate = troubled.trouble.rate?.max(1);
    let mut free = troubled.free.lock();
    let begin = free.get(&link).copied().unwrap_or(now).max(now);
    if begin - now > BACKLOG {
        return None;
    }
    let end = begin + Duration::from_nanos(bytes as u64 * 1_000_000_000 / rate);
    free.insert(link, end);
    Some(end)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;
    use crate::net::Trouble;

    fn play(trouble: Trouble) -> (Vec<Vec<Duration>>, u64) {
        let links = Links::default();
        let number = links.trouble([(1, 2)], trouble);
        let mut rng = StdRng::seed_from_u64(7);
        let before = Instant::now();
        let mut frame = [0; 1000];
        let fates = (0..1000).map(|_| fate(&links, (1, 2), &mut frame, &mut rng));
        let fates = fates.map(|at| at.into_iter().map(|at| at - before).collect()).collect();
        (fates, links.heal(number))
    }

    #[test]
    fn frames_are_lost_and_doubled_as_often_as_asked() {
        let (fates, done) = play(Trouble { loss: 100, duplicate: 300, ..Trouble::default() });
        let lost = fates.iter().filter(|copies| copies.is_empty()).count();
        let doubled = fates.iter().filter(|copies| copies.len() == 2).count();
        assert!((60..140).contains(&lost), "{lost}");
        assert!((200..340).contains(&doubled), "{doubled}");
        assert_eq!(done, (lost + doubled) as u64);
    }

    #[test]
    fn delay_is_at_least_what_is_asked() {
        let delay = Duration::from_millis(50);
        let (fates, done) = play(Trouble { delay, ..Trouble::default() });
        assert!(fates.iter().all(|copies| copies.len() == 1 && copies[0] >= delay));
        assert_eq!(done, 1000);
    }

    #[test]
    fn a_slow_link_queues_and_then_drops() {
        let (fates, _) = play(Trouble { rate: Some(100_000), ..Trouble::default() });
        let through = fates.iter().filter(|copies| !copies.is_empty()).count();
        // Half a second of 100 kB/s is 50 frames of 1000 bytes.
        assert!((50..60).contains(&through), "{through}");
    }

    #[test]
    fn another_direction_is_untouched() {
        let links = Links::default();
        links.trouble([(1, 2)], Trouble { loss: 1000, ..Trouble::default() });
        let mut rng = StdRng::seed_from_u64(1);
        assert_eq!(fate(&links, (2, 1), &mut [0; 100], &mut rng).len(), 1);
        assert!(fate(&links, (1, 2), &mut [0; 100], &mut rng).is_empty());
    }
}
