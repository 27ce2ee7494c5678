"""Drives a cluster with the Python `kubernetes` client: what `KUBECONFIG` names, in a namespace of its own.

Ends with status 0 when everything is as Kubernetes' clients expect it.
"""

import time

from kubernetes import client, config, dynamic, watch
from kubernetes.client.exceptions import ApiException
from kubernetes.stream import portforward, stream

NAMESPACE = "test-python"
IMAGE = "kontiki.local/web:1"
LIMIT_SECONDS = 90


def refused(code, reason, call):
    """The call must fail with this code and reason, as a Status that the client can read."""
    try:
        call()
    except ApiException as error:
        assert error.status == code, f"{error.status} {error.body}"
        assert f'"reason":"{reason}"' in error.body, error.body
        return error
    raise AssertionError(f"{code} {reason} was expected")


def deployment(name, replicas):
    labels = {"app": name}
    probe = client.V1Probe(http_get=client.V1HTTPGetAction(path="/healthz", port=8080), period_seconds=1)
    container = client.V1Container(name="web", image=IMAGE, image_pull_policy="IfNotPresent", readiness_probe=probe)
    template = client.V1PodTemplateSpec(
        metadata=client.V1ObjectMeta(labels=labels), spec=client.V1PodSpec(containers=[container])
    )
    return client.V1Deployment(
        metadata=client.V1ObjectMeta(name=name, labels=labels),
        spec=client.V1DeploymentSpec(
            replicas=replicas, selector=client.V1LabelSelector(match_labels=labels), template=template
        ),
    )


def until(what, seen, start, call, **options):
    """Lists, then watches from there, until `seen` is content with the latest state of all objects by name."""
    listed = call(NAMESPACE, **options)
    state = {item.metadata.name: item for item in listed.items}
    revision = listed.metadata.resource_version
    deadline = time.monotonic() + LIMIT_SECONDS
    while not seen(state):
        left = int(deadline - time.monotonic())
        assert left > 0, f"{start}: {what} was not seen; last: {sorted(state)}"
        for event in watch.Watch().stream(
            call, NAMESPACE, resource_version=revision, timeout_seconds=left, **options
        ):
            item = event["object"]
            revision = item.metadata.resource_version
            if event["type"] == "DELETED":
                state.pop(item.metadata.name, None)
            else:
                state[item.metadata.name] = item
            if seen(state):
                return state
    return state


def ready(count):
    def is_ready(pod):
        return any(c.type == "Ready" and c.status == "True" for c in pod.status.conditions or [])

    return lambda pods: len(pods) == count and all(is_ready(pod) for pod in pods.values())


def namespaces_and_nodes(core):
    core.create_namespace(client.V1Namespace(metadata=client.V1ObjectMeta(name=NAMESPACE)))
    assert NAMESPACE in [item.metadata.name for item in core.list_namespace().items]
    nodes = core.list_node().items
    assert len(nodes) == 3, nodes
    for node in nodes:
        assert node.status.node_info.kubelet_version.startswith("v1."), node.status.node_info
        assert node.status.capacity["cpu"], node.status


def config_maps(core):
    body = client.V1ConfigMap(metadata=client.V1ObjectMeta(name="conf"), data={"a": "1"})
    made = core.create_namespaced_config_map(NAMESPACE, body)
    assert made.metadata.uid and made.metadata.creation_timestamp
    refused(409, "AlreadyExists", lambda: core.create_namespaced_config_map(NAMESPACE, body))
    made.data["a"] = "2"
    replaced = core.replace_namespaced_config_map("conf", NAMESPACE, made)
    assert replaced.data == {"a": "2"}
    # The one that was made first is stale now.
    refused(409, "Conflict", lambda: core.replace_namespaced_config_map("conf", NAMESPACE, made))
    patched = core.patch_namespaced_config_map("conf", NAMESPACE, {"data": {"b": "3"}})
    assert patched.data == {"a": "2", "b": "3"}
    for number in range(5):
        core.create_namespaced_config_map(
            NAMESPACE, client.V1ConfigMap(metadata=client.V1ObjectMeta(generate_name="page-", labels={"n": str(number)}))
        )
    pages, token = [], None
    while token != "":
        page = core.list_namespaced_config_map(NAMESPACE, limit=2, **({"_continue": token} if token else {}))
        pages.append(len(page.items))
        token = page.metadata._continue or ""
    assert sum(pages) == 7 and max(pages) == 2, pages  # with kube-root-ca.crt
    some = core.list_namespaced_config_map(NAMESPACE, label_selector="n in (1,3)")
    assert len(some.items) == 2
    one = core.list_namespaced_config_map(NAMESPACE, field_selector="metadata.name=conf")
    assert [item.metadata.name for item in one.items] == ["conf"]
    dry = client.V1ConfigMap(metadata=client.V1ObjectMeta(name="dry"))
    core.create_namespaced_config_map(NAMESPACE, dry, dry_run="All")
    refused(404, "NotFound", lambda: core.read_namespaced_config_map("dry", NAMESPACE))
    core.delete_collection_namespaced_config_map(NAMESPACE, label_selector="n")
    assert not core.list_namespaced_config_map(NAMESPACE, label_selector="n").items
    bad = client.V1ConfigMap(metadata=client.V1ObjectMeta(name="No_Good"))
    refused(422, "Invalid", lambda: core.create_namespaced_config_map(NAMESPACE, bad))


def commands(core, pod):
    """This client speaks an older protocol than kubectl, and says everything as text."""
    command = ["sh", "-c", "read word; echo got $word; echo err >&2; exit 3"]
    running = stream(
        core.connect_get_namespaced_pod_exec, pod, NAMESPACE, command=command,
        stdin=True, stdout=True, stderr=True, tty=False, _preload_content=False,
    )
    running.write_stdin("hello\n")
    running.run_forever(timeout=LIMIT_SECONDS)
    assert (running.read_stdout(), running.read_stderr()) == ("got hello\n", "err\n")
    assert running.returncode == 3
    whole = stream(core.connect_get_namespaced_pod_exec, pod, NAMESPACE, command=["echo", "whole"], stdout=True, stdin=False, stderr=True, tty=False)
    assert whole == "whole\n", whole


def ports(core, pod):
    """Channels of a WebSocket, where kubectl speaks SPDY in one."""
    forward = portforward(core.connect_get_namespaced_pod_portforward, pod, NAMESPACE, ports="8080")
    near = forward.socket(8080)
    near.settimeout(LIMIT_SECONDS)
    near.sendall(b"GET /healthz HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n")
    said = b""
    while b"\r\n" not in said:
        part = near.recv(4096)
        assert part, (said, forward.error(8080))
        said += part
    assert b" 200 " in said.split(b"\r\n")[0], said
    forward.close()


def deployments(core, apps):
    apps.create_namespaced_deployment(NAMESPACE, deployment("web", 2))
    pods = until("two ready pods", ready(2), "deployment", core.list_namespaced_pod, label_selector="app=web")
    apps.patch_namespaced_deployment_scale("web", NAMESPACE, {"spec": {"replicas": 3}})
    assert apps.read_namespaced_deployment_scale("web", NAMESPACE).spec.replicas == 3
    pods = until("three ready pods", ready(3), "scale", core.list_namespaced_pod, label_selector="app=web")
    assert len({pod.spec.node_name for pod in pods.values()}) == 3, "one pod in each zone"
    change = {"spec": {"template": {"spec": {"containers": [{"name": "web", "env": [{"name": "A", "value": "1"}]}]}}}}
    patched = apps.patch_namespaced_deployment("web", NAMESPACE, change)
    container = patched.spec.template.spec.containers[0]
    assert (container.image, container.env[0].value) == (IMAGE, "1"), "a strategic merge goes by the container's name"

    def rolled_out(deployments):
        web = deployments["web"]
        return (
            web.status.observed_generation == web.metadata.generation
            and web.status.updated_replicas == web.status.available_replicas == web.status.replicas == 3
        )

    until("the rollout", rolled_out, "patch", apps.list_namespaced_deployment)
    pods = core.list_namespaced_pod(NAMESPACE, label_selector="app=web", field_selector="status.phase=Running").items
    pods = [pod for pod in pods if not pod.metadata.deletion_timestamp]
    assert len(pods) == 3, [pod.metadata.name for pod in pods]
    assert isinstance(core.read_namespaced_pod_log(pods[0].metadata.name, NAMESPACE), str)
    commands(core, pods[0].metadata.name)
    ports(core, pods[0].metadata.name)
    reasons = {event.reason for event in core.list_namespaced_event(NAMESPACE).items}
    assert {"Scheduled", "Started", "ScalingReplicaSet", "SuccessfulCreate"} <= reasons, reasons
    apps.delete_namespaced_deployment("web", NAMESPACE, propagation_policy="Foreground")
    until("no pods", lambda pods: not pods, "delete", core.list_namespaced_pod)
    refused(404, "NotFound", lambda: apps.read_namespaced_deployment("web", NAMESPACE))


def discovered(api):
    """The dynamic client finds kinds by discovery and needs no types."""
    kinds = dynamic.DynamicClient(api).resources
    pods = kinds.get(api_version="v1", kind="Pod")
    manifest = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "said"},
        "spec": {
            "restartPolicy": "Never",
            "containers": [{"name": "c", "image": IMAGE, "command": ["sh", "-c", "echo from python"]}],
        },
    }
    pods.create(body=manifest, namespace=NAMESPACE)
    for event in pods.watch(namespace=NAMESPACE, name="said", timeout=LIMIT_SECONDS):
        if event["object"].status.phase == "Succeeded":
            break
    core = client.CoreV1Api(api)
    assert core.read_namespaced_pod_log("said", NAMESPACE) == "from python\n"
    pods.delete(name="said", namespace=NAMESPACE)


def main():
    config.load_kube_config()
    api = client.ApiClient()
    core, apps = client.CoreV1Api(api), client.AppsV1Api(api)
    assert client.VersionApi(api).get_code().git_version.startswith("v1.")
    namespaces_and_nodes(core)
    config_maps(core)
    deployments(core, apps)
    discovered(api)
    core.delete_namespace(NAMESPACE)
    deadline = time.monotonic() + LIMIT_SECONDS
    while NAMESPACE in [item.metadata.name for item in core.list_namespace().items]:
        assert time.monotonic() < deadline, "the namespace stays"
        time.sleep(0.05)
    print("the Python client is served")


if __name__ == "__main__":
    main()
