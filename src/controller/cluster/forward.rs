//! Calls that need the leader, sent on to it. At most one hop: a forwarded call is marked and never forwarded again.

use std::collections::BTreeMap;
use std::sync::Arc;

use kontiki_proto::cluster::cluster_client::ClusterClient;
use kontiki_raft::MemberInfo;
use parking_lot::Mutex;
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Request, Status};

use super::Shared;
use crate::controller::peers::Dial;

/// Marks a call from one controller to another about which the receiver asks nobody else.
const MARK: &str = "kontiki-forwarded";

/// Where a call is to be done.
pub(super) enum Place {
    /// This controller leads.
    Here,
    /// That one does.
    There(ClusterClient<Channel>),
}

impl Shared {
    /// Where a call that needs the leader is to be done.
    pub(super) fn place<T>(&self, request: &Request<T>) -> Result<Place, Status> {
        let now = self.handles.node.leadership().borrow().clone();
        if now.leading {
            return Ok(Place::Here);
        }
        let elsewhere = now.leader.filter(|leader| leader.id != self.handles.config.node_id);
        match elsewhere {
            Some(leader) if !is_marked(request) => {
                Ok(Place::There(self.handles.levels.links().client(&leader)))
            }
            Some(leader) => Err(Status::unavailable(format!(
                "the leadership went to {} just now: try again",
                leader.name
            ))),
            None => Err(Status::unavailable(
                "no controller leads at the moment: if that lasts, fewer than a majority of them reach each other",
            )),
        }
    }
}

/// A request that its receiver does not forward again.
pub(super) fn marked<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert(MARK, MetadataValue::from_static("1"));
    request
}

/// Whether another controller sent it on.
pub(super) fn is_marked<T>(request: &Request<T>) -> bool {
    request.metadata().contains_key(MARK)
}

/// Connections to the other controllers, one each, made at their first use.
pub(super) struct Links {
    dial: Arc<dyn Dial>,
    channels: Mutex<BTreeMap<u64, (String, Channel)>>,
}

impl Links {
    pub(super) fn new(dial: Arc<dyn Dial>) -> Links {
        Links { dial, channels: Mutex::default() }
    }

    /// A client of another controller.
    pub(super) fn client(&self, member: &MemberInfo) -> ClusterClient<Channel> {
        let mut channels = self.channels.lock();
        let known = channels.get(&member.id).filter(|(address, _)| *address == member.address);
        let channel = match known {
            Some((_, channel)) => channel.clone(),
            None => {
                let channel = self.dial.controller(member);
                channels.insert(member.id, (member.address.clone(), channel.clone()));
                channel
            }
        };
        ClusterClient::new(channel)
    }

    /// Forgets the connections to controllers that are no members any more.
    pub(super) fn retain(&self, members: &[u64]) {
        self.channels.lock().retain(|id, _| members.contains(id));
    }
}
