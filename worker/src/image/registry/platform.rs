//! Which image of an index is for this machine.

use serde::Deserialize;

use crate::image::config::machine_architecture;

/// Buildx marks by this what says how an image was built, and is no image.
const ATTESTATION: &str = "vnd.docker.reference.type";

/// What an image is built for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub(super) struct Platform {
    #[serde(default)]
    pub(super) architecture: String,
    #[serde(default)]
    pub(super) os: String,
    #[serde(default)]
    pub(super) variant: String,
}

impl std::fmt::Display for Platform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if self.variant.is_empty() { Ok(()) } else { write!(f, "/{}", self.variant) }
    }
}

/// The best entry for this machine: by platform, its variant the highest that the processor knows; else the first that
/// does not say what it is for. Answers its place in the list.
pub(super) fn choose<'a>(
    entries: impl Iterator<Item = (Option<&'a Platform>, &'a std::collections::BTreeMap<String, String>)>,
) -> Option<usize> {
    let fitness = |platform: Option<&Platform>| match platform {
        None => Some(0),
        Some(platform) if platform.os == "linux" && platform.architecture == machine_architecture() => {
            level(machine_architecture(), &platform.variant)
        }
        Some(_) => None,
    };
    let fitting = entries.enumerate().filter_map(|(index, (platform, annotations))| {
        let image = !annotations.contains_key(ATTESTATION);
        fitness(platform).filter(|_| image).map(|fitness| (fitness, std::cmp::Reverse(index)))
    });
    fitting.max().map(|(_, std::cmp::Reverse(index))| index)
}

/// How much of the processor a variant uses; none: more than it has, or unknown.
fn level(architecture: &str, variant: &str) -> Option<u32> {
    match (architecture, variant) {
        (_, "") | ("amd64", "v1") | ("arm64", "v8" | "v8.0") => Some(1),
        ("amd64", "v2") if microarchitecture() >= 2 => Some(2),
        ("amd64", "v3") if microarchitecture() >= 3 => Some(3),
        _ => None,
    }
}

/// The level of x86-64 that this processor has, up to 3. Source: the System V psABI.
#[cfg(target_arch = "x86_64")]
fn microarchitecture() -> u32 {
    let v2 = is_x86_feature_detected!("sse4.2")
        && is_x86_feature_detected!("ssse3")
        && is_x86_feature_detected!("popcnt")
        && is_x86_feature_detected!("cmpxchg16b");
    let v3 = is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("bmi1")
        && is_x86_feature_detected!("bmi2")
        && is_x86_feature_detected!("f16c")
        && is_x86_feature_detected!("fma")
        && is_x86_feature_detected!("lzcnt")
        && is_x86_feature_detected!("movbe");
    1 + u32::from(v2) + u32::from(v2 && v3)
}

#[cfg(not(target_arch = "x86_64"))]
fn microarchitecture() -> u32 {
    0
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    type Named<'a> = Option<(&'a str, &'a str, &'a str)>;

    fn chosen(entries: &[(Named<'_>, bool)]) -> Option<usize> {
        let entries: Vec<_> = entries
            .iter()
            .map(|(platform, attestation)| {
                let platform = platform.map(|(os, architecture, variant)| Platform {
                    architecture: architecture.to_owned(),
                    os: os.to_owned(),
                    variant: variant.to_owned(),
                });
                let annotation = (ATTESTATION.to_owned(), "attestation-manifest".to_owned());
                (platform, BTreeMap::from_iter(attestation.then_some(annotation)))
            })
            .collect();
        choose(entries.iter().map(|(platform, annotations)| (platform.as_ref(), annotations)))
    }

    #[test]
    fn the_image_for_this_machine_is_chosen() {
        let own = machine_architecture();
        let other = if own == "amd64" { "arm64" } else { "amd64" };
        let linux = |architecture| Some(("linux", architecture, ""));
        assert_eq!(chosen(&[(linux(other), false), (linux(own), false)]), Some(1));
        assert_eq!(chosen(&[(linux(own), true), (linux(own), false)]), Some(1));
        assert_eq!(chosen(&[(linux(own), false), (linux(own), false)]), Some(0));
        assert_eq!(chosen(&[(None, false), (linux(own), false)]), Some(1));
        assert_eq!(chosen(&[(linux(other), false), (None, false)]), Some(1));
        assert_eq!(chosen(&[(Some(("windows", own, "")), false), (linux(other), false)]), None);
        assert_eq!(chosen(&[(Some(("unknown", "unknown", "")), false)]), None);
        assert_eq!(chosen(&[(Some(("linux", own, "v99")), false)]), None);
        assert_eq!(chosen(&[]), None);
    }

    #[test]
    fn a_variant_is_taken_if_the_processor_has_it() {
        assert_eq!(level("amd64", "v3").is_some(), microarchitecture() >= 3);
        assert_eq!(level("arm64", "v8"), Some(1));
        assert_eq!(level("arm64", "v9"), None);
    }
}
