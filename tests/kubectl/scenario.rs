//! A scenario: a namespace of its own and kubectl in it.

use kontiki_chaos_tests::{Cluster, eventually};
use serde_json::Value;

/// A deployment of the example image.
pub const WEB: &str = include_str!("../../examples/web.yaml");

pub struct Scenario<'a> {
    pub cluster: &'a Cluster,
    pub namespace: String,
}

impl<'a> Scenario<'a> {
    pub fn begin(cluster: &'a Cluster, name: &str) -> Scenario<'a> {
        let namespace = format!("test-{name}");
        cluster.kubectl(&["create", "namespace", &namespace]).unwrap();
        Scenario { cluster, namespace }
    }

    fn args<'b>(&'b self, args: &[&'b str]) -> Vec<&'b str> {
        [&["-n", self.namespace.as_str()], args].concat()
    }

    /// kubectl in the scenario's namespace; must succeed.
    #[track_caller]
    pub fn kubectl(&self, args: &[&str]) -> String {
        self.cluster.kubectl(&self.args(args)).unwrap()
    }

    /// kubectl that must fail; what it said.
    #[track_caller]
    pub fn refused(&self, args: &[&str]) -> String {
        let output = self.cluster.kubectl_output(&self.args(args)).unwrap();
        assert!(!output.status.success(), "{args:?} succeeded");
        String::from_utf8(output.stderr).unwrap()
    }

    #[track_caller]
    pub fn apply(&self, manifest: &str) -> String {
        let file = self.file("manifest.yaml", manifest);
        self.kubectl(&["apply", "-f", &file])
    }

    /// Whether kubectl is at least 1.`minor`. What is promised is promised from 1.27 on; Debian's is older and has fewer
    /// commands.
    pub fn knows(&self, minor: u32) -> bool {
        let version = self.json(&["version", "--client"]);
        let own = version["clientVersion"]["minor"].as_str().unwrap();
        own.trim_end_matches('+').parse::<u32>().unwrap() >= minor
    }

    /// Waits for a pod to have done its work.
    pub fn succeeded(&self, pod: &str) {
        if self.knows(27) {
            let pod = format!("pod/{pod}");
            self.kubectl(&["wait", "--for=jsonpath={.status.phase}=Succeeded", &pod, "--timeout=60s"]);
        } else {
            self.until(&["get", "pod", pod, "-o", "jsonpath={.status.phase}"], "Succeeded");
        }
    }

    /// A file with this text.
    pub fn file(&self, name: &str, text: &str) -> String {
        let path = self.cluster.dir().join(format!("{}-{name}", self.namespace));
        std::fs::write(&path, text).unwrap();
        path.to_string_lossy().into_owned()
    }

    #[track_caller]
    pub fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.kubectl(&[args, &["-o", "json"]].concat())).unwrap()
    }

    /// Applies the example and waits until it is rolled out.
    pub fn web(&self) {
        self.apply(WEB);
        self.rolled_out("web");
    }

    #[track_caller]
    pub fn rolled_out(&self, name: &str) {
        self.kubectl(&["rollout", "status", &format!("deployment/{name}"), "--timeout=90s"]);
    }

    /// Waits until kubectl prints what is looked for.
    #[track_caller]
    pub fn until(&self, args: &[&str], what: &str) -> String {
        eventually(what, || {
            let said = self.cluster.kubectl(&self.args(args)).map_err(|e| e.to_string())?;
            if said.contains(what) { Ok(said) } else { Err(said) }
        })
    }
}
