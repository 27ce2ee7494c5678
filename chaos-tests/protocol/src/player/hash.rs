//! Hashes of what each replica holds, and of what a replay of the log gives.

use kontiki_actors::{Entry, Kind, State};
use kontiki_chaos_plan::history::ReplicaHash;

use super::cluster::Cluster;

/// The kinds that are compared.
const KINDS: &[Kind] = &[
    Kind::NODE,
    Kind::NAMESPACE,
    Kind::CONFIG_MAP,
    Kind::POD,
    Kind::REPLICA_SET,
    Kind::DEPLOYMENT,
    Kind::EVENT,
];

/// Of all that run, and of a replay to each of their places.
pub(super) fn hashes(cluster: &Cluster) -> Vec<ReplicaHash> {
    let mut hashes = Vec::new();
    for site in &cluster.sites {
        let Some(running) = site.running() else { continue };
        let view = running.replica.view();
        let index = running.node.status().applied.unwrap_or(0);
        hashes.push(ReplicaHash {
            replica: site.number,
            index,
            revision: view.revision(),
            hash: hash(&view),
        });
    }
    let mut indexes: Vec<u64> = hashes.iter().map(|hash| hash.index).collect();
    indexes.sort_unstable();
    indexes.dedup();
    cluster.book.read(|pages| {
        let mut state = State::default();
        let mut log = pages.log.values().peekable();
        for index in indexes {
            while let Some(logged) = log.next_if(|logged| logged.index <= index) {
                if let Ok(entry) = Entry::decode(&logged.bytes)
                    && !logged.bytes.is_empty()
                    && entry.term == logged.term
                {
                    state.fold(&entry, &logged.bytes);
                }
            }
            let revision = state.revision();
            hashes.push(ReplicaHash { replica: u32::MAX, index, revision, hash: hash(&state) });
        }
    });
    hashes
}

/// FNV-1a over everything that a state holds.
pub(super) fn hash(state: &State) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut add = |bytes: &[u8]| {
        for byte in bytes {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    };
    add(&state.revision().to_le_bytes());
    add(&state.chain());
    add(&state.level().to_le_bytes());
    for kind in KINDS {
        for object in state.list(*kind, None) {
            add(&object.key.to_bytes());
            add(&object.to_json());
            if let Some(at) = state.wake_of(&object.key) {
                add(&at.to_le_bytes());
            }
        }
    }
    hash
}
