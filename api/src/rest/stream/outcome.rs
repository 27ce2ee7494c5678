//! How a process ended, as the Status that a stream ends with.

use serde_json::{Value, json};

/// The exit code, as the clients of version 4 and later read it.
pub(super) fn of_exit(code: i32) -> Value {
    if code == 0 {
        return json!({"metadata": {}, "status": "Success"});
    }
    json!({
        "metadata": {}, "status": "Failure", "reason": "NonZeroExitCode",
        "message": format!("command terminated with non-zero exit code: exit status {code}"),
        "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]},
    })
}

/// A failure that is none of the process' own.
pub(super) fn of_failure(cause: &str) -> Value {
    let cause = format!("error executing command in container: {cause}");
    json!({
        "metadata": {}, "status": "Failure", "reason": "InternalError", "code": 500,
        "message": format!("Internal error occurred: {cause}"), "details": {"causes": [{"message": cause}]},
    })
}

/// The same in words, for clients of before version 4, which take any word for a failure.
pub(super) fn in_words(status: &Value) -> Option<String> {
    (status["status"] != "Success").then(|| status["message"].as_str().unwrap_or("failed").to_owned())
}
