//! What does a request cost before its turn and after it? Its steps: a body is read against its type; accepted, which is to read, default,
//! admit and validate it; answered, which is to write the object as JSON. And the whole of it, from HTTP's request to its last byte,
//! with a backend that decides and does no more: what of a `post` is not in `accept`, the turn and `answer`, is HTTP's own. Without a
//! subscriber for traces, which the product has.

use std::{collections::BTreeSet, hint::black_box, sync::Arc};

use axum::{Router, body::Body};
use bytes::Bytes;
use futures_util::{FutureExt, future::BoxFuture};
use http::{Method, Request, StatusCode, Version, header::CONTENT_TYPE};
use http_body_util::BodyExt;
use kontiki_actors::{Document, Input, Kind, Object, Outcome, RequestId, State};
use kontiki_api::{
    Backend, Feed, FeedLimits, Freshness, LogsError, LogsQuery, Options, Unavailable,
    backend::LogsStream,
    resource, router,
    schema::{reader::Limits, strict, type_for_api_version},
    streams::{PodStream, StreamError, StreamTo},
};
use kontiki_pki::{Peer, Role};
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::{
    Action, Operation,
    fixture::{NAMESPACE, config_map, create, decided, empty, pod, with_config_maps},
};

const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
const OBJECTS: usize = 15_000;
const BINDINGS: usize = 1_000;

pub(crate) fn operations() -> Vec<Operation> {
    let mut operations = Vec::new();
    for (kind, name, what) in [(Kind::CONFIG_MAP, "config-map", "1 KiB ConfigMap"), (Kind::POD, "pod", "pod")]
    {
        let mut add = |step: &str, verb: &str, prepare: fn(Kind) -> Action| {
            let (name, what) = (format!("{step}-{name}"), format!("{verb} a {what}"));
            operations.push(Operation::new("request", name, what, 1, move || prepare(kind)));
        };
        add("decode", "decode", decode);
        add("accept", "decode, default and validate", accept);
        add("answer", "write the answer of", answer);
    }
    operations.push(Operation::new("request", "get-config-map", "GET a 1 KiB ConfigMap", 1, || {
        let path = format!("{CONFIG_MAPS}/standing-0");
        whole(Method::GET, path, Bytes::new(), StatusCode::OK)
    }));
    let what = "GET a 1 KiB ConfigMap, allowed by one of 1,000 bindings";
    operations.push(Operation::new("request", "get-config-map-by-role", what, 1, || {
        let path = format!("{CONFIG_MAPS}/standing-0");
        whole_for("devs", with_bindings(), Method::GET, path, Bytes::new(), StatusCode::OK)
    }));
    operations.push(Operation::new("request", "post-config-map", "POST a 1 KiB ConfigMap", 1, || {
        let body = config_map("new").to_string().into();
        whole(Method::POST, CONFIG_MAPS.to_owned(), body, StatusCode::CREATED)
    }));
    operations
}

/// What a client sends.
fn object(kind: Kind) -> Value {
    if kind == Kind::POD { pod("new", two_containers()) } else { config_map("new") }
}

/// A pod as people write it.
fn two_containers() -> Value {
    json!({
        "terminationGracePeriodSeconds": 10,
        "containers": [
            {
                "name": "main", "image": "registry.example/shop/web:1.4.2", "args": ["--port", "8080"],
                "env": [{"name": "MODE", "value": "production"}, {"name": "REGION", "value": "north"}],
                "ports": [{"name": "http", "containerPort": 8080}],
                "readinessProbe": {"httpGet": {"path": "/ready", "port": "http"}, "periodSeconds": 5},
                "livenessProbe": {"httpGet": {"path": "/live", "port": "http"}, "initialDelaySeconds": 10},
                "resources": {"requests": {"cpu": "250m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}},
            },
            {
                "name": "log", "image": "registry.example/shop/log:2.0",
                "env": [{"name": "TARGET", "value": "http://logs.example"}],
                "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}},
            },
        ],
    })
}

fn read(kind: Kind, body: &[u8]) -> Value {
    let of = type_for_api_version(&kind.api_version(), kind.info().kind).expect("a kind with a schema");
    let (value, checked) = strict::decode(of, body, Limits::default()).expect("a body of its type");
    assert!(checked.is_clean());
    value
}

fn decode(kind: Kind) -> Action {
    let body = object(kind).to_string();
    Box::new(move || drop(black_box(read(kind, black_box(body.as_bytes())))))
}

fn accept(kind: Kind) -> Action {
    let (body, state) = (object(kind).to_string(), empty());
    Box::new(move || {
        let mut value = read(kind, black_box(body.as_bytes()));
        resource::prepare_create(&kind.into(), &mut value, NAMESPACE, Some(&state)).expect("a valid object");
        drop(black_box(Document::from_value(value)));
    })
}

/// The object is made of the turn's answer, as after a write.
fn answer(kind: Kind) -> Action {
    let state = empty();
    let outcome = decided(&state, &create(&state, kind, object(kind)), 1).outcome;
    let Outcome::Object { key, revision, document: Some(document) } = outcome else {
        unreachable!("a create answers with its object")
    };
    Box::new(move || {
        let object = Object::new(key.clone(), revision, black_box(document.clone()));
        drop(black_box(object.to_json()));
    })
}

/// A request through all of the API, by a user who may do everything.
fn whole(method: Method, path: String, body: Bytes, expected: StatusCode) -> Action {
    whole_for("system:masters", with_config_maps(OBJECTS), method, path, body, expected)
}

/// Config maps, the default roles and flow schemas, and bindings of many groups, of which one lets `devs` read.
fn with_bindings() -> State {
    let mut state = with_config_maps(OBJECTS);
    let mut first = kontiki_actors::rbac::defaults::objects();
    first.extend(kontiki_actors::flow::defaults::objects());
    let first = Input::Raise { level: kontiki_actors::LEVEL, objects: first };
    state = decided(&state, &first, OBJECTS).state;
    for n in 0..BINDINGS {
        let group = if n == BINDINGS / 2 { "devs".to_owned() } else { format!("group-{n}") };
        let binding = json!({
            "metadata": {"name": format!("view-{n}"), "namespace": NAMESPACE},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": group}],
        });
        state = decided(&state, &create(&state, Kind::ROLE_BINDING, binding), n).state;
    }
    state
}

/// The same, by a user of a group.
fn whole_for(
    group: &str,
    state: State,
    method: Method,
    path: String,
    body: Bytes,
    expected: StatusCode,
) -> Action {
    let backend = Forgetful { feed: Arc::new(Feed::new(state.revision(), FeedLimits::default())), state };
    let app = router(Arc::new(backend), Options::default());
    let peer = Peer {
        cluster: "inside".into(),
        role: Role::User,
        name: "admin".into(),
        node_id: None,
        groups: vec![group.into()],
        fingerprint: String::new(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let runtime = runtime.expect("a runtime without I/O");
    let ask = move || {
        let request = Request::builder()
            .method(method.clone())
            .uri(path.as_str())
            .version(Version::HTTP_2)
            .header(CONTENT_TYPE, "application/json")
            .extension(peer.clone())
            .body(Body::from(body.clone()))
            .expect("a request");
        let (code, answer) = runtime.block_on(answered(&app, request));
        assert_eq!(code, expected);
        drop(black_box(answer));
    };
    // With the first one, flow schemas and levels are read.
    ask();
    Box::new(ask)
}

async fn answered(app: &Router, request: Request<Body>) -> (StatusCode, Bytes) {
    let Ok(response) = app.clone().oneshot(request).await;
    let code = response.status();
    (code, response.into_body().collect().await.expect("a body in memory").to_bytes())
}

/// A controller that decides and forgets, so that every request finds the same state.
struct Forgetful {
    state: State,
    feed: Arc<Feed>,
}

impl Backend for Forgetful {
    fn view(&self, _: Freshness) -> BoxFuture<'_, Result<State, Unavailable>> {
        async { Ok(self.state.clone()) }.boxed()
    }

    fn submit(
        &self,
        request: kontiki_actors::Request,
        _: RequestId,
        _: Option<String>,
    ) -> BoxFuture<'_, Result<Outcome, Unavailable>> {
        async { Ok(decided(&self.state, &Input::Api(request), OBJECTS).outcome) }.boxed()
    }

    fn feed(&self) -> Arc<Feed> {
        self.feed.clone()
    }

    fn logs(&self, _: Arc<Object>, _: LogsQuery) -> BoxFuture<'_, Result<LogsStream, LogsError>> {
        async { Err(LogsError::NotFound("nothing runs here".into())) }.boxed()
    }

    fn open_stream(&self, _: Arc<Object>, _: StreamTo) -> BoxFuture<'_, Result<PodStream, StreamError>> {
        async { Err(StreamError::NotFound("nothing runs here".into())) }.boxed()
    }

    fn usage(
        &self,
        _: BTreeSet<String>,
        _: bool,
    ) -> BoxFuture<'_, Result<Vec<kontiki_api::usage::NodeUsage>, String>> {
        async { Ok(Vec::new()) }.boxed()
    }

    fn metrics(&self) -> String {
        String::new()
    }

    fn ready(&self) -> BoxFuture<'_, Result<(), String>> {
        async { Ok(()) }.boxed()
    }
}
