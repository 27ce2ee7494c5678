//! Patches. An input is a JSON array of a document and a patch.

use kontiki_api::{
    patch,
    schema::{reader::MAX_DEPTH, strict, type_for_api_version},
};
use serde_json::{Map, Value, json};

use super::{Target, owned, same};

pub(super) const JSON: Target = Target::documents(
    "json-patch",
    || {
        owned(&[
        br#"[{"a":[1,2],"b":{"c":"d"}},[{"op":"add","path":"/a/-","value":3},{"op":"remove","path":"/b/c"}]]"#,
        br#"[{"a":{"b":1}},[{"op":"copy","from":"/a","path":"/a/c"},{"op":"move","from":"/a/b","path":"/d"},{"op":"test","path":"/d","value":1}]]"#,
        br#"[{"a~b":0,"c/d":1},[{"op":"replace","path":"/a~0b","value":null},{"op":"remove","path":"/c~1d"}]]"#,
    ])
    },
    json_patch,
);
pub(super) const MERGE: Target = Target::documents(
    "merge-patch",
    || {
        owned(&[
            br#"[{"a":"b","c":{"d":"e","f":[1]}},{"a":"z","c":{"f":null}}]"#,
            br#"[{"a":[]},{"a":{"b":{"c":null}}}]"#,
        ])
    },
    merge_patch,
);
pub(super) const STRATEGIC: Target = Target::documents("strategic-patch", strategic, strategic_patch);

/// Recorded cases of Kubernetes, too.
fn strategic() -> Vec<Vec<u8>> {
    let cases = include_str!("../../../../api/tests/vectors/strategic_merge.jsonl").lines();
    let cases = cases.filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let cases = cases.map(|case| json!([case["doc"], case["patch"]]).to_string().into_bytes());
    let mut seeds = owned(&[
        br#"[{"spec":{"containers":[{"name":"a","image":"x"},{"name":"b"}]}},{"spec":{"containers":[{"name":"a","image":"y"},{"name":"b","$patch":"delete"}]}}]"#,
        br#"[{"metadata":{"finalizers":["a","b"]}},{"metadata":{"$deleteFromPrimitiveList/finalizers":["a"],"$setElementOrder/finalizers":["b"]}}]"#,
        br#"[{"spec":{"volumes":[{"name":"v","emptyDir":{}}]}},{"spec":{"volumes":[{"name":"v","$retainKeys":["name"]}],"$patch":"replace"}}]"#,
    ]);
    seeds.extend(cases);
    seeds
}

/// The document, which is an object as all of the API are, and the patch.
fn pair(input: &[u8]) -> Option<(Value, Value)> {
    let Ok(Value::Array(pair)) = serde_json::from_slice(input) else { return None };
    let [document, patch] = <[Value; 2]>::try_from(pair).ok()?;
    document.is_object().then_some((document, patch))
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(list) => 1 + list.iter().map(depth).max().unwrap_or(0),
        Value::Object(map) => 1 + map.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

fn json_patch(input: &[u8]) -> Result<bool, String> {
    let Some((document, patch)) = pair(input) else { return Ok(false) };
    same("the document by no operations", &patch::json(&document, &json!([])).ok(), &Some(document.clone()))?;
    let Ok(patched) = patch::json(&document, &patch) else { return Ok(false) };
    let allowed = MAX_DEPTH.max(depth(&document));
    if depth(&patched) > allowed {
        return Err(format!("{} levels deep, more than {allowed}", depth(&patched)));
    }
    Ok(true)
}

fn merge_patch(input: &[u8]) -> Result<bool, String> {
    let Some((document, patch)) = pair(input) else { return Ok(false) };
    let Ok(merged) = patch::merge(&document, &patch) else { return Ok(false) };
    same("the merged document", &merged, &merged_by_rfc(Some(&document), &patch))?;
    same("the patch applied again", &patch::merge(&merged, &patch).ok(), &Some(merged.clone()))?;
    Ok(true)
}

/// MergePatch of RFC 7396, section 2, made anew rather than in place.
fn merged_by_rfc(target: Option<&Value>, patch: &Value) -> Value {
    let Value::Object(changes) = patch else { return patch.clone() };
    let nothing = Map::new();
    let old = target.and_then(Value::as_object).unwrap_or(&nothing);
    let kept = old
        .iter()
        .filter(|(name, _)| !changes.contains_key(*name))
        .map(|(name, v)| (name.clone(), v.clone()));
    let changed = changes.iter().filter(|(_, change)| !change.is_null());
    let changed = changed.map(|(name, change)| (name.clone(), merged_by_rfc(old.get(name), change)));
    Value::Object(kept.chain(changed).collect())
}

fn strategic_patch(input: &[u8]) -> Result<bool, String> {
    let of = type_for_api_version("v1", "Pod").ok_or("there is no Pod")?;
    let Some((mut document, patch)) = pair(input) else { return Ok(false) };
    // Documents that are patched are stored ones.
    if strict::check(of, &mut document).is_err() {
        return Ok(false);
    }
    let nothing =
        patch::strategic(&document, &json!({}), of).map_err(|error| format!("the empty patch: {error}"))?;
    same("the document by the empty patch", &nothing, &document)?;
    Ok(patch::strategic(&document, &patch, of).is_ok())
}
