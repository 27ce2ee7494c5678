//! Drives a cluster with kube-rs: typed objects, patches, and the watcher that controllers written with it rest on. The
//! cluster is what `KUBECONFIG` names; everything is done in a namespace of its own.
#![allow(clippy::unwrap_used)]

use std::{collections::BTreeMap, pin::pin, time::Duration};

use futures_util::TryStreamExt;
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Namespace, Pod},
};
use kube::{
    Api, Client, Error, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
    runtime::{
        conditions::{is_deleted, is_deployment_completed},
        wait::await_condition,
        watcher::{self, Event, watcher},
    },
};
use serde_json::json;

const NAMESPACE: &str = "test-kube-rs";
const LIMIT: Duration = Duration::from_secs(90);

fn deployment() -> Deployment {
    serde_json::from_value(json!({
        "metadata": {"name": "web"},
        "spec": {
            "replicas": 2, "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{
                    "name": "web", "image": "kontiki.local/web:1", "imagePullPolicy": "IfNotPresent",
                    "readinessProbe": {"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 1},
                }]},
            },
        },
    }))
    .unwrap()
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// Watches until so many pods are there and all are ready.
async fn ready_pods(pods: Api<Pod>, count: usize) {
    let mut events = pin!(watcher(pods, watcher::Config::default().labels("app=web")));
    let mut seen: BTreeMap<String, Pod> = BTreeMap::new();
    while let Some(event) = events.try_next().await.unwrap() {
        match event {
            Event::Apply(pod) | Event::InitApply(pod) => {
                seen.insert(pod.name_any(), pod);
            }
            Event::Delete(pod) => {
                seen.remove(&pod.name_any());
            }
            Event::Init | Event::InitDone => {}
        }
        if seen.len() == count && seen.values().all(is_ready) {
            return;
        }
    }
    panic!("the watch ended");
}

async fn completed(deployments: &Api<Deployment>) {
    await_condition(deployments.clone(), "web", is_deployment_completed()).await.unwrap();
}

async fn drive(client: Client) {
    let namespace = serde_json::from_value(json!({"metadata": {"name": NAMESPACE}})).unwrap();
    Api::<Namespace>::all(client.clone()).create(&PostParams::default(), &namespace).await.unwrap();
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), NAMESPACE);
    let pods: Api<Pod> = Api::namespaced(client, NAMESPACE);

    let made = deployments.create(&PostParams::default(), &deployment()).await.unwrap();
    match deployments.create(&PostParams::default(), &deployment()).await {
        Err(Error::Api(status)) => assert_eq!((status.code, status.reason.as_str()), (409, "AlreadyExists")),
        other => panic!("{other:?}"),
    }
    ready_pods(pods.clone(), 2).await;

    let more = Patch::Merge(json!({"spec": {"replicas": 3}}));
    deployments.patch("web", &PatchParams::default(), &more).await.unwrap();
    ready_pods(pods.clone(), 3).await;

    let env = json!({"containers": [{"name": "web", "env": [{"name": "A", "value": "1"}]}]});
    let change = Patch::Strategic(json!({"spec": {"template": {"spec": env}}}));
    let patched = deployments.patch("web", &PatchParams::default(), &change).await.unwrap();
    let spec = patched.spec.template.spec.unwrap();
    assert_eq!(
        spec.containers[0].image.as_deref(),
        Some("kontiki.local/web:1"),
        "merged by the container's name"
    );
    completed(&deployments).await;
    let page = pods.list(&ListParams::default().labels("app=web").limit(2)).await.unwrap();
    assert!(page.items.len() == 2 && page.metadata.continue_.is_some());

    deployments.delete("web", &DeleteParams::foreground()).await.unwrap();
    await_condition(deployments, "web", is_deleted(&made.uid().unwrap())).await.unwrap();
    assert!(pods.list(&ListParams::default()).await.unwrap().items.is_empty());
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let client = Client::try_default().await.unwrap();
    tokio::time::timeout(LIMIT, drive(client)).await.expect("it goes on");
    println!("kube-rs is served");
}
