//! The part of etcd's protocol that measuring needs, over gRPC. The messages have etcd's numbers (`rpc.proto` of version 3).

use std::{collections::BTreeSet, time::Duration};

use anyhow::Context;
use futures_util::{
    FutureExt,
    future::{BoxFuture, join_all},
};
use tonic::{
    Request,
    client::Grpc,
    codegen::http::uri::PathAndQuery,
    transport::{Channel, Endpoint},
};

use crate::measure::store::Store;

/// As long as our own client waits.
const ANSWER: Duration = Duration::from_secs(7);
/// A member that does not say what it is by then is not there.
const ASKED: Duration = Duration::from_secs(2);
const CONNECT: Duration = Duration::from_secs(1);

#[derive(Clone, PartialEq, prost::Message)]
struct Put {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Range {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    end: Vec<u8>,
    #[prost(bool, tag = "8")]
    keys_only: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Found {
    #[prost(message, repeated, tag = "2")]
    pairs: Vec<Pair>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Pair {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Nothing {}

#[derive(Clone, PartialEq, prost::Message)]
struct Head {
    #[prost(uint64, tag = "2")]
    member: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Said {
    #[prost(message, optional, tag = "1")]
    head: Option<Head>,
    #[prost(uint64, tag = "4")]
    leader: u64,
    #[prost(uint64, tag = "7")]
    applied: u64,
}

/// What a member says of itself.
pub(super) struct Status {
    /// Its own number.
    pub(super) own: u64,
    /// The leader's; 0: it knows none.
    pub(super) leader: u64,
    /// The last entry that it has applied.
    pub(super) applied: u64,
}

/// Connections to all members.
pub(super) struct Client {
    channels: Vec<Channel>,
}

impl Client {
    /// To members at these addresses. It connects when it is used, and again when that breaks.
    pub(super) fn of(addresses: impl Iterator<Item = String>) -> anyhow::Result<Client> {
        let channel = |address| Ok(Endpoint::new(address)?.connect_timeout(CONNECT).connect_lazy());
        Ok(Client { channels: addresses.map(channel).collect::<anyhow::Result<_>>()? })
    }

    /// What each member says of itself.
    pub(super) async fn statuses(&self) -> Vec<anyhow::Result<Status>> {
        let asked = self.channels.iter().map(|channel| async move {
            let asking = call(channel.clone(), "/etcdserverpb.Maintenance/Status", Nothing {});
            let said: Said = tokio::time::timeout(ASKED, asking).await??;
            let own = said.head.context("an answer without a head")?.member;
            Ok(Status { own, leader: said.leader, applied: said.applied })
        });
        join_all(asked).await
    }
}

async fn call<Q, A>(channel: Channel, path: &'static str, message: Q) -> anyhow::Result<A>
where
    Q: prost::Message + Send + Sync + 'static,
    A: prost::Message + Default + Send + Sync + 'static,
{
    let calling = async {
        let mut grpc = Grpc::new(channel).max_decoding_message_size(64 << 20);
        grpc.ready().await?;
        let codec = tonic_prost::ProstCodec::<Q, A>::default();
        let answer = grpc.unary(Request::new(message), PathAndQuery::from_static(path), codec).await?;
        Ok::<A, anyhow::Error>(answer.into_inner())
    };
    tokio::time::timeout(ANSWER, calling).await.context("no answer")?
}

impl Store for Client {
    fn write(&self, via: usize, key: String) -> BoxFuture<'static, bool> {
        let channel = self.channels[via].clone();
        async move {
            let put = Put { key: key.into_bytes(), value: b"v".to_vec() };
            call::<_, Nothing>(channel, "/etcdserverpb.KV/Put", put).await.is_ok()
        }
        .boxed()
    }

    fn keys(&self, via: usize, prefix: String) -> BoxFuture<'static, anyhow::Result<BTreeSet<String>>> {
        let channel = self.channels[via].clone();
        async move {
            // All that begin so: up to the prefix with its last byte one higher.
            let mut end = prefix.clone().into_bytes();
            if let Some(last) = end.last_mut() {
                *last += 1;
            }
            let range = Range { key: prefix.into_bytes(), end, keys_only: true };
            let found: Found = call(channel, "/etcdserverpb.KV/Range", range).await?;
            Ok(found.pairs.into_iter().map(|pair| String::from_utf8_lossy(&pair.key).into_owned()).collect())
        }
        .boxed()
    }
}
