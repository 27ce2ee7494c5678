//! The Pod as the leader sends it: the fields that a worker acts on. Everything else of the document is the leader's.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

/// The priority of `system-cluster-critical`.
const CRITICAL: i64 = 2_000_000_000;

/// A Pod.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs, reason = "the names are those of the Kubernetes API")]
pub struct Pod {
    pub metadata: Metadata,
    pub spec: Spec,
    pub status: Status,
}

impl Pod {
    /// Reads a Pod from its JSON. Explicit nulls count as absent, as they do in Kubernetes.
    pub fn parse(json: &[u8]) -> Result<Pod, serde_json::Error> {
        let mut value: Value = serde_json::from_slice(json)?;
        drop_nulls(&mut value);
        let mut pod: Pod = serde_json::from_value(value)?;
        pod.claims_of_its_own();
        Ok(pod)
    }

    /// A generic ephemeral volume is a claim that was made for the pod from what it says.
    fn claims_of_its_own(&mut self) {
        for volume in &mut self.spec.volumes {
            if volume.other.remove("ephemeral").is_some() {
                volume.persistent_volume_claim = Some(ClaimSource {
                    claim_name: format!("{}-{}", self.metadata.name, volume.name),
                    read_only: false,
                    owner: Some(self.metadata.uid.clone()),
                });
            }
        }
    }

    /// All containers in the order of their statuses: init containers first, and those last that were added while it ran.
    pub fn all_containers(&self) -> impl Iterator<Item = &Container> {
        let Spec { init_containers, containers, ephemeral_containers, .. } = &self.spec;
        init_containers.iter().chain(containers).chain(ephemeral_containers)
    }

    /// What the container of a name is for.
    pub fn role(&self, name: &str) -> Role {
        let among = |list: &[Container]| list.iter().any(|container| container.name == name);
        match self {
            pod if among(&pod.spec.init_containers) => Role::Init,
            pod if among(&pod.spec.ephemeral_containers) => Role::Ephemeral,
            _ => Role::Main,
        }
    }

    /// A container by its name.
    pub fn container(&self, name: &str) -> Option<&Container> {
        self.all_containers().find(|container| container.name == name)
    }

    /// The host name that its containers see.
    pub fn hostname(&self) -> &str {
        let name = self.spec.hostname.as_deref().unwrap_or(&self.metadata.name);
        // The kernel takes 64 bytes; Kubernetes cuts at 63 and lets no dash or dot end it.
        let end = name
            .char_indices()
            .map(|(at, c)| at + c.len_utf8())
            .take_while(|end| *end <= 63)
            .last()
            .unwrap_or(0);
        name[..end].trim_end_matches(['-', '.'])
    }

    /// Its containers use the machine's network: it was asked for, or they are plain processes of the machine.
    pub fn is_on_machine_network(&self) -> bool {
        self.spec.host_network || self.is_host_class()
    }

    /// Its containers are plain processes of the machine.
    pub fn is_host_class(&self) -> bool {
        self.spec.runtime_class_name.as_deref() == Some("host")
    }

    /// From this priority on (`system-cluster-critical`) a worker rather bears what troubles it than end the pod.
    pub fn is_critical(&self) -> bool {
        self.spec.priority >= CRITICAL
    }

    /// It must never run twice: it has an identity of its own.
    pub fn is_exclusive(&self) -> bool {
        self.metadata.owner_references.iter().any(|owner| owner.kind == "StatefulSet")
    }

    /// How long its containers get to stop.
    pub fn grace_seconds(&self) -> i64 {
        let asked =
            self.metadata.deletion_grace_period_seconds.or(self.spec.termination_grace_period_seconds);
        asked.unwrap_or(30).clamp(0, 7 * 24 * 3600)
    }
}

fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, field| !field.is_null());
            fields.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

macro_rules! document {
    ($(#[$meta:meta])* $name:ident { $($(#[$field_meta:meta])* $field:ident: $kind:ty,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, Default, PartialEq, Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        #[allow(missing_docs, reason = "the names are those of the Kubernetes API")]
        pub struct $name { $($(#[$field_meta])* pub $field: $kind,)* }
    };
}

document! {
    /// ObjectMeta.
    Metadata {
        name: String,
        namespace: String,
        uid: String,
        labels: BTreeMap<String, String>,
        annotations: BTreeMap<String, String>,
        deletion_timestamp: Option<String>,
        deletion_grace_period_seconds: Option<i64>,
        owner_references: Vec<OwnerReference>,
    }
}
document! {
    /// OwnerReference.
    OwnerReference { kind: String, name: String, }
}
document! {
    /// PodSpec.
    Spec {
        init_containers: Vec<Container>,
        containers: Vec<Container>,
        ephemeral_containers: Vec<Container>,
        restart_policy: RestartPolicy,
        termination_grace_period_seconds: Option<i64>,
        active_deadline_seconds: Option<i64>,
        node_name: String,
        service_account_name: String,
        hostname: Option<String>,
        subdomain: String,
        #[serde(rename = "setHostnameAsFQDN")]
        set_hostname_as_fqdn: bool,
        dns_policy: String,
        dns_config: DnsConfig,
        host_aliases: Vec<HostAlias>,
        host_network: bool,
        #[serde(rename = "hostPID")]
        host_pid: bool,
        #[serde(rename = "hostIPC")]
        host_ipc: bool,
        share_process_namespace: bool,
        host_users: Option<bool>,
        os: Os,
        runtime_class_name: Option<String>,
        priority_class_name: String,
        priority: i64,
        volumes: Vec<Volume>,
        security_context: SecurityContext,
        readiness_gates: Vec<ReadinessGate>,
        image_pull_secrets: Vec<Named>,
        enable_service_links: Option<bool>,
        tolerations: Vec<Toleration>,
    }
}
document! {
    /// Toleration.
    Toleration { key: String, operator: String, value: String, effect: String, }
}
document! {
    /// PodDNSConfig.
    DnsConfig { nameservers: Vec<String>, searches: Vec<String>, options: Vec<DnsOption>, }
}
document! {
    /// PodDNSConfigOption.
    DnsOption { name: String, value: Option<String>, }
}
document! {
    /// HostAlias.
    HostAlias { ip: String, hostnames: Vec<String>, }
}
document! {
    /// LocalObjectReference.
    Named { name: String, }
}
document! {
    /// PodStatus, as far as the leader decides it.
    Status {
        phase: String,
        qos_class: Option<String>,
        start_time: Option<String>,
        conditions: Vec<Value>,
    }
}
document! {
    /// PodReadinessGate.
    ReadinessGate { condition_type: String, }
}
document! {
    /// Container and EphemeralContainer, which has a target besides.
    Container {
        name: String,
        image: String,
        image_pull_policy: String,
        command: Vec<String>,
        args: Vec<String>,
        env: Vec<EnvVar>,
        env_from: Vec<EnvFrom>,
        working_dir: Option<String>,
        ports: Vec<Port>,
        resources: Resources,
        volume_mounts: Vec<VolumeMount>,
        startup_probe: Option<Probe>,
        readiness_probe: Option<Probe>,
        liveness_probe: Option<Probe>,
        lifecycle: Lifecycle,
        security_context: SecurityContext,
        termination_message_path: String,
        termination_message_policy: String,
        stdin: bool,
        stdin_once: bool,
        tty: bool,
        restart_policy: Option<String>,
        target_container_name: String,
    }
}

/// What a container is for in its pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It prepares the pod, or is a sidecar.
    Init,
    /// It is what the pod is for.
    Main,
    /// It was added to look into the pod while that runs: it is started once, and the pod's fate does not depend on it.
    Ephemeral,
}

impl Role {
    /// The list of the spec that it is in.
    pub fn list(self) -> &'static str {
        match self {
            Role::Init => "initContainers",
            Role::Main => "containers",
            Role::Ephemeral => "ephemeralContainers",
        }
    }
}

impl Container {
    /// An init container that goes on running beside the others.
    pub fn is_sidecar(&self) -> bool {
        self.restart_policy.as_deref() == Some("Always")
    }
}

document! {
    /// ContainerPort.
    Port { name: String, container_port: u16, }
}
document! {
    /// ResourceRequirements.
    Resources { limits: BTreeMap<String, Value>, requests: BTreeMap<String, Value>, }
}
document! {
    /// EnvVar.
    EnvVar { name: String, value: Option<String>, value_from: Option<ValueFrom>, }
}
document! {
    /// EnvVarSource.
    ValueFrom {
        config_map_key_ref: Option<KeyRef>,
        secret_key_ref: Option<KeyRef>,
        field_ref: Option<FieldRef>,
        resource_field_ref: Option<ResourceFieldRef>,
    }
}
document! {
    /// A key of a ConfigMap or Secret.
    KeyRef { name: String, key: String, optional: bool, }
}
document! {
    /// ObjectFieldSelector.
    FieldRef { field_path: String, }
}
document! {
    /// ResourceFieldSelector.
    ResourceFieldRef { container_name: Option<String>, resource: String, divisor: Option<Value>, }
}
document! {
    /// EnvFromSource.
    EnvFrom { prefix: String, config_map_ref: Option<ObjectRef>, secret_ref: Option<ObjectRef>, }
}
document! {
    /// A reference to a ConfigMap or Secret as a whole.
    ObjectRef { name: String, optional: bool, }
}
document! {
    /// Lifecycle.
    Lifecycle { post_start: Option<Handler>, pre_stop: Option<Handler>, }
}
document! {
    /// LifecycleHandler.
    Handler { exec: Option<Exec>, http_get: Option<HttpGet>, tcp_socket: Option<TcpSocket>, sleep: Option<Sleep>, }
}
document! {
    /// SleepAction.
    Sleep { seconds: u64, }
}
document! {
    /// Probe.
    Probe {
        exec: Option<Exec>,
        http_get: Option<HttpGet>,
        tcp_socket: Option<TcpSocket>,
        grpc: Option<Grpc>,
        initial_delay_seconds: Option<u32>,
        timeout_seconds: Option<u32>,
        period_seconds: Option<u32>,
        success_threshold: Option<u32>,
        failure_threshold: Option<u32>,
        termination_grace_period_seconds: Option<i64>,
    }
}
document! {
    /// ExecAction.
    Exec { command: Vec<String>, }
}
document! {
    /// HTTPGetAction.
    HttpGet { path: Option<String>, port: PortRef, host: Option<String>, scheme: Option<String>, http_headers: Vec<HttpHeader>, }
}
document! {
    /// HTTPHeader.
    HttpHeader { name: String, value: String, }
}
document! {
    /// TCPSocketAction.
    TcpSocket { port: PortRef, }
}
document! {
    /// GRPCAction.
    Grpc { port: u16, service: String, }
}
document! {
    /// SecurityContext, of a pod or of a container.
    SecurityContext {
        run_as_user: Option<u32>,
        run_as_group: Option<u32>,
        run_as_non_root: Option<bool>,
        privileged: bool,
        read_only_root_filesystem: bool,
        allow_privilege_escalation: Option<bool>,
        capabilities: Capabilities,
        supplemental_groups: Vec<u32>,
        supplemental_groups_policy: String,
        fs_group: Option<u32>,
        fs_group_change_policy: String,
        seccomp_profile: Option<Profile>,
        app_armor_profile: Option<Profile>,
        se_linux_options: Option<Value>,
        proc_mount: String,
        sysctls: Vec<Sysctl>,
        windows_options: WindowsOptions,
    }
}
document! {
    /// SeccompProfile and AppArmorProfile.
    Profile { #[serde(rename = "type")] kind: String, localhost_profile: String, }
}
document! {
    /// Sysctl.
    Sysctl { name: String, value: String, }
}
document! {
    /// WindowsSecurityContextOptions, as far as they mean something elsewhere.
    WindowsOptions { host_process: bool, }
}
document! {
    /// PodOS.
    Os { name: String, }
}
document! {
    /// Capabilities.
    Capabilities { add: Vec<String>, drop: Vec<String>, }
}
document! {
    /// VolumeMount.
    VolumeMount { name: String, mount_path: String, sub_path: String, sub_path_expr: String, read_only: bool, }
}
document! {
    /// Volume. A source that is none of these is kept by its name, to be refused with it.
    Volume {
        name: String,
        empty_dir: Option<EmptyDir>,
        config_map: Option<FilesFrom>,
        secret: Option<FilesFrom>,
        #[serde(rename = "downwardAPI")]
        downward_api: Option<DownwardApi>,
        projected: Option<Projected>,
        host_path: Option<HostPath>,
        persistent_volume_claim: Option<ClaimSource>,
        #[serde(flatten)]
        other: BTreeMap<String, Value>,
    }
}
document! {
    /// PersistentVolumeClaimVolumeSource. `owner`: the uid of the pod, if the claim must have been made for it.
    ClaimSource { claim_name: String, read_only: bool, #[serde(skip)] owner: Option<String>, }
}
document! {
    /// EmptyDirVolumeSource.
    EmptyDir { medium: String, size_limit: Option<Value>, }
}
document! {
    /// ConfigMapVolumeSource and SecretVolumeSource; the one says `name`, the other `secretName`.
    FilesFrom { name: String, secret_name: String, items: Vec<Item>, default_mode: Option<u32>, optional: bool, }
}
document! {
    /// KeyToPath.
    Item { key: String, path: String, mode: Option<u32>, }
}
document! {
    /// DownwardAPIVolumeSource.
    DownwardApi { items: Vec<DownwardItem>, default_mode: Option<u32>, }
}
document! {
    /// DownwardAPIVolumeFile.
    DownwardItem { path: String, field_ref: Option<FieldRef>, resource_field_ref: Option<ResourceFieldRef>, mode: Option<u32>, }
}
document! {
    /// ProjectedVolumeSource.
    Projected { sources: Vec<Projection>, default_mode: Option<u32>, }
}
document! {
    /// VolumeProjection.
    Projection {
        config_map: Option<FilesFrom>,
        secret: Option<FilesFrom>,
        #[serde(rename = "downwardAPI")]
        downward_api: Option<DownwardApi>,
        service_account_token: Option<TokenSource>,
    }
}
document! {
    /// ServiceAccountTokenProjection.
    TokenSource { audience: String, expiration_seconds: Option<i64>, path: String, }
}
impl TokenSource {
    /// How long a token lives that does not say it.
    pub const EXPIRATION_S: i64 = 3600;
}
document! {
    /// HostPathVolumeSource.
    HostPath { path: String, #[serde(rename = "type")] kind: String, }
}

/// When a container that ended is started again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[allow(missing_docs, reason = "the names are those of the Kubernetes API")]
pub enum RestartPolicy {
    #[default]
    Always,
    OnFailure,
    Never,
}

/// A port by its number, or by its name in the container.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
#[allow(missing_docs, reason = "the names say it")]
pub enum PortRef {
    Number(u16),
    Name(String),
}

impl Default for PortRef {
    fn default() -> Self {
        PortRef::Number(0)
    }
}

impl PortRef {
    /// The number for a container's port.
    pub fn number(&self, container: &Container) -> Option<u16> {
        match self {
            PortRef::Number(number) => Some(*number).filter(|number| *number != 0),
            PortRef::Name(name) => {
                let port = container.ports.iter().find(|port| port.name == *name);
                port.map(|port| port.container_port).or_else(|| name.parse().ok())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn nulls_count_as_absent_and_unknown_fields_do_not_matter() {
        let pod = Pod::parse(
            br#"{"metadata":{"name":"web-","creationTimestamp":null,"labels":null},"spec":{"containers":[
                {"name":"c","image":"i","ports":[{"name":"http","containerPort":80}],"livenessProbe":
                {"httpGet":{"port":"http"}},"novel":1}]}}"#,
        )
        .unwrap();
        let container = pod.container("c").unwrap();
        let probe = container.liveness_probe.as_ref().unwrap();
        assert_eq!(probe.http_get.as_ref().unwrap().port.number(container), Some(80));
        assert_eq!(pod.hostname(), "web");
        assert_eq!(pod.spec.restart_policy, RestartPolicy::Always);
    }
}
