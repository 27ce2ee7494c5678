//! The scale of an object of a custom kind: where it stands is said by the version of the definition in which the object is stored.

use serde_json::Value;

use super::target::NoSelector;
use crate::{
    object::{DefinitionDigest, Document, Object, ObjectKey, Requirement, Selector},
    state::State,
    turn::Turn,
};

/// Where an object's replicas stand, how many they are, and which pods they are.
pub(super) struct Scale {
    /// A JSON pointer into the document.
    pub(super) path: String,
    pub(super) replicas: i64,
    pub(super) selector: Result<Selector, NoSelector>,
}

/// The scale of an object; none if its kind has no such thing. An error says what is wrong with it.
pub(super) fn scale(state: &State, object: &Object) -> Option<Result<Scale, String>> {
    let definition = state.definition_of(object.key.kind)?;
    let spec = definition.document.spec_value();
    let converts = definition.definition().is_some_and(DefinitionDigest::converts);
    let stored = |version: &&Value| match object.document.version().filter(|_| converts) {
        Some(name) => version["name"] == name,
        None => version["storage"] == true,
    };
    let version = spec["versions"].as_array()?.iter().find(stored)?;
    let scale = version["subresources"].get("scale")?;
    let value = object.document.to_value();
    // Definitions are refused whose path is none of plain names.
    let pointer = |path: &str| path.replace('.', "/");
    let told = scale["specReplicasPath"].as_str()?;
    let Some(replicas) = value.pointer(&pointer(told)).and_then(Value::as_i64) else {
        return Some(Err(format!(
            "Internal error occurred: the spec replicas field {told:?} does not exist"
        )));
    };
    let selector =
        scale["labelSelectorPath"].as_str().and_then(|path| value.pointer(&pointer(path))?.as_str());
    let selector = match selector.map(parse) {
        Some(Err(odd)) => Err(NoSelector::Unreadable(odd)),
        Some(Ok(selector)) if !selector.is_empty() => Ok(selector),
        _ => Err(NoSelector::Missing),
    };
    Some(Ok(Scale { path: pointer(told), replicas, selector }))
}

/// Has an object ask for so many replicas, at this place of its document.
pub(super) fn rescale(turn: &mut Turn, key: &ObjectKey, path: &str, replicas: i64) {
    let Some(object) = turn.state().get(key).cloned() else { return };
    let version = object.document.version().map(str::to_owned);
    let mut value = object.document.to_value();
    let Some(place) = value.pointer_mut(path) else { return };
    *place = replicas.into();
    if object.meta.generation > 0 {
        value["metadata"]["generation"] = (object.meta.generation + 1).into();
    }
    let document = Document::from_value(value);
    turn.put(
        key,
        match version {
            Some(version) => document.in_version(&version),
            None => document,
        },
    );
}

/// A selector from text, of labels that are equal or not, or in a set or not, or there or not:
/// <https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors>
fn parse(text: &str) -> Result<Selector, String> {
    let odd = |part: &str| {
        format!(
            "couldn't convert selector into a corresponding internal selector object: cannot read {part:?}"
        )
    };
    let mut requirements = Vec::new();
    for part in parts(text) {
        let part = part.trim();
        let (key, operator, values) = if let Some(key) = part.strip_prefix('!') {
            (key, "DoesNotExist", "")
        } else if let Some((key, value)) = part.split_once("!=") {
            (key, "NotIn", value)
        } else if let Some((key, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
            (key, "In", value)
        } else if let Some((head, set)) = part.strip_suffix(')').and_then(|part| part.split_once('(')) {
            match head.split_whitespace().collect::<Vec<_>>()[..] {
                [key, "in"] => (key, "In", set),
                [key, "notin"] => (key, "NotIn", set),
                _ => return Err(odd(part)),
            }
        } else {
            (part, "Exists", "")
        };
        let key = key.trim();
        if key.is_empty() || key.contains(char::is_whitespace) {
            return Err(odd(part));
        }
        let valued = matches!(operator, "In" | "NotIn");
        let values = values.split(',').filter(|_| valued).map(|value| value.trim().into()).collect();
        requirements.push(Requirement { key: key.into(), operator: operator.into(), values });
    }
    Ok(Selector::all_of(requirements))
}

/// What commas part that are not within parentheses.
fn parts(text: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0_usize;
    text.split(move |c| {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    })
    .filter(|part| !part.trim().is_empty())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{super::target::text, *};

    #[test]
    fn selectors_are_read_from_text() {
        for (written, read) in [
            ("app=web", "app=web"),
            ("app == web , tier!=x", "app=web,tier notin (x)"),
            ("app in (a, b),!gone,there", "app in (a,b),!gone,there"),
            ("app notin (a)", "app notin (a)"),
            ("", ""),
        ] {
            assert_eq!(text(&parse(written).unwrap()), read, "{written}");
        }
        for odd in ["a b", "=x", "x near (y)", "!"] {
            assert!(parse(odd).is_err(), "{odd}");
        }
    }
}
