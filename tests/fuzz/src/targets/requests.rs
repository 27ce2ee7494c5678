//! Requests of clients, through the whole API, decided by real turns on a cluster in memory, whose nodes and clock then do their part: no
//! request and no object costs a controller its life. An input is a list of requests: method, path with query, media type, body.

use std::sync::Arc;

use axum::{Router, body::Body};
use http::{Request, header};
use http_body_util::BodyExt;
use kontiki_actors::{Kind, State};
use kontiki_api::{FeedLimits, Options, router};
use kontiki_pki::{Peer, Role};
use serde_json::Value;
use tokio::{runtime::Runtime, time::Duration};
use tower::ServiceExt;

use super::Target;
use crate::{engine::mark, memory::Memory};

pub(super) const REQUESTS: Target = Target::documents("requests", seeds, requests).with(16 << 10, 1_200);

/// Requests of one input.
const REQUESTS_MAX: usize = 8;
/// How often nodes and clock have their turn.
const STEPS: usize = 6;
const JSON: &str = "application/json";
const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";

/// Objects by the collection that they are made in.
const OBJECTS: &[(&str, &str)] = &[
    (
        "/api/v1/namespaces/default/pods",
        r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"web","labels":{"app":"web"}},"spec":{"initContainers":[{"name":"i","image":"i","restartPolicy":"Always"}],"containers":[{"name":"a","image":"web:1","command":["sh","-c","$(A)"],"env":[{"name":"A","value":"1"},{"name":"B","valueFrom":{"fieldRef":{"fieldPath":"metadata.name"}}}],"ports":[{"containerPort":80,"name":"http"}],"resources":{"limits":{"cpu":"100m","memory":"64Mi"}},"livenessProbe":{"httpGet":{"path":"/","port":"http"}},"volumeMounts":[{"name":"v","mountPath":"/v"}]}],"volumes":[{"name":"v","emptyDir":{}}],"tolerations":[{"key":"k","operator":"Exists"}],"affinity":{"podAntiAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":[{"topologyKey":"kubernetes.io/hostname","labelSelector":{"matchLabels":{"app":"x"}}}]}},"topologySpreadConstraints":[{"maxSkew":1,"topologyKey":"kubernetes.io/hostname","whenUnsatisfiable":"DoNotSchedule","labelSelector":{"matchLabels":{"app":"web"}}}],"securityContext":{"runAsUser":1000}}}"#,
    ),
    (
        "/apis/apps/v1/namespaces/default/deployments",
        r#"{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web"},"spec":{"replicas":2,"selector":{"matchLabels":{"app":"web"}},"strategy":{"rollingUpdate":{"maxSurge":"25%","maxUnavailable":0}},"template":{"metadata":{"labels":{"app":"web"}},"spec":{"containers":[{"name":"c","image":"nginx:1"}]}}}}"#,
    ),
    (
        "/apis/apps/v1/namespaces/default/replicasets",
        r#"{"apiVersion":"apps/v1","kind":"ReplicaSet","metadata":{"name":"web"},"spec":{"replicas":2,"selector":{"matchExpressions":[{"key":"app","operator":"In","values":["web"]}]},"template":{"metadata":{"labels":{"app":"web"}},"spec":{"containers":[{"name":"c","image":"nginx:1"}]}}}}"#,
    ),
    (
        "/apis/apps/v1/namespaces/default/statefulsets",
        r#"{"apiVersion":"apps/v1","kind":"StatefulSet","metadata":{"name":"db"},"spec":{"replicas":2,"serviceName":"db","ordinals":{"start":1},"selector":{"matchLabels":{"app":"db"}},"updateStrategy":{"rollingUpdate":{"partition":1}},"template":{"metadata":{"labels":{"app":"db"}},"spec":{"containers":[{"name":"c","image":"nginx:1"}]}},"volumeClaimTemplates":[{"metadata":{"name":"d"},"spec":{"accessModes":["ReadWriteOnce"],"resources":{"requests":{"storage":"1Gi"}}}}]}}"#,
    ),
    (
        "/apis/apps/v1/namespaces/default/daemonsets",
        r#"{"apiVersion":"apps/v1","kind":"DaemonSet","metadata":{"name":"d"},"spec":{"selector":{"matchLabels":{"app":"d"}},"updateStrategy":{"rollingUpdate":{"maxSurge":1,"maxUnavailable":0}},"template":{"metadata":{"labels":{"app":"d"}},"spec":{"containers":[{"name":"c","image":"nginx:1"}]}}}}"#,
    ),
    (
        "/apis/batch/v1/namespaces/default/jobs",
        r#"{"apiVersion":"batch/v1","kind":"Job","metadata":{"name":"j"},"spec":{"parallelism":2,"completions":3,"completionMode":"Indexed","backoffLimitPerIndex":1,"podFailurePolicy":{"rules":[{"action":"FailJob","onExitCodes":{"operator":"In","values":[42]}}]},"template":{"spec":{"restartPolicy":"Never","containers":[{"name":"c","image":"busybox"}]}}}}"#,
    ),
    (
        "/apis/batch/v1/namespaces/default/cronjobs",
        r#"{"apiVersion":"batch/v1","kind":"CronJob","metadata":{"name":"c"},"spec":{"schedule":"*/1 * * * *","timeZone":"Europe/Berlin","concurrencyPolicy":"Forbid","startingDeadlineSeconds":100,"jobTemplate":{"spec":{"template":{"spec":{"restartPolicy":"Never","containers":[{"name":"c","image":"busybox"}]}}}}}}"#,
    ),
    (
        "/api/v1/namespaces/default/services",
        r#"{"apiVersion":"v1","kind":"Service","metadata":{"name":"web"},"spec":{"type":"NodePort","selector":{"app":"web"},"ports":[{"name":"http","port":80,"targetPort":"http"},{"name":"u","protocol":"UDP","port":53,"nodePort":30053}]}}"#,
    ),
    (
        "/api/v1/namespaces/default/configmaps",
        r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c","annotations":{"a":"b"},"finalizers":["a.b/c"]},"data":{"k":"v"},"binaryData":{"b":"YQ=="}}"#,
    ),
    (
        "/api/v1/namespaces/default/secrets",
        r#"{"apiVersion":"v1","kind":"Secret","metadata":{"name":"s"},"type":"Opaque","stringData":{"k":"v"}}"#,
    ),
    (
        "/api/v1/namespaces/default/persistentvolumeclaims",
        r#"{"apiVersion":"v1","kind":"PersistentVolumeClaim","metadata":{"name":"d"},"spec":{"accessModes":["ReadWriteOnce"],"resources":{"requests":{"storage":"1Gi"}},"storageClassName":"x"}}"#,
    ),
    (
        "/api/v1/persistentvolumes",
        r#"{"apiVersion":"v1","kind":"PersistentVolume","metadata":{"name":"v"},"spec":{"capacity":{"storage":"2Gi"},"accessModes":["ReadWriteOnce"],"storageClassName":"x","hostPath":{"path":"/tmp"},"nodeAffinity":{"required":{"nodeSelectorTerms":[{"matchExpressions":[{"key":"kubernetes.io/hostname","operator":"In","values":["n"]}]}]}}}}"#,
    ),
    (
        "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers",
        r#"{"apiVersion":"autoscaling/v2","kind":"HorizontalPodAutoscaler","metadata":{"name":"h"},"spec":{"scaleTargetRef":{"apiVersion":"apps/v1","kind":"Deployment","name":"web"},"minReplicas":1,"maxReplicas":5,"metrics":[{"type":"Resource","resource":{"name":"cpu","target":{"type":"Utilization","averageUtilization":50}}}]}}"#,
    ),
    (
        "/apis/policy/v1/namespaces/default/poddisruptionbudgets",
        r#"{"apiVersion":"policy/v1","kind":"PodDisruptionBudget","metadata":{"name":"b"},"spec":{"minAvailable":"50%","selector":{"matchLabels":{"app":"web"}}}}"#,
    ),
    (
        "/api/v1/namespaces/default/resourcequotas",
        r#"{"apiVersion":"v1","kind":"ResourceQuota","metadata":{"name":"q"},"spec":{"hard":{"pods":"5","requests.cpu":"1","count/configmaps":"3"},"scopeSelector":{"matchExpressions":[{"scopeName":"PriorityClass","operator":"Exists"}]}}}"#,
    ),
    (
        "/api/v1/namespaces/default/limitranges",
        r#"{"apiVersion":"v1","kind":"LimitRange","metadata":{"name":"l"},"spec":{"limits":[{"type":"Container","default":{"cpu":"1"},"defaultRequest":{"cpu":"100m"},"max":{"cpu":"2"},"maxLimitRequestRatio":{"cpu":"10"}}]}}"#,
    ),
    (
        "/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles",
        r#"{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"Role","metadata":{"name":"r"},"rules":[{"apiGroups":["","apps"],"resources":["pods","pods/log"],"resourceNames":["a"],"verbs":["get","*"]}]}"#,
    ),
    (
        "/apis/rbac.authorization.k8s.io/v1/clusterroles",
        r#"{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRole","metadata":{"name":"r","labels":{"x":"y"}},"aggregationRule":{"clusterRoleSelectors":[{"matchLabels":{"x":"y"}}]},"rules":[{"nonResourceURLs":["/x/*"],"verbs":["get"]}]}"#,
    ),
    (
        "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
        r#"{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRoleBinding","metadata":{"name":"r"},"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"view"},"subjects":[{"kind":"User","name":"u"},{"kind":"ServiceAccount","name":"s","namespace":"default"}]}"#,
    ),
    (
        "/apis/networking.k8s.io/v1/namespaces/default/ingresses",
        r#"{"apiVersion":"networking.k8s.io/v1","kind":"Ingress","metadata":{"name":"i"},"spec":{"rules":[{"host":"*.a.b","http":{"paths":[{"path":"/","pathType":"Prefix","backend":{"service":{"name":"web","port":{"number":80}}}}]}}],"tls":[{"hosts":["x.a.b"]}]}}"#,
    ),
    (
        "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies",
        r#"{"apiVersion":"networking.k8s.io/v1","kind":"NetworkPolicy","metadata":{"name":"n"},"spec":{"podSelector":{},"ingress":[{"from":[{"ipBlock":{"cidr":"10.0.0.0/8","except":["10.1.0.0/16"]}}],"ports":[{"port":80,"endPort":90}]}]}}"#,
    ),
    (
        "/api/v1/namespaces",
        r#"{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"n","labels":{"pod-security.kubernetes.io/enforce":"restricted","pod-security.kubernetes.io/warn-version":"v1.30"}}}"#,
    ),
    (
        "/api/v1/nodes",
        r#"{"apiVersion":"v1","kind":"Node","metadata":{"name":"m","labels":{"zone":"z"}},"spec":{"taints":[{"key":"k","value":"v","effect":"NoExecute"}],"unschedulable":true}}"#,
    ),
    (
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
        r#"{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{"name":"things.a.b"},"spec":{"group":"a.b","scope":"Namespaced","names":{"plural":"things","singular":"thing","kind":"Thing","shortNames":["th"]},"versions":[{"name":"v1","served":true,"storage":true,"subresources":{"status":{},"scale":{"specReplicasPath":".spec.replicas","statusReplicasPath":".status.replicas"}},"additionalPrinterColumns":[{"name":"N","type":"integer","jsonPath":".spec.n"}],"selectableFields":[{"jsonPath":".spec.s"}],"schema":{"openAPIV3Schema":{"type":"object","properties":{"spec":{"type":"object","required":["n"],"x-kubernetes-validations":[{"rule":"self.n > 0 && self.list.all(x, x.k != '')","messageExpression":"'n is ' + string(self.n)"}],"properties":{"n":{"type":"integer","minimum":0,"default":1},"s":{"type":"string","pattern":"^[a-z]+$","maxLength":9,"format":"date-time"},"replicas":{"type":"integer"},"any":{"x-kubernetes-preserve-unknown-fields":true},"list":{"type":"array","maxItems":5,"x-kubernetes-list-type":"map","x-kubernetes-list-map-keys":["k"],"items":{"type":"object","required":["k"],"properties":{"k":{"type":"string"},"v":{"x-kubernetes-int-or-string":true}}}}}},"status":{"type":"object","properties":{"replicas":{"type":"integer"}}}}}}}]}}"#,
    ),
    (
        "/apis/a.b/v1/namespaces/default/things",
        r#"{"apiVersion":"a.b/v1","kind":"Thing","metadata":{"name":"t"},"spec":{"n":2,"s":"x","list":[{"k":"a","v":1},{"k":"b","v":"1"}],"any":{"a":[1]}}}"#,
    ),
    (
        "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies",
        r#"{"apiVersion":"admissionregistration.k8s.io/v1","kind":"ValidatingAdmissionPolicy","metadata":{"name":"p"},"spec":{"matchConstraints":{"resourceRules":[{"apiGroups":["apps"],"apiVersions":["v1"],"operations":["CREATE"],"resources":["deployments"]}]},"validations":[{"expression":"object.spec.replicas <= 5"}]}}"#,
    ),
    (
        "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas",
        r#"{"apiVersion":"flowcontrol.apiserver.k8s.io/v1","kind":"FlowSchema","metadata":{"name":"f"},"spec":{"priorityLevelConfiguration":{"name":"workload-low"},"matchingPrecedence":100,"distinguisherMethod":{"type":"ByUser"},"rules":[{"subjects":[{"kind":"User","user":{"name":"*"}}],"resourceRules":[{"verbs":["*"],"apiGroups":["*"],"resources":["*"],"namespaces":["*"],"clusterScope":true}]}]}}"#,
    ),
    (
        "/apis/scheduling.k8s.io/v1/priorityclasses",
        r#"{"apiVersion":"scheduling.k8s.io/v1","kind":"PriorityClass","metadata":{"name":"p"},"value":1000,"globalDefault":true,"preemptionPolicy":"Never"}"#,
    ),
    (
        "/api/v1/namespaces/default/events",
        r#"{"apiVersion":"v1","kind":"Event","metadata":{"name":"e"},"involvedObject":{"kind":"Pod","name":"web","namespace":"default"},"reason":"R","message":"m","type":"Normal","count":2,"firstTimestamp":"2026-01-01T00:00:00Z","lastTimestamp":"2026-01-01T00:00:00Z"}"#,
    ),
    (
        "/apis/authorization.k8s.io/v1/subjectaccessreviews",
        r#"{"apiVersion":"authorization.k8s.io/v1","kind":"SubjectAccessReview","spec":{"user":"u","groups":["g"],"resourceAttributes":{"verb":"get","resource":"pods","namespace":"default","labelSelector":{"rawSelector":"a=b"}}}}"#,
    ),
    (
        "/api/v1/namespaces/default/pods/web/eviction",
        r#"{"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":"web"},"deleteOptions":{"gracePeriodSeconds":1,"preconditions":{"uid":"u"}}}"#,
    ),
];

/// Definitions come before what they define, and pods before what is asked of them.
const FIRST: &[(&str, usize)] = &[("/apis/a.b/", 23), ("/eviction", 0)];

fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for (path, object) in OBJECTS {
        let object: Value = serde_json::from_str(object).unwrap_or_default();
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let one = format!("{path}/{name}");
        let labels = serde_json::json!({"metadata": {"labels": {"l": "1"}}});
        let merge = "application/merge-patch+json";
        let before = FIRST.iter().filter(|(part, _)| path.contains(part)).map(|(_, at)| OBJECTS[*at]);
        let mut requests: Vec<Value> = before
            .map(|(path, object)| {
                serde_json::json!([
                    "POST",
                    path,
                    JSON,
                    serde_json::from_str::<Value>(object).unwrap_or_default()
                ])
            })
            .collect();
        let mut applied = requests.clone();
        requests.push(serde_json::json!(["POST", path, JSON, object]));
        requests.push(serde_json::json!(["PATCH", one, merge, labels]));
        requests.push(serde_json::json!(["PUT", one, JSON, object]));
        requests.push(serde_json::json!(["DELETE", one, JSON, {"propagationPolicy": "Foreground"}]));
        seeds.push(Value::Array(requests));
        let apply = format!("{one}?fieldManager=m&force=true");
        applied.push(serde_json::json!(["PATCH", apply, "application/apply-patch+yaml", object]));
        applied.push(serde_json::json!(["PATCH", one, "application/strategic-merge-patch+json", labels]));
        applied.push(
            serde_json::json!(["PATCH", format!("{one}/status"), merge, {"status": {"conditions": []}}]),
        );
        applied.push(serde_json::json!(["PATCH", format!("{one}/scale"), merge, {"spec": {"replicas": 1}}]));
        let test = serde_json::json!([{"op": "add", "path": "/metadata/labels", "value": {"a": "b"}}]);
        applied.push(serde_json::json!(["PATCH", one, "application/json-patch+json", test]));
        applied.push(serde_json::json!([
            "GET",
            format!("{path}?labelSelector=a%3Db&fieldSelector=metadata.name%3D{name}&limit=1"),
            "",
            null
        ]));
        seeds.push(Value::Array(applied));
    }
    seeds.push(serde_json::json!([
        ["POST", OBJECTS[0].0, "application/yaml", "metadata:\n  name: &n web\nspec:\n  containers:\n  - {name: *n, image: \"x:1\"}\n"],
        ["GET", "/api/v1/namespaces/default/pods/web?pretty=true", "", null],
        ["GET", "/api/v1/namespaces/default/pods?watch=true&timeoutSeconds=1&resourceVersion=0&allowWatchBookmarks=true", "", null],
        ["GET", "/api/v1/namespaces/default/pods/web/log?tailLines=1&container=a", "", null],
        ["GET", "/openapi/v3/api/v1", "", null],
        ["DELETE", "/api/v1/namespaces/default/pods?labelSelector=app", JSON, {"gracePeriodSeconds": 0}],
    ]));
    seeds.iter().map(|seed| seed.to_string().into_bytes()).collect()
}

thread_local! {
    static RUNTIME: Option<Runtime> =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().ok();
    static BEGINNING: State = {
        let memory = Memory::new(FeedLimits::default());
        memory.add_node("n");
        memory.state()
    };
}

fn requests(input: &[u8]) -> Result<bool, String> {
    let Ok(Value::Array(given)) = serde_json::from_slice(input) else { return Ok(false) };
    RUNTIME.with(|runtime| {
        let runtime = runtime.as_ref().ok_or("there is no runtime")?;
        runtime.block_on(serve(&given))
    })
}

async fn serve(given: &[Value]) -> Result<bool, String> {
    let memory =
        Arc::new(Memory::at(BEGINNING.with(State::clone), FeedLimits { events: 1000, bytes: 16 << 20 }));
    let options = Options { watch_timeout: Duration::from_secs(1), ..Options::default() };
    let app = router(memory.clone(), options);
    let mut accepted = false;
    for request in given.iter().take(REQUESTS_MAX) {
        let text = |at: usize| request[at].as_str().unwrap_or_default();
        let body = match &request[3] {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            document => document.to_string(),
        };
        let (code, said) = ask(&app, text(0), text(1), text(2), "", body).await?;
        mark(&format!("{code} {said}"));
        accepted |= text(0) != "GET" && (200..300).contains(&code);
        // A webhook that is asked would be dialed.
        let state = memory.state();
        let hooks = [Kind::MUTATING_WEBHOOK_CONFIGURATION, Kind::VALIDATING_WEBHOOK_CONFIGURATION];
        if hooks.iter().any(|hook| state.list(*hook, None).next().is_some()) {
            return Ok(accepted);
        }
        if accepted {
            let collection = text(1).split('?').next().unwrap_or_default();
            ask(&app, "GET", collection, "", TABLE, String::new()).await?;
        }
    }
    for _ in 0..STEPS {
        if !memory.step() {
            break;
        }
    }
    Ok(accepted)
}

/// The code of an answer, and its message if it is a refusal. A failure of the server's own is a failure.
async fn ask(
    app: &Router,
    method: &str,
    path: &str,
    media: &str,
    accept: &str,
    body: String,
) -> Result<(u16, String), String> {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in [(header::CONTENT_TYPE, media), (header::ACCEPT, accept)] {
        if !value.is_empty() {
            request = request.header(name, value);
        }
    }
    // What HTTP itself does not let through.
    let Ok(mut request) = request.body(Body::from(body)) else { return Ok((0, String::new())) };
    let (cluster, name, groups) = ("fuzz".into(), "admin".into(), vec!["system:masters".into()]);
    let peer = Peer { cluster, role: Role::User, name, node_id: None, groups, fingerprint: String::new() };
    request.extensions_mut().insert(peer);
    let answer = match app.clone().oneshot(request).await {
        Ok(answer) => answer,
        Err(never) => match never {},
    };
    let code = answer.status().as_u16();
    let body = answer.into_body().collect().await;
    let body = body.map_err(|error| format!("{method} {path}: the answer breaks off: {error}"))?.to_bytes();
    if code < 400 {
        return Ok((code, String::new()));
    }
    let status: Value = serde_json::from_slice(&body).unwrap_or_default();
    let said = status["message"].as_str().unwrap_or_default().to_owned();
    if code >= 500 { Err(format!("{method} {path}: {code}: {said}")) } else { Ok((code, said)) }
}
