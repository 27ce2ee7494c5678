//! Whatever is sent to the port, the answer is a Status with the reason, and the next request is served.

use std::time::Duration;

use http::Method;
use kontiki_chaos_tests::{Answer, Client, Raw, exchange};
use kontiki_pki::{Identity, pinned_client_config};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::stage::{MAPS, Stage, run};

const JSON: &str = "application/json";
const YAML: &str = "application/yaml";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const MIB: usize = 1 << 20;

struct Door {
    admin: Identity,
    address: String,
    /// The CA's fingerprint.
    ca: String,
}

impl Door {
    async fn send(&self, method: &str, path: &str, media: &str, body: &[u8]) -> Answer {
        let head = format!("{method} {path} HTTP/1.1\r\ncontent-type: {media}");
        let shown = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
        exchange(self.admin.client_config(), &self.admin, &self.address, &head, body)
            .await
            .unwrap_or_else(|error| panic!("{method} {path} {media} {shown}: {error:#}"))
    }

    async fn refused(&self, (method, path, media, body, code, reason, words): Case<'_>) {
        let answer = self.send(method, path, media, &body).await;
        let status = &answer.body;
        let context = format!("{method} {path} {media}: {status}");
        assert_eq!(
            (answer.code, status["kind"].as_str(), status["reason"].as_str()),
            (code, Some("Status"), Some(reason)),
            "{context}"
        );
        assert_eq!(status["code"], code, "{context}");
        assert!(status["message"].as_str().unwrap().contains(words), "{words:?} in {context}");
    }

    async fn serves(&self) {
        assert_eq!(self.send("GET", MAPS, JSON, b"").await.body["kind"], "ConfigMapList");
    }
}

type Case<'a> = (&'a str, &'a str, &'a str, Vec<u8>, u16, &'a str, &'a str);

fn named(metadata: Value) -> Vec<u8> {
    json!({"metadata": metadata}).to_string().into_bytes()
}

#[test]
fn bad_input_gets_a_status_and_never_a_dropped_connection() {
    let stage = Stage::of(1, 0);
    let door =
        Door { admin: stage.admin(), address: stage.address(), ca: stage.ca().fingerprint().to_owned() };
    let strict = format!("{MAPS}?fieldValidation=Strict");
    let nested =
        format!(r#"{{"metadata":{{"name":"d"}},"data":{}1{}}}"#, "[".repeat(20_000), "]".repeat(20_000));
    let bomb: String = ('a'..'i')
        .map(|c| match c {
            'a' => "a: &a [x]\n".to_owned(),
            _ => format!("{c}: &{c} [{}]\n", vec![format!("*{}", (c as u8 - 1) as char); 9].join(",")),
        })
        .collect();
    let cases: Vec<Case<'_>> = vec![
        ("POST", MAPS, JSON, b"{\"metadata\":{".to_vec(), 400, "BadRequest", "invalid JSON"),
        ("POST", MAPS, JSON, b"\xff\xfe\0".to_vec(), 400, "BadRequest", ""),
        ("POST", MAPS, JSON, b"".to_vec(), 400, "BadRequest", "body is empty"),
        ("POST", MAPS, JSON, b"[1]".to_vec(), 400, "BadRequest", "cannot unmarshal"),
        ("POST", MAPS, JSON, br#"{"data":{"a":1}}"#.to_vec(), 400, "BadRequest", "cannot unmarshal number"),
        ("POST", MAPS, YAML, b"a: [".to_vec(), 400, "BadRequest", "YAML"),
        ("POST", MAPS, YAML, bomb.into_bytes(), 400, "BadRequest", "YAML"),
        ("POST", MAPS, PROTOBUF, b"{}".to_vec(), 400, "BadRequest", "6b 38 73 00"),
        ("POST", MAPS, PROTOBUF, b"k8s\0\x0a\xff\xff\xff\xff".to_vec(), 400, "BadRequest", ""),
        ("POST", MAPS, JSON, nested.into_bytes(), 400, "BadRequest", "depth"),
        ("POST", MAPS, "text/plain", b"hello".to_vec(), 415, "UnsupportedMediaType", "media types"),
        (
            "POST",
            &strict,
            JSON,
            br#"{"metadata":{"name":"a"},"extra":1}"#.to_vec(),
            400,
            "BadRequest",
            "unknown field \"extra\"",
        ),
        ("POST", MAPS, JSON, named(json!({"name": "No_Good"})), 422, "Invalid", "RFC 1123"),
        ("POST", MAPS, JSON, named(json!({"name": "a".repeat(300)})), 422, "Invalid", "253"),
        (
            "POST",
            MAPS,
            JSON,
            named(json!({"name": "a", "labels": {"no spaces": "b"}})),
            422,
            "Invalid",
            "metadata.labels",
        ),
        (
            "POST",
            MAPS,
            JSON,
            named(json!({"name": "a", "labels": {"a": "-x-"}})),
            422,
            "Invalid",
            "metadata.labels",
        ),
        ("POST", MAPS, JSON, vec![b' '; 3 * MIB + 1], 413, "RequestEntityTooLarge", "limit is 3145728"),
        // Much more than the kernel takes off the client's hands before anybody reads.
        ("POST", MAPS, JSON, vec![b' '; 24 * MIB], 413, "RequestEntityTooLarge", "limit is 3145728"),
        (
            "POST",
            "/api/v1/namespaces/default/widgets",
            JSON,
            vec![b' '; 12 * MIB],
            404,
            "NotFound",
            "could not find",
        ),
        ("PUT", MAPS, JSON, vec![b' '; 12 * MIB], 405, "MethodNotAllowed", "not supported"),
        ("GET", "/apis/apps/v9/deployments", JSON, vec![], 404, "NotFound", "could not find"),
        ("GET", "/apis/nobody.example/v1/things", JSON, vec![], 404, "NotFound", "could not find"),
        ("GET", "/api/v1/%ff", JSON, vec![], 400, "BadRequest", "UTF-8"),
        ("BREW", MAPS, JSON, vec![], 405, "MethodNotAllowed", "not supported"),
        (
            "GET",
            "/api/v1/namespaces/default/configmaps/none",
            JSON,
            vec![],
            404,
            "NotFound",
            "\"none\" not found",
        ),
    ];
    run(async {
        for case in cases {
            door.refused(case).await;
        }
        stale_versions_conflict(&door).await;
        large_bodies_over_http2(&door).await;
        slow_and_cut_requests(&door).await;
        what_is_no_request(&door).await;
        anonymous_requests(&door).await;
    });
    let log = stage.log("c1");
    assert!(!log.contains("panicked"), "{log}");
}

async fn stale_versions_conflict(door: &Door) {
    let client = Client::connect(&door.admin, &door.address).await.unwrap();
    let map = json!({"metadata": {"name": "stale"}, "data": {"a": "1"}});
    let old = client.expect(Method::POST, MAPS, Some(&map)).await.unwrap();
    let path = format!("{MAPS}/stale");
    client.expect(Method::PUT, &path, Some(&json!({"metadata": {"name": "stale"}}))).await.unwrap();
    let answer = client.send(Method::PUT, &path, Some(&old)).await.unwrap();
    assert_eq!((answer.code, answer.body["reason"].as_str()), (409, Some("Conflict")), "{answer:?}");
    assert!(answer.body["message"].as_str().unwrap().contains("the object has been modified"), "{answer:?}");
}

async fn large_bodies_over_http2(door: &Door) {
    let client = Client::connect(&door.admin, &door.address).await.unwrap();
    let map = json!({"metadata": {"name": "large"}, "data": {"a": "x".repeat(5 * MIB)}});
    let answer = client.send(Method::POST, MAPS, Some(&map)).await.unwrap();
    assert_eq!((answer.code, answer.body["kind"].as_str()), (413, Some("Status")), "{answer:?}");
    // The connection lives.
    client.expect(Method::GET, MAPS, None).await.unwrap();
}

async fn slow_and_cut_requests(door: &Door) {
    let connect = || Raw::connect(door.admin.client_config(), &door.admin, &door.address);
    let head = |timeout: &str| {
        format!(
            "POST {MAPS}{timeout} HTTP/1.1\r\nhost: k\r\nconnection: close\r\ncontent-type: {JSON}\r\ncontent-length: 100\r\n\r\n"
        )
    };
    // The rest never comes: the request's time runs out, in words.
    let mut slow = connect().await.unwrap();
    slow.write(head("?timeout=1s").as_bytes()).await.unwrap();
    slow.write(b"{\"metadata\"").await.unwrap();
    let answer = slow.answer().await.unwrap();
    assert_eq!((answer.code, answer.body["reason"].as_str()), (504, Some("Timeout")), "{answer:?}");
    // Cut off in the middle of the body and of the head.
    let mut cut = connect().await.unwrap();
    cut.write(head("").as_bytes()).await.unwrap();
    cut.write(b"{").await.unwrap();
    drop(cut);
    let mut cut = connect().await.unwrap();
    cut.write(b"POST /api/v1/na").await.unwrap();
    drop(cut);
    // A head that is too large, and one that is none.
    let mut large = connect().await.unwrap();
    let padding = "x".repeat(100_000);
    large.write(format!("GET /{padding} HTTP/1.1\r\nhost: k\r\n\r\n").as_bytes()).await.unwrap();
    assert_eq!(large.answer().await.unwrap().code, 431);
    let mut garbage = connect().await.unwrap();
    garbage.write(b"\x01\x02 garbage\r\n\r\n").await.unwrap();
    assert_eq!(garbage.answer().await.unwrap().code, 400);
    door.serves().await;
}

async fn what_is_no_request(door: &Door) {
    for bytes in [&b"GET / HTTP/1.1\r\nhost: k\r\n\r\n"[..], b"\x16\x03\x01\xff\xff", b"SSH-2.0-x\r\n"] {
        let mut stream = TcpStream::connect(&door.address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        let ended = tokio::time::timeout(Duration::from_secs(30), async {
            let _ = stream.shutdown().await;
            let _ = stream.read_to_end(&mut answer).await;
        });
        ended.await.expect("a connection without TLS is ended");
        assert!(!answer.starts_with(b"HTTP"), "nothing is served without TLS");
    }
    door.serves().await;
}

async fn anonymous_requests(door: &Door) {
    let stranger = pinned_client_config(&door.ca).unwrap();
    let ask = async |method: &str, path: &str| {
        let head = format!("{method} {path} HTTP/1.1");
        exchange(stranger.clone(), &door.admin, &door.address, &head, b"").await.unwrap()
    };
    for path in ["/livez", "/readyz", "/healthz", "/version"] {
        assert_eq!(ask("GET", path).await.code, 200, "{path}");
    }
    for (method, path) in [
        ("GET", "/"),
        ("GET", "/api"),
        ("GET", "/metrics"),
        ("GET", MAPS),
        ("POST", MAPS),
        ("GET", "/nowhere"),
    ] {
        let answer = ask(method, path).await;
        assert_eq!((answer.code, answer.body["reason"].as_str()), (403, Some("Forbidden")), "{path}");
        assert!(answer.body["message"].as_str().unwrap().contains("system:anonymous"), "{answer:?}");
    }
}
