use serde_json::{Value, json};

use super::{refused, stored};
use crate::client::Client;

const API: &str = "admissionregistration.k8s.io/v1";

pub(super) fn webhooks(kind: &str) -> Value {
    json!({
        "apiVersion": API, "kind": kind, "metadata": {"name": "guards"},
        "webhooks": [{
            "name": "pods.guard.example.com", "sideEffects": "None", "admissionReviewVersions": ["v1"],
            "clientConfig": {"service": {"namespace": "default", "name": "guard", "path": "/check"}},
            "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}],
        }],
    })
}

#[tokio::test]
async fn webhook_configurations() {
    let client = Client::new();
    for (kind, plural, again) in [
        ("MutatingWebhookConfiguration", "mutatingwebhookconfigurations", json!("Never")),
        ("ValidatingWebhookConfiguration", "validatingwebhookconfigurations", json!(null)),
    ] {
        let url = format!("/apis/{API}/{plural}");
        let manifest = webhooks(kind);
        let defaults = [
            ("/webhooks/0/failurePolicy", json!("Fail")),
            ("/webhooks/0/matchPolicy", json!("Equivalent")),
            ("/webhooks/0/timeoutSeconds", json!(10)),
            ("/webhooks/0/namespaceSelector", json!({})),
            ("/webhooks/0/rules/0/scope", json!("*")),
            ("/webhooks/0/clientConfig/service/port", json!(443)),
            ("/webhooks/0/reinvocationPolicy", again),
        ];
        stored(&client, &url, &manifest, &defaults, &[("Webhooks", json!(1)), ("Age", json!(null))]).await;
        let edits = [
            ("/webhooks/0/name", json!("guard")),
            ("/webhooks/0/rules/0/operations", json!(["*", "CREATE"])),
            ("/webhooks/0/rules/0/resources", json!([])),
            ("/webhooks/0/sideEffects", json!("Some")),
            ("/webhooks/0/timeoutSeconds", json!(31)),
            ("/webhooks/0/admissionReviewVersions", json!(["v9"])),
            ("/webhooks/0/clientConfig", json!({"url": "http://guard"})),
            (
                "/webhooks/0/matchConditions",
                json!([{"name": "a", "expression": "object.x >"}, {"name": "a", "expression": "true"}]),
            ),
        ];
        refused(
            &client,
            &url,
            &manifest,
            &edits,
            &[
                ("webhooks[0].name", "should be a domain with at least three segments separated by dots"),
                ("webhooks[0].rules[0].operations", "if '*' is present, must not specify other operations"),
                ("webhooks[0].rules[0].resources", "Required value"),
                ("webhooks[0].sideEffects", "supported values: \"None\", \"NoneOnDryRun\""),
                ("webhooks[0].timeoutSeconds", "the timeout value must be between 1 and 30 seconds"),
                ("webhooks[0].admissionReviewVersions", "must include at least one of v1, v1beta1"),
                ("webhooks[0].clientConfig.url", "'https' is the only allowed URL scheme"),
                ("webhooks[0].matchConditions[0].expression", "compilation failed: ERROR: <input>: "),
                ("webhooks[0].matchConditions[1].name", "Duplicate value: \"a\""),
            ],
        )
        .await;
        let asks = |expression: &str| json!([{"name": "may", "expression": expression}]);
        for (pointer, value, field, told) in [
            (
                "clientConfig",
                json!({"url": "https://a:b@guard/x"}),
                "clientConfig.url",
                "user information is not permitted",
            ),
            (
                "clientConfig",
                json!({"url": "https://guard?y"}),
                "clientConfig.url",
                "query parameters are not permitted",
            ),
            (
                "clientConfig",
                json!({"url": "https://guard#y"}),
                "clientConfig.url",
                "fragments are not permitted",
            ),
            ("clientConfig", json!({"url": "https:///x"}), "clientConfig.url", "host must be specified"),
            (
                "clientConfig",
                json!({"service": {"name": "s", "namespace": ""}}),
                "clientConfig.service.namespace",
                "Required value",
            ),
            (
                "clientConfig",
                json!({"service": {"name": "s", "namespace": "n", "port": 0}}),
                "clientConfig.service.port",
                "port is not valid",
            ),
            (
                "clientConfig",
                json!({"service": {"name": "s", "namespace": "n", "path": "/a//b"}}),
                "clientConfig.service.path",
                "segment[1] may not be empty",
            ),
            ("name", json!("Guard.example.com"), "name", "a lowercase RFC 1123 subdomain"),
            (
                "rules/0/resources",
                json!(["pods", "*"]),
                "rules[0].resources",
                "if '*' is present, must not specify other resources without subresources",
            ),
            (
                "rules/0/resources",
                json!(["pods/*", "pods/exec"]),
                "rules[0].resources[1]",
                "if 'pods/*' is present, must not specify pods/exec",
            ),
            (
                "matchConditions",
                asks("authorizer.path('/x').check('get').allowed()"),
                "matchConditions[0].expression",
                "authorizer is not supported here yet",
            ),
            (
                "matchConditions",
                asks("self.x"),
                "matchConditions[0].expression",
                "undeclared reference to 'self'",
            ),
            (
                "admissionReviewVersions",
                json!(["v1", "v1"]),
                "admissionReviewVersions[1]",
                "duplicate version",
            ),
        ] {
            let edits = [(&*format!("/webhooks/0/{pointer}"), value)];
            refused(&client, &url, &manifest, &edits, &[(&*format!("webhooks[0].{field}"), told)]).await;
        }
        let edits = [
            ("/webhooks/0/sideEffects", json!(null)),
            ("/webhooks/0/admissionReviewVersions", json!(null)),
            ("/webhooks/0/clientConfig", json!({})),
        ];
        refused(
            &client,
            &url,
            &manifest,
            &edits,
            &[
                ("webhooks[0].sideEffects", "Required value"),
                ("webhooks[0].admissionReviewVersions", "Required value"),
                ("webhooks[0].clientConfig", "exactly one of url or service is required"),
            ],
        )
        .await;
    }
}

#[tokio::test]
async fn policies_and_their_bindings() {
    let client = Client::new();
    let url = format!("/apis/{API}/validatingadmissionpolicies");
    let policy = json!({
        "apiVersion": API, "kind": "ValidatingAdmissionPolicy", "metadata": {"name": "few-replicas"},
        "spec": {
            "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
            "matchConstraints": {"resourceRules": [{"apiGroups": ["apps"], "apiVersions": ["v1"],
                "operations": ["CREATE", "UPDATE"], "resources": ["deployments"]}]},
            "validations": [{"expression": "object.spec.replicas <= 5"}],
        },
    });
    let defaults = [
        ("/spec/failurePolicy", json!("Fail")),
        ("/spec/matchConstraints/matchPolicy", json!("Equivalent")),
        ("/spec/matchConstraints/objectSelector", json!({})),
        ("/spec/matchConstraints/resourceRules/0/scope", json!("*")),
    ];
    stored(
        &client,
        &url,
        &policy,
        &defaults,
        &[("Validations", json!(1)), ("ParamKind", json!("v1/ConfigMap")), ("Age", json!(null))],
    )
    .await;
    let edits = [("/spec/validations", json!([])), ("/spec/matchConstraints", json!(null))];
    refused(
        &client,
        &url,
        &policy,
        &edits,
        &[
            ("spec.validations", "validations or auditAnnotations must contain at least one item"),
            ("spec.auditAnnotations", "validations or auditAnnotations must contain at least one item"),
            ("spec.matchConstraints", "Required value"),
        ],
    )
    .await;
    let empty = [("/spec/validations/0/expression", json!(""))];
    refused(&client, &url, &policy, &empty, &[("spec.validations[0].expression", "Required value")]).await;

    let url = format!("/apis/{API}/validatingadmissionpolicybindings");
    let binding = json!({
        "apiVersion": API, "kind": "ValidatingAdmissionPolicyBinding", "metadata": {"name": "few-here"},
        "spec": {"policyName": "few-replicas", "validationActions": ["Deny"],
            "paramRef": {"name": "limits", "namespace": "default", "parameterNotFoundAction": "Deny"}},
    });
    stored(
        &client,
        &url,
        &binding,
        &[("/metadata/generation", json!(1))],
        &[("PolicyName", json!("few-replicas")), ("ParamRef", json!("default/limits")), ("Age", json!(null))],
    )
    .await;
    let edits = [
        ("/spec/policyName", json!("")),
        ("/spec/validationActions", json!(["Deny", "Warn", "Deny"])),
        ("/spec/paramRef/parameterNotFoundAction", json!("Wait")),
    ];
    refused(
        &client,
        &url,
        &binding,
        &edits,
        &[
            ("spec.policyName", "Required value"),
            ("spec.validationActions[2]", "Duplicate value: \"Deny\""),
            ("spec.validationActions", "must not contain both Deny and Warn"),
            ("spec.paramRef.parameterNotFoundAction", "supported values: \"Allow\", \"Deny\""),
        ],
    )
    .await;
}
