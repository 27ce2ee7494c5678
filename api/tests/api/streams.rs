//! What is refused before a request becomes a stream.

use std::sync::Arc;

use kontiki_actors::State;
use kontiki_api::{
    FeedLimits, Options,
    rest::{Access, Authorizer, User},
};
use serde_json::json;

use crate::client::{Client, pod};

const URL: &str = "/api/v1/namespaces/default/pods/p";

async fn with_pods(client: &Client) {
    let mut placed = pod("p");
    placed["spec"]["nodeName"] = "n1".into();
    placed["spec"]["containers"].as_array_mut().unwrap().push(json!({"name": "d", "image": "nginx"}));
    client.post("/api/v1/namespaces/default/pods", &placed).await.with(201);
    client.post("/api/v1/namespaces/default/pods", &pod("waits")).await.with(201);
}

#[tokio::test]
async fn refusals_come_as_statuses_in_the_words_of_kubernetes() {
    let client = Client::new();
    with_pods(&client).await;
    let waits = "/api/v1/namespaces/default/pods/waits";
    for (url, code, message) in [
        (
            format!("{URL}/exec?command=true&container=c"),
            400,
            "you must specify at least 1 of stdin, stdout, stderr",
        ),
        (
            format!("{URL}/exec?command=sh&container=c&tty=1&stdout=1&stderr=1"),
            400,
            "tty and stderr cannot both be true",
        ),
        (
            format!("{URL}/exec?container=c&stdout=1"),
            400,
            "you must specify at least one command for the container",
        ),
        (format!("{URL}/exec?command=true&container=x&stdout=1"), 400, "container x is not valid for pod p"),
        (
            format!("{URL}/exec?command=true&stdout=1"),
            400,
            "a container name must be specified for pod p, choose one of: [c d]",
        ),
        (format!("{waits}/exec?command=true&stdout=1"), 400, "pod waits does not have a host assigned"),
        (format!("{waits}/portforward"), 400, "pod waits does not have a host assigned"),
        (format!("{URL}/exec?command=true&container=c&stdout=1"), 400, "Upgrade request required"),
        (format!("{URL}/portforward"), 400, "Upgrade request required"),
        ("/api/v1/namespaces/default/pods/q/exec?command=true&stdout=1".into(), 404, "pods \"q\" not found"),
    ] {
        for method in ["GET", "POST"] {
            let refused = client.raw(method, &url, &[], "").await.with(code);
            let told = refused["message"].as_str().unwrap();
            assert!(told.contains(message), "{method} {url}: {told}");
        }
    }
    client.raw("DELETE", &format!("{URL}/exec"), &[], "").await.with(405);
}

/// Lets everybody look, and nobody do anything.
struct Viewers;

impl Authorizer for Viewers {
    fn allows(&self, _: &User, access: &Access<'_>, _: &State) -> bool {
        matches!(access.verb, "get" | "list")
    }
}

#[tokio::test]
async fn who_may_only_look_gets_no_stream() {
    let client =
        Client::with(FeedLimits::default(), Options { authorizer: Arc::new(Viewers), ..Options::default() });
    for below in ["exec", "attach", "portforward"] {
        for method in ["GET", "POST"] {
            let refused = client.raw(method, &format!("{URL}/{below}?stdout=1"), &[], "").await.with(403);
            let told = refused["message"].as_str().unwrap();
            assert!(told.contains(&format!("cannot create resource \"pods/{below}\"")), "{method}: {told}");
        }
    }
    client.get(&format!("{URL}/log")).await.with(404);
}
