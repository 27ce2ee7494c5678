#![allow(clippy::unwrap_used)]

use std::os::unix::fs::PermissionsExt;

use super::*;
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
    let machine = Machine { name: "n1".into(), ..Machine::default() };
    mount(Sources { pod, dependencies, machine: &machine }, dir)
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
    assert!(
        cause(r#"{"name":"v","persistentVolumeClaim":{"claimName":"c"}}"#)
            .is_err_and(|e| e.contains("persistentVolumeClaim"))
    );
}

#[test]
fn a_sub_path_stays_within_its_volume() {
    let dir = tempfile::tempdir().unwrap();
    let with = |sub_path: &str| {
        let pod = pod(
            r#"{"name":"e","emptyDir":{}}"#,
            &format!(r#"{{"name":"e","mountPath":"/data","subPath":"{sub_path}"}}"#),
        );
        put(&pod, &Dependencies::default(), dir.path()).unwrap();
        mounts(&pod, &pod.spec.containers[0], &[], dir.path())
    };
    let made = with("a/b").unwrap();
    assert!(made[0].source.ends_with("e/a/b") && made[0].source.is_dir());
    assert!(with("../x").is_err());
    std::os::unix::fs::symlink("/etc", dir.path().join("e/out")).unwrap();
    assert!(with("out").is_err(), "a link that leads out is refused");
}
