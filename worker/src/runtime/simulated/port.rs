//! The server behind every simulated port, which says yes to all that probes ask: HTTP GET, and gRPC's question for health.

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use kontiki_proto::health::health_check_response::ServingStatus;
use kontiki_proto::health::health_server::{Health, HealthServer};
use kontiki_proto::health::{HealthCheckRequest, HealthCheckResponse};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tonic::{Request, Response, Status};

/// How every HTTP/2 connection begins.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n";

/// Answers what comes. It answers a question and not a mere connection: clients refuse an answer that comes first.
pub(super) async fn serve(mut stream: DuplexStream) {
    let mut question = vec![0_u8; 1024];
    let Ok(count @ 1..) = stream.read(&mut question).await else { return };
    question.truncate(count);
    if question.starts_with(PREFACE) {
        let (reader, writer) = tokio::io::split(stream);
        let stream = tokio::io::join(std::io::Cursor::new(question).chain(reader), writer);
        let service = TowerToHyperService::new(HealthServer::new(Serving));
        let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        server.serve_connection(TokioIo::new(stream), service).await.ok();
        return;
    }
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok").await.ok();
    stream.shutdown().await.ok();
    tokio::io::copy(&mut stream, &mut tokio::io::sink()).await.ok();
}

struct Serving;

#[tonic::async_trait]
impl Health for Serving {
    async fn check(&self, _: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        Ok(Response::new(HealthCheckResponse { status: ServingStatus::Serving.into() }))
    }
}
