//! Webhooks have their say in the pods that controllers make.

use std::{net::SocketAddr, sync::Arc};

use axum::{Router, body::Bytes};
use base64::{Engine, engine::general_purpose::STANDARD};
use kontiki_chaos_tests::eventually;
use kontiki_pki::{ALPN, Ca, DEFAULT_LIFETIME, Identity, Subject};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::{net::TcpListener, runtime::Runtime};
use tokio_util::sync::CancellationToken;

use crate::scenario::Scenario;

type Answer = Arc<dyn Fn() -> Value + Send + Sync>;

/// A webhook on this machine, which can die and come back.
struct Guard {
    runtime: Runtime,
    port: u16,
    authority: String,
    identity: Identity,
    answer: Arc<Mutex<Answer>>,
    until: CancellationToken,
}

impl Guard {
    fn start() -> Guard {
        let ca = Ca::create("kontiki-guard").unwrap();
        let addresses = vec!["localhost".to_owned()];
        let subject = Subject::Controller { id: 1, name: "guard".into(), addresses };
        let pair = ca.issue(&subject, DEFAULT_LIFETIME).unwrap();
        let mut guard = Guard {
            runtime: Runtime::new().unwrap(),
            port: 0,
            authority: ca.cert_pem().to_owned(),
            identity: Identity::new(ca.cert_pem(), &pair.cert_pem, &pair.key_pem).unwrap(),
            answer: Arc::new(Mutex::new(Arc::new(|| json!({"allowed": true})))),
            until: CancellationToken::new(),
        };
        guard.serve();
        guard
    }

    /// Serves at its port, or if it has none, at a new one.
    fn serve(&mut self) {
        let address = SocketAddr::from(([127, 0, 0, 1], self.port));
        let listener = self.runtime.block_on(TcpListener::bind(address)).unwrap();
        self.port = listener.local_addr().unwrap().port();
        self.until = CancellationToken::new();
        let answer = self.answer.clone();
        let app = Router::new().fallback(move |body: Bytes| {
            let review: Value = serde_json::from_slice(&body).unwrap();
            let say = answer.lock().clone();
            let mut response = say();
            response["uid"] = review["request"]["uid"].clone();
            let review =
                json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "response": response});
            async move { review.to_string() }
        });
        let (tls, until) = (self.identity.server_config(ALPN), self.until.clone());
        self.runtime
            .spawn(async move { kontiki_pki::serve(listener, tls, "kontiki-guard", None, app, until).await });
    }

    /// Nobody answers at its port any more.
    fn stop(&self) {
        self.until.cancel();
        let address = SocketAddr::from(([127, 0, 0, 1], self.port));
        while std::net::TcpStream::connect(address).is_ok() {
            std::thread::yield_now();
        }
    }

    fn says(&self, answer: impl Fn() -> Value + Send + Sync + 'static) {
        *self.answer.lock() = Arc::new(answer);
    }

    /// It adds a container and a label.
    fn injects(&self) {
        self.says(|| {
            let proxy = json!({"name": "proxy", "image": "kontiki.local/web:1", "imagePullPolicy": "IfNotPresent",
                "command": ["sh", "-c", "sleep 100000"]});
            let patch = json!([
                {"op": "add", "path": "/spec/containers/-", "value": proxy},
                {"op": "add", "path": "/metadata/labels/injected", "value": "yes"},
            ]);
            json!({"allowed": true, "patchType": "JSONPatch", "patch": STANDARD.encode(patch.to_string())})
        });
    }

    /// It adds a label, to whatever it is asked about.
    fn labels(&self) {
        self.says(|| {
            let patch = json!([{"op": "add", "path": "/metadata/labels/injected", "value": "yes"}]);
            json!({"allowed": true, "patchType": "JSONPatch", "patch": STANDARD.encode(patch.to_string())})
        });
    }

    fn refuses(&self) {
        self.says(|| json!({"allowed": false, "status": {"code": 403, "message": "not on Fridays"}}));
    }

    /// Its configuration, for new pods of a namespace.
    fn configuration(&self, namespace: &str) -> String {
        let client = json!({"url": format!("https://localhost:{}/", self.port), "caBundle": STANDARD.encode(&self.authority)});
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration", "metadata": {"name": "guard"},
            "webhooks": [{
                "name": "guard.example.com", "sideEffects": "None", "admissionReviewVersions": ["v1"], "clientConfig": client,
                "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}],
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
            }],
        })
        .to_string()
    }
}

pub fn have_a_say_in_controllers_pods(s: &Scenario) {
    let mut guard = Guard::start();
    guard.injects();
    s.apply(&guard.configuration(&s.namespace));
    s.web();
    let pods = s.json(&["get", "pods", "-l", "app=web,injected=yes"]);
    let pods = pods["items"].as_array().unwrap();
    assert_eq!(pods.len(), 3);
    for pod in pods {
        let ready = pod["status"]["containerStatuses"].as_array().unwrap();
        assert_eq!(ready.iter().filter(|container| container["ready"] == true).count(), 2, "{pod}");
    }
    // What it refuses is told at the set, in Kubernetes' words, ...
    guard.refuses();
    s.kubectl(&["scale", "deployment", "web", "--replicas=4"]);
    let refused = "admission webhook \"guard.example.com\" denied the request: not on Fridays";
    let of_pods = format!("Error creating: {refused}");
    let described = s.until(&["describe", "rs", "-l", "app=web"], &of_pods);
    assert!(described.contains("FailedCreate"), "{described}");
    // ... and while it is dead, so is that. Others go on.
    guard.stop();
    s.until(&["describe", "rs", "-l", "app=web"], "failed calling webhook \"guard.example.com\"");
    s.kubectl(&["scale", "deployment", "web", "--replicas=2"]);
    s.rolled_out("web");
    s.kubectl(&["scale", "deployment", "web", "--replicas=4"]);
    guard.injects();
    guard.serve();
    s.rolled_out("web");
    eventually("those that were too many are gone, and none is without it", || {
        let count =
            |selector: &str| s.json(&["get", "pods", "-l", selector])["items"].as_array().map(Vec::len);
        match (count("app=web"), count("app=web,injected=yes")) {
            (Some(4), Some(4)) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    // One that may be passed over is, when it is dead.
    guard.stop();
    let ignore = r#"[{"op": "replace", "path": "/webhooks/0/failurePolicy", "value": "Ignore"}]"#;
    s.kubectl(&["patch", "mutatingwebhookconfiguration", "guard", "--type=json", "-p", ignore]);
    s.kubectl(&["scale", "deployment", "web", "--replicas=5"]);
    s.rolled_out("web");
    // The replica set of a new template is asked about as pods are.
    guard.refuses();
    guard.serve();
    let rule = json!({"operations": ["CREATE"], "apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["replicasets"]});
    let of_sets = json!([{"op": "replace", "path": "/webhooks/0/rules", "value": [rule]}]).to_string();
    s.kubectl(&["patch", "mutatingwebhookconfiguration", "guard", "--type=json", "-p", &of_sets]);
    s.kubectl(&["set", "env", "deployment", "web", "ROUND=2"]);
    let described = s.until(&["describe", "deployment", "web"], refused);
    assert!(described.contains("ReplicaSetCreateError"), "{described}");
    guard.labels();
    s.rolled_out("web");
    let sets = s.json(&["get", "rs", "-l", "app=web,injected=yes"]);
    assert_eq!(
        (&sets["items"][0]["spec"]["replicas"], &sets["items"][1]),
        (&json!(5), &Value::Null),
        "{sets}"
    );
    s.kubectl(&["delete", "mutatingwebhookconfiguration", "guard"]);
    s.kubectl(&["delete", "deployment", "web"]);
}
