//! The metadata that every actor reads, typed.

use std::{collections::BTreeMap, ops::Deref, sync::Arc};

use compact_str::CompactString;
use serde::Deserialize;

use super::Uid;

/// Typed metadata. Times are Unix milliseconds. What it has in common with that of objects of the same making is read as if it were its own.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Meta {
    /// Unique id.
    pub uid: Uid,
    /// When it was made.
    pub created_ms: i64,
    common: Arc<CommonMeta>,
}

/// The metadata that objects of one template have in common. Held once for all of them, where that is noticed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CommonMeta {
    /// Labels.
    pub labels: BTreeMap<CompactString, CompactString>,
    /// Annotations.
    pub annotations: BTreeMap<CompactString, String>,
    /// Owners.
    pub owners: Vec<OwnerRef>,
    /// Finalizers that hold a deletion back.
    pub finalizers: Vec<CompactString>,
    /// When a deletion asked for becomes due.
    pub deletion_ms: Option<i64>,
    /// The grace period of that deletion.
    pub deletion_grace_s: Option<i64>,
    /// Counts the changes of the spec.
    pub generation: i64,
}

/// One owner reference.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OwnerRef {
    /// `apps/v1`.
    pub api_version: CompactString,
    /// `ReplicaSet`.
    pub kind: CompactString,
    /// The owner's name, in the dependent's namespace or cluster-scoped.
    pub name: CompactString,
    /// The owner's uid.
    pub uid: Uid,
    /// The managing owner: at most one.
    #[serde(default)]
    pub controller: bool,
    /// A foreground deletion of the owner waits for this dependent.
    #[serde(default)]
    pub block_owner_deletion: bool,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Raw {
    uid: Uid,
    labels: Option<BTreeMap<CompactString, CompactString>>,
    annotations: Option<BTreeMap<CompactString, String>>,
    owner_references: Option<Vec<OwnerRef>>,
    finalizers: Option<Vec<CompactString>>,
    creation_timestamp: Option<CompactString>,
    deletion_timestamp: Option<CompactString>,
    deletion_grace_period_seconds: Option<i64>,
    generation: Option<i64>,
}

impl Deref for Meta {
    type Target = CommonMeta;

    fn deref(&self) -> &CommonMeta {
        &self.common
    }
}

impl Meta {
    /// Reads the metadata segment; what cannot be read counts as absent, since folding never fails.
    pub fn of(metadata: &[u8]) -> Meta {
        let raw: Raw = serde_json::from_slice(metadata).unwrap_or_default();
        let common = CommonMeta {
            labels: raw.labels.unwrap_or_default(),
            annotations: raw.annotations.unwrap_or_default(),
            owners: raw.owner_references.unwrap_or_default(),
            finalizers: raw.finalizers.unwrap_or_default(),
            deletion_ms: raw.deletion_timestamp.and_then(|t| parse_time_ms(&t)),
            deletion_grace_s: raw.deletion_grace_period_seconds,
            generation: raw.generation.unwrap_or(0),
        };
        Meta {
            uid: raw.uid,
            created_ms: raw.creation_timestamp.and_then(|t| parse_time_ms(&t)).unwrap_or(0),
            common: Arc::new(common),
        }
    }

    /// What it may have in common with others.
    pub(crate) fn common(&self) -> &Arc<CommonMeta> {
        &self.common
    }

    /// Holds what it has in common with others where those hold it, if it is the same.
    pub(crate) fn share(&mut self, common: &Arc<CommonMeta>) {
        if *self.common == **common {
            self.common = common.clone();
        }
    }

    /// The managing owner.
    pub fn controller(&self) -> Option<&OwnerRef> {
        self.owners.iter().find(|owner| owner.controller)
    }

    /// Whether a deletion was asked for.
    pub fn deleting(&self) -> bool {
        self.deletion_ms.is_some()
    }
}

/// RFC 3339 to Unix milliseconds.
pub fn parse_time_ms(text: &str) -> Option<i64> {
    text.parse::<jiff::Timestamp>().ok().map(|t| t.as_millisecond())
}

/// Seconds of the years 0 to 9999, as RFC 3339 can say them.
const CALENDAR: std::ops::RangeInclusive<i64> = -62_167_219_200..=253_402_207_200;

/// Unix milliseconds to `2006-01-02T15:04:05Z`, as Kubernetes writes a Time; out of range is cut to the calendar.
pub fn rfc3339(ms: i64) -> String {
    let seconds = ms.div_euclid(1000).clamp(*CALENDAR.start(), *CALENDAR.end());
    jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::UNIX_EPOCH).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_the_same_is_shared() {
        let of = |uid: &str, label: &str| {
            Meta::of(serde_json::json!({"uid": uid, "labels": {"app": label}}).to_string().as_bytes())
        };
        let (one, mut like, mut other) = (of("1", "a"), of("2", "a"), of("3", "b"));
        for meta in [&mut like, &mut other] {
            meta.share(one.common());
        }
        assert!(Arc::ptr_eq(one.common(), like.common()) && !Arc::ptr_eq(one.common(), other.common()));
        assert_eq!((like, other), (of("2", "a"), of("3", "b")));
    }

    #[test]
    fn times_round_trip() {
        assert_eq!(rfc3339(1_700_000_000_999), "2023-11-14T22:13:20Z");
        assert_eq!(parse_time_ms("2023-11-14T22:13:20Z"), Some(1_700_000_000_000));
        assert_eq!(parse_time_ms("yesterday"), None);
        assert_eq!(rfc3339(i64::MAX), "9999-12-30T22:00:00Z", "later than all, and not long ago");
        assert_eq!(rfc3339(i64::MIN), "0000-01-01T00:00:00Z");
    }
}
