//! Where a worker is sent that calls a controller which does not lead. While nobody is known to lead it waits here: a worker that is
//! sent away only comes back, with a new connection and a new TLS handshake, and a thousand of them take the processor from the very
//! election that they wait for.

use std::time::Duration;

use kontiki_raft::Leadership;
use tokio::sync::watch;

/// An election takes less. A worker gives a controller twice the time for its first answer.
const ELECTION: Duration = Duration::from_secs(1);

/// Who leads, as soon as that is known: not at once while nobody leads, while controller `own` is chosen and does not lead yet, or
/// while whoever was known to lead is at the address that this worker has just `lost`. What is known after a second is given, too.
pub(super) async fn leader(mut leadership: watch::Receiver<Leadership>, own: u64, lost: &str) -> Leadership {
    let known = |now: &Leadership| {
        now.leading || now.leader.as_ref().is_some_and(|leader| leader.id != own && leader.address != lost)
    };
    // Nobody may be left to tell: this controller ends.
    let _ = tokio::time::timeout(ELECTION, leadership.wait_for(known)).await;
    leadership.borrow().clone()
}

#[cfg(test)]
mod tests {
    use kontiki_raft::MemberInfo;
    use tokio::time::Instant;

    use super::*;

    const OWN: u64 = 1;

    fn led_by(id: u64, leading: bool) -> Leadership {
        let member = MemberInfo {
            id,
            name: format!("c{id}"),
            zone: String::new(),
            address: format!("10.0.0.{id}:6443"),
        };
        Leadership { term: id, leader: Some(member), leading }
    }

    /// What a worker hears if `then` is the case 300 ms after it called, and when.
    async fn heard(first: Leadership, lost: &str, then: Leadership) -> (Leadership, u128) {
        let (sender, receiver) = watch::channel(first);
        let begun = Instant::now();
        let later = async move {
            tokio::time::sleep(Duration::from_millis(300)).await;
            sender.send_replace(then);
            std::future::pending::<()>().await;
        };
        let found = tokio::select! {
            found = leader(receiver, OWN, lost) => found,
            () = later => unreachable!(),
        };
        (found, begun.elapsed().as_millis())
    }

    #[tokio::test(start_paused = true)]
    async fn who_leads_is_told_at_once() {
        let none = Leadership::default();
        assert_eq!(heard(led_by(2, false), "", none.clone()).await, (led_by(2, false), 0));
        assert_eq!(heard(led_by(OWN, true), "", none.clone()).await, (led_by(OWN, true), 0));
        assert_eq!(heard(led_by(2, false), "10.0.0.3:6443", none).await, (led_by(2, false), 0));
    }

    #[tokio::test(start_paused = true)]
    async fn an_election_is_waited_for() {
        let found = (led_by(3, false), 300);
        assert_eq!(heard(Leadership::default(), "", led_by(3, false)).await, found);
        assert_eq!(heard(led_by(OWN, false), "", led_by(3, false)).await, found);
        assert_eq!(heard(led_by(2, false), "10.0.0.2:6443", led_by(3, false)).await, found);
        assert_eq!(heard(led_by(OWN, false), "", led_by(OWN, true)).await, (led_by(OWN, true), 300));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_ever() {
        let still = led_by(2, false);
        assert_eq!(heard(still.clone(), "10.0.0.2:6443", still.clone()).await, (still, 1000));
    }
}
