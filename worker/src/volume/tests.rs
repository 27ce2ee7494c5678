#![allow(clippy::unwrap_used)]

use std::os::unix::fs::{MetadataExt, PermissionsExt};

use super::*;
use crate::pod::access::Access;
use crate::pod::dependency::Dependencies;
use crate::pod::document::Pod;
use crate::pod::env::Machine;

fn pod(volumes: &str, mounts: &str) -> Pod {
    let json = format!(
        r#"{{"metadata":{{"name":"web-0","namespace":"shop","labels":{{"app":"web"}}}},"spec":{{"volumes":[{volumes}],
        "containers":[{{"name":"web","volumeMounts":[{mounts}]}}]}}}}"#
    );
    Pod::parse(json.as_bytes()).unwrap()
}

fn settings(json: &str) -> Dependencies {
    let mut dependencies = Dependencies::default();
    dependencies.add("ConfigMap", "settings", json.as_bytes());
    dependencies.add("Secret", "login", br#"{"data":{"word":"c2VzYW1l"}}"#);
    dependencies
}

fn put(pod: &Pod, dependencies: &Dependencies, dir: &Path) -> Result<(), MountError> {
    put_with(pod, dependencies, &Access::default(), dir)
}

fn put_with(pod: &Pod, dependencies: &Dependencies, access: &Access, dir: &Path) -> Result<(), MountError> {
    let machine = Machine { name: "n1".into(), ..Machine::default() };
    mount(Sources { pod, dependencies, machine: &machine, access }, &on_disk(dir), true)
}

fn on_disk(dir: &Path) -> Places {
    Places { disk: dir.to_owned(), memory: None, lasting: dir.join("local-path") }
}

#[test]
fn a_folder_that_was_only_begun_is_finished_and_one_that_is_there_stays_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let pod = pod(r#"{"name":"e","emptyDir":{}}"#, "");
    let (place, none) = (dir.path().join("e"), Dependencies::default());
    let mode = || std::fs::metadata(&place).unwrap().mode() & 0o7777;
    let set = |mode| std::fs::set_permissions(&place, fs::Permissions::from_mode(mode)).unwrap();
    put(&pod, &none, dir.path()).unwrap();
    assert_eq!(mode(), 0o777);
    set(0o1750);
    put(&pod, &none, dir.path()).unwrap();
    assert_eq!(mode(), 0o1750, "its user's");
    set(0);
    put(&pod, &none, dir.path()).unwrap();
    assert_eq!(mode(), 0o777, "whoever made it died before it could be used");
}

#[test]
fn files_appear_with_their_modes_and_follow_the_objects() {
    let dir = tempfile::tempdir().unwrap();
    let pod = pod(
        r#"{"name":"c","configMap":{"name":"settings"}},
        {"name":"s","secret":{"secretName":"login","defaultMode":256}},
        {"name":"p","projected":{"sources":[{"configMap":{"name":"settings","items":[{"key":"a","path":"deep/a"}]}},
        {"downwardAPI":{"items":[{"path":"labels","fieldRef":{"fieldPath":"metadata.labels"}}]}}]}}"#,
        "",
    );
    put(&pod, &settings(r#"{"data":{"a":"1","b":"2"}}"#), dir.path()).unwrap();
    let read = |path: &str| fs::read_to_string(dir.path().join(path)).ok();
    assert_eq!(read("c/a").as_deref(), Some("1"));
    assert_eq!(read("s/word").as_deref(), Some("sesame"));
    assert_eq!(fs::metadata(dir.path().join("s/word")).unwrap().permissions().mode() & 0o777, 0o400);
    assert_eq!(read("p/deep/a").as_deref(), Some("1"));
    assert_eq!(read("p/labels").as_deref(), Some("app=\"web\""));

    put(&pod, &settings(r#"{"data":{"a":"3"}}"#), dir.path()).unwrap();
    assert_eq!((read("c/a").as_deref(), read("c/b")), (Some("3"), None), "the old key is gone");
    let generation = fs::read_link(dir.path().join("c/..data")).unwrap();
    put(&pod, &settings(r#"{"data":{"a":"3"}}"#), dir.path()).unwrap();
    assert_eq!(
        fs::read_link(dir.path().join("c/..data")).unwrap(),
        generation,
        "the same is not written again"
    );
}

#[test]
fn an_update_that_was_interrupted_is_completed() {
    let dir = tempfile::tempdir().unwrap();
    let pod = pod(r#"{"name":"c","configMap":{"name":"settings"}}"#, "");
    put(&pod, &settings(r#"{"data":{"a":"1","b":"2"}}"#), dir.path()).unwrap();
    let volume = dir.path().join("c");
    // As it is if nothing came after the new files took their place: the first time, and later.
    fs::remove_file(volume.join("a")).unwrap();
    fs::remove_file(volume.join("b")).unwrap();
    std::os::unix::fs::symlink("..data/old", volume.join("old")).unwrap();
    fs::create_dir_all(volume.join("..7/deep")).unwrap();
    fs::write(volume.join("..7/deep/old"), "0").unwrap();
    let generation = fs::read_link(volume.join("..data")).unwrap();

    put(&pod, &settings(r#"{"data":{"a":"1","b":"2"}}"#), dir.path()).unwrap();
    assert_eq!(fs::read_to_string(volume.join("a")).unwrap(), "1");
    assert_eq!(fs::read_to_string(volume.join("b")).unwrap(), "2");
    let mut names: Vec<_> = fs::read_dir(&volume).unwrap().map(|it| it.unwrap().file_name()).collect();
    names.sort();
    let data = generation.to_str().unwrap();
    assert_eq!(names, [data, "..data", "a", "b"], "nothing is left of other generations");
    assert_eq!(fs::read_link(volume.join("..data")).unwrap(), generation, "the same is not written again");
}

#[test]
fn what_may_be_secret_lies_in_memory_unless_it_is_on_disk_already() {
    let (disk, memory) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let pod = pod(
        r#"{"name":"s","secret":{"secretName":"login"}},{"name":"old","secret":{"secretName":"login"}},
        {"name":"p","projected":{"sources":[{"secret":{"name":"login"}}]}},{"name":"c","configMap":{"name":"settings"}},
        {"name":"d","downwardAPI":{"items":[]}},{"name":"e","emptyDir":{}}"#,
        r#"{"name":"s","mountPath":"/s"},{"name":"old","mountPath":"/old"},{"name":"c","mountPath":"/c"}"#,
    );
    // As an earlier build left it.
    fs::create_dir(disk.path().join("old")).unwrap();
    let places = Places { memory: Some(memory.path().join("volumes/uid")), ..on_disk(disk.path()) };
    let machine = Machine::default();
    let dependencies = settings(r#"{"data":{"a":"1"}}"#);
    let access = Access::default();
    mount(
        Sources { pod: &pod, dependencies: &dependencies, machine: &machine, access: &access },
        &places,
        true,
    )
    .unwrap();
    let names = |dir: &Path| {
        let mut names: Vec<_> =
            fs::read_dir(dir).unwrap().map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    let root = memory.path().join("volumes/uid");
    assert_eq!(names(&root), ["d", "p", "s"]);
    assert_eq!(names(disk.path()), ["c", "e", "old"]);
    assert_eq!(fs::read_to_string(root.join("s/word")).unwrap(), "sesame");
    assert_eq!(fs::metadata(&root).unwrap().permissions().mode() & 0o777, 0o700);
    let mounted = mounts(&pod, &pod.spec.containers[0], &[], &Dependencies::default(), &places).unwrap();
    let sources: Vec<_> = mounted.into_iter().map(|mount| mount.source).collect();
    assert_eq!(sources, [root.join("s"), disk.path().join("old"), disk.path().join("c")]);
}

#[test]
fn the_group_of_the_pod_has_its_volumes() {
    if !rustix::process::geteuid().is_root() {
        return eprintln!("skipped: only root can give files to a group");
    }
    let dir = tempfile::tempdir().unwrap();
    let volumes = r#"{"name":"e","emptyDir":{}},{"name":"s","secret":{"secretName":"login","defaultMode":256}},
        {"name":"p","projected":{"sources":[{"configMap":{"name":"settings","items":[{"key":"a","path":"deep/a"}]}}]}}"#;
    let mut pod = pod(volumes, "");
    pod.spec.security_context.fs_group = Some(4711);
    put(&pod, &settings(r#"{"data":{"a":"1"}}"#), dir.path()).unwrap();
    let has = |path: &str| {
        let metadata = fs::metadata(dir.path().join(path)).unwrap();
        (metadata.gid(), metadata.permissions().mode() & 0o7777)
    };
    assert_eq!(has("e"), (4711, 0o2777), "and what is made in it is the group's");
    assert_eq!((has("s"), has("s/word")), ((4711, 0o2755), (4711, 0o440)));
    assert_eq!((has("p/..data/deep"), has("p/deep/a")), ((4711, 0o2755), (4711, 0o644)));
    let generation = fs::read_link(dir.path().join("s/..data")).unwrap();
    put(&pod, &settings(r#"{"data":{"a":"2"}}"#), dir.path()).unwrap();
    assert_eq!(
        fs::read_link(dir.path().join("s/..data")).unwrap(),
        generation,
        "the same is not written again"
    );
    assert_eq!(has("p/deep/a"), (4711, 0o644), "what is new is the group's, too");

    pod.spec.security_context.fs_group = None;
    let other = tempfile::tempdir().unwrap();
    put(&pod, &settings(r#"{"data":{"a":"1"}}"#), other.path()).unwrap();
    assert_eq!(fs::metadata(other.path().join("s/word")).unwrap().permissions().mode() & 0o7777, 0o400);
    assert_eq!(fs::metadata(other.path().join("e")).unwrap().permissions().mode() & 0o7777, 0o777);
}

#[test]
fn what_cannot_be_mounted_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let cause = |volume: &str| {
        put(&pod(volume, ""), &settings(r#"{"data":{"a":"1"}}"#), dir.path())
            .map_err(|error| error.to_string())
    };
    assert_eq!(
        cause(r#"{"name":"v","configMap":{"name":"nope"}}"#),
        Err("MountVolume.SetUp failed for volume \"v\" : configmap \"nope\" not found".to_owned())
    );
    assert_eq!(cause(r#"{"name":"v","configMap":{"name":"nope","optional":true}}"#), Ok(()));
    assert!(
        cause(r#"{"name":"v","configMap":{"name":"settings","items":[{"key":"a","path":"../a"}]}}"#).is_err()
    );
    assert!(cause(r#"{"name":"v","nfs":{"server":"s","path":"/"}}"#).is_err_and(|e| e.contains("type nfs")));
    assert!(
        cause(r#"{"name":"v","persistentVolumeClaim":{"claimName":"c"}}"#)
            .is_err_and(|e| e.contains("persistentvolumeclaim \"c\" not found"))
    );
}

#[test]
fn a_sub_path_is_left_to_whoever_mounts_it() {
    let dir = tempfile::tempdir().unwrap();
    let with = |volume: &str, sub_path: &str| {
        let pod = pod(volume, &format!(r#"{{"name":"v","mountPath":"/data","subPath":"{sub_path}"}}"#));
        mounts(&pod, &pod.spec.containers[0], &[], &Dependencies::default(), &on_disk(dir.path()))
    };
    const EMPTY: &str = r#"{"name":"v","emptyDir":{}}"#;
    let made = with(EMPTY, "a/b/").unwrap();
    assert_eq!(made[0].source, dir.path().join("v"));
    assert_eq!(made[0].sub_path, Some(crate::runtime::SubPath { path: "a/b".into(), make: true }));
    let keys = with(r#"{"name":"v","configMap":{"name":"settings"}}"#, "a").unwrap();
    assert_eq!(keys[0].sub_path, Some(crate::runtime::SubPath { path: "a".into(), make: false }));
    assert_eq!(with(EMPTY, "").unwrap()[0].sub_path, None);
    for wrong in ["../x", "a/../b", "/etc", "/"] {
        assert!(with(EMPTY, wrong).unwrap_err().contains("must be relative"), "{wrong}");
    }
}

/// With the token that every pod asks for.
fn access() -> Access {
    let tokens =
        [((String::new(), 3607), "word".to_owned()), (("vault".to_owned(), 3600), "other".to_owned())];
    Access { tokens: Some(std::sync::Arc::new(tokens.into())), ..Access::default() }
}

const TOKENS: &str = r#"{"name":"kube-api-access-x","projected":{"defaultMode":420,"sources":[
    {"serviceAccountToken":{"path":"token","expirationSeconds":3607}},
    {"configMap":{"name":"settings","items":[{"key":"a","path":"ca.crt"}]}}]}},
    {"name":"v","projected":{"sources":[{"serviceAccountToken":{"path":"deep/vault","audience":"vault"}}]}}"#;

#[test]
fn tokens_are_files_beside_others_and_are_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let (pod, dependencies) = (pod(TOKENS, ""), settings(r#"{"data":{"a":"1"}}"#));
    put_with(&pod, &dependencies, &access(), dir.path()).unwrap();
    let read = |path: &str| fs::read_to_string(dir.path().join(path)).unwrap();
    assert_eq!(read("kube-api-access-x/token"), "word");
    assert_eq!(read("kube-api-access-x/ca.crt"), "1");
    assert_eq!(read("v/deep/vault"), "other");
    let mode = fs::metadata(dir.path().join("kube-api-access-x/token")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o644);
    let mut newer = access();
    let tokens =
        [((String::new(), 3607), "newer".to_owned()), (("vault".to_owned(), 3600), "other".to_owned())];
    newer.tokens = Some(std::sync::Arc::new(tokens.into()));
    put_with(&pod, &dependencies, &newer, dir.path()).unwrap();
    assert_eq!(read("kube-api-access-x/token"), "newer");
    // One that is not there is not passed over.
    let none = Access { tokens: Some(Default::default()), ..Access::default() };
    let error = put_with(&pod, &dependencies, &none, dir.path()).unwrap_err();
    assert_eq!(error.volume, "kube-api-access-x");
    assert_eq!(read("kube-api-access-x/token"), "newer", "nor does it take away what is there");
    assert!(!format!("{newer:?}").contains("newer"), "no log tells a token");
}

#[test]
fn where_nobody_sees_them_the_volumes_that_every_pod_gets_are_left_out() {
    let dir = tempfile::tempdir().unwrap();
    put_with(&pod(TOKENS, ""), &Dependencies::default(), &Access::default(), dir.path()).unwrap();
    assert!(!dir.path().join("kube-api-access-x").exists());
}

#[test]
fn a_token_is_for_the_one_user_or_the_group_of_its_pod() {
    if !rustix::process::geteuid().is_root() {
        return eprintln!("skipped: only root can give files away");
    }
    let dependencies = settings(r#"{"data":{"a":"1"}}"#);
    for (pods, own, other, group, expected) in [
        (Some(7), None, None, None, (7, 0, 0o600)),
        (Some(7), Some(8), Some(8), None, (8, 0, 0o600)),
        (Some(7), Some(8), None, None, (0, 0, 0o644)),
        (None, Some(8), None, None, (0, 0, 0o644)),
        (None, None, None, Some(9), (0, 9, 0o640)),
        (Some(7), None, None, Some(9), (7, 9, 0o640)),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let mut pod = pod(TOKENS, "");
        pod.spec.init_containers = pod.spec.containers.clone();
        pod.spec.security_context.run_as_user = pods;
        pod.spec.security_context.fs_group = group;
        pod.spec.containers[0].security_context.run_as_user = own;
        pod.spec.init_containers[0].security_context.run_as_user = other;
        put_with(&pod, &dependencies, &access(), dir.path()).unwrap();
        let of = |name: &str| {
            let metadata = fs::metadata(dir.path().join("kube-api-access-x").join(name)).unwrap();
            (metadata.uid(), metadata.gid(), metadata.permissions().mode() & 0o777)
        };
        assert_eq!(of("token"), expected, "{pods:?} {own:?} {other:?} {group:?}");
        assert_eq!(of("ca.crt").0, 0, "what is no secret stays as it is");
    }
}

fn bound(volume: &str) -> Dependencies {
    let mut dependencies = Dependencies::default();
    let claim = br#"{"metadata":{"uid":"u1"},"spec":{"volumeName":"pvc-u1"},"status":{"phase":"Bound"}}"#;
    dependencies.add("PersistentVolumeClaim", "data", claim);
    let volume = format!(r#"{{"spec":{{"claimRef":{{"uid":"u1"}},{volume}}}}}"#);
    dependencies.add("PersistentVolume", "pvc-u1", volume.as_bytes());
    dependencies
}

#[test]
fn what_a_claim_is_bound_to_outlives_the_pod() {
    let dir = tempfile::tempdir().unwrap();
    let of_claim = r#"{"name":"v","persistentVolumeClaim":{"claimName":"data","readOnly":true}}"#;
    let pod = pod(of_claim, r#"{"name":"v","mountPath":"/data","subPath":"a"}"#);
    // Whatever an object says of a path: the folder is that of the volume's name.
    let ours = bound(r#""csi":{"driver":"kontiki.io/local-path","volumeHandle":"../../etc"}"#);
    put(&pod, &ours, dir.path()).unwrap();
    let folder = dir.path().join("local-path/pvc-u1");
    assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o7777, 0o777);
    fs::write(folder.join("word"), "kept").unwrap();
    put(&pod, &ours, dir.path()).unwrap();
    assert_eq!(fs::read_to_string(folder.join("word")).unwrap(), "kept");
    let mounted = mounts(&pod, &pod.spec.containers[0], &[], &ours, &on_disk(dir.path())).unwrap();
    assert_eq!(mounted[0].source, folder);
    assert!(mounted[0].read_only && mounted[0].sub_path.is_some());

    let lasting = dir.path().join("local-path");
    for wrong in ["..", "../local-path", "", "."] {
        assert!(claim::remove(&lasting, wrong).is_err(), "{wrong}");
    }
    assert!(folder.exists());
    claim::remove(&lasting, "pvc-u1").unwrap();
    assert!(!folder.exists());
    claim::remove(&lasting, "pvc-u1").unwrap();
}

#[test]
fn what_is_in_a_claim_already_becomes_the_groups_before_the_pod_starts() {
    if !rustix::process::geteuid().is_root() {
        return eprintln!("skipped: only root can give files to a group");
    }
    let dir = tempfile::tempdir().unwrap();
    let mut pod = pod(r#"{"name":"v","persistentVolumeClaim":{"claimName":"data"}}"#, "");
    let ours = bound(r#""csi":{"driver":"kontiki.io/local-path"}"#);
    put(&pod, &ours, dir.path()).unwrap();
    let file = dir.path().join("local-path/pvc-u1/restored");
    fs::write(&file, "").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let has = || {
        let it = fs::metadata(&file).unwrap();
        (it.gid(), it.permissions().mode() & 0o7777)
    };
    assert_eq!(has(), (0, 0o600), "a pod without a group changes nothing");
    let context = &mut pod.spec.security_context;
    (context.fs_group, context.fs_group_change_policy) = (Some(4711), "OnRootMismatch".to_owned());
    put(&pod, &ours, dir.path()).unwrap();
    assert_eq!(has(), (4711, 0o660));
    // The folder is the group's: whoever is content with that looks no further, others do.
    std::os::unix::fs::chown(&file, None, Some(0)).unwrap();
    put(&pod, &ours, dir.path()).unwrap();
    assert_eq!(has().0, 0);
    pod.spec.security_context.fs_group_change_policy = "Always".to_owned();
    let (machine, access) = (Machine::default(), Access::default());
    let sources = Sources { pod: &pod, dependencies: &ours, machine: &machine, access: &access };
    mount(sources, &on_disk(dir.path()), false).unwrap();
    assert_eq!(has().0, 0, "what runs is left alone");
    mount(sources, &on_disk(dir.path()), true).unwrap();
    assert_eq!(has(), (4711, 0o660));
}

#[test]
fn volumes_that_somebody_made_are_mounted_as_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let pod = pod(r#"{"name":"v","persistentVolumeClaim":{"claimName":"data"}}"#, "");
    let disk = dir.path().join("disk");
    let local = bound(&format!(r#""local":{{"path":"{}"}}"#, disk.display()));
    assert!(put(&pod, &local, dir.path()).unwrap_err().to_string().contains("does not exist"));
    fs::create_dir(&disk).unwrap();
    put(&pod, &local, dir.path()).unwrap();
    let other = bound(r#""nfs":{"server":"s","path":"/"}"#);
    assert!(put(&pod, &other, dir.path()).unwrap_err().to_string().contains("not supported"));
    let stranger = bound(r#""claimRef":{"uid":"u2"},"hostPath":{"path":"/srv"}"#);
    assert!(put(&pod, &stranger, dir.path()).unwrap_err().to_string().contains("is not bound to"));
}

#[test]
fn an_ephemeral_volume_is_the_claim_that_was_made_for_the_pod() {
    let dir = tempfile::tempdir().unwrap();
    let volume = r#"{"name":"v","ephemeral":{"volumeClaimTemplate":{"spec":{}}}}"#;
    let mut pod = pod(volume, r#"{"name":"v","mountPath":"/data"}"#);
    let source = pod.spec.volumes[0].persistent_volume_claim.as_mut().unwrap();
    assert_eq!(source.claim_name, format!("{}-v", pod.metadata.name));
    source.claim_name = "data".to_owned();
    // One that somebody else has made is not taken for it.
    let foreign = bound(r#""csi":{"driver":"kontiki.io/local-path"}"#);
    assert!(put(&pod, &foreign, dir.path()).unwrap_err().to_string().contains("pod is not owner"));
    let mut ours = foreign;
    let uid = &pod.metadata.uid;
    let claim = format!(
        r#"{{"metadata":{{"uid":"u1","ownerReferences":[{{"controller":true,"uid":"{uid}"}}]}},"spec":{{"volumeName":"pvc-u1"}},"status":{{"phase":"Bound"}}}}"#
    );
    ours.add("PersistentVolumeClaim", "data", claim.as_bytes());
    put(&pod, &ours, dir.path()).unwrap();
    let mounted = mounts(&pod, &pod.spec.containers[0], &[], &ours, &on_disk(dir.path())).unwrap();
    assert_eq!(mounted[0].source, dir.path().join("local-path/pvc-u1"));
    assert!(!mounted[0].read_only);
}
