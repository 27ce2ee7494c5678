//! The wire. What travels between controllers (`raft`), between a worker and a controller (`worker`), on joining
//! and administration (`cluster`), between a worker and the pods that it probes (`health`), and between a worker and the daemon that
//! may run its containers (`cri`). Generated from the `.proto` files of this folder: their comments are the reference.

pub mod trace;

/// How messages become bytes.
pub use prost::Message;

/// Between controllers.
#[allow(missing_docs, unreachable_pub, clippy::all, reason = "generated code")]
pub mod raft {
    tonic::include_proto!("kontiki.raft.v1");
}

/// Between a worker and the controllers.
#[allow(missing_docs, unreachable_pub, clippy::all, reason = "generated code")]
pub mod worker {
    tonic::include_proto!("kontiki.worker.v1");
}

/// Joining, membership and administration.
#[allow(missing_docs, unreachable_pub, clippy::all, reason = "generated code")]
pub mod cluster {
    tonic::include_proto!("kontiki.cluster.v1");
}

/// The health checking protocol of gRPC, between a worker and its pods.
#[allow(missing_docs, unreachable_pub, clippy::all, reason = "generated code")]
pub mod health {
    tonic::include_proto!("grpc.health.v1");
}

/// The container runtime interface of Kubernetes, between a worker and a daemon such as containerd.
#[allow(missing_docs, unreachable_pub, clippy::all, reason = "generated code")]
pub mod cri {
    tonic::include_proto!("runtime.v1");
}
