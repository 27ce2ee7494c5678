//! Helm against a real cluster, with the chart in `tests/helm/chart`: the Helm that `HELM` names, or one that is built
//! here from its sources. Skipped, with the reason, only where it cannot be built.
#![allow(clippy::unwrap_used, missing_docs)]

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use kontiki_chaos_tests::{Cluster, Plan, at_least, eventually, example_image, run};
use serde_json::{Value, json};

/// As in `.ci/run`.
const VERSION: &str = "v3.18.6";
const GO: (u32, u32) = (1, 24);
const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/helm/chart");
const NAMESPACE: &str = "shop";
const WAIT: [&str; 3] = ["--wait", "--timeout", "90s"];

/// The program; or why there is none.
fn program() -> Result<PathBuf, String> {
    if let Some(named) = std::env::var_os("HELM") {
        return Ok(named.into());
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("helm").join(VERSION);
    let program = folder.join("helm");
    if !program.exists() {
        at_least(GO, Command::new("go").arg("version"))?;
        let package = format!("helm.sh/helm/v3/cmd/helm@{VERSION}");
        run(Command::new("go").args(["install", &package]).env("GOBIN", folder))?;
    }
    Ok(program)
}

fn with<'a>(args: &[&'a str], more: &[&'a str]) -> Vec<&'a str> {
    [args, more].concat()
}

struct Helm {
    program: PathBuf,
    cluster: Cluster,
}

impl Helm {
    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(args).args(["--namespace", NAMESPACE]).env("KUBECONFIG", self.cluster.kubeconfig());
        for home in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
            command.env(home, self.cluster.dir().join("helm"));
        }
        command
    }

    /// Runs Helm, which must succeed, and gives what it printed.
    fn run(&self, args: &[&str]) -> String {
        run(&mut self.command(args)).unwrap()
    }

    fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.run(&with(args, &["-o", "json"]))).unwrap()
    }

    fn kubectl(&self, args: &[&str]) -> String {
        self.cluster.kubectl(&with(args, &["-n", NAMESPACE])).unwrap()
    }

    /// What the release's Deployment has: its replicas, and how many are available of the newest kind.
    fn replicas(&self) -> String {
        let path = "jsonpath={.spec.replicas} {.status.updatedReplicas} {.status.availableReplicas}";
        self.kubectl(&["get", "deployment", "web", "-o", path])
    }

    fn greeting(&self) -> String {
        self.kubectl(&["get", "configmap", "web", "-o", "jsonpath={.data.greeting}"])
    }

    fn password(&self) -> String {
        self.kubectl(&["get", "secret", "web", "-o", "jsonpath={.data.password}"])
    }

    /// Revisions and their states, the oldest first.
    fn history(&self) -> Vec<(i64, String)> {
        let history = self.json(&["history", "web"]);
        let revision =
            |r: &Value| (r["revision"].as_i64().unwrap(), r["status"].as_str().unwrap().to_string());
        history.as_array().unwrap().iter().map(revision).collect()
    }
}

#[test]
fn charts_are_installed_upgraded_rolled_back_tested_and_uninstalled() {
    let program = match program() {
        Ok(program) => program,
        Err(why) => return eprintln!("skipped: there is no Helm, and none can be built: {why}"),
    };
    kontiki_pki::install_crypto();
    let image = Some(example_image().unwrap());
    let cluster = Cluster::start(Plan { image, ..Plan::of(env!("CARGO_BIN_EXE_kontiki")) }).unwrap();
    let helm = Helm { program, cluster };
    installs(&helm);
    upgrades_while_the_leader_dies(&helm);
    takes_back_what_fails(&helm);
    uninstalls(&helm);
}

fn installs(helm: &Helm) {
    let install = ["install", "web", CHART, "--create-namespace"];
    let printed = helm.run(&with(&install, &WAIT));
    assert!(printed.contains("web greets with hello."), "{printed}");
    assert_eq!(helm.replicas(), "2 2 2", "it waited for all of them");
    let sail = helm.kubectl(&["get", "boats.helm.kontiki.local", "web", "-o", "jsonpath={.spec.sail}"]);
    assert_eq!(sail, "hello", "of the kind that the chart defines");
    let seen =
        helm.kubectl(&["get", "configmap", "web", "-o", "jsonpath={.data.kubernetes} {.data.deployments}"]);
    assert!(seen.starts_with("v1.") && seen.ends_with(" true"), "what charts may ask of a cluster: {seen}");
    let jobs = helm.kubectl(&["get", "jobs", "-o", "name"]);
    assert_eq!(jobs, "", "hooks that succeeded are deleted");

    let list = helm.json(&["list"]);
    assert_eq!((&list[0]["name"], &list[0]["status"]), (&json!("web"), &json!("deployed")), "{list}");
    let status = helm.json(&["status", "web"]);
    assert_eq!((&status["version"], &status["info"]["status"]), (&json!(1), &json!("deployed")), "{status}");
    let listed = helm.run(&["status", "web", "--show-resources"]);
    let ready = |line: &str| line.split_whitespace().take(2).eq(["web", "2/2"]);
    assert!(listed.contains("==> v1/Deployment") && listed.lines().any(ready), "{listed}");
    assert_eq!(helm.json(&["get", "values", "web", "--all"])["replicas"], 2);
    assert!(helm.run(&["get", "manifest", "web"]).contains("kind: Deployment"));
    assert!(helm.run(&["get", "hooks", "web"]).contains("web-before"));
    let again = helm.command(&["install", "web", CHART]).output().unwrap();
    assert!(String::from_utf8_lossy(&again.stderr).contains("cannot re-use a name that is still in use"));

    let tested = helm.run(&["test", "web", "--logs", "--timeout", "90s"]);
    assert!(tested.contains("Succeeded") && tested.contains("it says hello"), "{tested}");
}

/// The leader dies while Helm waits for the first hook, before it changes anything.
fn upgrades_while_the_leader_dies(helm: &Helm) {
    let password = helm.password();
    let change = ["upgrade", "web", CHART, "--set", "replicas=3,greeting=ahoy,hookSeconds=2"];
    let dry = helm.run(&with(&change, &["--dry-run=server"]));
    assert!(dry.contains(&password), "a dry run looks up what is there: {dry}");
    assert_eq!(helm.greeting(), "hello");

    let mut upgrade = helm.command(&with(&change, &WAIT)).spawn().unwrap();
    eventually("the first hook began", || {
        let jobs = helm.kubectl(&["get", "jobs", "-o", "name"]);
        if jobs.contains("web-before") { Ok(()) } else { Err(jobs) }
    });
    let leader = helm.cluster.leader().unwrap();
    helm.cluster.kill(&leader).unwrap();
    assert!(upgrade.wait().unwrap().success());
    helm.cluster.up().unwrap();
    assert_eq!((helm.replicas().as_str(), helm.greeting().as_str()), ("3 3 3", "ahoy"));
    assert_eq!(helm.password(), password, "what was looked up stays");
    let expected = [(1, "superseded".to_string()), (2, "deployed".to_string())];
    assert_eq!(helm.history(), expected);
}

fn takes_back_what_fails(helm: &Helm) {
    helm.run(&with(&["rollback", "web", "1"], &WAIT));
    assert_eq!((helm.replicas().as_str(), helm.greeting().as_str()), ("2 2 2", "hello"));

    let never = ["--set", "health=/missing,greeting=lost", "--atomic", "--timeout", "10s"];
    let failed = helm.command(&with(&["upgrade", "--install", "web", CHART], &never)).output().unwrap();
    let said = String::from_utf8_lossy(&failed.stderr);
    assert!(
        !failed.status.success() && said.contains("has been rolled back due to atomic being set"),
        "{said}"
    );
    assert_eq!((helm.replicas().as_str(), helm.greeting().as_str()), ("2 2 2", "hello"));
    let states: Vec<String> = helm.history().into_iter().map(|(_, state)| state).collect();
    assert_eq!(states, ["superseded", "superseded", "superseded", "failed", "deployed"]);

    // What somebody changed is put right: by the chart as it was, the chart as it is, and what is there.
    helm.kubectl(&["patch", "configmap", "web", "-p", r#"{"data":{"greeting":"changed","own":"kept"}}"#]);
    helm.run(&with(&["upgrade", "web", CHART], &WAIT));
    let both = helm.kubectl(&["get", "configmap", "web", "-o", "jsonpath={.data.greeting} {.data.own}"]);
    assert_eq!(both, "hello kept");
}

fn uninstalls(helm: &Helm) {
    helm.run(&with(&["uninstall", "web"], &WAIT));
    assert_eq!(helm.json(&["list", "--all"]), json!([]));
    let kinds =
        "deployments,replicasets,pods,services,jobs,secrets,roles,rolebindings,poddisruptionbudgets,boats";
    let left = helm.kubectl(&["get", kinds, "-o", "name"]);
    assert_eq!(left, "pod/web-test\n", "only what no release owns: the pod of the test");
}
