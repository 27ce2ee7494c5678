//! A container's environment, command and arguments: what they refer to, and `$(VAR)`.

use std::collections::BTreeMap;

use serde_json::Value;

use super::access::Access;
use super::dependency::{Dependencies, Kind};
use super::document::{Container, EnvVar, FieldRef, KeyRef, Pod, ResourceFieldRef};
use super::quantity;

/// What a pod may ask about the machine it runs on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// The node's name.
    pub name: String,
    /// The node's address.
    pub address: String,
    /// Its processors, in thousandths.
    pub cpu_milli: i64,
    /// Its memory.
    pub memory_bytes: i64,
}

/// Everything that a container's configuration may refer to.
#[derive(Clone, Copy, Debug)]
pub struct Sources<'a> {
    /// The pod.
    pub pod: &'a Pod,
    /// Its ConfigMaps and Secrets.
    pub dependencies: &'a Dependencies,
    /// Where it runs.
    pub machine: &'a Machine,
    /// What it gets to reach others.
    pub access: &'a Access,
}

impl Sources<'_> {
    /// The environment in its order: Services and where the API is, `envFrom`, then `env`, a later value replacing an earlier one. An error is
    /// the message of `CreateContainerConfigError`.
    pub fn environment(&self, container: &Container) -> Result<Vec<(String, String)>, String> {
        let mut env = Environment::default();
        for (name, value) in &self.access.variables {
            env.set(name.clone(), value.clone());
        }
        for source in &container.env_from {
            let references = [(Kind::ConfigMap, &source.config_map_ref), (Kind::Secret, &source.secret_ref)];
            for (kind, reference) in references {
                let Some(reference) = reference else { continue };
                match self.dependencies.get(kind, &reference.name) {
                    Some(data) => {
                        for (key, value) in data {
                            let name = format!("{}{key}", source.prefix);
                            // A key that cannot be a variable is left out, as Kubernetes does.
                            if !name.is_empty() && !name.contains(['=', '\0']) {
                                env.set(name, String::from_utf8_lossy(value).into_owned());
                            }
                        }
                    }
                    None if reference.optional => {}
                    None => return Err(format!("{} \"{}\" not found", kind.lower(), reference.name)),
                }
            }
        }
        for variable in &container.env {
            if let Some(value) = self.value(container, variable, &env)? {
                env.set(variable.name.clone(), value);
            }
        }
        Ok(env.list)
    }

    fn value(
        &self,
        container: &Container,
        variable: &EnvVar,
        env: &Environment,
    ) -> Result<Option<String>, String> {
        let Some(from) = &variable.value_from else {
            return Ok(Some(expand(variable.value.as_deref().unwrap_or_default(), |name| env.get(name))));
        };
        if let Some(key) = &from.config_map_key_ref {
            return self.key(Kind::ConfigMap, key);
        }
        if let Some(key) = &from.secret_key_ref {
            return self.key(Kind::Secret, key);
        }
        if let Some(field) = &from.field_ref {
            return self.field(field).map(Some);
        }
        if let Some(resource) = &from.resource_field_ref {
            return self.resource(container, resource).map(Some);
        }
        Ok(Some(String::new()))
    }

    fn key(&self, kind: Kind, reference: &KeyRef) -> Result<Option<String>, String> {
        let KeyRef { name, key, optional } = reference;
        if let Some(text) = self.dependencies.text(kind, name, key) {
            return Ok(Some(text.into_owned()));
        }
        if *optional {
            return Ok(None);
        }
        if self.dependencies.get(kind, name).is_none() {
            return Err(format!("{} \"{name}\" not found", kind.lower()));
        }
        Err(format!("couldn't find key {key} in {} {}/{name}", kind.proper(), self.pod.metadata.namespace))
    }

    /// A field of the pod, such as `metadata.labels['app']`.
    pub fn field(&self, field: &FieldRef) -> Result<String, String> {
        let metadata = &self.pod.metadata;
        let address = &self.machine.address;
        let path = field.field_path.as_str();
        let subscript = |prefix: &str| {
            let rest = path.strip_prefix(prefix)?.strip_prefix("['")?;
            rest.strip_suffix("']")
        };
        if let Some(key) = subscript("metadata.labels") {
            return Ok(metadata.labels.get(key).cloned().unwrap_or_default());
        }
        if let Some(key) = subscript("metadata.annotations") {
            return Ok(metadata.annotations.get(key).cloned().unwrap_or_default());
        }
        Ok(match path {
            "metadata.name" => metadata.name.clone(),
            "metadata.namespace" => metadata.namespace.clone(),
            "metadata.uid" => metadata.uid.clone(),
            "metadata.labels" => lines(&metadata.labels),
            "metadata.annotations" => lines(&metadata.annotations),
            "spec.nodeName" => self.machine.name.clone(),
            "spec.serviceAccountName" => self.pod.spec.service_account_name.clone(),
            "status.hostIP" | "status.hostIPs" => address.clone(),
            // Pods have no address of their own yet: only those in the machine's network can name one.
            "status.podIP" | "status.podIPs" if self.pod.is_on_machine_network() => address.clone(),
            "status.podIP" | "status.podIPs" => String::new(),
            other => return Err(format!("unsupported fieldPath: {other}")),
        })
    }

    /// A request or limit of a container; a limit that is not set is what the machine has.
    pub fn resource(&self, container: &Container, reference: &ResourceFieldRef) -> Result<String, String> {
        let container = match reference.container_name.as_deref() {
            Some(name) => self.pod.container(name).ok_or_else(|| format!("container {name} not found"))?,
            None => container,
        };
        let unsupported = || format!("unsupported container resource: {}", reference.resource);
        let (list, resource) = reference.resource.split_once('.').ok_or_else(unsupported)?;
        let limit = container.resources.limits.get(resource).and_then(quantity::milli);
        let set = match list {
            "limits" => limit,
            "requests" => container.resources.requests.get(resource).and_then(quantity::milli).or(limit),
            _ => return Err(unsupported()),
        };
        let machine = match resource {
            "cpu" => i128::from(self.machine.cpu_milli),
            "memory" => i128::from(self.machine.memory_bytes) * 1000,
            _ => 0,
        };
        let value = set.unwrap_or(if list == "limits" { machine } else { 0 });
        let divisor = reference.divisor.as_ref().and_then(quantity::milli).filter(|divisor| *divisor > 0);
        let divisor = divisor.unwrap_or(1000);
        Ok(((value + divisor - 1) / divisor).to_string())
    }
}

/// `key="value"` lines, as downward API files have them.
fn lines(map: &BTreeMap<String, String>) -> String {
    map.iter()
        .map(|(key, value)| format!("{key}={}", Value::from(value.as_str())))
        .collect::<Vec<_>>()
        .join("\n")
}

#[derive(Default)]
struct Environment {
    list: Vec<(String, String)>,
    places: BTreeMap<String, usize>,
}

impl Environment {
    fn get(&self, name: &str) -> Option<&str> {
        self.places.get(name).map(|place| self.list[*place].1.as_str())
    }

    fn set(&mut self, name: String, value: String) {
        match self.places.get(&name) {
            Some(place) => self.list[*place].1 = value,
            None => {
                self.places.insert(name.clone(), self.list.len());
                self.list.push((name, value));
            }
        }
    }
}

/// Replaces `$(NAME)`; `$$` is a dollar, and what is not known stays as it is written.
pub fn expand<'a>(text: &str, value: impl Fn(&str) -> Option<&'a str>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some((name, after)) = rest.strip_prefix('(').and_then(|inner| inner.split_once(')')) {
            match value(name) {
                Some(value) => out.push_str(value),
                None => out.extend(["$(", name, ")"]),
            }
            rest = after;
        } else {
            out.push('$');
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn pod(env: &str) -> Pod {
        let json = format!(
            r#"{{"metadata":{{"name":"web-0","namespace":"shop","labels":{{"app":"web"}}}},"spec":{{"containers":[
            {{"name":"web","resources":{{"limits":{{"cpu":"1500m","memory":"64Mi"}}}},{env}}}]}}}}"#
        );
        Pod::parse(json.as_bytes()).unwrap()
    }

    fn environment(env: &str) -> Result<Vec<(String, String)>, String> {
        let pod = pod(env);
        let mut dependencies = Dependencies::default();
        dependencies.add("ConfigMap", "settings", br#"{"data":{"COLOR":"blue","a=b":"no","data-1":"one"}}"#);
        dependencies.add("Secret", "login", br#"{"data":{"word":"c2VzYW1l"}}"#);
        let machine =
            Machine { name: "n1".into(), address: "10.0.0.1".into(), cpu_milli: 4000, memory_bytes: 1 << 30 };
        let found = |value: &str| ("API".to_owned(), value.to_owned());
        let access = Access { variables: vec![found("nominal"), found("here")], ..Access::default() };
        let sources = Sources { pod: &pod, dependencies: &dependencies, machine: &machine, access: &access };
        sources.environment(&pod.spec.containers[0])
    }

    #[test]
    fn values_come_from_everywhere_in_order() {
        let env = environment(
            r#""envFrom":[{"prefix":"S_","configMapRef":{"name":"settings"}},{"secretRef":{"name":"none","optional":true}}],
            "env":[{"name":"A","value":"1"},{"name":"B","value":"$(A)-$(S_COLOR)-$(C)-$$(A)"},
            {"name":"WORD","valueFrom":{"secretKeyRef":{"name":"login","key":"word"}}},
            {"name":"NAME","valueFrom":{"fieldRef":{"fieldPath":"metadata.name"}}},
            {"name":"APP","valueFrom":{"fieldRef":{"fieldPath":"metadata.labels['app']"}}},
            {"name":"NODE","valueFrom":{"fieldRef":{"fieldPath":"spec.nodeName"}}},
            {"name":"CPUS","valueFrom":{"resourceFieldRef":{"resource":"limits.cpu"}}},
            {"name":"MEM","valueFrom":{"resourceFieldRef":{"resource":"limits.memory","divisor":"1Mi"}}},
            {"name":"GONE","valueFrom":{"configMapKeyRef":{"name":"settings","key":"x","optional":true}}},
            {"name":"A","value":"2"}]"#,
        );
        let expected = [
            ("API", "here"),
            ("S_COLOR", "blue"),
            ("S_data-1", "one"),
            ("A", "2"),
            ("B", "1-blue-$(C)-$(A)"),
            ("WORD", "sesame"),
            ("NAME", "web-0"),
            ("APP", "web"),
            ("NODE", "n1"),
            ("CPUS", "2"),
            ("MEM", "64"),
        ];
        let expected: Vec<_> = expected.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        assert_eq!(env, Ok(expected));
    }

    #[test]
    fn what_is_missing_is_said_in_kubernetes_words() {
        let missing = environment(r#""envFrom":[{"configMapRef":{"name":"nope"}}]"#);
        assert_eq!(missing, Err("configmap \"nope\" not found".to_owned()));
        let missing =
            environment(r#""env":[{"name":"A","valueFrom":{"secretKeyRef":{"name":"nope","key":"k"}}}]"#);
        assert_eq!(missing, Err("secret \"nope\" not found".to_owned()));
        let missing =
            environment(r#""env":[{"name":"A","valueFrom":{"secretKeyRef":{"name":"login","key":"k"}}}]"#);
        assert_eq!(missing, Err("couldn't find key k in Secret shop/login".to_owned()));
    }
}
