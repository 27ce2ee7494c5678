//! HTTP/2 over simulated connections. All of its tasks are in the scope of their node.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::time::Duration;

use http::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use kontiki_raft::Scope;
use tokio::sync::mpsc;
use tonic::transport::{Channel, Endpoint};
use tower::{ServiceExt, service_fn};

use super::{HostId, SimNet, SimStream};

/// Spawns in a scope.
#[derive(Clone)]
pub struct Executor(pub Scope);

impl<F> hyper::rt::Executor<F> for Executor
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    fn execute(&self, task: F) {
        self.0.spawn(task);
    }
}

/// Serves whoever connects. `greet` puts into each request what is known of the host at the other end, as certificates tell in the product.
pub fn serve<S, B>(
    scope: &Scope,
    mut incoming: mpsc::UnboundedReceiver<SimStream>,
    service: S,
    greet: impl Fn(HostId, &mut http::Extensions) + Clone + Send + Sync + 'static,
) where
    S: tower::Service<Request<hyper::body::Incoming>, Response = Response<B>, Error = Infallible>
        + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send + 'static,
    B: hyper::body::Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let connections = scope.clone();
    scope.spawn(async move {
        while let Some(stream) = incoming.recv().await {
            let (peer, greet) = (stream.peer(), greet.clone());
            let service = service.clone().map_request(move |mut request: Request<hyper::body::Incoming>| {
                greet(peer, request.extensions_mut());
                request
            });
            let mut builder = Builder::new(Executor(connections.clone())).http2_only();
            // A date is of the machine's clock.
            builder.http2().timer(TokioTimer::new()).auto_date_header(false).adaptive_window(true);
            connections.spawn(async move {
                let serving = builder
                    .serve_connection_with_upgrades(TokioIo::new(stream), TowerToHyperService::new(service));
                // A connection that breaks is the peer's affair.
                let _ = serving.await;
            });
        }
    });
}

/// A channel to an address, with the product's patience: it connects on its first use and again after a break.
pub fn dial(scope: &Scope, net: &SimNet, from: HostId, address: &str, connect_timeout: Duration) -> Channel {
    let (net, target) = (net.clone(), address.to_owned());
    let connector = service_fn(move |_: http::Uri| {
        let (net, target) = (net.clone(), target.clone());
        async move {
            let connected = tokio::time::timeout(connect_timeout, net.connect(from, &target)).await;
            let stream = connected.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
            Ok::<_, io::Error>(TokioIo::new(stream))
        }
    });
    // Only the connector looks at the address.
    Endpoint::from_static("http://simulated")
        .executor(Executor(scope.clone()))
        .http2_keep_alive_interval(Duration::from_secs(1))
        .keep_alive_timeout(Duration::from_secs(2))
        .keep_alive_while_idle(true)
        .http2_adaptive_window(true)
        .connect_with_connector_lazy(connector)
}
