//! Objects that no actor has looked at: stored by a build in which nothing ran their kinds, or left alone by one that knew less.

use super::Turn;
use crate::{
    kind::Kind,
    kinds::{endpoints, namespace, service_cidr, storage},
    object::{Digest, Object, ObjectKey},
    state::State,
};

const KINDS: [Kind; 9] = [
    Kind::ENDPOINTS,
    Kind::REPLICATION_CONTROLLER,
    Kind::STATEFUL_SET,
    Kind::DAEMON_SET,
    Kind::JOB,
    Kind::CRON_JOB,
    Kind::PERSISTENT_VOLUME,
    Kind::PERSISTENT_VOLUME_CLAIM,
    Kind::SERVICE_CIDR,
];

impl Turn {
    /// Lets their actors react; done at the beginning of every term.
    pub(super) fn notify_unseen(&mut self) {
        let state = self.state();
        let objects = KINDS.iter().flat_map(|kind| state.list(*kind, None));
        let unseen: Vec<ObjectKey> =
            objects.filter(|object| is_unseen(state, object)).map(|object| object.key.clone()).collect();
        unseen.iter().for_each(|key| self.notify(key));
        self.notify_unfurnished();
    }

    /// Namespaces in which something is missing that pods rely on, and that builds before did not make anew.
    fn notify_unfurnished(&mut self) {
        let state = self.state();
        let namespaces = state.list(Kind::NAMESPACE, None).filter(|namespace| !namespace.meta.deleting());
        let lacking = namespaces.filter(|namespace| !namespace::is_furnished(state, &namespace.key.name));
        let lacking: Vec<ObjectKey> = lacking.map(|namespace| namespace.key.clone()).collect();
        lacking.iter().for_each(|key| self.notify(key));
    }
}

fn is_unseen(state: &State, object: &Object) -> bool {
    match &object.digest {
        Digest::ReplicaSet(set) => set.status.observed_generation == 0,
        Digest::StatefulSet(set) => set.status.observed_generation == 0,
        Digest::DaemonSet(set) => set.status.observed_generation == 0,
        Digest::Job(job) => job.status.start_time.is_none() && !job.suspend,
        Digest::CronJob(cron) => state.wake_of(&object.key).is_none() && !cron.suspend,
        Digest::Volume(_) | Digest::Claim(_) => !storage::is_protected(object),
        _ => match object.key.kind {
            Kind::SERVICE_CIDR => !service_cidr::is_protected(object),
            Kind::ENDPOINTS => endpoints::is_unmirrored(state, object),
            _ => false,
        },
    }
}
