//! What controllers say of themselves, from `/metrics`.

use std::time::Duration;

use http::Method;
use http_body_util::BodyExt;
use kontiki_pki::Identity;

use super::Rest;

/// A controller that does not answer by then has nothing to say.
const PATIENCE: Duration = Duration::from_secs(2);

/// What one controller says of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gauges {
    /// It leads.
    pub leads: bool,
    /// The last entry that it has folded.
    pub applied: u64,
    /// The last one that it knows to be committed.
    pub committed: u64,
    /// The last one in its log.
    pub last: u64,
    /// The last one in its newest snapshot; 0: there is none.
    pub snapshot: u64,
    /// Workers that it hears.
    pub workers: u64,
}

/// All controllers' numbers, asked at once; none from one that does not answer. For a runtime inside the clients' namespace.
pub async fn gauges(identity: &Identity, addresses: &[String]) -> Vec<Option<Gauges>> {
    let asked = addresses.iter().map(|address| async move {
        let asking = async {
            let rest = Rest::connect(identity, address).await.ok()?;
            let response = rest.open(Method::GET, "/metrics", None).await.ok()?;
            let bytes = response.into_body().collect().await.ok()?.to_bytes();
            Some(read(&String::from_utf8_lossy(&bytes)))
        };
        tokio::time::timeout(PATIENCE, asking).await.ok().flatten()
    });
    futures_util::future::join_all(asked).await
}

fn read(text: &str) -> Gauges {
    let number = |name: &str| -> u64 {
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("kontiki_{name} ")));
        line.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
    };
    Gauges {
        leads: number("raft_leader") == 1,
        applied: number("raft_applied_index"),
        committed: number("raft_committed_index"),
        last: number("raft_last_log_index"),
        snapshot: number("raft_snapshot_index"),
        workers: number("workers_in_contact"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_by_their_names() {
        let text = "# HELP\nkontiki_raft_leader 1\nkontiki_raft_applied_index 7\nkontiki_raft_last_log_index 9\nkontiki_workers_in_contact 3\n";
        assert_eq!(read(text), Gauges { leads: true, applied: 7, last: 9, workers: 3, ..Gauges::default() });
    }
}
