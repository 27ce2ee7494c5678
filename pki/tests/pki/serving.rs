use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::{Response, StatusCode};
use axum::routing::get;
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use kontiki_pki::{Ca, DialOptions, Dialer, Identity};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;
use tower::ServiceExt;

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

#[tokio::test]
async fn controllers_talk_in_a_lane_of_their_own_and_nobody_else_does() {
    let lane = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("lane")
        .enable_all()
        .build()
        .unwrap();
    let thread = get(|| async { std::thread::current().name().unwrap_or_default().to_owned() });
    let ca = Ca::create("pacific").unwrap();
    let own = stage::controller(&ca, 1);
    let router = Router::new().route("/thread", thread);
    let port = Port::with_lane(&own, ANY_PORT, router, Some(lane.handle().clone()));
    let (address, name) = (port.address.to_string(), own.controller_server_name(Some(1)));
    let served_in = async |dialer: &Dialer| {
        let channel = dialer.channel(&address, name.clone(), DialOptions::default());
        let request = http::Request::get("/thread").body(tonic::body::Body::empty()).unwrap();
        let answer = channel.oneshot(request).await.map_err(|error| error.to_string())?;
        let body = answer.into_body().collect().await.map_err(|error| error.to_string())?;
        Ok::<_, String>(String::from_utf8(body.to_bytes().to_vec()).unwrap())
    };
    let other: Identity = stage::controller(&ca, 2);
    assert_eq!(served_in(&Dialer::of_lane(&other)).await.unwrap(), "lane");
    assert_ne!(served_in(&Dialer::new(&other)).await.unwrap(), "lane");
    let worker = stage::worker(&ca, "w1");
    assert_ne!(served_in(&Dialer::new(&worker)).await.unwrap(), "lane");
    assert!(served_in(&Dialer::of_lane(&worker)).await.is_err(), "a worker is not let into it");
    port.close().await;
    lane.shutdown_background();
}

/// What a controller says of its end of a connection of HTTP/2: its window for a stream, and its longest frame.
async fn settings(dialer: &Dialer, port: &Port, name: &ServerName<'static>) -> (u32, u32) {
    const WINDOW: u16 = 4;
    const FRAME: u16 = 5;
    let mut stream = dialer.tls(&port.address.to_string(), name.clone()).await.unwrap();
    let no_settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    stream.write_all(&no_settings).await.unwrap();
    let mut head = [0; 9];
    stream.read_exact(&mut head).await.unwrap();
    assert_eq!(head[3], 4, "it begins with its settings");
    let mut said = vec![0; usize::from(u16::from_be_bytes([head[1], head[2]]))];
    stream.read_exact(&mut said).await.unwrap();
    let of = |wanted: u16, default: u32| {
        let mut all = said.chunks_exact(6);
        let found = all.find(|one| one[..2] == wanted.to_be_bytes());
        found.map_or(default, |one| u32::from_be_bytes([one[2], one[3], one[4], one[5]]))
    };
    (of(WINDOW, 65_535), of(FRAME, 16_384))
}

#[tokio::test]
async fn a_workers_connection_for_bulk_has_large_frames_and_a_large_window() {
    let ca = Ca::create("pacific").unwrap();
    let own = stage::controller(&ca, 1);
    let (port, name) = (Port::open(&own).await, own.controller_server_name(Some(1)));
    let worker = Dialer::new(&stage::worker(&ca, "w1"));
    let (window, frame) = settings(&worker.for_bulk(), &port, &name).await;
    assert!((256 << 10..1 << 20).contains(&window) && frame == 64 << 10, "{window}, {frame}");
    assert_eq!(settings(&worker, &port, &name).await, (65_535, 16_384), "as long as nothing is measured");
    let other = Dialer::new(&stage::controller(&ca, 2)).for_bulk();
    assert_eq!(settings(&other, &port, &name).await, (65_535, 16_384), "it is for workers");
    port.close().await;
}
