use kontiki_chaos_tests::eventually;

use crate::scenario::Scenario;

/// Figures come with the second reading of a worker, which reads every 15 s.
pub fn what_pods_and_nodes_use(s: &Scenario) {
    s.web();
    // Whichever controller is asked, and whichever leads.
    let status = s.cluster.status().unwrap();
    for controller in status["controllers"].as_array().unwrap() {
        let server = format!("--server=https://{}", controller["address"].as_str().unwrap());
        let pods = eventually("usage of all pods", || {
            let args = ["-n", &s.namespace, &server, "top", "pods", "--containers"];
            let said = s.cluster.kubectl(&args).map_err(|e| e.to_string())?;
            if said.matches("web-").count() == 3 { Ok(said) } else { Err(said) }
        });
        for line in pods.lines().filter(|line| line.starts_with("web-")) {
            let words: Vec<&str> = line.split_whitespace().collect();
            assert_eq!(words[1], "web", "{pods}");
            assert!(words[2].ends_with('m') && words[3].ends_with("Mi"), "{pods}");
        }
    }
    // A small process needs less than kubectl shows.
    let path = format!("/apis/metrics.k8s.io/v1beta1/namespaces/{}/pods", s.namespace);
    let raw: serde_json::Value = serde_json::from_str(&s.kubectl(&["get", "--raw", &path])).unwrap();
    for pod in raw["items"].as_array().unwrap() {
        let memory = pod["containers"][0]["usage"]["memory"].as_str().unwrap();
        assert!(memory.trim_end_matches("Ki").parse::<u64>().unwrap() > 0, "{pod}");
    }
    let labelled = s.kubectl(&["top", "pods", "-l", "app=none"]);
    assert!(!labelled.contains("web-"), "{labelled}");
    let nodes = s.kubectl(&["top", "nodes"]);
    for node in ["w1", "w2", "w3"] {
        let line = nodes.lines().find(|line| line.starts_with(node)).unwrap();
        assert!(!line.contains("<unknown>") && line.contains('%'), "{nodes}");
    }
}
