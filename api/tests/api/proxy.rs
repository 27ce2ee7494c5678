//! Requests that are handed on to pods and Services.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::body::Body;
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, stream};
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use kontiki_actors::State;
use kontiki_api::{
    FeedLimits, Options,
    rest::{Access, Authorizer, On, User},
    streams::{FromClient, FromPod, PodStream, StreamError},
};
use kontiki_pki::{PeerAddr, Role};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    sync::mpsc,
};
use tokio_rustls::{TlsAcceptor, rustls};
use tower::ServiceExt;

use crate::client::{Client, peer, pod};

const PODS: &str = "/api/v1/namespaces/default/pods";
const SERVICES: &str = "/api/v1/namespaces/default/services";

/// A connection as the backend hands it to the API.
fn behind(io: DuplexStream) -> PodStream {
    let (mut read, mut write) = tokio::io::split(io);
    let (input, mut said) = mpsc::channel(1);
    let (output, heard) = mpsc::channel(1);
    tokio::spawn(async move {
        while let Some(FromClient::Data(bytes)) = said.recv().await {
            if write.write_all(&bytes).await.is_err() {
                return;
            }
        }
        write.shutdown().await.ok();
    });
    tokio::spawn(async move {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = read.read(&mut buffer).await {
            if output.send(FromPod::Stdout(Bytes::copy_from_slice(&buffer[..count]))).await.is_err() {
                return;
            }
        }
        output.send(FromPod::Exited(0)).await.ok();
    });
    let heard = stream::unfold(heard, async |mut heard| heard.recv().await.map(|said| (said, heard)));
    PodStream { input, output: heard.boxed() }
}

/// On each port of each pod, this happens.
fn ports<F>(client: &Client, serve: impl Fn(String, u16, DuplexStream) -> F + Send + Sync + 'static)
where
    F: Future<Output = ()> + Send + 'static,
{
    *client.memory.dial.lock() = Some(Arc::new(move |pod, port| {
        if port == 9 {
            return Err(StreamError::Failed("connect to port 9 of the pod: connection refused".into()));
        }
        let (near, far) = tokio::io::duplex(1 << 10);
        tokio::spawn(serve(pod.to_owned(), port, far));
        Ok(behind(near))
    }));
}

/// Serves HTTP/1.1 on one connection.
async fn http(
    io: impl hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
    answer: impl Fn(Request<Bytes>) -> Response<Full<Bytes>> + Send,
) {
    let service = service_fn(|request: Request<Incoming>| async {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Ok::<_, hyper::Error>(answer(Request::from_parts(parts, body)))
    });
    hyper::server::conn::http1::Builder::new().serve_connection(io, service).await.ok();
}

/// Tells what it was asked.
fn echo(pod: &str, port: u16, request: &Request<Bytes>) -> Response<Full<Bytes>> {
    let told: serde_json::Map<String, Value> = request
        .headers()
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap().into()))
        .collect();
    let body = json!({
        "pod": pod, "port": port, "method": request.method().as_str(), "uri": request.uri().to_string(),
        "headers": told, "body": String::from_utf8_lossy(request.body()),
    });
    Response::builder().header("content-type", "application/json").body(body.to_string().into()).unwrap()
}

fn echoes(client: &Client) {
    ports(client, |pod, port, io| async move {
        http(TokioIo::new(io), |request| echo(&pod, port, &request)).await;
    });
}

/// A pod that runs on a node.
async fn running(client: &Client, name: &str, label: &str) {
    let mut body = pod(name);
    body["metadata"]["labels"] = json!({"app": label});
    body["spec"]["containers"][0]["ports"] =
        json!([{"containerPort": 8080, "name": "web"}, {"containerPort": 9000, "name": "admin"}]);
    client.post(PODS, &body).await.with(201);
    client.memory.step();
}

async fn cluster() -> Client {
    cluster_with(Options::default()).await
}

async fn cluster_with(options: Options) -> Client {
    let client = Client::with(FeedLimits::default(), options);
    client.memory.add_node("n1");
    running(&client, "p", "web").await;
    client
}

async fn service(client: &Client, name: &str, spec: Value) {
    client.post(SERVICES, &json!({"metadata": {"name": name}, "spec": spec})).await.with(201);
}

/// Where `GET` arrives, as `pod:port`.
async fn arrives(client: &Client, url: &str) -> String {
    let told = client.get(url).await.with(200);
    format!("{}:{}", told["pod"].as_str().unwrap(), told["port"])
}

async fn refused(client: &Client, url: &str, code: u16) -> String {
    let status = client.get(url).await.with(code);
    assert_eq!((&status["kind"], &status["code"]), (&json!("Status"), &json!(code)));
    status["message"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn all_methods_reach_pods_and_services_with_path_query_and_body() {
    let client = cluster().await;
    service(&client, "s", json!({"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]}))
        .await;
    echoes(&client);
    for of in [format!("{PODS}/p"), format!("{SERVICES}/s")] {
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
            // What the query says is the pod's business, whatever it would mean to the API.
            let rest = format!("/some//pa%2Fth/with/{method}/?watch=1&resourceVersion=x&timeout=1ms&a=%zz");
            let body = if method == "GET" { "" } else { "words" };
            let told = client.raw(method, &format!("{of}/proxy{rest}"), &[], body).await.with(200);
            assert_eq!((told["method"].as_str(), told["uri"].as_str()), (Some(method), Some(rest.as_str())));
            assert_eq!((told["body"].as_str(), &told["port"]), (Some(body), &json!(8080)));
        }
        let head = client.raw("HEAD", &format!("{of}/proxy/x"), &[], "").await;
        assert_eq!((head.code, head.bytes.len()), (200, 0));
        assert!(head.headers.contains_key("content-length"));
        client.raw("TRACE", &format!("{of}/proxy/x"), &[], "").await.with(405);

        // Without a path there is a slash, for which those that follow links are sent.
        for method in ["GET", "HEAD"] {
            let moved = client.raw(method, &format!("{of}/proxy?method={method}"), &[], "").await;
            assert_eq!(moved.code, 301);
            assert_eq!(moved.headers["location"], format!("{of}/proxy/?method={method}"));
        }
        let told = client.raw("POST", &format!("{of}/proxy?method=POST"), &[], "words").await.with(200);
        assert_eq!((told["uri"].as_str(), told["body"].as_str()), (Some("/?method=POST"), Some("words")));
    }
}

#[tokio::test]
async fn ports_of_pods_are_said_by_number_by_name_or_not_at_all() {
    let client = cluster().await;
    echoes(&client);
    for (named, port) in
        [("p", 8080), ("p:", 8080), ("p:81", 81), ("p:admin", 9000), ("http:p:", 8080), ("http:p:web", 8080)]
    {
        assert_eq!(arrives(&client, &format!("{PODS}/{named}/proxy/")).await, format!("p:{port}"), "{named}");
    }
    for (named, code, message) in [
        ("ftp:p:80", 400, "invalid pod request \"ftp:p:80\""),
        ("p:nope", 400, "pod \"p\" has no port \"nope\": say a number, or the name of a container's port"),
        ("p:0", 400, "pod \"p\" has no port \"0\""),
        ("q:80", 404, "pods \"q\" not found"),
        ("p:9", 503, "error trying to reach service: connect to port 9 of the pod: connection refused"),
    ] {
        let told = refused(&client, &format!("{PODS}/{named}/proxy/"), code).await;
        assert!(told.starts_with(message), "{named}: {told}");
    }
    let status = client.get(&format!("{PODS}/p:9/proxy/")).await.json();
    assert_eq!(status["reason"], "ServiceUnavailable");
}

#[tokio::test]
async fn a_pod_that_does_not_run_is_unavailable() {
    let client = Client::new();
    client.post(PODS, &pod("waits")).await.with(201);
    echoes(&client);
    let told = refused(&client, &format!("{PODS}/waits/proxy/"), 503).await;
    assert_eq!(told, "error trying to reach service: pod waits does not have a host assigned");
    client.memory.add_node("n1");
    *client.memory.dial.lock() = None;
    running(&client, "ended", "web").await;
    let told = refused(&client, &format!("{PODS}/ended/proxy/"), 503).await;
    assert!(told.starts_with("error trying to reach service: nothing runs here"), "{told}");
}

#[tokio::test]
async fn services_lead_to_their_ready_pods() {
    let client = cluster().await;
    running(&client, "p2", "web").await;
    running(&client, "other", "other").await;
    // Placed, and not ready.
    let mut unready = pod("unready");
    unready["metadata"]["labels"] = json!({"app": "web"});
    client.post(PODS, &unready).await.with(201);
    echoes(&client);
    let spec = json!({"selector": {"app": "web"}, "ports": [
        {"name": "web", "port": 80, "targetPort": "web"}, {"name": "admin", "port": 81, "targetPort": 9000},
        {"name": "none", "port": 82, "targetPort": "nope"}]});
    service(&client, "s", spec.clone()).await;
    let mut reached = BTreeSet::new();
    while reached.len() < 2 {
        reached.insert(arrives(&client, &format!("{SERVICES}/s:web/proxy/")).await);
    }
    assert_eq!(reached, ["p2:8080", "p:8080"].map(str::to_owned).into());
    for (named, port) in [("s:80", 8080), ("s:admin", 9000), ("http:s:81", 9000)] {
        let told = client.get(&format!("{SERVICES}/{named}/proxy/x")).await.with(200);
        assert_eq!(told["port"], port, "{named}");
    }
    service(&client, "nobody", json!({"selector": {"app": "nobody"}, "ports": [{"port": 80}]})).await;
    service(&client, "alone", json!({"ports": [{"port": 80}]})).await;
    for (named, code, message) in [
        ("s:443", 503, "no service port 443 found for service \"s\""),
        ("s:nope", 503, "no endpoints available for service \"s:nope\""),
        // Which of them is not said, and a name of a port is one even if it is the only one.
        ("s", 503, "no endpoints available for service \"s\""),
        ("s:none", 503, "no endpoints available for service \"s:none\""),
        ("nobody", 503, "no endpoints available for service \"nobody\""),
        ("alone:80", 503, "no endpoints available for service \"alone:80\""),
        ("x:s:80", 400, "invalid service request \"x:s:80\""),
        ("t", 404, "services \"t\" not found"),
    ] {
        assert_eq!(refused(&client, &format!("{SERVICES}/{named}/proxy/"), code).await, message);
    }
    let mut all = spec;
    all["selector"] = json!({"app": "web"});
    all["publishNotReadyAddresses"] = true.into();
    service(&client, "all", all).await;
    while arrives(&client, &format!("{SERVICES}/all:admin/proxy/")).await != "unready:9000" {}
}

#[tokio::test]
async fn endpoints_of_a_service_come_before_its_selector() {
    let client = cluster().await;
    running(&client, "elsewhere", "other").await;
    client.post("/api/v1/namespaces", &json!({"metadata": {"name": "secret"}})).await.with(201);
    client.post("/api/v1/namespaces/secret/pods", &pod("theirs")).await.with(201);
    client.memory.step();
    echoes(&client);
    service(&client, "s", json!({"selector": {"app": "web"}, "ports": [{"port": 80}]})).await;
    let to = |namespace: &str, pod: &str, ip: &str| {
        let target = json!({"kind": "Pod", "namespace": namespace, "name": pod});
        json!({"metadata": {"name": "s"}, "subsets": [
            {"addresses": [{"ip": "10.9.9.9"}], "ports": [{"port": 1}]},
            {"addresses": [{"ip": ip, "targetRef": target}], "ports": [{"name": "x", "port": 2}]},
            {"addresses": [{"ip": ip, "targetRef": target}], "ports": [{"port": 7070}]}]})
    };
    let url = "/api/v1/namespaces/default/endpoints";
    client.post(url, &to("default", "elsewhere", "10.1.0.1")).await.with(201);
    for _ in 0..20 {
        assert_eq!(arrives(&client, &format!("{SERVICES}/s:80/proxy/")).await, "elsewhere:7070");
    }
    // Pods of others, those that are not there, and addresses that are not theirs.
    for other in [
        to("secret", "theirs", "10.1.0.1"),
        to("default", "gone", "10.1.0.1"),
        to("default", "elsewhere", "10.9.9.9"),
        json!({"metadata": {"name": "s"}}),
    ] {
        client.put(&format!("{url}/s"), &other).await.with(200);
        let told = refused(&client, &format!("{SERVICES}/s:80/proxy/"), 503).await;
        assert_eq!(told, "no endpoints available for service \"s:80\"", "{other}");
    }
}

#[tokio::test]
async fn https_is_spoken_with_whoever_answers() {
    let client = cluster().await;
    let key = rcgen::generate_simple_self_signed(["anybody".to_owned()]).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let private = rustls::pki_types::PrivateKeyDer::try_from(key.signing_key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![key.cert.der().clone()], private)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    ports(&client, move |pod, port, io| {
        let acceptor = acceptor.clone();
        async move {
            if let Ok(io) = acceptor.accept(io).await {
                http(TokioIo::new(io), |request| echo(&pod, port, &request)).await;
            }
        }
    });
    service(&client, "s", json!({"selector": {"app": "web"}, "ports": [{"name": "tls", "port": 443}]})).await;
    assert_eq!(arrives(&client, &format!("{PODS}/https:p:8443/proxy/")).await, "p:8443");
    assert_eq!(arrives(&client, &format!("{SERVICES}/https:s:tls/proxy/")).await, "p:443");
    echoes(&client);
    let told = refused(&client, &format!("{PODS}/https:p:80/proxy/"), 503).await;
    assert!(told.starts_with("error trying to reach service: tls: "), "{told}");
}

#[tokio::test]
async fn pods_are_told_who_asks_and_clients_what_is_theirs() {
    let client = cluster().await;
    ports(&client, |pod, port, io| async move {
        http(TokioIo::new(io), |request| {
            let mut answer = echo(&pod, port, &request);
            let path = request.uri().path();
            let mut header = |name: &'static str, value: &str| {
                answer.headers_mut().insert(name, value.parse().unwrap());
            };
            header("access-control-allow-origin", "*");
            header("audit-id", "mine");
            if path == "/moves" {
                header("location", "/there?x");
                *answer.status_mut() = StatusCode::FOUND;
            }
            if path == "/page" {
                answer.headers_mut().insert("content-type", "text/html; charset=utf-8".parse().unwrap());
                *answer.body_mut() = Full::from("<a href=\"/x\">y</a><a href=\"z\"></a>");
            }
            answer
        })
        .await;
    });
    let base = format!("{PODS}/p/proxy");
    let mut request = Request::get(format!("{base}/x?y"))
        .header(header::HOST, "api.example:6443")
        .header(header::AUTHORIZATION, "Bearer secret")
        .header("impersonate-user", "jane")
        .header("impersonate-group", "system:masters")
        .body(Body::empty())
        .unwrap();
    request.extensions_mut().insert(client.peer().unwrap().clone());
    request.extensions_mut().insert(PeerAddr("192.0.2.7:1234".parse().unwrap()));
    let answer = client.app().oneshot(request).await.unwrap();
    assert!(!answer.headers().contains_key("access-control-allow-origin"));
    assert_ne!(answer.headers()["audit-id"], "mine");
    assert_eq!(answer.headers()["cache-control"], "no-cache, private");
    let told: Value =
        serde_json::from_slice(&answer.into_body().collect().await.unwrap().to_bytes()).unwrap();
    assert_eq!(
        told["headers"],
        json!({"host": "api.example:6443", "x-forwarded-for": "192.0.2.7", "x-forwarded-uri": format!("{base}/x")})
    );

    let moved = client.get(&format!("{base}/moves")).await;
    assert_eq!(moved.code, 302);
    assert_eq!(moved.headers["location"], format!("{base}/there?x"));
    let page = client.get(&format!("{base}/page")).await;
    let links = format!("<a href=\"{base}/x\">y</a><a href=\"z\"></a>");
    assert_eq!(String::from_utf8_lossy(&page.bytes), links);
    let head = client.raw("HEAD", &format!("{base}/page"), &[], "").await;
    assert_eq!((head.code, head.headers.get("content-length")), (200, None));
}

/// Reads up to the end of a request's head.
async fn head(io: &mut DuplexStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match io.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8(head).unwrap()
}

/// On each port, this is said after the head of the request, and the connection is closed.
fn says(client: &Client, said: &'static str) {
    ports(client, move |_, _, mut io| async move {
        head(&mut io).await;
        io.write_all(said.as_bytes()).await.ok();
    });
}

#[tokio::test]
async fn what_is_no_answer_is_told_as_a_status() {
    let client = cluster().await;
    let url = format!("{PODS}/p/proxy/");
    for said in ["", "nonsense\r\n\r\n", "HTTP/1.1 200 OK\r\nx: "] {
        says(&client, said);
        let told = refused(&client, &url, 503).await;
        assert!(told.starts_with("error trying to reach service: "), "{told}");
    }
    let many: &'static str = (0..101).map(|n| format!("x{n}: y\r\n")).collect::<String>().leak();
    says(&client, format!("HTTP/1.1 200 OK\r\n{many}\r\n").leak());
    refused(&client, &url, 503).await;
    says(&client, format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(100 << 10)).leak());
    refused(&client, &url, 503).await;
    says(&client, "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: mine\r\n\r\n");
    assert!(refused(&client, &url, 503).await.contains("unasked"));

    // HTTP/1.0 ends a body by the connection.
    says(&client, "HTTP/1.0 203 Mine\r\n\r\nall of it");
    let whole = client.get(&url).await;
    assert_eq!((whole.code, &*whole.bytes), (203, &b"all of it"[..]));
    // What breaks off must not look whole.
    says(&client, "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nsome");
    let answer = client.open("GET", &url, &[], Body::empty()).await;
    assert_eq!(answer.status(), 200);
    answer.into_body().collect().await.unwrap_err();
}

#[tokio::test]
async fn bodies_go_through_as_they_come_and_who_does_not_read_holds_up_the_pod() {
    let client = cluster().await;
    let written = Arc::new(AtomicUsize::new(0));
    let (closed, mut gone) = mpsc::unbounded_channel();
    let count = written.clone();
    let (hears, mut heard) = mpsc::unbounded_channel();
    ports(&client, move |_, _, mut io| {
        let (count, closed, hears) = (count.clone(), closed.clone(), hears.clone());
        async move {
            let head = head(&mut io).await;
            io.write_all(b"HTTP/1.1 200 OK\r\n\r\nfirst").await.unwrap();
            if head.starts_with("POST") {
                let mut piece = [0; 1024];
                while let Ok(count @ 1..) = io.read(&mut piece).await {
                    hears.send(count).ok();
                }
                return;
            }
            while io.write_all(&[b'x'; 1024]).await.is_ok() {
                count.fetch_add(1024, Ordering::Relaxed);
            }
            closed.send(()).ok();
        }
    });
    let url = format!("{PODS}/p/proxy/");
    let answer = client.open("GET", &url, &[], Body::empty()).await;
    let mut body = answer.into_body().into_data_stream();
    assert_eq!(&body.next().await.unwrap().unwrap()[..5], b"first");
    // It fills what lies between, and waits.
    let mut before = usize::MAX;
    while before != written.load(Ordering::Relaxed) {
        before = written.load(Ordering::Relaxed);
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
    }
    assert!(before < 1 << 20, "{before} bytes wait for nobody");
    let read = body.next().await.unwrap().unwrap().len() + body.next().await.unwrap().unwrap().len();
    assert!(read > 0);
    drop(body);
    gone.recv().await.expect("the pod hears that its client is gone");

    // The other way, the answer may come before the body is there.
    let (say, said) = mpsc::channel::<Result<Bytes, std::io::Error>>(1);
    let said = stream::unfold(said, async |mut said| said.recv().await.map(|bytes| (bytes, said)));
    let answer = client.open("POST", &url, &[], Body::from_stream(said)).await;
    let mut body = answer.into_body().into_data_stream();
    assert_eq!(body.next().await.unwrap().unwrap(), "first");
    for _ in 0..3 {
        say.send(Ok(Bytes::from_static(b"more"))).await.unwrap();
        assert!(heard.recv().await.unwrap() >= 4);
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_pod_is_not_waited_for_without_end() {
    let client = cluster().await;
    let (ended, mut ends) = mpsc::unbounded_channel();
    ports(&client, move |_, _, mut io| {
        let ended = ended.clone();
        async move {
            io.read_to_end(&mut Vec::new()).await.ok();
            ended.send(()).ok();
        }
    });
    let url = format!("{PODS}/p/proxy/");
    let told = refused(&client, &url, 504).await;
    assert!(told.contains("did not begin to answer"), "{told}");
    ends.recv().await.expect("the connection is closed");
    // A long upload is no silence.
    let slow = stream::unfold(0, async |count| {
        tokio::time::sleep(Duration::from_secs(200)).await;
        (count < 5).then(|| (Ok::<_, std::io::Error>(Bytes::from_static(b"x")), count + 1))
    });
    let began = tokio::time::Instant::now();
    client.raw("POST", &url, &[], Body::from_stream(slow)).await.with(504);
    assert!(began.elapsed() > Duration::from_secs(1000), "{:?}", began.elapsed());
    ends.recv().await.unwrap();

    // Who asks and goes away before there is an answer leaves nothing behind.
    let asking = tokio::time::timeout(Duration::from_secs(1), client.get(&url));
    assert!(asking.await.is_err());
    ends.recv().await.unwrap();

    // Nor does who says more than the pod takes.
    let kept = Arc::new(Mutex::new(None));
    let keeps = kept.clone();
    *client.memory.dial.lock() = Some(Arc::new(move |_, _| {
        let (input, said) = mpsc::channel(1);
        *keeps.lock() = Some(said);
        Ok(PodStream { input, output: stream::pending().boxed() })
    }));
    let asking = client.raw("POST", &url, &[], vec![0; 1 << 20]);
    assert!(tokio::time::timeout(Duration::from_secs(1), asking).await.is_err());
    let said = kept.lock().take().unwrap();
    let closed = async {
        while !said.is_closed() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), closed).await.expect("the connection is closed");
}

#[tokio::test(start_paused = true)]
async fn a_user_has_so_many_and_a_busy_worker_is_asked_again() {
    // Those that are handed on do not count among the requests under way.
    let client = cluster_with(Options { max_requests: 4, ..Options::default() }).await;
    ports(&client, |_, _, mut io| async move {
        io.read_to_end(&mut Vec::new()).await.ok();
    });
    let url = format!("{PODS}/p/proxy/");
    let mut waiting: Vec<_> = (0..128).map(|_| client.get(&url).boxed_local()).collect();
    for request in &mut waiting {
        assert!(tokio::time::timeout(Duration::from_millis(1), request).await.is_err());
    }
    let refused = client.get(&url).await.with(429);
    assert_eq!(refused["message"], "\"admin\" has too many streams open already, please try again later");
    drop(waiting);
    tokio::time::sleep(Duration::from_millis(1)).await;

    let tries = Arc::new(AtomicUsize::new(0));
    let tried = tries.clone();
    *client.memory.dial.lock() = Some(Arc::new(move |pod, port| {
        if tried.fetch_add(1, Ordering::Relaxed) < 5 {
            return Err(StreamError::Busy("32 streams are being opened".into()));
        }
        let (near, far) = tokio::io::duplex(1 << 10);
        let pod = pod.to_owned();
        tokio::spawn(async move { http(TokioIo::new(far), |request| echo(&pod, port, &request)).await });
        Ok(behind(near))
    }));
    assert_eq!(arrives(&client, &url).await, "p:8080");
    *client.memory.dial.lock() = Some(Arc::new(|_, _| Err(StreamError::Busy("for ever".into()))));
    let busy = client.get(&url).await;
    assert_eq!((busy.code, &busy.headers["retry-after"]), (429, &"1".parse::<http::HeaderValue>().unwrap()));
}

#[tokio::test]
async fn a_protocol_may_change() {
    let client = cluster().await;
    ports(&client, |_, port, mut io| async move {
        let head = head(&mut io).await.to_ascii_lowercase();
        assert!(head.contains("connection: upgrade\r\n") && head.contains("upgrade: shouts\r\n"), "{head}");
        if port == 81 {
            io.write_all(b"HTTP/1.1 403 Mine\r\ncontent-length: 2\r\n\r\nno").await.unwrap();
            return;
        }
        io.write_all(
            b"HTTP/1.1 101 Switching\r\nconnection: Upgrade\r\nupgrade: shouts\r\nx-mine: 1\r\n\r\nWELCOME ",
        )
        .await
        .unwrap();
        let mut words = [0; 5];
        io.read_exact(&mut words).await.unwrap();
        io.write_all(&words.to_ascii_uppercase()).await.unwrap();
    });
    let (app, peer) = (client.app(), client.peer().unwrap().clone());
    let ask = async |url: String| {
        let (near, far) = tokio::io::duplex(1 << 10);
        let (app, peer) = (app.clone(), peer.clone());
        let service = service_fn(move |request: Request<Incoming>| {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(peer.clone());
            app.clone().oneshot(request)
        });
        let serving = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(far), service);
        tokio::spawn(serving.with_upgrades());
        let (mut requests, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(near)).await.unwrap();
        tokio::spawn(connection.with_upgrades());
        let request = Request::get(url).header("host", "api").header("connection", "keep-alive, Upgrade");
        let request = request.header("upgrade", "shouts").body(Body::empty()).unwrap();
        requests.send_request(request).await.unwrap()
    };
    let refused = ask(format!("{PODS}/p:81/proxy/")).await;
    assert_eq!(refused.status(), 403);
    assert_eq!(refused.into_body().collect().await.unwrap().to_bytes(), "no");

    let answer = ask(format!("{PODS}/p:80/proxy/")).await;
    assert_eq!(answer.status(), 101);
    assert_eq!(
        (&answer.headers()["upgrade"], &answer.headers()["x-mine"]),
        (&"shouts".parse().unwrap(), &"1".parse().unwrap())
    );
    let mut connection = TokioIo::new(hyper::upgrade::on(answer).await.unwrap());
    connection.write_all(b"hello").await.unwrap();
    let mut heard = String::new();
    connection.read_to_string(&mut heard).await.unwrap();
    assert_eq!(heard, "WELCOME HELLO");
    // Both sides are done, and so is the place.
    drop(connection);
}

/// Lets everybody get pods' proxies, and once they are there, do nothing else.
struct Getters(Arc<AtomicBool>);

impl Authorizer for Getters {
    fn allows(&self, _: &User, access: &Access<'_>, _: &State) -> bool {
        let On::Resource(asked) = access.on else { return false };
        let gets = access.verb == "get" && (asked.resource, asked.subresource) == ("pods", "proxy");
        gets || !self.0.load(Ordering::Relaxed)
    }
}

#[tokio::test]
async fn each_method_is_a_verb_that_must_be_allowed() {
    let only = Arc::new(AtomicBool::new(false));
    let authorizer = Arc::new(Getters(only.clone()));
    let client = cluster_with(Options { authorizer, ..Options::default() }).await;
    only.store(true, Ordering::Relaxed);
    let client = client.as_peer(Some(peer(Role::User, "jane", "some")));
    echoes(&client);
    let url = format!("{PODS}/p:80/proxy/x?watch=1");
    for method in ["GET", "HEAD"] {
        assert_eq!(client.raw(method, &url, &[], "").await.code, 200, "{method}");
    }
    for (method, verb) in [("POST", "create"), ("PUT", "update"), ("PATCH", "patch"), ("DELETE", "delete")] {
        let told = client.raw(method, &url, &[], "").await.with(403);
        let told = told["message"].as_str().unwrap();
        let message =
            format!("pods \"p:80\" is forbidden: User \"jane\" cannot {verb} resource \"pods/proxy\"");
        assert!(told.starts_with(&message), "{told}");
    }
    client.raw("OPTIONS", &url, &[], "").await.with(403);
    let told = client.get(&format!("{SERVICES}/s/proxy/")).await.with(403);
    assert!(told["message"].as_str().unwrap().contains("cannot get resource \"services/proxy\""));
}
