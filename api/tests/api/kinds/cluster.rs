use serde_json::json;

use super::{fixed, refused, stored, with};
use crate::client::Client;

#[tokio::test]
async fn ingress_classes() {
    let client = Client::new();
    let url = "/apis/networking.k8s.io/v1/ingressclasses";
    let class = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "metadata": {"name": "edge"},
        "spec": {"controller": "example.com/edge", "parameters": {"apiGroup": "example.com", "kind": "Edge", "name": "big"}},
    });
    let made = stored(
        &client,
        url,
        &class,
        &[("/spec/parameters/scope", json!("Cluster"))],
        &[
            ("Controller", json!("example.com/edge")),
            ("Parameters", json!("Edge.example.com/big")),
            ("Age", json!(null)),
        ],
    )
    .await;
    let other = [("/spec/controller", json!("example.com/other"))];
    fixed(&client, url, &made, &other, &[("spec.controller", "field is immutable")]).await;
    let edits = [
        ("/spec/controller", json!("edge")),
        ("/spec/parameters", json!({"kind": "Edge", "scope": "Namespace"})),
    ];
    refused(
        &client,
        url,
        &class,
        &edits,
        &[
            ("spec.parameters.name", "Required value"),
            ("spec.controller", "must be a domain-prefixed path (such as \"acme.io/foo\")"),
            ("spec.parameters.namespace", "`parameters.scope` is set to 'Namespace'"),
        ],
    )
    .await;
}

#[tokio::test]
async fn service_addresses() {
    let client = Client::new();
    let url = "/apis/networking.k8s.io/v1/servicecidrs";
    let range = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": {"name": "more"},
        "spec": {"cidrs": ["10.9.0.0/16"]},
    });
    let made =
        stored(&client, url, &range, &[], &[("CIDRs", json!("10.9.0.0/16")), ("Age", json!(null))]).await;
    fixed(
        &client,
        url,
        &made,
        &[("/spec/cidrs", json!(["10.8.0.0/16"]))],
        &[("spec.cidrs", "field is immutable")],
    )
    .await;
    let both = with(&made, &[("/spec/cidrs", json!(["10.9.0.0/16", "2001:db8::/64"]))]);
    client.put(&format!("{url}/more"), &both).await.with(200);
    let causes = [("spec.cidrs[0]", "must be a valid CIDR value")];
    refused(&client, url, &range, &[("/spec/cidrs", json!(["10.9.0.0/33"]))], &causes).await;
    refused(
        &client,
        url,
        &range,
        &[("/spec/cidrs", json!([]))],
        &[("spec.cidrs", "at least one CIDR required")],
    )
    .await;

    let url = "/apis/networking.k8s.io/v1/ipaddresses";
    let address = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "IPAddress", "metadata": {"name": "2001:db8::2a"},
        "spec": {"parentRef": {"resource": "services", "namespace": "default", "name": "web"}},
    });
    let made = stored(&client, url, &address, &[], &[("ParentRef", json!("services/default/web"))]).await;
    fixed(
        &client,
        url,
        &made,
        &[("/spec/parentRef/name", json!("x"))],
        &[("spec.parentRef", "field is immutable")],
    )
    .await;
    refused(
        &client,
        url,
        &address,
        &[("/spec/parentRef", json!(null))],
        &[("spec.parentRef", "Required value"), ("metadata.name", "must be a valid IP address")],
    )
    .await;
    let odd = with(&address, &[("/metadata/name", json!("2001:db8:0::2a"))]);
    let status = client.post(url, &odd).await.with(422);
    assert!(
        status["message"].as_str().unwrap().contains("not a valid address in canonical format"),
        "{status}"
    );
}
