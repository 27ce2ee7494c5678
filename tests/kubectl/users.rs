use kontiki_chaos_tests::eventually;
use kontiki_pki::AccountKeys;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::{
    issuer::{Issuer, key},
    roles::config_with,
    scenario::Scenario,
};

const MAPPINGS: &str =
    "  claimMappings: {username: {claim: sub, prefix: 'idp:'}, groups: {claim: groups, prefix: 'idp:'}}\n";

/// An issuer of users, and the file by which the cluster knows it.
pub struct Users {
    dir: TempDir,
    runtime: Runtime,
    issuer: Issuer,
    key: AccountKeys,
}

impl Users {
    pub fn start() -> Users {
        let (dir, runtime, key) = (tempfile::tempdir().unwrap(), Runtime::new().unwrap(), key());
        let issuer = runtime.block_on(Issuer::start(&[&key]));
        let users = Users { dir, runtime, issuer, key };
        users.configure(MAPPINGS);
        users
    }

    /// What a cluster needs in its environment to know them.
    pub fn environment(&self) -> Vec<(String, String)> {
        vec![("KONTIKI_AUTHENTICATION_CONFIG".into(), self.file())]
    }

    fn file(&self) -> String {
        self.dir.path().join("authentication.yaml").to_string_lossy().into_owned()
    }

    fn configure(&self, mappings: &str) {
        std::fs::write(self.file(), self.issuer.configuration(mappings)).unwrap();
    }
}

/// A user of an OpenID Connect issuer, who has a token and nothing else.
pub fn of_an_issuer_elsewhere(s: &Scenario, users: &Users) {
    let nobody = config_with(s, json!({}));
    let jane = |token: &str, args: &[&str]| {
        let args = [&["--kubeconfig", &nobody, "-n", &s.namespace, "--token", token], args].concat();
        let output = s.cluster.kubectl_output(&args).unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(said).unwrap())
    };
    let claims = json!({"groups": ["devs"]});
    let token = users.issuer.token(&users.key, &claims);
    let (done, said) = jane(&token, &["get", "pods"]);
    assert!(!done && said.contains("User \"idp:jane\" cannot list resource \"pods\""), "{said}");
    s.kubectl(&["create", "rolebinding", "devs", "--clusterrole=view", "--group=idp:devs"]);
    for context in s.kubectl(&["config", "get-contexts", "-o", "name"]).lines() {
        let (done, said) = jane(&token, &["get", "pods", "--context", context]);
        assert!(done, "{context}: {said}");
    }
    let (done, said) = jane(&users.issuer.token(&users.key, &json!({"aud": "other"})), &["get", "pods"]);
    assert!(!done && said.contains("You must be logged in to the server"), "{said}");

    // The issuer gets another key.
    let next = key();
    users.issuer.publish(&[&users.key, &next]);
    let after = users.issuer.token(&next, &claims);
    // Each controller learns of it by a token.
    for context in s.kubectl(&["config", "get-contexts", "-o", "name"]).lines() {
        eventually("a token of the new key is believed", || {
            match jane(&after, &["get", "pods", "--context", context]) {
                (true, _) => Ok(()),
                (false, said) => Err(said),
            }
        });
    }

    // Another name for the same user, while the cluster runs.
    users.configure(&MAPPINGS.replace("sub, prefix: 'idp:'", "sub, prefix: 'staff:'"));
    let review =
        json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}});
    let review = s.file("review.json", &review.to_string());
    for context in s.kubectl(&["config", "get-contexts", "-o", "name"]).lines() {
        eventually("the configuration is read anew", || {
            let said = s.kubectl(&["create", "--context", context, "-f", &review, "-o", "json"]);
            let status = &serde_json::from_str::<Value>(&said).unwrap()["status"];
            if status["user"]["username"] == "staff:jane" { Ok(()) } else { Err(status.to_string()) }
        });
        let metrics = s.kubectl(&["get", "--context", context, "--raw", "/metrics"]);
        for line in [
            "kontiki_authentication_config_reloads_total{result=\"success\"} 1".to_owned(),
            format!("kontiki_oidc_issuer_healthy{{issuer=\"{}\"}} 1", users.issuer.url()),
        ] {
            assert!(metrics.lines().any(|told| told == line), "{line} in {metrics}");
        }
    }

    // The issuer is gone: nobody notices.
    users.runtime.block_on(users.issuer.stop());
    let (done, said) = jane(&after, &["get", "pods"]);
    assert!(done, "{said}");
    s.kubectl(&["get", "pods"]);
}
