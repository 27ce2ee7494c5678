//! Server-side apply: an input is a recorded case of Kubernetes' own field manager, changed.

use kontiki_api::{
    apply::{Owners, Reach, Writer},
    schema::{TypeRef, strict, type_for_api_version},
};
use serde_json::{Value, json};

use super::{Target, same};
use crate::engine::mark;

pub(super) const APPLY: Target = Target::documents("apply", seeds, apply).with(16 << 10, 4_000);

/// One of so many cases is a seed.
const SPARSE: usize = 4;
/// Bytes of a manager's name.
const MANAGER_MAX: usize = 128;

fn seeds() -> Vec<Vec<u8>> {
    let cases = include_str!("../../../../api/tests/vectors/server_side_apply.jsonl").lines();
    let given = |line: &str| {
        let mut case: Value = serde_json::from_str(line).ok()?;
        let case = case.as_object_mut()?;
        // What it came to in Kubernetes is no part of what is asked.
        case.retain(|name, _| !["out", "managed", "conflicts", "error"].contains(&name.as_str()));
        serde_json::to_vec(case).ok()
    };
    cases.step_by(SPARSE).filter_map(given).collect()
}

fn stored(of: TypeRef, value: &Value) -> Option<Value> {
    let mut value = value.clone();
    strict::check(of, &mut value).ok()?;
    Some(value)
}

fn apply(input: &[u8]) -> Result<bool, String> {
    let Ok(case) = serde_json::from_slice::<Value>(input) else { return Ok(false) };
    let text = |key: &str| case[key].as_str().unwrap_or_default();
    let Some(of) = type_for_api_version(text("apiVersion"), text("kind")) else { return Ok(false) };
    let Some(live) = stored(of, case.get("live").unwrap_or(&json!({}))) else { return Ok(false) };
    // Requests of others are refused, and of a User-Agent the rest is taken.
    let manager = text("manager");
    if manager.len() > MANAGER_MAX || manager.chars().any(char::is_control) {
        return Ok(false);
    }
    let subresource = text("subresource");
    let writer = Writer {
        manager,
        subresource,
        of: of.into(),
        api_version: text("apiVersion"),
        reach: if subresource == "status" { Reach::Status } else { Reach::NoStatus },
        now: "2026-02-02T02:02:02Z",
    };
    if case["op"] != "apply" {
        let Some(body) = stored(of, &case["body"]) else { return Ok(false) };
        let owners = writer.updated(&live, &body, case.get("given"));
        return kept(&body, &owners).map(|_| true);
    }
    let mut config = case["body"].clone();
    if !strict::check_applied(of, &mut config).is_ok_and(|checked| checked.unknown.is_empty()) {
        return Ok(false);
    }
    let (new, owners) = match writer.applied(&live, &config, case["force"] == true) {
        Ok(applied) => applied,
        Err(refused) => {
            mark(&refused.to_string());
            return Ok(false);
        }
    };
    let new = stored(of, &new).ok_or("what was applied does not fit its type")?;
    let once = kept(&new, &owners)?;
    // Objects of the API have metadata, and nothing is null in them: a list's element without its key would be another one each time.
    if !new["metadata"].is_object() || has_null(&config) {
        return Ok(true);
    }
    // Whoever applies the same again needs no force, and changes nothing: the second time only may bring back a map that the first one emptied,
    // as Kubernetes does.
    let again = |live: &Value| {
        let (new, owners) = writer
            .applied(live, &config, false)
            .map_err(|error| format!("refused when applied again: {error}"))?;
        Ok::<_, String>((stored(of, &new).ok_or("what was applied again does not fit its type")?, owners))
    };
    let (second, their) = again(&once)?;
    let (third, owners) = again(&kept(&second, &their)?)?;
    same("the object applied a third time", &third, &second)?;
    if !owners.same_but_times(&their) {
        let (is, should) = (owners.to_value(), their.to_value());
        return Err(format!("owners when applied a third time: {is:?}, which should be {should:?}"));
    }
    Ok(true)
}

fn has_null(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(list) => list.iter().any(has_null),
        Value::Object(map) => map.values().any(has_null),
        _ => false,
    }
}

/// The object with its owners, which must be read as they were written.
fn kept(object: &Value, owners: &Owners) -> Result<Value, String> {
    let mut object = object.clone();
    if !object.get("metadata").is_some_and(Value::is_object) {
        object["metadata"] = json!({});
    }
    owners.store(&mut object);
    same("the owners read again", &Owners::of(&object), owners)?;
    Ok(object)
}
