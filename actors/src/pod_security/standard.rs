//! A standard: a level of the Pod Security Standards, as a version of Kubernetes has it.
//! <https://kubernetes.io/docs/concepts/security/pod-security-standards/>

use std::fmt;

/// How much is allowed, the most first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Everything.
    Privileged,
    /// No known escalation of privileges.
    Baseline,
    /// What is good practice of hardening pods.
    Restricted,
}

impl Level {
    /// Reads a level. The error is in Kubernetes' words.
    pub fn read(text: &str) -> Result<Level, &'static str> {
        match text {
            "privileged" => Ok(Level::Privileged),
            "baseline" => Ok(Level::Baseline),
            "restricted" => Ok(Level::Restricted),
            _ => Err("must be one of privileged, baseline, restricted"),
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Level::Privileged => "privileged",
            Level::Baseline => "baseline",
            Level::Restricted => "restricted",
        })
    }
}

/// Of which version of Kubernetes a level is meant. One that is not known yet means what the newest does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// `v1.24`.
    Minor(u32),
    /// The newest that this build knows.
    Latest,
}

impl Version {
    /// Reads `latest` or `v1.x`. The error is in Kubernetes' words.
    pub fn read(text: &str) -> Result<Version, &'static str> {
        if text == "latest" {
            return Ok(Version::Latest);
        }
        let digits = text.strip_prefix("v1.").unwrap_or_default();
        let plain =
            digits.bytes().all(|byte| byte.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
        let minor = digits.parse().ok().filter(|_| plain);
        minor.map(Version::Minor).ok_or("must be \"latest\" or \"v1.x\"")
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Version::Minor(minor) => write!(f, "v1.{minor}"),
            Version::Latest => f.write_str("latest"),
        }
    }
}

/// A level of a version: `restricted:v1.24`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standard {
    /// The level.
    pub level: Level,
    /// The version.
    pub version: Version,
}

impl Standard {
    /// Everything is allowed.
    pub const PRIVILEGED: Standard = Standard { level: Level::Privileged, version: Version::Latest };

    /// Whether it allows everything.
    pub fn is_privileged(self) -> bool {
        self.level == Level::Privileged
    }
}

impl fmt::Display for Standard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.level, self.version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_kubernetes_reads_them() {
        for (text, version) in [
            ("latest", Some(Version::Latest)),
            ("v1.0", Some(Version::Minor(0))),
            ("v1.33", Some(Version::Minor(33))),
            ("v1.4000", Some(Version::Minor(4000))),
            ("v1.01", None),
            ("v1.00", None),
            ("v1.", None),
            ("v1.+1", None),
            ("v1.-1", None),
            ("v1.1.1", None),
            ("v1.99999999999999999999", None),
            ("v2.0", None),
            ("1.2", None),
            ("Latest", None),
            ("", None),
        ] {
            assert_eq!(Version::read(text).ok(), version, "{text}");
        }
        assert!(Version::Minor(u32::MAX) < Version::Latest && Version::Minor(9) < Version::Minor(10));
    }

    #[test]
    fn standards_are_told_as_level_and_version() {
        let standard = Standard { level: Level::Baseline, version: Version::Minor(5) };
        assert_eq!(standard.to_string(), "baseline:v1.5");
        assert_eq!(Standard::PRIVILEGED.to_string(), "privileged:latest");
        assert!(Level::read("Baseline").is_err() && Level::Restricted > Level::Baseline);
    }
}
