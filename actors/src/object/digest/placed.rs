//! The one change of spec that all pods go through: that they get a node. What they want stays, and need not be read again.

use compact_str::CompactString;

use crate::object::difference::alike;

const NAME: &[u8] = b"\"nodeName\":\"";

/// The node that a spec names, if that is all in which it differs from what it was before: as Kubernetes' scheduler sets it.
pub(super) fn node(before: &[u8], spec: &[u8]) -> Option<CompactString> {
    // The field that it stands before may begin with the same letters, and so may what comes after that.
    let from = alike(before, spec).saturating_sub(NAME.len());
    let mut near = spec.get(from..)?.windows(NAME.len()).take(2 * NAME.len());
    let at = from + near.position(|here| here == NAME)?;
    let value = at + NAME.len();
    let end = value + spec[value..].iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
    let name = (spec[end] == b'"' && end > value).then_some(&spec[value..end])?;
    let (from, to) = match (spec.get(end + 1), spec.get(at.checked_sub(1)?)) {
        (Some(b','), _) => (at, end + 2),
        (_, Some(b',')) => (at - 1, end + 1),
        _ => return None,
    };
    let (same, rest) = before.split_at_checked(from)?;
    let alone = same == &spec[..from] && rest == &spec[to..] && is_at_the_top(&spec[..at]);
    alone.then(|| std::str::from_utf8(name).ok().map(CompactString::from)).flatten()
}

/// Whether what follows is a field of the object itself, and of none within it.
fn is_at_the_top(json: &[u8]) -> bool {
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = quoted,
            b'"' => quoted = !quoted,
            b'{' | b'[' if !quoted => depth += 1,
            b'}' | b']' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    depth == 1 && !quoted
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn told(before: &Value, spec: &Value) -> Option<CompactString> {
        node(before.to_string().as_bytes(), spec.to_string().as_bytes())
    }

    #[test]
    fn only_a_node_that_is_new_and_nothing_else_is_seen() {
        let others = [
            json!({"containers": [{"image": "a{\"]", "name": "b"}]}),
            json!({"containers": [], "nodeSelector": {"a": "b"}, "priority": 1}),
            json!({"containers": [], "restartPolicy": "Always"}),
            json!({"zzz": [{"nodeName": "nested"}], "affinity": {"nodeName": "x"}}),
            json!({"noble": 1, "nodeName2": 2}),
        ];
        for before in others {
            let mut spec = before.clone();
            spec["nodeName"] = "worker-7".into();
            assert_eq!(told(&before, &spec).as_deref(), Some("worker-7"), "{spec}");
            assert_eq!(told(&spec, &spec), None, "it had it");
            let mut more = spec.clone();
            more["activeDeadlineSeconds"] = 5.into();
            assert_eq!(told(&before, &more), None);
            more["terminationGracePeriodSeconds"] = 5.into();
            assert_eq!(told(&spec, &more), None);
            for odd in ["", "a\"b"] {
                let mut spec = before.clone();
                spec["nodeName"] = odd.into();
                assert_eq!(told(&before, &spec), None, "read as a whole");
            }
        }
    }

    #[test]
    fn one_that_is_named_deeper_is_none() {
        let before = json!({"containers": [{"image": "a", "name": "b"}]});
        let spec = json!({"containers": [{"image": "a", "name": "b", "nodeName": "c"}]});
        assert_eq!(told(&before, &spec), None);
        assert_eq!(told(&json!({}), &json!({"nodeName": "a"})), None, "read as a whole");
        assert_eq!(node(b"", b""), None);
    }
}
