//! The question of a gRPC probe: `Check` of the gRPC health checking protocol, answered in the kubelet's words.

use std::future::{Ready, ready};
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_util::rt::TokioIo;
use kontiki_proto::health::HealthCheckRequest;
use kontiki_proto::health::health_check_response::ServingStatus;
use kontiki_proto::health::health_client::HealthClient;
use tokio::time::timeout;
use tonic::Code;
use tonic::codegen::Service;
use tonic::transport::Endpoint;

use super::check::USER_AGENT;
use crate::pod::document::Grpc;
use crate::runtime::PodStream;

/// Asks the server at the other end whether it serves.
pub(super) async fn ask(stream: Box<dyn PodStream>, grpc: &Grpc, time: Duration) -> Result<(), String> {
    timeout(time, check(stream, grpc.port, &grpc.service))
        .await
        .unwrap_or_else(|_| Err(format!("timeout: health rpc did not complete within {}s", time.as_secs())))
}

/// The words for a port that does not take connections.
pub(super) fn not_connected(port: u16, cause: impl std::fmt::Display) -> String {
    format!("error: failed to connect service at \"127.0.0.1:{port}\": {cause}")
}

async fn check(stream: Box<dyn PodStream>, port: u16, service: &str) -> Result<(), String> {
    let failed = |error| not_connected(port, error);
    let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{port}")).map_err(failed)?;
    let endpoint = endpoint.user_agent(USER_AGENT).map_err(failed)?;
    let channel = endpoint.connect_with_connector(Connected(Some(stream))).await.map_err(failed)?;
    let request = HealthCheckRequest { service: service.to_owned() };
    let answer = HealthClient::new(channel).check(request).await.map_err(|status| match status.code() {
        Code::Unimplemented => format!(
            "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): {}",
            status.message()
        ),
        code => format!("error: health rpc probe failed: {code}: {}", status.message()),
    })?;
    match answer.get_ref().status() {
        ServingStatus::Serving => Ok(()),
        other => Err(format!("service unhealthy (responded with \"{}\")", other.as_str_name())),
    }
}

/// Connects once, by what is connected already.
struct Connected(Option<Box<dyn PodStream>>);

impl Service<Uri> for Connected {
    type Response = TokioIo<Box<dyn PodStream>>;
    type Error = std::io::Error;
    type Future = Ready<std::io::Result<Self::Response>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let gone = || std::io::Error::other("the connection broke");
        ready(self.0.take().map(TokioIo::new).ok_or_else(gone))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use kontiki_proto::health::HealthCheckResponse;
    use kontiki_proto::health::health_server::{Health, HealthServer};
    use tonic::transport::Server;
    use tonic::{Request, Response, Status};

    use super::*;

    /// A server that serves `web`, and soon `batch`.
    struct Answering;

    #[tonic::async_trait]
    impl Health for Answering {
        async fn check(
            &self,
            request: Request<HealthCheckRequest>,
        ) -> Result<Response<HealthCheckResponse>, Status> {
            let agent = request.metadata().get("user-agent").unwrap().to_str().unwrap();
            assert!(agent.starts_with("kube-probe/"), "{agent}");
            let status = match request.get_ref().service.as_str() {
                "web" => ServingStatus::Serving,
                "batch" => ServingStatus::NotServing,
                other => return Err(Status::not_found(format!("no service {other}"))),
            };
            Ok(Response::new(HealthCheckResponse { status: status.into() }))
        }
    }

    async fn asked(service: &str, router: tonic::transport::server::Router) -> Result<(), String> {
        let (near, far) = tokio::io::duplex(4096);
        let incoming = tokio_stream::once(Ok::<_, std::io::Error>(far));
        let server = tokio::spawn(router.serve_with_incoming(incoming));
        let answer = check(Box::new(near), 80, service).await;
        server.abort();
        answer
    }

    #[tokio::test]
    async fn a_server_is_asked_for_its_service_and_understood() {
        let health = || Server::builder().add_service(HealthServer::new(Answering));
        assert_eq!(asked("web", health()).await, Ok(()));
        assert_eq!(
            asked("batch", health()).await.unwrap_err(),
            "service unhealthy (responded with \"NOT_SERVING\")"
        );
        let unknown = asked("nope", health()).await.unwrap_err();
        assert!(
            unknown.starts_with("error: health rpc probe failed: ") && unknown.ends_with("no service nope")
        );

        let nothing = Server::builder().add_routes(tonic::service::Routes::default());
        let unimplemented = asked("web", nothing).await.unwrap_err();
        assert!(
            unimplemented.starts_with("error: this server does not implement the grpc health protocol"),
            "{unimplemented}"
        );
    }
}
