"""A valid object of each kind: what generated requests are built upon, and what is there to be read.

All are named `example`, and those of namespaced kinds are in the namespace `NAMESPACE`. None does anything: pods are placed nowhere.
"""

NAMESPACE = "examples"
NAME = "example"
LABELS = {"app": NAME}
# A request for the common name `example`, signed by a key that was thrown away.
REQUEST = (
    "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0KTUlHUk1FVUNBUUF3RWpFUU1BNEdBMVVFQXd3SFpYaGhiWEJzWlRBcU1BVUdBeXRsY0FN"
    "aEFKcWNvOS9KSUk5SwpWUG1UWUJ3b1FMdDJHWUJYcTRtdEd0alJPUEtoemJFSm9BQXdCUVlESzJWd0EwRUFEODViQ0RObTFOMFFsZTk2CnpNZzIrR3ZhSkJI"
    "czRBMUd0SksyWWR6aDBiemY1b3lkSWcyQWQwWXFIaU1zOGpMNUxGRmg3ZGRWN3BNZHpRTEcKcjJCakFRPT0KLS0tLS1FTkQgQ0VSVElGSUNBVEUgUkVRVUVT"
    "VC0tLS0tCg=="
)

POD = {
    "nodeSelector": {"example.org/none": "such"},
    "containers": [{"name": "main", "image": "example.org/none:1", "ports": [{"name": "web", "containerPort": 80}],
                    "resources": {"requests": {"cpu": "1m"}}, "env": [{"name": "A", "value": "b"}]}],
    "volumes": [{"name": "data", "emptyDir": {}}],
}
TEMPLATE = {"metadata": {"labels": LABELS}, "spec": POD}
JOB = {"template": {"spec": {**POD, "restartPolicy": "Never"}}}
OWN = {"selector": {"matchLabels": LABELS}, "template": TEMPLATE}
RULES = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]}]
ROLE = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"}
SUBJECTS = [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": NAME}]
TARGET = {"apiVersion": "apps/v1", "kind": "Deployment", "name": NAME}
ACCESS = {"user": NAME, "resourceAttributes": {"verb": "get", "resource": "pods", "namespace": NAMESPACE}}
OWN_ACCESS = {"resourceAttributes": {"verb": "get", "resource": "pods", "namespace": NAMESPACE}}
# It asks nobody: no request is of its group.
WEBHOOK = {
    "name": "example.example.org", "sideEffects": "None", "admissionReviewVersions": ["v1"], "failurePolicy": "Ignore",
    "clientConfig": {"url": "https://127.0.0.1:1/none"},
    "rules": [{"apiGroups": ["none.example.org"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["none"]}],
}
INVOLVED = {"apiVersion": "v1", "kind": "Pod", "namespace": NAMESPACE, "name": NAME}
SCHEMA = {
    "type": "object",
    "properties": {"spec": {"type": "object", "properties": {
        "size": {"type": "integer", "minimum": 0, "default": 1},
        "words": {"type": "array", "items": {"type": "string", "maxLength": 8}},
        "port": {"x-kubernetes-int-or-string": True},
        "maybe": {"type": "string", "nullable": True},
        "extra": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
    }}, "status": {"type": "object", "properties": {"size": {"type": "integer"}}}},
}
VERSION = {
    "name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": SCHEMA},
    "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.size", "statusReplicasPath": ".status.size"}},
}

# By group, version and kind: all but apiVersion, kind and name.
EXAMPLES = {
    "v1/ConfigMap": {"data": {"a": "b"}, "binaryData": {"c": "ZA=="}},
    "v1/Endpoints": {"subsets": [{"addresses": [{"ip": "192.0.2.1"}], "ports": [{"name": "web", "port": 80}]}]},
    "v1/Event": {"involvedObject": INVOLVED, "reason": "Example", "message": "an example", "type": "Normal"},
    "v1/LimitRange": {"spec": {"limits": [{"type": "Container", "max": {"cpu": "8"}}]}},
    "v1/Namespace": {},
    "v1/Node": {"spec": {"unschedulable": True}},
    "v1/PersistentVolume": {"spec": {"capacity": {"storage": "1Mi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": NAME,
                                     "hostPath": {"path": "/tmp/example"}}},
    "v1/PersistentVolumeClaim": {"spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "none",
                                          "resources": {"requests": {"storage": "1Mi"}}}},
    "v1/Pod": {"spec": POD},
    "v1/PodTemplate": {"template": TEMPLATE},
    "v1/ReplicationController": {"spec": {"selector": LABELS, "template": TEMPLATE}},
    # Whatever is asked for, there are no more than these.
    "v1/ResourceQuota": {"spec": {"hard": {"pods": "20", "count/jobs.batch": "20"}}},
    "v1/Secret": {"data": {"a": "Yg=="}, "type": "Opaque"},
    "v1/Service": {"spec": {"selector": LABELS, "ports": [{"name": "web", "port": 80}]}},
    "v1/ServiceAccount": {},
    "v1/Binding": {"target": {"kind": "Node", "name": NAME}},
    "admissionregistration.k8s.io/v1/MutatingWebhookConfiguration": {"webhooks": [WEBHOOK]},
    "admissionregistration.k8s.io/v1/ValidatingWebhookConfiguration": {"webhooks": [WEBHOOK]},
    "admissionregistration.k8s.io/v1/ValidatingAdmissionPolicy": {"spec": {
        "matchConstraints": {"resourceRules": WEBHOOK["rules"]}, "validations": [{"expression": "true"}]}},
    "admissionregistration.k8s.io/v1/ValidatingAdmissionPolicyBinding": {"spec": {
        "policyName": "none", "validationActions": ["Warn"]}},
    "apiextensions.k8s.io/v1/CustomResourceDefinition": {"spec": {
        "group": "example.org", "scope": "Namespaced", "names": {"plural": "widgets", "singular": "widget", "kind": "Widget"},
        "versions": [VERSION]}},
    "apiregistration.k8s.io/v1/APIService": {"spec": {
        "group": "none.example.org", "version": "v1", "groupPriorityMinimum": 1000, "versionPriority": 10,
        "service": {"namespace": NAMESPACE, "name": NAME}, "insecureSkipTLSVerify": True}},
    "apps/v1/ControllerRevision": {"revision": 1, "data": {"a": "b"}},
    "apps/v1/DaemonSet": {"spec": OWN},
    "apps/v1/Deployment": {"spec": OWN},
    "apps/v1/ReplicaSet": {"spec": OWN},
    "apps/v1/StatefulSet": {"spec": {**OWN, "serviceName": NAME}},
    "authentication.k8s.io/v1/SelfSubjectReview": {},
    "authentication.k8s.io/v1/TokenRequest": {"spec": {"audiences": [], "expirationSeconds": 600}},
    "authentication.k8s.io/v1/TokenReview": {"spec": {"token": "none"}},
    "authorization.k8s.io/v1/LocalSubjectAccessReview": {"spec": ACCESS},
    "authorization.k8s.io/v1/SelfSubjectAccessReview": {"spec": OWN_ACCESS},
    "authorization.k8s.io/v1/SelfSubjectRulesReview": {"spec": {"namespace": NAMESPACE}},
    "authorization.k8s.io/v1/SubjectAccessReview": {"spec": ACCESS},
    "autoscaling/v1/HorizontalPodAutoscaler": {"spec": {"scaleTargetRef": TARGET, "maxReplicas": 3}},
    "autoscaling/v1/Scale": {"spec": {"replicas": 2}},
    "autoscaling/v2/HorizontalPodAutoscaler": {"spec": {"scaleTargetRef": TARGET, "maxReplicas": 3, "metrics": [
        {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}]}},
    "batch/v1/CronJob": {"spec": {"schedule": "0 0 1 1 *", "jobTemplate": {"spec": JOB}}},
    "batch/v1/Job": {"spec": JOB},
    "certificates.k8s.io/v1/CertificateSigningRequest": {"spec": {
        "request": REQUEST, "signerName": "example.org/none", "usages": ["client auth"]}},
    "coordination.k8s.io/v1/Lease": {"spec": {"holderIdentity": NAME, "renewTime": "2026-01-01T00:00:00.000001Z"}},
    "discovery.k8s.io/v1/EndpointSlice": {"addressType": "IPv4", "endpoints": [{"addresses": ["192.0.2.1"]}],
                                          "ports": [{"name": "web", "port": 80}]},
    "events.k8s.io/v1/Event": {"eventTime": "2026-01-01T00:00:00.000001Z", "reportingController": "example.org/none",
                               "reportingInstance": NAME, "action": "Show", "reason": "Example", "type": "Normal",
                               "regarding": INVOLVED},
    "example.org/v1/Widget": {"spec": {"size": 2, "words": ["a"], "port": "web", "extra": {"a": 1}}},
    "flowcontrol.apiserver.k8s.io/v1/FlowSchema": {"spec": {
        "priorityLevelConfiguration": {"name": "global-default"}, "matchingPrecedence": 9000}},
    "flowcontrol.apiserver.k8s.io/v1/PriorityLevelConfiguration": {"spec": {
        "type": "Limited", "limited": {"nominalConcurrencyShares": 1, "limitResponse": {"type": "Reject"}}}},
    "networking.k8s.io/v1/IPAddress": {"spec": {"parentRef": {"resource": "services", "namespace": NAMESPACE, "name": NAME}}},
    "networking.k8s.io/v1/Ingress": {"spec": {"rules": [{"host": "example.org", "http": {"paths": [
        {"path": "/", "pathType": "Prefix", "backend": {"service": {"name": NAME, "port": {"number": 80}}}}]}}]}},
    "networking.k8s.io/v1/IngressClass": {"spec": {"controller": "example.org/none"}},
    "networking.k8s.io/v1/NetworkPolicy": {"spec": {"podSelector": {"matchLabels": LABELS}, "policyTypes": ["Ingress"]}},
    "networking.k8s.io/v1/ServiceCIDR": {"spec": {"cidrs": ["10.250.0.0/24"]}},
    "node.k8s.io/v1/RuntimeClass": {"handler": "none"},
    "policy/v1/Eviction": {},
    "policy/v1/PodDisruptionBudget": {"spec": {"minAvailable": 1, "selector": {"matchLabels": LABELS}}},
    "rbac.authorization.k8s.io/v1/ClusterRole": {"rules": RULES},
    "rbac.authorization.k8s.io/v1/ClusterRoleBinding": {"roleRef": ROLE, "subjects": SUBJECTS},
    "rbac.authorization.k8s.io/v1/Role": {"rules": RULES},
    "rbac.authorization.k8s.io/v1/RoleBinding": {"roleRef": ROLE, "subjects": SUBJECTS},
    "scheduling.k8s.io/v1/PriorityClass": {"value": 10},
    "storage.k8s.io/v1/CSIDriver": {"spec": {"attachRequired": False}},
    "storage.k8s.io/v1/CSINode": {"spec": {"drivers": [{"name": "none.example.org", "nodeID": "none"}]}},
    "storage.k8s.io/v1/CSIStorageCapacity": {"storageClassName": "none", "capacity": "1Mi"},
    "storage.k8s.io/v1/StorageClass": {"provisioner": "example.org/none"},
    "storage.k8s.io/v1/VolumeAttachment": {"spec": {"attacher": "none.example.org", "nodeName": "none",
                                                    "source": {"persistentVolumeName": "none"}}},
}

# Where the name follows from the content.
NAMES = {
    "apiextensions.k8s.io/v1/CustomResourceDefinition": "widgets.example.org",
    "apiregistration.k8s.io/v1/APIService": "v1.none.example.org",
    "networking.k8s.io/v1/IPAddress": "10.250.0.77",
}


def key(kind):
    """Of an `x-kubernetes-group-version-kind`."""
    return "/".join(part for part in (kind["group"], kind["version"], kind["kind"]) if part)


def example(kind):
    """The object of a kind; none where its definition is not one of these."""
    of = key(kind)
    if of not in EXAMPLES:
        return None
    version, _, name = of.rpartition("/")
    return {"apiVersion": version, "kind": name, "metadata": {"name": name_of(of), "labels": LABELS}, **EXAMPLES[of]}


def name_of(of):
    return NAMES.get(of, NAME)
