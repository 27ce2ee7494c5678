//! Join tokens: each refusal is one line that says which.

use kontiki_pki::{Ca, JoinToken, Role};

use crate::stage::{Stage, says};

fn join(stage: &Stage, role: &str, token: &str) -> String {
    let dir = stage.dir().join("newcomer");
    let servers = stage.servers();
    let dir = dir.to_str().unwrap();
    let (joined, said) =
        says(&[role, "run", "--name", "n9", "--data-dir", dir, "--server", &servers, "--join", token]);
    assert!(!joined, "{said}");
    said
}

#[test]
fn bad_tokens_are_refused_with_a_line_that_says_which() {
    let stage = Stage::of(1, 0);
    let worker = stage.token("worker", "1h");
    let wrong = match worker.strip_suffix('0') {
        Some(rest) => format!("{rest}1"),
        None => format!("{}0", &worker[..worker.len() - 1]),
    };
    let refused = "is not valid (unknown, used up, expired, or for another role)";
    assert!(join(&stage, "worker", &wrong).contains(refused));
    stage.logs("c1", "refusal=its secret is wrong");

    let short = stage.token("worker", "1s");
    std::thread::sleep(std::time::Duration::from_millis(1100));
    assert!(join(&stage, "worker", &short).contains(refused));
    stage.logs("c1", "refusal=it has expired");

    assert!(join(&stage, "controller", &worker.replace(".w.", ".c.")).contains(refused));
    stage.logs("c1", "refusal=it was made for the other role");
    assert!(join(&stage, "controller", &worker).contains("this token is for a Worker"));

    let unknown = JoinToken::generate(Role::Worker, stage.ca().fingerprint()).unwrap();
    assert!(join(&stage, "worker", &unknown.to_string()).contains(refused));
    stage.logs("c1", "refusal=it was never made");

    // Of another cluster: the newcomer itself turns away, and does not tell its secret.
    let elsewhere = Ca::create("elsewhere").unwrap();
    let foreign = JoinToken::generate(Role::Worker, elsewhere.fingerprint()).unwrap();
    let said = join(&stage, "worker", &foreign.to_string());
    assert!(said.contains("the server does not belong to the cluster of the join token"), "{said}");
    assert!(said.matches("cannot join yet").count() <= 1, "{said}");

    assert!(join(&stage, "worker", "hello").contains("this is not a Kontiki join token"));
    assert!(join(&stage, "worker", &worker[..40]).contains("was it copied in full?"));
    let log = stage.log("c1");
    let secret = worker.rsplit('.').next().unwrap();
    assert!(!log.contains(secret), "a token's secret is in the log");
}
