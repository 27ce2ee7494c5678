//! Getting a container's image, by its pull policy, in the words of the kubelet. Pulls run beside the driver, which goes on
//! deciding meanwhile.
//!
//! Source: Kubernetes' "Images", and pkg/kubelet/images/image_manager.go for the words.

use tokio_util::task::AbortOnDropHandle;

use super::backoff::due;
use super::dependency::{Dependencies, Kind};
use super::document::{Container, Pod};
use super::driver::Driver;
use super::observed::State;
use crate::image::Credential;
use crate::runtime::{ImageRef, PullError};

/// How soon a worker notices that an image which it could not pull was loaded.
const IMAGE_CHECK_MS: i64 = 2000;
/// A name that is no name stays none until the pod is changed.
const INVALID_RETRY_MS: i64 = 300_000;
/// What Secrets with credentials have them under, by their type.
const CONFIG_JSON: &str = ".dockerconfigjson";
const DOCKERCFG: &str = ".dockercfg";

impl Driver {
    /// The image of a container that is to start now, and whether it was pulled for that. None: it is being pulled, or
    /// why it cannot be had is recorded.
    pub(super) fn image(&mut self, container: &Container) -> Option<(ImageRef, bool)> {
        let now_ms = self.host.clock.now_ms();
        let record = self.kept.observed.record_mut(&container.name);
        if let Some(image) = record.pulled.take() {
            return Some((image, true));
        }
        let retry_ms = record.image_retry_ms;
        let here = self.host.runtime.resolve_image(&container.image);
        match (container.image_pull_policy.as_str(), here) {
            ("Never", None) => self.never(container, now_ms),
            ("Always", _) | (_, None) if !due(retry_ms, now_ms) => self.back_off(container, now_ms),
            ("Always", _) | (_, None) => self.pull(container, now_ms),
            (_, Some(image)) => return Some((image, false)),
        }
        None
    }

    fn pull(&mut self, container: &Container, now_ms: i64) {
        let (name, image) = (container.name.clone(), container.image.clone());
        let credentials = self.credentials(&name);
        self.host.note(&self.pod, Some(&name), "Pulling", format!("Pulling image \"{image}\""));
        self.kept.observed.record_mut(&name).pulling_ms = Some(now_ms);
        let (host, inbox, owned) = (self.host.clone(), self.inbox.clone(), name.clone());
        let pull = tokio::spawn(async move {
            let pulled = host.runtime.pull_image(&image, &credentials).await;
            inbox.tell(|news| {
                news.pulls.insert(owned, (image, pulled));
            });
        });
        self.pulls.insert(name, AbortOnDropHandle::new(pull));
    }

    /// Takes up how a pull ended.
    pub(super) fn heed_pull(
        &mut self,
        name: &str,
        image: &str,
        pulled: Result<ImageRef, PullError>,
        now_ms: i64,
    ) {
        let pod = self.pod.clone();
        if pod.container(name).is_none_or(|container| container.image != image) {
            return;
        }
        self.pulls.remove(name);
        let record = self.kept.observed.record_mut(name);
        let Some(since_ms) = record.pulling_ms.take() else { return };
        record.retry_ms = now_ms;
        let note = |reason: &str, message: String| self.host.note(&pod, Some(name), reason, message);
        match pulled {
            Ok(reference) => {
                let time = duration(now_ms.saturating_sub(since_ms));
                let size = reference.size_bytes;
                record.pulled = Some(reference);
                note(
                    "Pulled",
                    format!(
                        "Successfully pulled image \"{image}\" in {time} ({time} including waiting). Image size: {size} bytes."
                    ),
                );
            }
            Err(PullError::InvalidName(error)) => {
                record.retry_ms = now_ms.saturating_add(INVALID_RETRY_MS);
                let message = format!("Failed to apply default image tag \"{image}\": {error}");
                record.wait("InvalidImageName", message.clone());
                note("InspectFailed", message);
                note("Failed", "Error: InvalidImageName".to_owned());
            }
            Err(PullError::Failed(error)) => {
                record.retry_ms = now_ms.saturating_add(IMAGE_CHECK_MS);
                record.pull_failed(error.clone(), now_ms);
                record.wait("ErrImagePull", error.clone());
                note("Failed", format!("Failed to pull image \"{image}\": {error}"));
                note("Failed", "Error: ErrImagePull".to_owned());
            }
        }
    }

    /// Nobody waits for the pulls of a pod that ends.
    pub(super) fn end_pulls(&mut self) {
        self.pulls.clear();
        for record in self.kept.observed.containers.values_mut() {
            record.pulling_ms = None;
        }
    }

    /// An image that is not wanted any more is neither pulled nor waited for.
    pub(super) fn end_pulls_of_other_images(&mut self, pod: &Pod) {
        for container in pod.all_containers() {
            let name = container.name.as_str();
            if self.pod.container(name).is_none_or(|old| old.image == container.image) {
                continue;
            }
            self.pulls.remove(name);
            let record = self.kept.observed.record_mut(name);
            if record.run().is_none() && (record.image_retry_ms > 0 || record.pulling_ms.is_some()) {
                record.retry_ms = 0;
            }
            (record.pulling_ms, record.pulled) = (None, None);
            (record.image_delay_ms, record.image_retry_ms) = (0, 0);
        }
    }

    fn never(&mut self, container: &Container, now_ms: i64) {
        let message =
            format!("Container image \"{}\" is not present with pull policy of Never", container.image);
        if self.wait_for_image(container, "ErrImageNeverPull", message.clone(), now_ms) {
            let note =
                |reason: &str, message| self.host.note(&self.pod, Some(&container.name), reason, message);
            note("ErrImageNeverPull", message);
            note("Failed", "Error: ErrImageNeverPull".to_owned());
        }
    }

    fn back_off(&mut self, container: &Container, now_ms: i64) {
        let image = container.image.as_str();
        let error = &self.seen().record(&container.name).image_error;
        let message = format!("Back-off pulling image \"{image}\": ErrImagePull: {error}");
        if self.wait_for_image(container, "ImagePullBackOff", message, now_ms) {
            let note =
                |reason: &str, message| self.host.note(&self.pod, Some(&container.name), reason, message);
            note("BackOff", format!("Back-off pulling image \"{image}\""));
            note("Failed", "Error: ImagePullBackOff".to_owned());
        }
    }

    /// Says whether that is new.
    fn wait_for_image(&mut self, container: &Container, reason: &str, message: String, now_ms: i64) -> bool {
        let record = self.kept.observed.record_mut(&container.name);
        record.retry_ms = now_ms.saturating_add(IMAGE_CHECK_MS);
        let new = !matches!(&record.state, State::Waiting { reason: known, .. } if known == reason);
        record.wait(reason, message);
        new
    }

    /// The credentials of the pod. A Secret that is missing or of no use is told of, and the image is tried without it, as
    /// Kubernetes does.
    fn credentials(&self, container: &str) -> Vec<Credential> {
        let (credentials, unusable) = credentials(&self.pod, &self.dependencies);
        if !unusable.is_empty() {
            let message = format!(
                "Unable to retrieve some image pull secrets ({}); attempting to pull the image may not succeed.",
                unusable.join(", ")
            );
            self.host.note(&self.pod, Some(container), "FailedToRetrieveImagePullSecret", message);
        }
        credentials
    }
}

/// What a pod's imagePullSecrets hold, and the names of those that hold nothing.
fn credentials<'a>(pod: &'a Pod, dependencies: &Dependencies) -> (Vec<Credential>, Vec<&'a str>) {
    let (mut credentials, mut unusable) = (Vec::new(), Vec::new());
    let names = pod.spec.image_pull_secrets.iter().map(|secret| secret.name.as_str());
    for secret in names.filter(|name| !name.is_empty()) {
        let data = dependencies.get(Kind::Secret, secret);
        let value = |key: &str| data.and_then(|data| data.get(key));
        let parsed = match (value(CONFIG_JSON), value(DOCKERCFG)) {
            (Some(json), _) => Credential::from_config_json(json).ok(),
            (None, Some(json)) => Credential::from_dockercfg(json).ok(),
            (None, None) => None,
        };
        match parsed {
            Some(parsed) => credentials.extend(parsed),
            None => unusable.push(secret),
        }
    }
    (credentials, unusable)
}

/// As Go writes it, near enough: `850ms`, `1.2s`.
fn duration(ms: i64) -> String {
    if ms < 1000 { format!("{ms}ms") } else { format!("{:.3}s", ms as f64 / 1000.0) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    #[test]
    fn credentials_come_from_secrets_of_both_forms() {
        let secrets = [
            ("new", json!({ "stringData": { CONFIG_JSON: r#"{"auths": {"a.io": {"username": "me"}}}"# } })),
            ("old", json!({ "stringData": { DOCKERCFG: r#"{"b.io": {"username": "you"}}"# } })),
            ("odd", json!({ "stringData": { CONFIG_JSON: "no" } })),
            (
                "other",
                json!({ "stringData": { CONFIG_JSON: r#"{"auths": {"c.io": {"username": "them"}}}"# } }),
            ),
        ];
        let mut dependencies = Dependencies::default();
        for (name, secret) in &secrets {
            dependencies.add("Secret", name, secret.to_string().as_bytes());
        }
        let named = ["new", "old", "odd", "gone"].map(|name| json!({ "name": name }));
        let pod = json!({ "metadata": {}, "spec": { "containers": [], "imagePullSecrets": named } });
        let pod = Pod::parse(pod.to_string().as_bytes()).unwrap();
        let (credentials, unusable) = credentials(&pod, &dependencies);
        assert_eq!(format!("{credentials:?}"), "[Credential(me at a.io), Credential(you at b.io)]");
        assert_eq!(unusable, ["odd", "gone"]);
    }
}
