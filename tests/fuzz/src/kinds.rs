//! Fields that kinds of the API have, put into documents of them: what the schema table knows is tried everywhere.

use kontiki_api::schema::{Field, Shape, TypeRef, type_for_api_version};
use serde_json::{Map, Value, json};

use crate::{documents, random::Random};

/// How deep values are made.
const DEPTH: usize = 3;

/// Gives an object of the API in a document one more field, or one that it has another value. Says whether there is such an object.
pub(crate) fn grow(random: &mut Random, document: &mut Value) -> bool {
    let mut objects = Vec::new();
    find(document, &mut Vec::new(), &mut objects);
    if objects.is_empty() {
        return false;
    }
    let &(ref path, of) = random.pick(&objects);
    let object = path.iter().try_fold(document, |value, step| match step {
        Step::Key(key) => value.get_mut(key),
        Step::Index(index) => value.get_mut(index),
    });
    let Some(Value::Object(object)) = object else { return false };
    below(random, of, object);
    true
}

#[derive(Clone)]
enum Step {
    Key(String),
    Index(usize),
}

fn find(value: &Value, path: &mut Vec<Step>, found: &mut Vec<(Vec<Step>, TypeRef)>) {
    if let (Some(version), Some(kind)) = (value["apiVersion"].as_str(), value["kind"].as_str())
        && let Some(of) = type_for_api_version(version, kind)
    {
        found.push((path.clone(), of));
    }
    let mut each = |step: Step, value: &Value| {
        path.push(step);
        find(value, path, found);
        path.pop();
    };
    match value {
        Value::Object(map) => map.iter().for_each(|(key, value)| each(Step::Key(key.clone()), value)),
        Value::Array(list) => list.iter().enumerate().for_each(|(at, value)| each(Step::Index(at), value)),
        _ => {}
    }
}

/// Goes down into what is there, and puts a field somewhere on the way.
fn below(random: &mut Random, of: TypeRef, object: &mut Map<String, Value>) {
    if of.fields.is_empty() {
        return;
    }
    if !random.one_in(4) {
        let inner = of
            .fields
            .iter()
            .filter(|field| struct_of(field.shape).is_some() && object.contains_key(field.name));
        let inner: Vec<&Field> = inner.collect();
        if !inner.is_empty() {
            let field = random.pick(&inner);
            let (value, of) = (&mut object[field.name], struct_of(field.shape));
            let value = match value {
                Value::Array(list) => {
                    let at = random.below(list.len());
                    list.get_mut(at)
                }
                Value::Object(map) if field.shape.element().is_some() => {
                    let at = random.below(map.len());
                    map.values_mut().nth(at)
                }
                value => Some(value),
            };
            if let (Some(Value::Object(value)), Some(of)) = (value, of) {
                return below(random, of, value);
            }
        }
    }
    let field = random.pick(&of.fields);
    object.insert(field.name.to_owned(), made(random, field.shape, DEPTH));
}

/// The type of what stands in a field, or in its list or map.
fn struct_of(shape: Shape) -> Option<TypeRef> {
    shape.as_struct().or_else(|| struct_of(shape.element()?))
}

/// A value of a shape, mostly.
fn made(random: &mut Random, shape: Shape, depth: usize) -> Value {
    if random.one_in(40) {
        return documents::scalar(random);
    }
    match shape {
        Shape::String | Shape::Duration | Shape::Time | Shape::MicroTime | Shape::Quantity => {
            documents::word(random).into()
        }
        Shape::Bytes => (*random.pick(&["", "YQ==", "a"])).into(),
        Shape::Bool => random.one_in(2).into(),
        Shape::Int32 | Shape::Int64 => documents::number(random).into(),
        Shape::Double => json!(0.5),
        Shape::IntOrString if random.one_in(2) => documents::number(random).into(),
        Shape::List(of) | Shape::WrappedList(of) => {
            let count = random.below(3).min(depth);
            (0..count).map(|_| made(random, *of, depth - 1)).collect()
        }
        Shape::Map(of) => {
            let count = random.below(3).min(depth);
            (0..count)
                .map(|_| (documents::word(random), made(random, *of, depth - 1)))
                .collect::<Map<_, _>>()
                .into()
        }
        Shape::Struct(of) => {
            let mut object = Map::new();
            for field in of.resolve().fields.iter() {
                // What is needed is mostly there; of the rest some.
                let there = if field.required { !random.one_in(8) } else { depth > 0 && random.one_in(6) };
                if there && depth > 0 {
                    object.insert(field.name.to_owned(), made(random, field.shape, depth - 1));
                }
            }
            object.into()
        }
        _ => documents::scalar(random),
    }
}
