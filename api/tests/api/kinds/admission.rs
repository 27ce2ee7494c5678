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
                asks("url(object.data.u).getHost() == 'x'"),
                "matchConditions[0].expression",
                "the function \"getHost\" is not supported here yet",
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

    expressions_of_policies(&client, &url, &policy).await;

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
            ("spec.paramRef.parameterNotFoundAction", "supported values: \"Deny\", \"Allow\""),
            ("spec.validationActions[2]", "Duplicate value: \"Deny\""),
            ("spec.validationActions", "must not contain both Deny and Warn"),
        ],
    )
    .await;
    let edits = [
        ("/spec/paramRef", json!({"name": "a/b", "selector": {}})),
        ("/spec/validationActions", json!([])),
        (
            "/spec/matchResources",
            json!({"matchPolicy": "Some", "objectSelector": {"matchLabels": {"a b": "c"}}}),
        ),
    ];
    refused(
        &client,
        &url,
        &binding,
        &edits,
        &[
            ("spec.paramRef.name", "may not contain '/'"),
            ("spec.paramRef.name", "name and selector are mutually exclusive"),
            ("spec.paramRef.selector", "name and selector are mutually exclusive"),
            ("spec.paramRef.parameterNotFoundAction", "Required value"),
            ("spec.matchResources.matchPolicy", "supported values: \"Equivalent\", \"Exact\""),
            ("spec.matchResources.objectSelector.matchLabels", "name part must consist of"),
            ("spec.validationActions", "at least one validation action is required"),
        ],
    )
    .await;
    let edits = [("/spec/paramRef", json!({"parameterNotFoundAction": "Deny"}))];
    let told = "one of name or selector must be specified";
    refused(&client, &url, &binding, &edits, &[("spec.paramRef", told)]).await;
}

/// What is no expression, or is of another type than it must be, is refused with the policy.
async fn expressions_of_policies(client: &Client, url: &str, policy: &Value) {
    let failed = "compilation failed: ERROR: <input>: ";
    for (pointer, value, field, told) in [
        ("validations/0/expression", json!("object.x >"), "validations[0].expression", failed),
        ("validations/0/expression", json!(" "), "validations[0].expression", "expression is not specified"),
        (
            "validations/0/expression",
            json!("'a' + params.b"),
            "validations[0].expression",
            "must evaluate to bool but got string",
        ),
        (
            "validations/0/expression",
            json!("size(object.l) > 'a'"),
            "validations[0].expression",
            "found no matching overload for '_>_' applied to '(int, string)'",
        ),
        (
            "validations/0/expression",
            json!("variables.x == 1"),
            "validations[0].expression",
            "undeclared reference to 'variables'",
        ),
        (
            "validations/0/expression",
            json!("url(object.u).getHost() == 'x'"),
            "validations[0].expression",
            "the function \"getHost\" is not supported here yet",
        ),
        (
            "validations/0/messageExpression",
            json!("authorizer.path('/x').check('get').reason()"),
            "validations[0].messageExpression",
            "undeclared reference to 'authorizer'",
        ),
        (
            "validations/0/messageExpression",
            json!("object.l.size()"),
            "validations[0].messageExpression",
            "must evaluate to string but got int",
        ),
        (
            "validations/0/messageExpression",
            json!(" "),
            "validations[0].messageExpression",
            "must be non-empty",
        ),
        ("validations/0/message", json!("a\nb"), "validations[0].message", "must not contain line breaks"),
        ("validations/0/message", json!(" "), "validations[0].message", "must be non-empty if specified"),
        (
            "validations/0/reason",
            json!("Because"),
            "validations[0].reason",
            "supported values: \"Forbidden\", \"Invalid\", \"RequestEntityTooLarge\"",
        ),
        (
            "variables",
            json!([{"name": "a-b", "expression": "1"}]),
            "variables[0].name",
            "name is not a valid CEL identifier",
        ),
        (
            "variables",
            json!([{"name": "in", "expression": "1"}]),
            "variables[0].name",
            "not a valid CEL identifier",
        ),
        (
            "variables",
            json!([{"name": "a", "expression": "variables.b"}, {"name": "b", "expression": "1"}]),
            "variables[0].expression",
            failed,
        ),
        (
            "matchConditions",
            json!([{"name": "a", "expression": "variables.a"}]),
            "matchConditions[0].expression",
            "undeclared reference to 'variables'",
        ),
        (
            "matchConditions",
            json!([{"name": "a", "expression": "'a'"}]),
            "matchConditions[0].expression",
            "must evaluate to bool but got string",
        ),
        (
            "auditAnnotations",
            json!([{"key": "a", "valueExpression": "1"}]),
            "auditAnnotations[0].valueExpression",
            "must evaluate to one of [string null_type] but got int",
        ),
        (
            "auditAnnotations",
            json!([{"key": "a b", "valueExpression": "'a'"}]),
            "auditAnnotations[0].key",
            "name part must consist of",
        ),
        (
            "auditAnnotations",
            json!([{"key": "a", "valueExpression": "'a'"}, {"key": "a", "valueExpression": "null"}]),
            "auditAnnotations[1].key",
            "Duplicate value: \"a\"",
        ),
        (
            "auditAnnotations",
            Value::Array(vec![json!({"key": "a", "valueExpression": "'a'"}); 21]),
            "auditAnnotations",
            "must not have more than 20 auditAnnotations",
        ),
        (
            "paramKind/apiVersion",
            json!("a/b/c"),
            "paramKind.apiVersion",
            "unexpected GroupVersion string: a/b/c",
        ),
        ("paramKind/apiVersion", json!("a/"), "paramKind.apiVersion", "version must be specified"),
        ("paramKind/apiVersion", json!("A/v1"), "paramKind.apiVersion", "a lowercase RFC 1123 subdomain"),
        ("paramKind/kind", json!("-"), "paramKind.kind", "may have mixed case, but should otherwise match: "),
        (
            "matchConstraints/resourceRules/0/resourceNames",
            json!(["a", "a"]),
            "matchConstraints.resourceRules[0].resourceNames[1]",
            "Duplicate value: \"a\"",
        ),
        (
            "matchConstraints/excludeResourceRules",
            json!([{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["*"], "resources": ["pods"], "resourceNames": [".."]}]),
            "matchConstraints.excludeResourceRules[0].resourceNames[0]",
            "may not be '..'",
        ),
    ] {
        let edits = [(&*format!("/spec/{pointer}"), value)];
        refused(client, url, policy, &edits, &[(&*format!("spec.{field}"), told)]).await;
    }
    // Parameters are there where the policy has a kind of them.
    let edits =
        [("/spec/paramKind", json!(null)), ("/spec/validations/0/expression", json!("params.x == 1"))];
    let told = "undeclared reference to 'params'";
    refused(client, url, policy, &edits, &[("spec.validations[0].expression", told)]).await;
}
