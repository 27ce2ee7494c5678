//! The names of images, as Kubernetes reads them.

/// The full name for a name as people write it: `web:1` is `docker.io/library/web:1`, no tag is `:latest`. A digest
/// (`web@sha256:...`) drops the tag beside it; a bare `sha256:...` stays as it is.
pub fn normalise(name: &str) -> String {
    let name = name.trim();
    if is_digest(name) {
        return name.to_owned();
    }
    let (rest, digest) = match name.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (name, None),
    };
    let (repository, tag) = match rest.rsplit_once(':') {
        // A colon before the last slash belongs to a port.
        Some((repository, tag)) if !tag.contains('/') => (repository, Some(tag)),
        _ => (rest, None),
    };
    let full = match repository.split_once('/') {
        Some(("index.docker.io", path)) => format!("docker.io/{}", with_library(path)),
        Some(("docker.io", path)) => format!("docker.io/{}", with_library(path)),
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => repository.to_owned(),
        _ => format!("docker.io/{}", with_library(repository)),
    };
    match (digest, tag) {
        (Some(digest), _) => format!("{full}@{digest}"),
        (None, Some(tag)) => format!("{full}:{tag}"),
        (None, None) => format!("{full}:latest"),
    }
}

/// Whether this is `sha256:` and 64 lower-case hexadecimal digits.
pub(crate) fn is_digest(text: &str) -> bool {
    text.strip_prefix("sha256:").is_some_and(|hex| {
        hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    })
}

fn with_library(path: &str) -> String {
    if path.contains('/') { path.to_owned() } else { format!("library/{path}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_kubernetes_reads_them() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for (written, full) in [
            ("web", "docker.io/library/web:latest".to_owned()),
            ("web:1", "docker.io/library/web:1".to_owned()),
            ("team/web:1", "docker.io/team/web:1".to_owned()),
            ("docker.io/web", "docker.io/library/web:latest".to_owned()),
            ("index.docker.io/web", "docker.io/library/web:latest".to_owned()),
            ("localhost/web:1", "localhost/web:1".to_owned()),
            ("registry:5000/web", "registry:5000/web:latest".to_owned()),
            ("ghcr.io/team/web:1", "ghcr.io/team/web:1".to_owned()),
            (&format!("web:1@{digest}"), format!("docker.io/library/web@{digest}")),
            (&digest, digest.clone()),
        ] {
            assert_eq!(normalise(written), full, "{written}");
            assert_eq!(normalise(&full), full, "normalising twice changes nothing");
        }
    }
}
