use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{fixed, refused, stored, with};
use crate::client::{Client, MERGE, cells};

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
async fn services_keep_the_address_that_they_got() {
    let client = Client::new();
    let url = "/api/v1/namespaces/default/services";
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]},
    });
    let made = client.post(url, &service).await.with(201);
    let address = made["spec"]["clusterIP"].as_str().unwrap().to_owned();
    assert!(address.starts_with("10."), "{made}");
    assert_eq!(made["spec"]["clusterIPs"], json!([address]));
    let one = format!("{url}/web");
    let table = client.table(&one).await;
    assert_eq!(cells(&table)[2], json!(address));

    // Who does not know of the address does not take it away, whatever else changes.
    let replaced =
        client.put(&one, &with(&service, &[("/spec/selector/app", json!("other"))])).await.with(200);
    assert_eq!(replaced["spec"]["clusterIP"], json!(address));
    assert_eq!(replaced["spec"]["clusterIPs"], json!([address]));
    let again = client.put(&one, &with(&service, &[("/spec/selector/app", json!("other"))])).await.with(200);
    assert_eq!(
        again["metadata"]["resourceVersion"], replaced["metadata"]["resourceVersion"],
        "nothing changed"
    );
    let other = json!({"spec": {"clusterIP": "10.96.0.99", "clusterIPs": ["10.96.0.99"]}});
    let refusal = client.patch(&one, MERGE, &other).await.with(422);
    assert!(refusal["message"].as_str().unwrap().contains("may not change once set"), "{refusal}");

    let taken = with(&service, &[("/metadata/name", json!("second")), ("/spec/clusterIP", json!(address))]);
    let refusal = client.post(url, &taken).await.with(422);
    let words = format!(
        "Service \"second\" is invalid: spec.clusterIPs: Invalid value: [\"{address}\"]: failed to allocate IP {address}: \
         provided IP is already allocated"
    );
    assert_eq!(refusal["message"], json!(words));

    let external = json!({"spec": {"type": "ExternalName", "externalName": "example.com"}});
    let given_back = client.patch(&one, MERGE, &external).await.with(200);
    assert_eq!(given_back["spec"].get("clusterIP"), None, "{given_back}");
    client.post(url, &taken).await.with(201);
}

/// Types come and go as in Kubernetes' conformance tests of Services.
#[tokio::test]
async fn services_of_other_types_have_other_ports() {
    let client = Client::new();
    let url = "/api/v1/namespaces/default/services";
    let one = format!("{url}/web");
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
        "spec": {"type": "NodePort", "ports": [{"name": "a", "port": 80}, {"name": "b", "port": 81}]},
    });
    let port = |service: &Value, at: usize| service["spec"]["ports"][at]["nodePort"].as_i64();
    let made = client.post(url, &service).await.with(201);
    assert!(port(&made, 0).is_some_and(|port| port >= 30_000) && port(&made, 0) != port(&made, 1), "{made}");
    assert_eq!(made["spec"]["externalTrafficPolicy"], "Cluster");
    assert_eq!(made["spec"]["internalTrafficPolicy"], "Cluster");
    let shown = client.table(&one).await;
    let ports = format!("80:{}/TCP,81:{}/TCP", port(&made, 0).unwrap(), port(&made, 1).unwrap());
    assert_eq!(cells(&shown)[4], json!(ports));
    // Who does not know of them keeps them by the names of the ports, wherever these stand.
    let turned =
        with(&service, &[("/spec/ports", json!([{"name": "b", "port": 82}, {"name": "a", "port": 80}]))]);
    let replaced = client.put(&one, &turned).await.with(200);
    assert_eq!((port(&replaced, 0), port(&replaced, 1)), (port(&made, 1), port(&made, 0)));
    let inside = client.patch(&one, MERGE, &json!({"spec": {"type": "ClusterIP"}})).await.with(200);
    assert_eq!((port(&inside, 0), inside["spec"].get("externalTrafficPolicy")), (None, None), "{inside}");
    // What was given back may be had by others.
    let other = with(
        &service,
        &[
            ("/metadata/name", json!("other")),
            ("/spec/ports", json!([{"port": 80, "nodePort": port(&made, 0)}])),
        ],
    );
    client.post(url, &other).await.with(201);
    let taken = with(&other, &[("/metadata/name", json!("third"))]);
    let refusal = client.post(url, &taken).await.with(422);
    assert_eq!(refusal["details"]["causes"][0]["field"], "spec.ports[0].nodePort");
    let external = json!({"spec": {"type": "ExternalName", "externalName": "example.com"}});
    let external = client.patch(&one, MERGE, &external).await.with(200);
    assert_eq!(external["spec"].get("ipFamilies"), None, "{external}");
    let back = json!({"spec": {"type": "NodePort", "externalName": null}});
    let back = client.patch(&one, MERGE, &back).await.with(200);
    assert!(port(&back, 0).is_some() && port(&back, 0) != port(&made, 0), "{back}");
    assert!(back["spec"]["clusterIP"].as_str().is_some_and(|ip| ip.starts_with("10.")), "{back}");
}

#[tokio::test]
async fn services_tell_nothing_that_their_type_has_not() {
    let client = Client::new();
    let url = "/api/v1/namespaces/default/services";
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
        "spec": {"type": "ClusterIP", "ports": [{"port": 80}]},
    });
    let cases = [
        (
            vec![("/spec/ports/0/nodePort", json!(30_001))],
            vec![("spec.ports[0].nodePort", "may not be used when `type` is 'ClusterIP'")],
        ),
        (
            vec![("/spec/type", json!("NodePort")), ("/spec/clusterIP", json!("None"))],
            vec![("spec.clusterIPs[0]", "may not be set to 'None' for NodePort services")],
        ),
        (
            vec![("/spec/externalTrafficPolicy", json!("Local"))],
            vec![("spec.externalTrafficPolicy", "externally-accessible")],
        ),
        (
            vec![("/spec/internalTrafficPolicy", json!("Odd"))],
            vec![("spec.internalTrafficPolicy", "Unsupported value")],
        ),
        (
            vec![("/spec/allocateLoadBalancerNodePorts", json!(true))],
            vec![("spec.allocateLoadBalancerNodePorts", "LoadBalancer")],
        ),
        (
            vec![("/spec/healthCheckNodePort", json!(30_001))],
            vec![("spec.healthCheckNodePort", "may only be set when")],
        ),
        (
            vec![
                ("/spec/sessionAffinity", json!("ClientIP")),
                ("/spec/sessionAffinityConfig", json!({"clientIP": {"timeoutSeconds": 86_401}})),
            ],
            vec![(
                "spec.sessionAffinityConfig.clientIP.timeoutSeconds",
                "must be greater than 0 and less than 86400",
            )],
        ),
        (
            vec![(
                "/spec",
                json!({"type": "ExternalName", "externalName": "A_B", "clusterIP": "10.96.0.9", "ipFamilyPolicy": "SingleStack"}),
            )],
            vec![
                ("spec.clusterIPs", "Forbidden"),
                ("spec.ipFamilyPolicy", "Forbidden"),
                ("spec.externalName", "subdomain"),
            ],
        ),
        (
            vec![(
                "/spec",
                json!({"type": "NodePort", "ports": [
                {"name": "a", "port": 1, "nodePort": 30_001}, {"name": "b", "port": 2, "nodePort": 30_001}]}),
            )],
            vec![("spec.ports[1].nodePort", "Duplicate value: 30001")],
        ),
    ];
    for (edits, causes) in cases {
        refused(&client, url, &service, &edits, &causes).await;
    }
}

#[tokio::test]
async fn services_are_completed() {
    let client = Client::new();
    let url = "/api/v1/namespaces/default/services";
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
        "spec": {"selector": {"app": "web"}, "sessionAffinity": "ClientIP", "ports": [
            {"name": "a", "port": 80}, {"name": "b", "port": 81, "targetPort": ""},
            {"name": "c", "port": 82, "targetPort": 0}, {"name": "d", "port": 83, "targetPort": "http"}]},
    });
    let made = client.post(url, &service).await.with(201);
    let ports = made["spec"]["ports"].as_array().unwrap();
    let targets: Vec<&Value> = ports.iter().map(|port| &port["targetPort"]).collect();
    assert_eq!(json!(targets), json!([80, 81, 82, "http"]));
    assert_eq!(made["spec"]["sessionAffinityConfig"], json!({"clientIP": {"timeoutSeconds": 10_800}}));
    let one = format!("{url}/web");
    let shorter = json!({"spec": {"sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 60}}}});
    let changed = client.patch(&one, MERGE, &shorter).await.with(200);
    assert_eq!(changed["spec"]["sessionAffinityConfig"], shorter["spec"]["sessionAffinityConfig"]);
    let changed = client.patch(&one, MERGE, &json!({"spec": {"sessionAffinity": "None"}})).await.with(200);
    assert_eq!(changed["spec"].get("sessionAffinityConfig"), None, "{changed}");
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

#[tokio::test]
async fn requests_for_certificates_are_approved() {
    let client = Client::new();
    let url = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
    let pem =
        STANDARD.encode("-----BEGIN CERTIFICATE REQUEST-----\nMIIB\n-----END CERTIFICATE REQUEST-----\n");
    let request = json!({
        "apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "metadata": {"name": "jo"},
        "spec": {"request": pem, "signerName": "kubernetes.io/kube-apiserver-client", "expirationSeconds": 86400,
            "usages": ["client auth"], "username": "root", "groups": ["system:masters"]},
    });
    let defaults = [
        // Who asks is said by the server.
        ("/spec/username", json!("admin")),
        ("/spec/groups", json!(["system:masters", "system:authenticated"])),
        ("/status", json!({})),
    ];
    let made = stored(
        &client,
        url,
        &request,
        &defaults,
        &[
            ("Age", json!(null)),
            ("SignerName", json!("kubernetes.io/kube-apiserver-client")),
            ("Requestor", json!("admin")),
            ("RequestedDuration", json!("24h")),
            ("Condition", json!("Pending")),
        ],
    )
    .await;
    let own = format!("{url}/jo");
    let jane = [
        ("impersonate-user", "jane"),
        ("impersonate-group", "system:masters"),
        ("impersonate-uid", "7"),
        ("impersonate-extra-team", "a"),
    ];
    let hers = with(&request, &[("/metadata/name", json!("jane"))]).to_string();
    let hers = client.raw("POST", url, &jane, hers).await.with(201);
    let who = ["username", "uid", "extra"].map(|key| hers["spec"][key].clone());
    assert_eq!(who, [json!("jane"), json!("7"), json!({"team": ["a"]})]);
    // What was asked for stays.
    let changed = client.put(&own, &with(&made, &[("/spec/usages", json!(["any"]))])).await.with(200);
    assert_eq!(changed["spec"], made["spec"]);
    let approved =
        json!([{"type": "Approved", "status": "True", "reason": "KubectlApprove", "message": "yes"}]);
    // Not by the door of signers, who report the certificate.
    let told = with(&made, &[("/status", json!({"conditions": approved, "certificate": "eA=="}))]);
    let told = client.put(&format!("{own}/status"), &told).await.with(200);
    assert_eq!(told["status"], json!({"certificate": "eA=="}));
    let verdict =
        with(&told, &[("/status", json!({"conditions": approved})), ("/spec/usages", json!(["any"]))]);
    let verdict = client.put(&format!("{own}/approval"), &verdict).await.with(200);
    assert_eq!(verdict["status"], json!({"certificate": "eA==", "conditions": approved}));
    assert_eq!(verdict["spec"], made["spec"]);
    assert_eq!(cells(&client.table(&own).await)[5], "Approved,Issued");
    // What was decided stays where it stood, as it was, and what a signer adds comes where he put it.
    let mut more = verdict.clone();
    more["status"]["conditions"][0]["message"] = json!("no");
    more["status"]["conditions"].as_array_mut().unwrap().push(json!({"type": "Seen", "status": "True"}));
    let seen = client.put(&format!("{own}/status"), &more).await.with(200);
    assert_eq!(seen["status"]["conditions"], json!([approved[0], {"type": "Seen", "status": "True"}]));
    more["status"]["conditions"] = approved.clone();
    client
        .put(&format!("{own}/status"), &with(&more, &[("/metadata/resourceVersion", json!(null))]))
        .await
        .with(200);
    let denied = json!({"status": {"conditions": [approved[0], {"type": "Denied", "status": "True"}]}});
    let status = client.patch(&format!("{own}/approval"), MERGE, &denied).await.with(422);
    assert_eq!(status["details"]["causes"][0]["field"], "status.conditions");
    // What was approved may be used by now.
    let turned = json!({"status": {"conditions": [{"type": "Denied", "status": "True"}]}});
    let status = client.patch(&format!("{own}/approval"), MERGE, &turned).await.with(422);
    assert_eq!(
        status["details"]["causes"][0]["message"],
        "Forbidden: updates may not remove a condition of type \"Approved\""
    );
    let found = client.get(&format!("{url}?fieldSelector=spec.signerName%3Dexample.com%2Fx")).await.with(200);
    assert_eq!(found["items"], json!([]));
    let edits = [
        ("/spec/usages", json!(["flying"])),
        ("/spec/signerName", json!("signer")),
        ("/spec/expirationSeconds", json!(60)),
        ("/spec/request", json!("eA==")),
    ];
    refused(
        &client,
        url,
        &request,
        &edits,
        &[
            ("spec.request", "PEM block type must be CERTIFICATE REQUEST"),
            ("spec.usages[0]", "Unsupported value: \"flying\""),
            (
                "spec.signerName",
                "must be a fully qualified domain and path of the form 'example.com/signer-name'",
            ),
            ("spec.expirationSeconds", "may not specify a duration less than 600 seconds (10 minutes)"),
        ],
    )
    .await;
}

#[tokio::test]
async fn api_services() {
    let client = Client::new();
    let url = "/apis/apiregistration.k8s.io/v1/apiservices";
    let service = json!({
        "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": {"name": "v1beta1.metrics.example.com"},
        "spec": {"group": "metrics.example.com", "version": "v1beta1", "groupPriorityMinimum": 100, "versionPriority": 10,
            "service": {"namespace": "default", "name": "metrics"}},
    });
    let made = client.post(url, &service).await.with(201);
    assert_eq!(made["spec"]["service"]["port"], 443);
    let shown = client.table(&format!("{url}/v1beta1.metrics.example.com")).await;
    assert_eq!(cells(&shown)[1..3], [json!("default/metrics"), json!("Unknown")]);
    let local = json!({
        "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": {"name": "v1."},
        "spec": {"version": "v1", "groupPriorityMinimum": 18000, "versionPriority": 1},
    });
    let columns = [("Service", json!("Local")), ("Available", json!("Unknown")), ("Age", json!(null))];
    stored(&client, url, &local, &[], &columns).await;
    let edits = [("/spec/versionPriority", json!(2000)), ("/spec/service/name", json!(""))];
    refused(
        &client,
        url,
        &service,
        &edits,
        &[
            ("metadata.name", "must be `spec.version+\".\"+spec.group`: \"v1beta1.metrics.example.com\""),
            ("spec.versionPriority", "must be positive and less than 1000"),
            ("spec.service.name", "Required value"),
        ],
    )
    .await;
}
