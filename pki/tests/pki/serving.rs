use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::{Response, StatusCode};
use axum::routing::get;
use hyper_util::rt::TokioIo;
use kontiki_pki::Ca;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;

use crate::stage::{self, Port};

const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

#[tokio::test]
async fn a_connection_can_leave_http() {
    async fn echo(mut request: Request) -> Response<axum::body::Body> {
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let mut stream = TokioIo::new(upgrade.await.unwrap());
            let mut word = [0; 4];
            stream.read_exact(&mut word).await.unwrap();
            stream.write_all(&word).await.unwrap();
            stream.shutdown().await.unwrap();
        });
        let answer = Response::builder().status(StatusCode::SWITCHING_PROTOCOLS);
        answer
            .header("connection", "upgrade")
            .header("upgrade", "echo")
            .body(axum::body::Body::empty())
            .unwrap()
    }
    let ca = Ca::create("pacific").unwrap();
    let port = Port::serve(&stage::controller(&ca, 1), ANY_PORT, Router::new().route("/echo", get(echo)));
    let mut stream = port.connect(stage::anonymous_client(&ca), stage::localhost()).await.unwrap();
    let head = b"GET /echo HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n";
    stream.write_all(head).await.unwrap();
    stream.write_all(b"ahoy").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 101 ") && answer.ends_with("\r\n\r\nahoy"), "{answer}");
    port.close().await;
}

#[tokio::test]
async fn a_shutdown_lets_a_running_request_finish() {
    let ca = Ca::create("pacific").unwrap();
    let (begun, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (tell, wait) = (begun.clone(), go_on.clone());
    let who = get(async move || {
        tell.notify_one();
        wait.notified().await;
        "done"
    });
    let port = Arc::new(Port::serve(&stage::controller(&ca, 1), ANY_PORT, Router::new().route("/who", who)));
    let (asked, client) = (port.clone(), stage::anonymous_client(&ca));
    let answer = tokio::spawn(async move { asked.who(client, stage::localhost()).await });
    begun.notified().await;
    port.begin_to_close();
    go_on.notify_one();
    assert_eq!(answer.await.unwrap().unwrap(), "done");
    Arc::into_inner(port).unwrap().close().await;
}

#[tokio::test]
async fn a_silent_stranger_holds_up_nobody() {
    let ca = Ca::create("pacific").unwrap();
    let port = Port::open(&stage::controller(&ca, 1)).await;
    // Neither one that never begins the handshake, nor one that says nothing after it, nor one that talks nonsense.
    let _mute = tokio::net::TcpStream::connect(port.address).await.unwrap();
    let _quiet = port.connect(stage::anonymous_client(&ca), stage::localhost()).await.unwrap();
    let mut plain = tokio::net::TcpStream::connect(port.address).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    // What comes back is a TLS alert, if anything, and never an answer in plain text.
    let _ = plain.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP"));
    assert_eq!(port.who(stage::anonymous_client(&ca), stage::localhost()).await.unwrap(), "anonymous");
    port.close().await;
}
