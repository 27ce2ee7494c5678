//! A Job's digest.

use compact_str::CompactString;
use serde::Deserialize;
use serde_json::Value;

use super::{Condition, Selector, read};
use crate::object::Document;

/// Who runs jobs, as `spec.managedBy` names it.
const MANAGER: &str = "kubernetes.io/job-controller";

/// What actors need of a job.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct JobDigest {
    /// Somebody else runs it.
    pub foreign: bool,
    /// Which pods are its own.
    pub selector: Selector,
    /// How many pods may run at a time.
    pub parallelism: i64,
    /// How many have to succeed; none: one success is enough, and the pods know when all is done.
    pub completions: Option<i64>,
    /// More failures than this fail it.
    pub backoff_limit: i64,
    /// It fails when it is active for longer.
    pub active_deadline_s: Option<i64>,
    /// It is deleted so long after it ended.
    pub ttl_s: Option<i64>,
    /// No pods while true.
    pub suspend: bool,
    /// Each completion has its index, from 0 on, and each index has to succeed once.
    pub indexed: bool,
    /// More failures than this fail an index, and not the job.
    pub backoff_limit_per_index: Option<i64>,
    /// More failed indexes than this fail it.
    pub max_failed_indexes: Option<i64>,
    /// What a failed pod means, the first rule that matches.
    pub failure_rules: Option<Vec<FailureRule>>,
    /// When enough indexes have succeeded, the first rule that is met.
    pub success_rules: Vec<SuccessRule>,
    /// A pod is replaced when it has ended, not when it begins to.
    pub replaces_ended_only: bool,
    /// Its pods start their containers again.
    pub restarts: bool,
    /// From its last status.
    pub status: JobStatus,
}

/// One rule of a pod failure policy.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FailureRule {
    /// `FailJob`, `FailIndex`, `Ignore`, `Count`.
    pub action: CompactString,
    /// On how a container ended.
    pub on_exit_codes: Option<ExitCodes>,
    /// On the pod's conditions: any of these.
    pub on_pod_conditions: Vec<PodCondition>,
}

/// Exit codes of containers.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ExitCodes {
    /// Of this container; none: of any.
    pub container_name: Option<CompactString>,
    /// `In`, `NotIn`.
    pub operator: CompactString,
    /// The codes.
    pub values: Vec<i64>,
}

/// A condition of a pod.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(default)]
pub struct PodCondition {
    /// Its type.
    pub r#type: CompactString,
    /// Its status.
    pub status: CompactString,
}

/// One rule of a success policy.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SuccessRule {
    /// These indexes, `1,3-5`; none: any.
    pub succeeded_indexes: Option<String>,
    /// So many of them; none: all.
    pub succeeded_count: Option<i64>,
}

/// What of a job's status its actor goes by.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct JobStatus {
    /// When it began, or went on after a pause, RFC 3339.
    pub start_time: Option<String>,
    /// Pods that succeeded.
    pub succeeded: i64,
    /// Pods that failed.
    pub failed: i64,
    /// Indexes that succeeded, `1,3-5`.
    pub completed_indexes: String,
    /// Indexes that failed.
    pub failed_indexes: Option<String>,
    /// Conditions: Suspended, FailureTarget, Failed, SuccessCriteriaMet, Complete.
    pub conditions: Vec<Condition>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    selector: Value,
    template: Value,
    parallelism: Option<i64>,
    completions: Option<i64>,
    backoff_limit: Option<i64>,
    backoff_limit_per_index: Option<i64>,
    max_failed_indexes: Option<i64>,
    active_deadline_seconds: Option<i64>,
    ttl_seconds_after_finished: Option<i64>,
    suspend: Option<bool>,
    completion_mode: Option<CompactString>,
    pod_failure_policy: Option<FailurePolicy>,
    success_policy: Option<SuccessPolicy>,
    pod_replacement_policy: Option<CompactString>,
    managed_by: Option<CompactString>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct FailurePolicy {
    rules: Vec<FailureRule>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct SuccessPolicy {
    rules: Vec<SuccessRule>,
}

impl JobDigest {
    /// Derives the digest.
    pub fn of(document: &Document) -> JobDigest {
        let spec: Spec = read(&document.spec);
        let ended_only = spec.pod_replacement_policy.as_deref() == Some("Failed");
        JobDigest {
            foreign: spec.managed_by.is_some_and(|manager| manager != MANAGER),
            selector: Selector::of(&spec.selector),
            parallelism: spec.parallelism.unwrap_or(1),
            completions: spec.completions,
            backoff_limit: spec.backoff_limit.unwrap_or(6),
            active_deadline_s: spec.active_deadline_seconds,
            ttl_s: spec.ttl_seconds_after_finished,
            suspend: spec.suspend.unwrap_or(false),
            indexed: spec.completion_mode.as_deref() == Some("Indexed"),
            backoff_limit_per_index: spec.backoff_limit_per_index,
            max_failed_indexes: spec.max_failed_indexes,
            replaces_ended_only: ended_only || spec.pod_failure_policy.is_some(),
            failure_rules: spec.pod_failure_policy.map(|policy| policy.rules),
            success_rules: spec.success_policy.map(|policy| policy.rules).unwrap_or_default(),
            restarts: spec.template["spec"]["restartPolicy"] == "OnFailure",
            status: read(&document.status),
        }
    }
}

impl JobStatus {
    /// The condition of a type that is True.
    pub fn holds(&self, kind: &str) -> Option<&Condition> {
        self.conditions.iter().find(|c| c.r#type == kind && c.status == "True")
    }

    /// Complete or Failed, when it has ended.
    pub fn finished(&self) -> Option<&Condition> {
        self.holds("Complete").or_else(|| self.holds("Failed"))
    }
}
