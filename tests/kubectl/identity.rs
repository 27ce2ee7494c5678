use crate::scenario::Scenario;

/// What somebody else may do, tried out as somebody else.
pub fn acts_as_somebody_else(s: &Scenario) {
    let namespace = &s.namespace;
    let refused = s.refused(&["get", "pods", "--as", "jane"]);
    let expected = format!(
        "Error from server (Forbidden): pods is forbidden: User \"jane\" cannot list resource \"pods\" in API group \"\" in the \
         namespace \"{namespace}\""
    );
    assert_eq!(refused.trim(), expected);
    s.kubectl(&["get", "pods", "--as", "jane", "--as-group", "system:masters"]);
    s.kubectl(&["auth", "can-i", "list", "pods"]);
    let output = s.cluster.kubectl_output(&["auth", "can-i", "list", "pods", "--as", "jane"]).unwrap();
    assert_eq!((output.status.success(), String::from_utf8_lossy(&output.stdout).trim()), (false, "no"));
    // Older ones do not know the command, or ask another version of it.
    if s.knows(28) {
        let who = s.json(&["auth", "whoami", "--as", "jane", "--as-group", "devs", "--as-uid", "7"]);
        let user = &who["status"]["userInfo"];
        assert_eq!((user["username"].as_str(), user["uid"].as_str()), (Some("jane"), Some("7")));
        assert_eq!(user["groups"], serde_json::json!(["devs", "system:authenticated"]));
    }
}
