//! Times that criterion has kept.

use std::{fs, io, path::Path};

use anyhow::Context;
use serde::{Deserialize, Serialize};

/// The median time of an operation.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Time {
    /// In nanoseconds.
    pub(crate) median_ns: f64,
    /// It is in this interval with a confidence of 95 %.
    pub(crate) from_ns: f64,
    /// The interval's end.
    pub(crate) to_ns: f64,
    /// When it was measured, RFC 3339 in UTC.
    pub(crate) at: String,
}

/// The part of criterion's file that is read.
#[derive(Deserialize)]
struct Estimates {
    median: Estimate,
}

#[derive(Deserialize)]
struct Estimate {
    point_estimate: f64,
    confidence_interval: Interval,
}

#[derive(Deserialize)]
struct Interval {
    lower_bound: f64,
    upper_bound: f64,
}

impl Time {
    /// Reads what was measured last of an operation; none if it was not measured.
    pub(crate) fn read(folder: &Path, id: &str) -> anyhow::Result<Option<Time>> {
        let file = folder.join(id).join("new/estimates.json");
        let reading = || format!("reading {}", file.display());
        let text = match fs::read(&file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.with_context(reading)?,
        };
        let Estimate { point_estimate, confidence_interval } =
            serde_json::from_slice::<Estimates>(&text).with_context(reading)?.median;
        let written = fs::metadata(&file).and_then(|data| data.modified()).with_context(reading)?;
        let written = jiff::Timestamp::try_from(written).with_context(reading)?;
        Ok(Some(Time {
            median_ns: point_estimate,
            from_ns: confidence_interval.lower_bound,
            to_ns: confidence_interval.upper_bound,
            at: written.strftime("%Y-%m-%dT%H:%MZ").to_string(),
        }))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_criterion_kept_is_read() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Time::read(folder.path(), "turn/pod-100").unwrap(), None);
        let place = folder.path().join("turn/pod-100/new");
        fs::create_dir_all(&place).unwrap();
        let median = r#"{"median": {"confidence_interval": {"confidence_level": 0.95, "lower_bound": 1.5, "upper_bound": 2.5},
            "point_estimate": 2.0, "standard_error": 0.1}, "slope": null}"#;
        fs::write(place.join("estimates.json"), median).unwrap();
        let time = Time::read(folder.path(), "turn/pod-100").unwrap().unwrap();
        assert_eq!((time.from_ns, time.median_ns, time.to_ns), (1.5, 2.0, 2.5));
        fs::write(place.join("estimates.json"), "{").unwrap();
        assert!(Time::read(folder.path(), "turn/pod-100").is_err());
    }
}
