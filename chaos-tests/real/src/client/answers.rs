//! What a reply means, in the words of the history.

use kontiki_chaos_plan::{
    history::Answer,
    names::{REGISTERS, value_of_json},
};
use serde_json::Value;

use super::rest::{Reply, Sent};

/// The code of a request that never left the client.
const NOT_SENT: u16 = 0;

/// An object's revision.
pub(super) fn revision(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"].as_str().and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// A register in a list or a watch: key, value, revision. None: it is something else.
pub(super) fn register(object: &Value) -> Option<(String, String, u64)> {
    let meta = &object["metadata"];
    let key = format!("configmaps/{}/{}", meta["namespace"].as_str()?, meta["name"].as_str()?);
    key.starts_with(REGISTERS).then(|| (key, value_of_json(object), revision(object)))
}

/// Whether a code leaves open what was done. All others that are no success promise that nothing was.
fn is_open(code: u16) -> bool {
    matches!(code, 500 | 502 | 504)
}

/// What is common to all calls: none if it succeeded.
fn refused(sent: &Sent) -> Result<&Reply, Answer> {
    match sent {
        Sent::Answered(reply) if reply.code < 300 => Ok(reply),
        Sent::Answered(reply) if is_open(reply.code) => Err(Answer::Unknown),
        Sent::Answered(reply) => Err(Answer::Refused { code: reply.code }),
        Sent::Not => Err(Answer::Refused { code: NOT_SENT }),
        Sent::Unknown => Err(Answer::Unknown),
    }
}

/// The answer to a write.
pub(super) fn written(sent: &Sent) -> Answer {
    match refused(sent) {
        Ok(reply) => Answer::Done { revision: revision(&reply.body) },
        Err(answer) => answer,
    }
}

/// The answer to a read of one register.
pub(super) fn read(sent: &Sent) -> Answer {
    match refused(sent) {
        Ok(reply) => Answer::Value { value: Some((value_of_json(&reply.body), revision(&reply.body))) },
        Err(Answer::Refused { code: 404 }) => Answer::Value { value: None },
        Err(answer) => answer,
    }
}

/// A page of a list.
pub(super) fn page(sent: &Sent) -> Result<&Reply, Answer> {
    refused(sent)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn reply(code: u16, body: Value) -> Sent {
        Sent::Answered(Reply { code, body })
    }

    #[test]
    fn what_is_unknown_stays_unknown() {
        let object = json!({"metadata": {"resourceVersion": "7"}, "data": {"value": "v"}});
        assert_eq!(written(&reply(201, object.clone())), Answer::Done { revision: 7 });
        assert_eq!(read(&reply(200, object)), Answer::Value { value: Some(("v".into(), 7)) });
        assert_eq!(read(&reply(404, Value::Null)), Answer::Value { value: None });
        assert_eq!(written(&reply(404, Value::Null)), Answer::Refused { code: 404 });
        assert_eq!(written(&reply(503, Value::Null)), Answer::Refused { code: 503 });
        assert_eq!(written(&reply(504, Value::Null)), Answer::Unknown);
        assert_eq!(written(&Sent::Unknown), Answer::Unknown);
        assert_eq!(written(&Sent::Not), Answer::Refused { code: 0 });
    }
}
