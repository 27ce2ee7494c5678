//! A CronJob's digest.

use compact_str::CompactString;
use serde::Deserialize;

use super::read;
use crate::object::{Document, Uid};

/// What actors need of a cron job.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct CronJobDigest {
    /// When its jobs are to be started.
    pub schedule: String,
    /// By the clock of this time zone; none: UTC.
    pub time_zone: Option<String>,
    /// A start that is later than this is left out.
    pub starting_deadline_s: Option<i64>,
    /// `Allow`, `Forbid`, `Replace`: what becomes of a start while a job runs.
    pub concurrency: CompactString,
    /// No starts while true.
    pub suspend: bool,
    /// Jobs that succeeded to keep.
    pub successes_kept: Option<i64>,
    /// Jobs that failed to keep.
    pub failures_kept: Option<i64>,
    /// From its last status.
    pub status: CronJobStatus,
}

/// What of a cron job's status its actor goes by.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CronJobStatus {
    /// Jobs that it started and that have not ended.
    pub active: Vec<ActiveJob>,
    /// The last start, RFC 3339.
    pub last_schedule_time: Option<String>,
    /// When a job last succeeded, RFC 3339.
    pub last_successful_time: Option<String>,
}

/// A job that runs.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ActiveJob {
    /// Its name.
    pub name: CompactString,
    /// Its uid.
    pub uid: Uid,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    schedule: String,
    time_zone: Option<String>,
    starting_deadline_seconds: Option<i64>,
    concurrency_policy: CompactString,
    suspend: Option<bool>,
    successful_jobs_history_limit: Option<i64>,
    failed_jobs_history_limit: Option<i64>,
}

impl CronJobDigest {
    /// Derives the digest.
    pub fn of(document: &Document) -> CronJobDigest {
        let spec: Spec = read(&document.spec);
        CronJobDigest {
            schedule: spec.schedule,
            time_zone: spec.time_zone,
            starting_deadline_s: spec.starting_deadline_seconds,
            concurrency: spec.concurrency_policy,
            suspend: spec.suspend.unwrap_or(false),
            successes_kept: spec.successful_jobs_history_limit,
            failures_kept: spec.failed_jobs_history_limit,
            status: read(&document.status),
        }
    }
}
