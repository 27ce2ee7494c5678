//! Checks of containers.

use std::collections::HashSet;

use serde_json::Value;

use crate::{
    quantity::Quantity,
    resource::{
        field::Errors,
        fields::{at, items, number, text},
        names::{NameRule, check_port_name},
    },
};

/// What a container is for in its pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Init,
    Main,
    /// Added to a pod that runs; what it may not have at all is told by [`super::ephemeral`].
    Ephemeral,
}

/// What containers of one pod must not share, and what they may refer to.
#[derive(Default)]
pub(super) struct Pod<'a> {
    pub(super) names: HashSet<&'a str>,
    pub(super) volumes: HashSet<&'a str>,
    pub(super) host_ports: HashSet<(i64, &'a str, &'a str)>,
}

pub(super) fn validate<'a>(
    pod: &mut Pod<'a>,
    container: &'a Value,
    path: &str,
    role: Role,
    errors: &mut Errors,
) {
    let name = text(container, "name");
    if name.is_empty() {
        errors.required(&format!("{path}.name"), "");
    } else {
        for wrong in NameRule::Label.check(name) {
            errors.invalid_text(&format!("{path}.name"), name, &wrong);
        }
        if !pod.names.insert(name) {
            errors.duplicate(&format!("{path}.name"), &container["name"]);
        }
    }
    let image = text(container, "image");
    if image.is_empty() {
        errors.required(&format!("{path}.image"), "");
    } else if image.trim() != image {
        errors.invalid_text(&format!("{path}.image"), image, "must not have leading or trailing whitespace");
    }
    let one_of = |errors: &mut Errors, key: &str, values: &[&str]| {
        errors.one_of(&format!("{path}.{key}"), &container[key], values);
    };
    one_of(errors, "imagePullPolicy", &["Always", "IfNotPresent", "Never"]);
    one_of(errors, "terminationMessagePolicy", &["FallbackToLogsOnError", "File"]);
    match role {
        Role::Init => one_of(errors, "restartPolicy", &["Always"]),
        Role::Main if container.get("restartPolicy").is_some() => {
            errors.forbidden(&format!("{path}.restartPolicy"), "may not be set for non-init containers");
        }
        Role::Main | Role::Ephemeral => {}
    }
    ports(pod, container, path, errors);
    environment(container, path, errors);
    mounts(pod, container, path, errors);
    resources(&container["resources"], &format!("{path}.resources"), errors);
    if role == Role::Ephemeral {
        return;
    }
    let init = role == Role::Init;
    let sidecar = init && text(container, "restartPolicy") == "Always";
    for key in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let Some(value) = container.get(key) else { continue };
        let path = format!("{path}.{key}");
        if init && !sidecar {
            errors.forbidden(&path, "may not be set for init containers without restartPolicy=Always");
        }
        probe(value, &path, errors);
        if key != "readinessProbe" && number(value, "successThreshold") > 1 {
            errors.invalid(&format!("{path}.successThreshold"), &value["successThreshold"], "must be 1");
        }
    }
    if let Some(lifecycle) = container.get("lifecycle") {
        for hook in ["postStart", "preStop"] {
            if let Some(value) = lifecycle.get(hook) {
                handler(
                    value,
                    &format!("{path}.lifecycle.{hook}"),
                    &["exec", "httpGet", "tcpSocket", "sleep"],
                    errors,
                );
            }
        }
    }
}

fn ports<'a>(pod: &mut Pod<'a>, container: &'a Value, path: &str, errors: &mut Errors) {
    let mut names = HashSet::new();
    for (index, port) in items(container, "ports") {
        let path = format!("{path}.ports[{index}]");
        let name = text(port, "name");
        if !name.is_empty() {
            for wrong in check_port_name(name) {
                errors.invalid_text(&format!("{path}.name"), name, &wrong);
            }
            if !names.insert(name) {
                errors.duplicate(&format!("{path}.name"), &port["name"]);
            }
        }
        if number(port, "containerPort") == 0 {
            errors.required(&format!("{path}.containerPort"), "");
        } else {
            port_number(&port["containerPort"], &format!("{path}.containerPort"), errors);
        }
        if number(port, "hostPort") != 0 {
            port_number(&port["hostPort"], &format!("{path}.hostPort"), errors);
            if !pod.host_ports.insert((
                number(port, "hostPort"),
                text(port, "protocol"),
                text(port, "hostIP"),
            )) {
                errors.duplicate(&format!("{path}.hostPort"), &port["hostPort"]);
            }
        }
        errors.one_of(&format!("{path}.protocol"), &port["protocol"], &["SCTP", "TCP", "UDP"]);
    }
}

pub(in crate::resource) fn port_number(value: &Value, path: &str, errors: &mut Errors) {
    if value.as_i64().is_some_and(|n| !(1..=65_535).contains(&n)) {
        errors.invalid(path, value, "must be between 1 and 65535, inclusive");
    }
}

fn environment(container: &Value, path: &str, errors: &mut Errors) {
    for (index, variable) in items(container, "env") {
        let path = format!("{path}.env[{index}]");
        let name = text(variable, "name");
        if name.is_empty() {
            errors.required(&format!("{path}.name"), "");
        } else {
            variable_name(&format!("{path}.name"), name, errors);
        }
        let Some(source) = variable.get("valueFrom") else { continue };
        let path = format!("{path}.valueFrom");
        if !text(variable, "value").is_empty() {
            errors.invalid_text(&path, "", "may not be specified when `value` is not empty");
        }
        let kinds = ["fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef"];
        match kinds.iter().filter(|kind| source.get(**kind).is_some()).count() {
            0 => errors.invalid_text(
                &path,
                "",
                "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`",
            ),
            1 => {}
            _ => errors.invalid_text(&path, "", "may not have more than one field specified at a time"),
        }
        for kind in ["configMapKeyRef", "secretKeyRef"] {
            if let Some(reference) = source.get(kind)
                && text(reference, "key").is_empty()
            {
                errors.required(&format!("{path}.{kind}.key"), "");
            }
        }
    }
    for (index, source) in items(container, "envFrom") {
        let count = ["configMapRef", "secretRef"].iter().filter(|kind| source.get(**kind).is_some()).count();
        let path = format!("{path}.envFrom[{index}]");
        variable_name(&format!("{path}.prefix"), text(source, "prefix"), errors);
        match count {
            0 => errors.invalid_text(&path, "", "must specify one of: `configMapRef` or `secretRef`"),
            1 => {}
            _ => errors.invalid_text(&path, "", "may not have more than one field specified at a time"),
        }
    }
}

/// What may name a variable or begin its name.
fn variable_name(path: &str, name: &str, errors: &mut Errors) {
    if !name.bytes().all(|b| (b' '..=b'~').contains(&b) && b != b'=') {
        errors.invalid_text(
            path,
            name,
            "a valid environment variable name must consist only of printable ASCII characters other than '='",
        );
    }
}

fn mounts(pod: &Pod<'_>, container: &Value, path: &str, errors: &mut Errors) {
    let mut paths = HashSet::new();
    for (index, mount) in items(container, "volumeMounts") {
        let path = format!("{path}.volumeMounts[{index}]");
        let name = text(mount, "name");
        if name.is_empty() {
            errors.required(&format!("{path}.name"), "");
        } else if !pod.volumes.contains(name) {
            errors.not_found(&format!("{path}.name"), name);
        }
        let mount_path = text(mount, "mountPath");
        if mount_path.is_empty() {
            errors.required(&format!("{path}.mountPath"), "");
        } else if !paths.insert(mount_path) {
            errors.invalid_text(&format!("{path}.mountPath"), mount_path, "must be unique");
        }
        for key in ["subPath", "subPathExpr"] {
            let sub = text(mount, key);
            if sub.starts_with('/') {
                errors.invalid_text(&format!("{path}.{key}"), sub, "must be a relative path");
            } else if sub.split('/').any(|part| part == "..") {
                errors.invalid_text(&format!("{path}.{key}"), sub, "must not contain '..'");
            }
        }
    }
}

fn resources(resources: &Value, path: &str, errors: &mut Errors) {
    let amount = |value: &Value| value.as_str().and_then(|text| text.parse::<Quantity>().ok());
    for list in ["limits", "requests"] {
        for (name, value) in resources[list].as_object().into_iter().flatten() {
            let path = format!("{path}.{list}[{name}]");
            if !matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage")
                && !name.starts_with("hugepages-")
                && !name.contains('/')
            {
                errors.invalid_text(&path, name, "must be a standard resource for containers");
            }
            if amount(value).is_some_and(|q| q.nanos() < 0) {
                errors.invalid(&path, value, "must be greater than or equal to 0");
            }
        }
    }
    for (name, request) in resources["requests"].as_object().into_iter().flatten() {
        let limit = at(resources, &["limits", name]);
        if let (Some(requested), Some(limited)) = (amount(request), amount(limit))
            && requested > limited
        {
            let detail = format!(
                "must be less than or equal to {name} limit of {}",
                limit.as_str().unwrap_or_default()
            );
            errors.invalid(&format!("{path}.requests"), request, &detail);
        }
    }
}

fn probe(probe: &Value, path: &str, errors: &mut Errors) {
    handler(probe, path, &["exec", "httpGet", "tcpSocket", "grpc"], errors);
    for key in
        ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"]
    {
        errors.non_negative(&format!("{path}.{key}"), &probe[key]);
    }
    if probe.get("terminationGracePeriodSeconds").and_then(Value::as_i64).is_some_and(|n| n < 1) {
        let value = &probe["terminationGracePeriodSeconds"];
        errors.invalid(&format!("{path}.terminationGracePeriodSeconds"), value, "must be greater than 0");
    }
}

fn handler(handler: &Value, path: &str, kinds: &[&str], errors: &mut Errors) {
    let found: Vec<&&str> = kinds.iter().filter(|kind| handler.get(**kind).is_some()).collect();
    match found.as_slice() {
        [] => errors.required(path, "must specify a handler type"),
        [_] => {}
        [_, second, ..] => {
            errors.forbidden(&format!("{path}.{second}"), "may not specify more than 1 handler type");
        }
    }
    if let Some(exec) = handler.get("exec")
        && exec["command"].as_array().is_none_or(Vec::is_empty)
    {
        errors.required(&format!("{path}.exec.command"), "");
    }
    for kind in ["httpGet", "tcpSocket", "grpc"] {
        let Some(target) = handler.get(kind) else { continue };
        let path = format!("{path}.{kind}.port");
        match &target["port"] {
            Value::Number(_) => {
                // Zero and below are told alike.
                if !(1..=65_535).contains(&number(target, "port")) {
                    errors.invalid(&path, &target["port"], "must be between 1 and 65535, inclusive");
                }
            }
            Value::String(name) => {
                for wrong in check_port_name(name) {
                    errors.invalid_text(&path, name, &wrong);
                }
            }
            _ => errors.required(&path, ""),
        }
        if kind == "httpGet" {
            errors.one_of(&path.replace(".port", ".scheme"), &target["scheme"], &["HTTP", "HTTPS"]);
        }
    }
}
