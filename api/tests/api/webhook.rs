//! A webhook on this machine, over HTTPS, and what it was asked.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::{TlsAcceptor, rustls};

/// What a webhook says to a question: a code and a body; none if it says nothing, ever.
type Answers = Arc<dyn Fn(&Value) -> Option<(u16, Vec<u8>)> + Send + Sync>;

pub(crate) struct Webhook {
    pub(crate) port: u16,
    bundle: String,
    asked: Arc<Mutex<Vec<Value>>>,
    uris: Arc<Mutex<Vec<Uri>>>,
    connections: Arc<AtomicUsize>,
}

impl Webhook {
    /// One that says this to each request, of which the uid is echoed.
    pub(crate) async fn start(answer: impl Fn(&Value) -> Value + Send + Sync + 'static) -> Webhook {
        Webhook::raw(move |review| {
            let mut response = answer(&review["request"]);
            response["uid"] = review["request"]["uid"].clone();
            Some((200, review_of(response)))
        })
        .await
    }

    /// One that allows everything.
    pub(crate) async fn allowing() -> Webhook {
        Webhook::start(|_| json!({"allowed": true})).await
    }

    /// One that adds to what it is asked about by this patch.
    pub(crate) async fn patching(patch: Value) -> Webhook {
        Webhook::start(move |_| patched(&patch)).await
    }

    /// One that says this to each review.
    pub(crate) async fn raw(
        answer: impl Fn(&Value) -> Option<(u16, Vec<u8>)> + Send + Sync + 'static,
    ) -> Webhook {
        let names = ["localhost".to_owned(), "guard.default.svc".to_owned()];
        let key = rcgen::generate_simple_self_signed(names).unwrap();
        kontiki_pki::install_crypto();
        let provider = rustls::crypto::CryptoProvider::get_default().cloned().unwrap();
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![key.cert.der().clone()],
                rustls::pki_types::PrivateKeyDer::try_from(key.signing_key.serialize_der()).unwrap(),
            )
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let webhook = Webhook {
            port: listener.local_addr().unwrap().port(),
            bundle: STANDARD.encode(key.cert.pem()),
            asked: Arc::default(),
            uris: Arc::default(),
            connections: Arc::default(),
        };
        let (asked, uris, connections) =
            (webhook.asked.clone(), webhook.uris.clone(), webhook.connections.clone());
        let answer: Answers = Arc::new(answer);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::Relaxed);
                let (acceptor, asked, uris, answer) =
                    (acceptor.clone(), asked.clone(), uris.clone(), answer.clone());
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let service = service_fn(move |request: Request<Incoming>| {
                        let (asked, uris, answer) = (asked.clone(), uris.clone(), answer.clone());
                        async move {
                            let uri = request.uri().clone();
                            let bytes = request.into_body().collect().await?.to_bytes();
                            let review: Value = serde_json::from_slice(&bytes).unwrap();
                            let said = answer(&review);
                            asked.lock().push(review["request"].clone());
                            uris.lock().push(uri);
                            let Some((code, body)) = said else { return std::future::pending().await };
                            let mut response = Response::new(Full::new(Bytes::from(body)));
                            *response.status_mut() = http::StatusCode::from_u16(code).unwrap();
                            Ok::<_, hyper::Error>(response)
                        }
                    });
                    let serving = hyper::server::conn::http1::Builder::new();
                    let _ = serving.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        webhook
    }

    /// One that converts objects by this: an object, and the apiVersion that is wanted.
    pub(crate) async fn converting(
        convert: impl Fn(&Value, &str) -> Value + Send + Sync + 'static,
    ) -> Webhook {
        Webhook::raw(move |review| {
            let request = &review["request"];
            let wanted = request["desiredAPIVersion"].as_str().unwrap();
            let objects = request["objects"].as_array().unwrap().iter();
            let objects: Vec<Value> = objects.map(|object| convert(object, wanted)).collect();
            let response =
                json!({"uid": request["uid"], "convertedObjects": objects, "result": {"status": "Success"}});
            Some((200, conversion_of(response)))
        })
        .await
    }

    /// What it was asked since the last time.
    pub(crate) fn asked(&self) -> Vec<Value> {
        std::mem::take(&mut self.asked.lock())
    }

    /// Where it was asked.
    pub(crate) fn uris(&self) -> Vec<Uri> {
        self.uris.lock().clone()
    }

    /// Connections that were made to it.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// It as part of a configuration.
    pub(crate) fn hook(&self, name: &str, rules: Value) -> Value {
        let url = format!("https://localhost:{}/check", self.port);
        json!({
            "name": format!("{name}.example.com"), "sideEffects": "None", "admissionReviewVersions": ["v1"],
            "clientConfig": {"url": url, "caBundle": self.bundle}, "rules": rules,
        })
    }

    /// It as the conversion of a definition.
    pub(crate) fn conversion(&self) -> Value {
        let url = format!("https://localhost:{}/convert", self.port);
        let client = json!({"url": url, "caBundle": self.bundle});
        json!({"strategy": "Webhook", "webhook": {"clientConfig": client, "conversionReviewVersions": ["v1"]}})
    }

    /// It as part of a configuration, behind a Service of the default namespace.
    pub(crate) fn behind(&self, service: &str, name: &str, rules: Value) -> Value {
        let mut hook = self.hook(name, rules);
        let service = json!({"namespace": "default", "name": service, "path": "/check"});
        hook["clientConfig"] = json!({"service": service, "caBundle": self.bundle});
        hook
    }
}

/// An answer's bytes.
pub(crate) fn review_of(response: Value) -> Vec<u8> {
    let review =
        json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "response": response});
    review.to_string().into_bytes()
}

/// The bytes of an answer about conversions.
pub(crate) fn conversion_of(response: Value) -> Vec<u8> {
    let review =
        json!({"kind": "ConversionReview", "apiVersion": "apiextensions.k8s.io/v1", "response": response});
    review.to_string().into_bytes()
}

/// That it is allowed, so changed.
pub(crate) fn patched(patch: &Value) -> Value {
    json!({"allowed": true, "patchType": "JSONPatch", "patch": STANDARD.encode(patch.to_string())})
}

/// Rules for operations on resources of a group.
pub(crate) fn rules(operations: &[&str], group: &str, resources: &[&str]) -> Value {
    json!([{"operations": operations, "apiGroups": [group], "apiVersions": ["v1"], "resources": resources}])
}
