//! `kontiki image`: what it says, in words and as JSON, and how it ends.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::BINARY;
use crate::registry_support::{Registry, digest};

/// `Authorization` of `me` with the password `secret`.
const BASIC_ME: &str = "Basic bWU6c2VjcmV0";

/// How a command ended, and what it said.
#[derive(Debug)]
struct Ended {
    code: i32,
    out: String,
    err: String,
}

impl Ended {
    /// What it printed; it must have done what it was asked for, without a word beside.
    #[track_caller]
    fn done(self) -> String {
        assert_eq!((self.code, self.err.as_str()), (0, ""), "{}", self.out);
        self.out
    }

    /// Why it failed: all of these words, on standard error.
    #[track_caller]
    fn failed(self, words: &[&str]) {
        assert_eq!((self.code, self.out.as_str()), (1, ""), "{}", self.err);
        self.says(words);
    }

    #[track_caller]
    fn says(&self, words: &[&str]) {
        assert!(self.err.starts_with("kontiki: ") && self.err.lines().count() == 1, "{}", self.err);
        for word in words {
            assert!(self.err.contains(word), "no {word:?} in: {}", self.err);
        }
    }
}

/// `kontiki image` on the store of a data directory. Not on the thread of the registry that it asks.
fn image(dir: &Path, args: &[&str]) -> Ended {
    let mut command = Command::new(BINARY);
    command.arg("image").args(args).arg("--data-dir").arg(dir).env_remove("KONTIKI_REGISTRIES");
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ended { code: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
}

fn listed(dir: &Path) -> Vec<Value> {
    serde_json::from_str(&image(dir, &["list", "-o", "json"]).done()).unwrap()
}

/// A layer without files, of which there is one for each length.
fn layer(blocks: usize) -> Vec<u8> {
    vec![0; blocks * 512]
}

#[tokio::test(flavor = "multi_thread")]
async fn images_are_pulled_listed_removed_and_pruned() {
    let (home, registry) = (tempfile::tempdir().unwrap(), Registry::start().await);
    let (dir, one, two) = (home.path(), registry.name("1"), registry.name("2"));
    assert_eq!(listed(dir), [Value::Null; 0]);
    let old = registry.put_image("1", &[layer(2)]);
    assert_eq!(image(dir, &["pull", &one]).done(), format!("pulled {one} {old}\n"));
    assert_eq!(image(dir, &["pull", &one]).done(), format!("up to date: {one} {old}\n"));
    let all = listed(dir);
    assert_eq!(all.len(), 1);
    assert_eq!((&all[0]["digest"], &all[0]["names"]), (&json!(old), &json!([one])));
    assert!(all[0]["size_bytes"].is_u64() && all[0]["own_bytes"] == all[0]["size_bytes"], "{}", all[0]);

    // The tag goes on to another image, and what it was stays without a name until it is pruned.
    let new = registry.put_image("1", &[layer(3)]);
    registry.put_image("2", &[layer(4)]);
    let said = image(dir, &["pull", &one, &two]).done();
    assert!(said.starts_with(&format!("pulled {one} {new}\npulled {two} sha256:")), "{said}");
    let table = image(dir, &["list"]).done();
    let rows: Vec<Vec<&str>> = table.lines().map(|row| row.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["IMAGE", "DIGEST", "SIZE", "OWN"]);
    for (name, digest) in [("<none>", &old), (one.as_str(), &new)] {
        assert!(rows.iter().any(|row| row.starts_with(&[name, &digest[..19]])), "no {name} in:\n{table}");
    }
    assert_eq!(image(dir, &["prune"]).done(), format!("removed {old}\n1 images, 0.0MiB\n"));
    assert_eq!(image(dir, &["prune"]).done(), "0 images, 0.0MiB\n");

    // What can go goes, also where something else is not there.
    let ended = image(dir, &["rm", "missing:1", &one]);
    assert_eq!((ended.code, ended.out.as_str()), (1, format!("removed {one}\n").as_str()));
    ended.says(&["there is no image docker.io/library/missing:1", "kontiki image list"]);
    assert_eq!(image(dir, &["prune", "--all"]).done(), format!("removed {two}\n1 images, 0.0MiB\n"));
    assert_eq!(listed(dir), [Value::Null; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_pulled_or_loaded_is_told_with_its_cause_and_a_way_out() {
    let (home, registry) = (tempfile::tempdir().unwrap(), Registry::start().await);
    let (dir, one) = (home.path(), registry.name("1"));
    let missing = dir.join("missing");
    image(&missing, &["list"]).failed(&[missing.to_str().unwrap(), "--data-dir"]);
    assert_eq!(image(dir, &["pull"]).code, 2, "no image is named");
    image(dir, &["pull", "UPPER"]).failed(&["cannot pull UPPER", "couldn't parse image name"]);
    image(dir, &["pull", &one]).failed(&[&one, &registry.address, "not found", "check the name and the tag"]);
    let deaf = "127.0.0.1:1/team/web:1";
    image(dir, &["pull", deaf]).failed(&[
        "cannot pull 127.0.0.1:1/team/web:1",
        "registry 127.0.0.1:1",
        "refused",
    ]);

    registry.put_image("1", &[layer(2)]);
    registry.guard(BASIC_ME, "Basic realm=\"it\"", None);
    image(dir, &["pull", &one]).failed(&[&one, "not authorized to pull team/web", "--auth-file"]);
    let auth = dir.join("config.json");
    let with_auth = || image(dir, &["pull", &one, "--auth-file", auth.to_str().unwrap()]);
    with_auth().failed(&["cannot read credentials", auth.to_str().unwrap(), "No such file"]);
    std::fs::write(&auth, "no JSON").unwrap();
    with_auth().failed(&["cannot read credentials", auth.to_str().unwrap()]);
    let credentials = json!({ "auths": { &registry.address: { "username": "me", "password": "secret" } } });
    std::fs::write(&auth, credentials.to_string()).unwrap();
    assert!(with_auth().done().starts_with("pulled "));

    // What comes is not what was promised: nothing of it stays.
    let before = listed(dir);
    let wrong = layer(8);
    let other = Registry::start().await;
    let layers = [layer(7)];
    other.put_image("1", &layers);
    other.put(&Registry::blob_path(&digest(&layers[0])), &wrong);
    image(dir, &["pull", &other.name("1")]).failed(&["cannot pull", &other.address]);
    assert_eq!(listed(dir), before);

    let file = dir.join("none.tar");
    image(dir, &["load", file.to_str().unwrap()]).failed(&[
        "cannot load",
        file.to_str().unwrap(),
        "No such file",
    ]);
    std::fs::write(dir.join("runtime"), "cri").unwrap();
    image(dir, &["list"]).failed(&["container runtime", "ctr"]);
}
