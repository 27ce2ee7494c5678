//! A cluster's CA, its members, and a served port: what the tests play on.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use axum::extract::Request as AxumRequest;
use axum::routing::get;
use http_body_util::{BodyExt, Empty as NoBody};
use hyper_util::rt::TokioIo;
use kontiki_pki::{ALPN, Ca, DEFAULT_LIFETIME, Identity, Peer, PeerAddr, Subject, bind, serve};
use kontiki_proto::cluster::cluster_server::{Cluster, ClusterServer};
use kontiki_proto::cluster::*;
use rustls::ClientConfig;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

pub(crate) fn identity(ca: &Ca, subject: &Subject) -> Identity {
    let pair = ca.issue(subject, DEFAULT_LIFETIME).unwrap();
    Identity::new(ca.cert_pem(), &pair.cert_pem, &pair.key_pem).unwrap()
}

pub(crate) fn controller(ca: &Ca, id: u64) -> Identity {
    let addresses = vec!["10.1.2.3".to_owned(), "control.example".to_owned()];
    identity(ca, &Subject::Controller { id, name: format!("crew-{id}"), addresses })
}

pub(crate) fn worker(ca: &Ca, name: &str) -> Identity {
    identity(ca, &Subject::Worker { name: name.to_owned() })
}

pub(crate) fn user(ca: &Ca, name: &str, groups: &[&str]) -> Identity {
    let groups = groups.iter().map(ToString::to_string).collect();
    identity(ca, &Subject::User { name: name.to_owned(), groups })
}

/// A port that tells each caller who it is, by gRPC (`Members`) and by HTTP (`/who`).
pub(crate) struct Port {
    pub(crate) address: SocketAddr,
    shutdown: CancellationToken,
    served: JoinHandle<()>,
}

impl Port {
    pub(crate) async fn open(identity: &Identity) -> Port {
        Port::open_at(identity, SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await
    }

    pub(crate) async fn open_at(identity: &Identity, address: SocketAddr) -> Port {
        let router = tonic::service::Routes::new(ClusterServer::new(WhoAmI))
            .into_axum_router()
            .route("/who", get(|request: AxumRequest| async move { name_of(request.extensions()) }));
        Port::serve(identity, address, router)
    }

    pub(crate) fn serve(identity: &Identity, address: SocketAddr, router: axum::Router) -> Port {
        Port::with_lane(identity, address, router, None)
    }

    /// Connections of the consensus have a runtime of their own.
    pub(crate) fn with_lane(
        identity: &Identity,
        address: SocketAddr,
        router: axum::Router,
        lane: Option<Handle>,
    ) -> Port {
        kontiki_pki::install_crypto();
        let listener = bind(address, false).unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let (tls, stop, cluster) =
            (identity.server_config(ALPN), shutdown.clone(), identity.cluster_id().to_owned());
        let served = tokio::spawn(async move { serve(listener, tls, &cluster, lane, router, stop).await });
        Port { address, shutdown, served }
    }

    /// Tells it to end, without waiting.
    pub(crate) fn begin_to_close(&self) {
        self.shutdown.cancel();
    }

    pub(crate) async fn close(self) {
        self.shutdown.cancel();
        self.served.await.unwrap();
    }

    /// A connection for HTTP/1.1.
    pub(crate) async fn connect(
        &self,
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> Result<TlsStream<TcpStream>, String> {
        let mut config = ClientConfig::clone(&config);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let tcp = TcpStream::connect(self.address).await.unwrap();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        connector.connect(name, tcp).await.map_err(|e| e.to_string())
    }

    /// An HTTP/1.1 request for `/who`.
    pub(crate) async fn who(
        &self,
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> Result<String, String> {
        let tls = self.connect(config, name).await?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(tls)).await.map_err(|e| e.to_string())?;
        let connection = tokio::spawn(connection);
        let request =
            http::Request::get("/who").header("host", "localhost").body(NoBody::<&[u8]>::new()).unwrap();
        let answer = sender.send_request(request).await;
        let answer = match answer {
            Ok(answer) => answer,
            // The connection knows why.
            Err(_) => return Err(format!("{:?}", connection.await.unwrap())),
        };
        let body = answer.into_body().collect().await.map_err(|e| e.to_string())?;
        Ok(String::from_utf8(body.to_bytes().to_vec()).unwrap())
    }
}

/// A client that trusts `ca` and shows this certificate, whoever has made it.
pub(crate) fn client_showing(ca: &Ca, cert_pem: &str, key_pem: &str) -> Arc<ClientConfig> {
    kontiki_pki::install_crypto();
    let certificate = CertificateDer::from_pem_slice(cert_pem.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).unwrap();
    let config = ClientConfig::builder()
        .with_root_certificates(roots(ca))
        .with_client_auth_cert(vec![certificate], key);
    Arc::new(config.unwrap())
}

/// A client that trusts `ca` and shows nothing.
pub(crate) fn anonymous_client(ca: &Ca) -> Arc<ClientConfig> {
    kontiki_pki::install_crypto();
    Arc::new(ClientConfig::builder().with_root_certificates(roots(ca)).with_no_client_auth())
}

pub(crate) fn roots(ca: &Ca) -> rustls::RootCertStore {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.cert_pem().as_bytes()).unwrap()).unwrap();
    roots
}

pub(crate) fn localhost() -> ServerName<'static> {
    ServerName::try_from("localhost").unwrap()
}

/// The log of this thread while it is held.
pub(crate) struct Log {
    text: Arc<Mutex<Vec<u8>>>,
    _guard: tracing::subscriber::DefaultGuard,
}

impl Log {
    pub(crate) fn capture() -> Log {
        struct Sink(Arc<Mutex<Vec<u8>>>);
        impl std::io::Write for Sink {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                self.0.lock().unwrap().extend_from_slice(bytes);
                Ok(bytes.len())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let text = Arc::new(Mutex::new(Vec::new()));
        let sink = text.clone();
        let subscriber =
            tracing_subscriber::fmt().with_ansi(false).with_writer(move || Sink(sink.clone())).finish();
        Log { text, _guard: tracing::subscriber::set_default(subscriber) }
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.text.lock().unwrap().clone()).unwrap()
    }
}

fn name_of(extensions: &http::Extensions) -> String {
    assert!(extensions.get::<PeerAddr>().is_some_and(|a| a.0.ip().is_loopback()));
    extensions.get::<Peer>().map_or_else(|| "anonymous".to_owned(), ToString::to_string)
}

struct WhoAmI;

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl Cluster for WhoAmI {
    async fn members(&self, request: Request<Empty>) -> Answer<MemberList> {
        let me = Member { name: name_of(request.extensions()), ..Default::default() };
        Ok(Response::new(MemberList { members: vec![me], leader_id: None }))
    }
    async fn join(&self, request: Request<JoinRequest>) -> Answer<JoinResponse> {
        Ok(Response::new(JoinResponse { cluster_id: name_of(request.extensions()), ..Default::default() }))
    }
    async fn add_member(&self, _: Request<AddMemberRequest>) -> Answer<MemberList> {
        Err(Status::unavailable("not on this stage"))
    }
    async fn promote(&self, _: Request<PromoteRequest>) -> Answer<MemberList> {
        Err(Status::unavailable("not on this stage"))
    }
    async fn remove(&self, _: Request<RemoveRequest>) -> Answer<MemberList> {
        Err(Status::unavailable("not on this stage"))
    }
    async fn transfer_leader(&self, _: Request<TransferLeaderRequest>) -> Answer<TransferLeaderReply> {
        Err(Status::unavailable("not on this stage"))
    }
    async fn create_token(&self, _: Request<CreateTokenRequest>) -> Answer<CreateTokenReply> {
        Err(Status::unavailable("not on this stage"))
    }
    async fn status(&self, _: Request<Empty>) -> Answer<StatusReply> {
        Err(Status::unavailable("not on this stage"))
    }
    async fn submit(&self, _: Request<SubmitRequest>) -> Answer<SubmitReply> {
        Err(Status::unavailable("not on this stage"))
    }
}
