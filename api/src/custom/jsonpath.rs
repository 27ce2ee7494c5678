//! The JSON paths of printer columns and scales: fields, elements and filters, as kubectl writes them (`.spec.replicas`,
//! `.status.conditions[?(@.type=="Ready")].status`). Not for recursive descent, slices and functions, which no column needs.

use serde_json::Value;

/// Longer paths, and deeper ones, are refused.
const LENGTH: usize = 1024;
const STEPS: usize = 32;
/// Values that one path may lead to.
const RESULTS: usize = 1000;

/// A path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct JsonPath(Vec<Step>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Field(String),
    Index(i64),
    /// Every element or field.
    All,
    /// The elements that say so.
    Where(Vec<Step>, Compare, Value),
    /// The elements that have something there.
    Has(Vec<Step>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compare {
    Equal,
    Unequal,
}

impl JsonPath {
    /// Reads a path. Tells what is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<JsonPath, String> {
        if text.len() > LENGTH {
            return Err(format!("is longer than {LENGTH} bytes"));
        }
        let mut rest = text.trim().trim_start_matches('$');
        let steps = steps(&mut rest)?;
        match rest {
            "" if steps.is_empty() && text.trim() != "." => Err("leads nowhere".into()),
            "" if steps.len() > STEPS => Err(format!("has more than {STEPS} steps")),
            "" => Ok(JsonPath(steps)),
            rest => Err(format!("unexpected {rest:?}")),
        }
    }

    /// The names of a path that has nothing but names: a simple one.
    pub(crate) fn names(&self) -> Option<Vec<&str>> {
        self.0
            .iter()
            .map(|step| if let Step::Field(name) = step { Some(name.as_str()) } else { None })
            .collect()
    }

    /// What it leads to.
    pub(crate) fn find<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        follow(&self.0, value)
    }
}

fn follow<'a>(steps: &[Step], value: &'a Value) -> Vec<&'a Value> {
    let mut found = vec![value];
    for step in steps {
        found = found.into_iter().flat_map(|value| take(step, value)).take(RESULTS).collect();
    }
    found
}

fn take<'a>(step: &Step, value: &'a Value) -> Vec<&'a Value> {
    let all = || match value {
        Value::Array(items) => items.iter().collect::<Vec<_>>(),
        Value::Object(map) => map.values().collect(),
        _ => Vec::new(),
    };
    match step {
        Step::Field(name) => value.get(name).into_iter().collect(),
        Step::Index(at) => {
            let count = value.as_array().map_or(0, Vec::len);
            let at = if *at < 0 {
                count.checked_sub(at.unsigned_abs() as usize)
            } else {
                usize::try_from(*at).ok()
            };
            at.and_then(|at| value.get(at)).into_iter().collect()
        }
        Step::All => all(),
        Step::Has(path) => all().into_iter().filter(|item| !follow(path, item).is_empty()).collect(),
        Step::Where(path, compare, wanted) => {
            let holds = |item: &&Value| match (follow(path, item).first(), compare) {
                (Some(found), Compare::Equal) => *found == wanted,
                (Some(found), Compare::Unequal) => *found != wanted,
                (None, _) => false,
            };
            all().into_iter().filter(holds).collect()
        }
    }
}

/// Reads steps as far as there are any.
fn steps(rest: &mut &str) -> Result<Vec<Step>, String> {
    let mut steps = Vec::new();
    loop {
        if let Some(after) = rest.strip_prefix("..") {
            return Err(format!("recursive descent is not supported: {after:?}"));
        } else if let Some(after) = rest.strip_prefix(".[") {
            let (step, after) = bracket(after)?;
            steps.push(step);
            *rest = after;
        } else if let Some(after) = rest.strip_prefix('.') {
            let (name, after) = name(after);
            *rest = after;
            match name.as_str() {
                "" => {}
                "*" => steps.push(Step::All),
                _ => steps.push(Step::Field(name)),
            }
            if rest.is_empty() {
                return Ok(steps);
            }
        } else if let Some(after) = rest.strip_prefix('[') {
            let (step, after) = bracket(after)?;
            steps.push(step);
            *rest = after;
        } else {
            return Ok(steps);
        }
    }
}

/// A name up to the next step; a backslash takes away the meaning of a sign.
fn name(text: &str) -> (String, &str) {
    let mut name = String::new();
    let mut signs = text.char_indices();
    while let Some((at, sign)) = signs.next() {
        match sign {
            '\\' => name.extend(signs.next().map(|(_, sign)| sign)),
            '.' | '[' | ']' | '=' | '!' | '<' | '>' | ' ' | ')' => return (name, &text[at..]),
            sign => name.push(sign),
        }
    }
    (name, "")
}

/// What stands in brackets, and what follows them.
fn bracket(text: &str) -> Result<(Step, &str), String> {
    let end = || "a bracket is not closed".to_owned();
    if let Some(text) = text.strip_prefix("?(") {
        return filter(text);
    }
    if let Some(sign @ ('\'' | '"')) = text.chars().next() {
        let (name, after) = quoted(&text[1..], sign)?;
        return Ok((Step::Field(name), after.strip_prefix(']').ok_or_else(end)?));
    }
    let (inside, after) = text.split_once(']').ok_or_else(end)?;
    let step = match inside.trim() {
        "*" => Step::All,
        number => Step::Index(number.parse().map_err(|_| format!("invalid array index {number}"))?),
    };
    Ok((step, after))
}

/// A text up to its closing sign.
fn quoted(text: &str, sign: char) -> Result<(String, &str), String> {
    let mut out = String::new();
    let mut signs = text.char_indices();
    while let Some((at, next)) = signs.next() {
        match next {
            '\\' => out.extend(signs.next().map(|(_, sign)| sign)),
            next if next == sign => return Ok((out, &text[at + 1..])),
            next => out.push(next),
        }
    }
    Err("a text is not closed".into())
}

/// `@.type=="Ready")]`, `@.name)]`.
fn filter(text: &str) -> Result<(Step, &str), String> {
    let mut rest = text.trim_start().strip_prefix('@').ok_or("a filter begins with @")?;
    let path = steps(&mut rest)?;
    rest = rest.trim_start();
    let close = |rest: &str| -> Result<usize, String> {
        let after = rest.trim_start().strip_prefix(')').ok_or("a filter is not closed")?;
        let after = after.trim_start().strip_prefix(']').ok_or("a filter is not closed")?;
        Ok(after.len())
    };
    let compare = match rest.get(..2) {
        Some("==") => Compare::Equal,
        Some("!=") => Compare::Unequal,
        _ => {
            let left = close(rest)?;
            return Ok((Step::Has(path), &text[text.len() - left..]));
        }
    };
    rest = rest[2..].trim_start();
    let wanted = match rest.chars().next() {
        Some(sign @ ('\'' | '"')) => {
            let (wanted, after) = quoted(&rest[1..], sign)?;
            rest = after;
            Value::String(wanted)
        }
        _ => {
            let end = rest.find([')', ' ']).ok_or("a filter is not closed")?;
            let (wanted, after) = rest.split_at(end);
            rest = after;
            serde_json::from_str(wanted)
                .map_err(|_| format!("{wanted:?} is no text, number or truth value"))?
        }
    };
    let left = close(rest)?;
    Ok((Step::Where(path, compare, wanted), &text[text.len() - left..]))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_of_columns() {
        let object = json!({"metadata": {"labels": {"a.b/c": "x"}}, "spec": {"n": 3, "list": [{"k": 1}, {"k": 2}], "names": ["a", "b"]},
            "status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "Live", "status": "False", "n": 1}]}});
        for (path, expected) in [
            (".spec.n", json!([3])),
            ("$.spec.n", json!([3])),
            (".metadata.labels.a\\.b/c", json!(["x"])),
            (".metadata.labels['a.b/c']", json!(["x"])),
            (".spec.list[0].k", json!([1])),
            (".spec.list[-1].k", json!([2])),
            (".spec.list[*].k", json!([1, 2])),
            (".spec.names[*]", json!(["a", "b"])),
            (".status.conditions[?(@.type==\"Ready\")].status", json!(["True"])),
            (".status.conditions[?(@.type=='Live')].status", json!(["False"])),
            (".status.conditions[?(@.type != \"Ready\")].status", json!(["False"])),
            (".status.conditions[?(@.n==1)].type", json!(["Live"])),
            (".status.conditions[?(@.n)].type", json!(["Live"])),
            (".spec.none.at.all", json!([])),
            (".spec.names[7]", json!([])),
        ] {
            let found = JsonPath::parse(path).unwrap_or_else(|why| panic!("{path}: {why}"));
            assert_eq!(json!(found.find(&object)), expected, "{path}");
        }
        assert_eq!(JsonPath::parse(".spec.a").unwrap().names(), Some(vec!["spec", "a"]));
        assert_eq!(JsonPath::parse(".spec.a[0]").unwrap().names(), None);
    }

    #[test]
    fn what_is_no_path_is_refused() {
        let deep = ".a".repeat(40);
        for wrong in [
            "spec",
            "",
            ".a[",
            ".a[x]",
            ".a['b]",
            "..a",
            ".a[?(b)]",
            ".a[?(@.b==\"x)]",
            ".a[?(@.b==x)]",
            ".a[0]b",
            &deep,
        ] {
            assert!(JsonPath::parse(wrong).is_err(), "{wrong}");
        }
    }
}
