//! What a container runs: the image's word and the pod's, joined as Kubernetes joins them.

use super::{ContainerSpec, RuntimeError};
use crate::image::{Identity, Image, Root};
use crate::shim::Launch;

const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Joins a container's spec with its image.
pub(super) fn launch(
    spec: ContainerSpec,
    image: &Image,
    rootfs: Root,
    identity: Identity,
    hostname: &str,
) -> Result<Launch, RuntimeError> {
    let args = arguments(&spec, image)?;
    let env = environment(&spec, image, &identity, hostname)?;
    let working_dir = spec.working_dir.clone().filter(|dir| !dir.is_empty());
    let working_dir = working_dir.unwrap_or_else(|| image.config.working_dir.clone());
    let working_dir = if working_dir.is_empty() { "/".to_owned() } else { working_dir };
    if !working_dir.starts_with('/') {
        return Err(RuntimeError::Invalid(format!("working directory \"{working_dir}\" is not absolute")));
    }
    let Identity { uid, gid, groups, .. } = identity;
    let of_image = if spec.only_these_groups { Vec::new() } else { groups };
    let mut groups = Vec::with_capacity(of_image.len() + spec.groups.len());
    for group in of_image.into_iter().chain(spec.groups.iter().copied()) {
        if group != gid && !groups.contains(&group) {
            groups.push(group);
        }
    }
    Ok(Launch { spec, rootfs, args, env, working_dir, uid, gid, groups })
}

/// Who it runs as, in the form of an image's `User`. A user without a group has the group that the image's passwd says,
/// as in other runtimes.
pub(super) fn user(spec: &ContainerSpec, image: &Image) -> String {
    let of_image = || image.config.user.clone();
    let user = spec.user.map_or_else(of_image, |user| user.to_string());
    match (spec.group, user.split_once(':')) {
        (Some(group), Some((user, _))) => format!("{user}:{group}"),
        (Some(group), None) => format!("{user}:{group}"),
        (None, _) => user,
    }
}

/// A command replaces the image's entrypoint and its arguments; arguments alone replace only the arguments.
fn arguments(spec: &ContainerSpec, image: &Image) -> Result<Vec<String>, RuntimeError> {
    let (entrypoint, cmd) = (&image.config.entrypoint, &image.config.cmd);
    let args: Vec<String> = match (spec.command.is_empty(), spec.args.is_empty()) {
        (false, _) => spec.command.iter().chain(&spec.args).cloned().collect(),
        (true, false) => entrypoint.iter().chain(&spec.args).cloned().collect(),
        (true, true) => entrypoint.iter().chain(cmd).cloned().collect(),
    };
    if args.is_empty() {
        return Err(RuntimeError::Invalid("no command specified".to_owned()));
    }
    match args.iter().any(|argument| argument.contains('\0')) {
        true => Err(RuntimeError::Invalid("an argument has a zero byte".to_owned())),
        false => Ok(args),
    }
}

/// Each name once, the pod's value over the image's; at least a path, a home and a host name.
fn environment(
    spec: &ContainerSpec,
    image: &Image,
    identity: &Identity,
    hostname: &str,
) -> Result<Vec<(String, String)>, RuntimeError> {
    let home = if identity.home.is_empty() { "/" } else { &identity.home };
    let base = [("PATH", DEFAULT_PATH), ("HOME", home), ("HOSTNAME", hostname)];
    let mut env: Vec<(String, String)> =
        base.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let of_image = image.config.env.iter().filter_map(|pair| pair.split_once('='));
    let of_image = of_image.map(|(name, value)| (name.to_owned(), value.to_owned()));
    for (name, value) in of_image.chain(spec.env.iter().cloned()) {
        if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            return Err(RuntimeError::Invalid(format!(
                "environment variable \"{name}\" cannot be passed on"
            )));
        }
        match env.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) => *known = value,
            None => env.push((name, value)),
        }
    }
    Ok(env)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::image::ImageConfig;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    fn image() -> Image {
        let config = ImageConfig {
            entrypoint: words(&["/web"]),
            cmd: words(&["--port", "80"]),
            env: words(&["PATH=/bin", "COLOR=red"]),
            ..ImageConfig::default()
        };
        Image {
            digest: String::new(),
            names: Vec::new(),
            config,
            layers: Vec::new(),
            chain: Vec::new(),
            size_bytes: 0,
            repo_digests: Vec::new(),
        }
    }

    #[test]
    fn command_and_arguments_replace_as_in_kubernetes() {
        for (command, args, expected) in [
            (&[][..], &[][..], &["/web", "--port", "80"][..]),
            (&["sh"], &[], &["sh"]),
            (&[], &["-v"], &["/web", "-v"]),
            (&["sh"], &["-c", "x"], &["sh", "-c", "x"]),
        ] {
            let spec =
                ContainerSpec { command: words(command), args: words(args), ..ContainerSpec::default() };
            assert_eq!(arguments(&spec, &image()).unwrap(), words(expected));
        }
    }

    #[test]
    fn user_and_group_replace_the_images_each_for_itself() {
        let mut image = image();
        image.config.user = "web:staff".to_owned();
        for (user, group, expected) in [
            (None, None, "web:staff"),
            (Some(7), None, "7"),
            (None, Some(8), "web:8"),
            (Some(7), Some(8), "7:8"),
            (Some(0), Some(0), "0:0"),
        ] {
            let spec = ContainerSpec { user, group, ..ContainerSpec::default() };
            assert_eq!(super::user(&spec, &image), expected);
        }
        image.config.user = String::new();
        let spec = ContainerSpec { group: Some(8), ..ContainerSpec::default() };
        assert_eq!(super::user(&spec, &image), ":8", "which is root's");
    }

    #[test]
    fn the_pods_groups_join_those_of_the_image() {
        let of = |only_these_groups| {
            let spec = ContainerSpec {
                command: words(&["sh"]),
                groups: vec![3000, 2000, 1000, 3000],
                only_these_groups,
                ..ContainerSpec::default()
            };
            let identity = Identity { uid: 1, gid: 1000, groups: vec![2000, 50], home: String::new() };
            launch(spec, &image(), Root::Flat("".into()), identity, "web-1").unwrap().groups
        };
        assert_eq!(of(false), [2000, 50, 3000]);
        assert_eq!(of(true), [3000, 2000]);
    }

    #[test]
    fn the_pods_environment_wins_and_every_name_is_there_once() {
        let env = vec![("COLOR".to_owned(), "blue".to_owned()), ("A".to_owned(), "=".to_owned())];
        let spec = ContainerSpec { env, ..ContainerSpec::default() };
        let env = environment(&spec, &image(), &Identity::default(), "web-1").unwrap();
        let pairs: Vec<String> = env.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(pairs, ["PATH=/bin", "HOME=/", "HOSTNAME=web-1", "COLOR=blue", "A=="]);
    }
}
