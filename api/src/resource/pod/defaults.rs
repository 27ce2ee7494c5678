//! The defaults of a pod spec, of pods and templates, as Kubernetes fills them in. What it gives to pods only is in
//! [`kontiki_actors::kinds::pod::complete`].

use serde_json::{Map, Value, json};

use crate::resource::fields::{default, default_text, each, object};

/// Completes the spec of a pod or of a template.
pub fn default_spec(spec: &mut Map<String, Value>) {
    default_text(spec, "dnsPolicy", "ClusterFirst");
    default_text(spec, "restartPolicy", "Always");
    default_text(spec, "schedulerName", "default-scheduler");
    default(spec, "terminationGracePeriodSeconds", 30);
    default(spec, "securityContext", json!({}));
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for container in each(spec, list) {
            default_container(container);
        }
    }
    for volume in each(spec, "volumes") {
        default_volume(volume);
    }
    // The deprecated name of the same field.
    if let Some(account) = spec.get("serviceAccount").cloned().filter(|a| a != "") {
        default_text(spec, "serviceAccountName", account.as_str().unwrap_or_default());
    }
    if let Some(account) = spec.get("serviceAccountName").cloned().filter(|a| a != "") {
        spec.insert("serviceAccount".into(), account);
    }
}

/// Completes the containers that were added to a running pod, and nothing else of it.
pub(super) fn default_ephemeral(spec: &mut Map<String, Value>) {
    for container in each(spec, "ephemeralContainers") {
        default_container(container);
    }
}

fn default_container(container: &mut Map<String, Value>) {
    let image = container.get("image").and_then(Value::as_str).unwrap_or_default();
    let policy = if always_pull(image) { "Always" } else { "IfNotPresent" };
    default_text(container, "imagePullPolicy", policy);
    default_text(container, "terminationMessagePath", "/dev/termination-log");
    default_text(container, "terminationMessagePolicy", "File");
    default(container, "resources", json!({}));
    for port in each(container, "ports") {
        default_text(port, "protocol", "TCP");
    }
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = container.get_mut(probe).and_then(Value::as_object_mut) {
            default_probe(probe);
        }
    }
    if let Some(lifecycle) = container.get_mut("lifecycle").and_then(Value::as_object_mut) {
        for hook in ["postStart", "preStop"] {
            if let Some(hook) = lifecycle.get_mut(hook).and_then(Value::as_object_mut) {
                default_http(hook);
            }
        }
    }
    for variable in each(container, "env") {
        if let Some(source) = variable.get_mut("valueFrom").and_then(Value::as_object_mut) {
            if let Some(field) = source.get_mut("fieldRef").and_then(Value::as_object_mut) {
                default_text(field, "apiVersion", "v1");
            }
            if let Some(field) = source.get_mut("resourceFieldRef").and_then(Value::as_object_mut) {
                default(field, "divisor", "0");
            }
        }
    }
}

/// A tag that moves is pulled each time; a digest or another tag stays what it is.
fn always_pull(image: &str) -> bool {
    if image.contains('@') {
        return false;
    }
    let last = image.rsplit('/').next().unwrap_or(image);
    last.split_once(':').is_none_or(|(_, tag)| tag == "latest")
}

fn default_probe(probe: &mut Map<String, Value>) {
    for (key, value) in
        [("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3)]
    {
        if probe.get(key).and_then(Value::as_i64).unwrap_or(0) == 0 {
            probe.insert(key.into(), value.into());
        }
    }
    default_http(probe);
    if let Some(grpc) = probe.get_mut("grpc").and_then(Value::as_object_mut) {
        default(grpc, "service", "");
    }
}

fn default_http(handler: &mut Map<String, Value>) {
    if let Some(http) = handler.get_mut("httpGet").and_then(Value::as_object_mut) {
        default_text(http, "path", "/");
        default_text(http, "scheme", "HTTP");
    }
}

fn default_volume(volume: &mut Map<String, Value>) {
    if volume.keys().all(|key| key == "name") {
        volume.insert("emptyDir".into(), json!({}));
    }
    for source in ["secret", "configMap", "downwardAPI", "projected"] {
        if let Some(source) = volume.get_mut(source).and_then(Value::as_object_mut) {
            default(source, "defaultMode", 420);
        }
    }
    if let Some(path) = volume.get_mut("hostPath").and_then(Value::as_object_mut) {
        default(path, "type", "");
    }
    let template = volume.get_mut("ephemeral").and_then(|source| source.get_mut("volumeClaimTemplate"));
    if let Some(template) = template.and_then(Value::as_object_mut) {
        default_text(object(template, "spec"), "volumeMode", "Filesystem");
    }
    if let Some(downward) = volume.get_mut("downwardAPI").and_then(Value::as_object_mut) {
        default_downward(downward);
    }
    if let Some(projected) = volume.get_mut("projected").and_then(Value::as_object_mut) {
        for source in each(projected, "sources") {
            if let Some(token) = source.get_mut("serviceAccountToken").and_then(Value::as_object_mut) {
                default(token, "expirationSeconds", 3600);
            }
            if let Some(downward) = source.get_mut("downwardAPI").and_then(Value::as_object_mut) {
                default_downward(downward);
            }
        }
    }
}

fn default_downward(downward: &mut Map<String, Value>) {
    for item in each(downward, "items") {
        if let Some(field) = item.get_mut("fieldRef").and_then(Value::as_object_mut) {
            default_text(field, "apiVersion", "v1");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spec_is_completed_once_and_then_stays() {
        let mut spec = json!({
            "containers": [{"name": "a", "image": "nginx", "ports": [{"containerPort": 80}],
                "readinessProbe": {"httpGet": {"port": 80}}, "resources": {"limits": {"cpu": "1"}}}],
            "volumes": [{"name": "v"}, {"name": "c", "configMap": {"name": "x"}}],
        });
        default_spec(spec.as_object_mut().expect("an object"));
        let container = &spec["containers"][0];
        assert_eq!(container["imagePullPolicy"], "Always");
        assert_eq!(container["ports"][0]["protocol"], "TCP");
        assert_eq!(
            container["readinessProbe"]["httpGet"],
            json!({"port": 80, "path": "/", "scheme": "HTTP"})
        );
        assert_eq!(container["resources"], json!({"limits": {"cpu": "1"}}));
        assert_eq!(spec["volumes"][0]["emptyDir"], json!({}));
        assert_eq!(spec["volumes"][1]["configMap"]["defaultMode"], 420);
        let once = spec.clone();
        default_spec(spec.as_object_mut().expect("an object"));
        assert_eq!(spec, once);
    }

    #[test]
    fn which_images_are_pulled_each_time() {
        for (image, always) in [
            ("nginx", true),
            ("nginx:latest", true),
            ("nginx:1", false),
            ("h:5000/nginx", true),
            ("a@sha256:00", false),
        ] {
            assert_eq!(always_pull(image), always, "{image}");
        }
    }
}
