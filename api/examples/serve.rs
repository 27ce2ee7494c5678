//! The API over a cluster in memory, as plain HTTP, to try kubectl by hand:
//! `cargo run -p kontiki-api --example serve -- 8001`, then `kubectl -s http://127.0.0.1:8001 get pods`.

#[path = "../tests/api/memory.rs"]
mod memory;

use std::time::Duration;

use axum::{extract::Request, middleware::Next};
use kontiki_api::{FeedLimits, Options, router};
use kontiki_pki::{Peer, Role};

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let port = std::env::args().nth(1).unwrap_or_else(|| "8001".into());
    let memory = memory::Memory::new(FeedLimits::default());
    memory.add_node("node-1");
    memory.add_node("node-2");
    let crew = memory.clone();
    tokio::spawn(async move {
        loop {
            if !crew.step() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    });
    let app = router(memory, Options::default()).layer(axum::middleware::from_fn(
        |mut request: Request, next: Next| async move {
            request.extensions_mut().insert(Peer {
                cluster: "memory".into(),
                role: Role::User,
                name: "admin".into(),
                node_id: None,
                groups: vec!["system:masters".into()],
                fingerprint: String::new(),
            });
            next.run(request).await
        },
    ));
    let listener = tokio::net::TcpListener::bind(format!("127.0.0.1:{port}")).await?;
    println!("serving http://{}", listener.local_addr()?);
    axum::serve(listener, app).await
}
