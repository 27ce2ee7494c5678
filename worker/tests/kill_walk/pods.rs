//! The pods whose lives are walked through.

use serde_json::{Value, json};

use super::pulls;

/// A kind of pod.
pub struct Kind {
    pub name: &'static str,
    /// What the pod is.
    spec: fn(&Seat) -> Value,
    /// Whether it has come to where it was to come.
    pub ready: fn(&Value) -> bool,
    /// What is changed of its spec when it is there for the first time.
    pub update: Option<fn(&mut Value, &Seat)>,
    /// It is deleted as soon as anything is heard of it.
    pub deleted_early: bool,
    /// Its containers are plain processes of the machine.
    pub plain: bool,
    /// It has a volume that outlives it.
    pub claims: bool,
    /// Its image is not there before it.
    pub pulls: bool,
    /// Whether containers that ended are started again.
    pub restarts: bool,
}

/// Where a pod is.
pub struct Seat {
    pub uid: String,
    /// A port of the machine that nobody uses.
    pub port: u16,
}

/// Names the container of a process in its environment: `<uid>/<container>`.
pub const MARK: &str = "KONTIKI_WALK_MARK";

/// Where the Service is of which containers learn.
pub const SERVICE: &str = "10.96.0.7";

/// How long a container may take to end.
const GRACE_S: i64 = 2;

/// Ends when it is asked to.
const POLITE: &str = "trap 'exit 0' TERM; sleep 1000 & wait";

fn container(seat: &Seat, name: &str, script: &str) -> Value {
    json!({
        "name": name, "image": "busybox:1", "imagePullPolicy": "Never", "command": ["sh", "-c", script],
        "env": [{"name": MARK, "value": format!("{}/{name}", seat.uid)}],
    })
}

fn pod(containers: Vec<Value>) -> Value {
    json!({ "containers": containers, "terminationGracePeriodSeconds": GRACE_S })
}

fn plain(seat: &Seat) -> Value {
    pod(vec![container(seat, "main", POLITE)])
}

fn stages(seat: &Seat) -> Value {
    let mut spec = pod(vec![container(seat, "main", POLITE), container(seat, "other", POLITE)]);
    let mut sidecar = container(seat, "sidecar", POLITE);
    sidecar["restartPolicy"] = "Always".into();
    spec["initContainers"] =
        json!([container(seat, "first", "true"), sidecar, container(seat, "second", "true")]);
    spec
}

fn volumes(seat: &Seat) -> Value {
    let check = format!(
        "test $(cat /config/key) = value && test $(cat /secret/word) = sesame && echo a > /memory/a && echo a > /disk/a \
        && test -s /token/token && test $(cat /part) = value && echo a > /lasting/a && test \"$WEB_SERVICE_HOST\" = {SERVICE} \
        && {POLITE}"
    );
    let mut main = container(seat, "main", &check);
    main["volumeMounts"] = json!([
        {"name": "memory", "mountPath": "/memory"}, {"name": "disk", "mountPath": "/disk"},
        {"name": "config", "mountPath": "/config"}, {"name": "secret", "mountPath": "/secret"},
        {"name": "token", "mountPath": "/token"}, {"name": "config", "mountPath": "/part", "subPath": "key"},
        {"name": "disk", "mountPath": "/deep", "subPath": "a-folder"}, {"name": "lasting", "mountPath": "/lasting"},
    ]);
    main["securityContext"] = json!({"runAsUser": 1000});
    let mut spec = pod(vec![main]);
    spec["volumes"] = json!([
        {"name": "memory", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}, {"name": "disk", "emptyDir": {}},
        {"name": "config", "configMap": {"name": "settings"}}, {"name": "secret", "secret": {"secretName": "login"}},
        {"name": "token", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}},
        {"name": "lasting", "persistentVolumeClaim": {"claimName": "data"}},
    ]);
    spec
}

fn hook(seat: &Seat) -> Value {
    let mut main = container(seat, "main", "trap '' TERM; sleep 1000 & wait; wait");
    main["lifecycle"] = json!({
        "postStart": {"exec": {"command": ["true"]}},
        "preStop": {"exec": {"command": ["sh", "-c", "sleep 0.2"]}},
    });
    pod(vec![main])
}

fn machine_network(seat: &Seat) -> Value {
    let mut spec = pod(vec![container(seat, "main", &format!("nc -ll -p {} -e true & {POLITE}", seat.port))]);
    spec["hostNetwork"] = true.into();
    spec
}

fn crashing(seat: &Seat) -> Value {
    pod(vec![container(seat, "main", "exit 3")])
}

fn ephemeral(spec: &mut Value, seat: &Seat) {
    let mut debugger = container(seat, "debugger", POLITE);
    debugger["targetContainerName"] = "main".into();
    spec["ephemeralContainers"] = json!([debugger]);
}

fn plain_processes(seat: &Seat) -> Value {
    let mut spec =
        pod(vec![container(seat, "main", "trap 'exit 0' TERM; sleep 1000 & setsid sleep 1000 & wait")]);
    spec["runtimeClassName"] = "host".into();
    spec
}

fn shared_processes(seat: &Seat) -> Value {
    let mut spec = pod(vec![container(seat, "main", "sleep 1000 & sleep 1000")]);
    spec["shareProcessNamespace"] = true.into();
    spec
}

fn once(seat: &Seat) -> Value {
    let mut spec = pod(vec![container(seat, "main", "sleep 0.05")]);
    spec["restartPolicy"] = "Never".into();
    spec
}

fn pulling(seat: &Seat) -> Value {
    let mut main = container(seat, "main", &format!("{} && {POLITE}", pulls::check()));
    main["image"] = pulls::image().into();
    main["imagePullPolicy"] = "IfNotPresent".into();
    pod(vec![main])
}

fn runs(status: &Value) -> bool {
    let containers = status["containerStatuses"].as_array();
    status["phase"] == "Running" && containers.is_some_and(|all| all.iter().all(|it| it["ready"] == true))
}

fn has_crashed(status: &Value) -> bool {
    let container = &status["containerStatuses"][0];
    container["restartCount"].as_u64() >= Some(1) && container["state"]["running"].is_null()
}

fn is_looked_into(status: &Value) -> bool {
    let debugger = &status["ephemeralContainerStatuses"][0]["state"];
    runs(status) && (debugger["running"].is_object() || debugger["terminated"].is_object())
}

fn is_over(status: &Value) -> bool {
    status["phase"] == "Succeeded" || status["phase"] == "Failed"
}

const USUAL: Kind = Kind {
    name: "",
    spec: plain,
    ready: runs,
    update: None,
    deleted_early: false,
    plain: false,
    claims: false,
    pulls: false,
    restarts: true,
};

/// All kinds.
pub const KINDS: &[Kind] = &[
    Kind { name: "plain", ..USUAL },
    Kind { name: "init and sidecar", spec: stages, ..USUAL },
    Kind { name: "volumes", spec: volumes, claims: true, ..USUAL },
    Kind { name: "hooks", spec: hook, ..USUAL },
    Kind { name: "host network", spec: machine_network, ..USUAL },
    Kind { name: "crashing", spec: crashing, ready: has_crashed, restarts: false, ..USUAL },
    Kind { name: "deleted early", spec: volumes, claims: true, deleted_early: true, ..USUAL },
    Kind { name: "ephemeral", ready: is_looked_into, update: Some(ephemeral), ..USUAL },
    Kind { name: "host class", spec: plain_processes, plain: true, ..USUAL },
    Kind { name: "shared processes", spec: shared_processes, ..USUAL },
    Kind { name: "pulling", spec: pulling, pulls: true, ..USUAL },
    Kind { name: "once", spec: once, ready: is_over, restarts: false, ..USUAL },
];

impl Kind {
    /// The pod as the leader has it, before anything happened to it.
    pub fn pod(&self, seat: &Seat) -> Value {
        json!({
            "metadata": {"name": seat.uid, "namespace": "ns", "uid": seat.uid},
            "spec": (self.spec)(seat),
            "status": {"qosClass": "BestEffort"},
        })
    }
}

impl Seat {
    /// The volume that outlives the pod here, if that has one.
    pub fn lasting(&self) -> String {
        format!("lasting-{}", self.uid)
    }

    /// What pods refer to, by kind and name.
    pub fn objects(&self) -> Vec<(String, String, Value)> {
        let lasting = self.lasting();
        let claim = json!({
            "metadata": {"name": "data", "uid": "claim"}, "spec": {"volumeName": lasting}, "status": {"phase": "Bound"},
        });
        let volume = json!({
            "metadata": {"name": lasting},
            "spec": {"csi": {"driver": "kontiki.io/local-path"}, "claimRef": {"uid": "claim"}},
        });
        let settings = json!({"metadata": {"name": "settings"}, "data": {"key": "value"}});
        // c2VzYW1l is sesame.
        let login = json!({"metadata": {"name": "login"}, "data": {"word": "c2VzYW1l"}});
        let objects = [
            ("ConfigMap", "settings", settings),
            ("Secret", "login", login),
            ("PersistentVolumeClaim", "data", claim),
            ("PersistentVolume", &lasting, volume),
        ];
        objects.map(|(kind, name, object)| (kind.to_owned(), name.to_owned(), object)).into()
    }
}

/// The pod once somebody has deleted it.
pub fn deleted(mut pod: Value) -> Value {
    pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    pod["metadata"]["deletionGracePeriodSeconds"] = GRACE_S.into();
    pod
}
