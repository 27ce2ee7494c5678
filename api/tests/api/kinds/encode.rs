//! Objects as typed clients send them: protobuf, written by the schema's numbers.

use kontiki_api::schema::{Shape, TypeRef, type_for_api_version};
use serde_json::Value;

/// A request body of an object that says its apiVersion and kind.
pub(crate) fn body(object: &Value) -> Vec<u8> {
    let (version, kind) = (object["apiVersion"].as_str().unwrap(), object["kind"].as_str().unwrap());
    let of = type_for_api_version(version, kind).unwrap();
    let names = [bytes(1, version.as_bytes()), bytes(2, kind.as_bytes())].concat();
    [b"k8s\0".to_vec(), bytes(1, &names), bytes(2, &message(of, object))].concat()
}

fn varint(mut n: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while n >= 0x80 {
        out.push((n as u8) | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
    out
}

fn number(at: u32, n: i64) -> Vec<u8> {
    [varint(u64::from(at) << 3), varint(n as u64)].concat()
}

fn bytes(at: u32, content: &[u8]) -> Vec<u8> {
    [varint(u64::from(at) << 3 | 2), varint(content.len() as u64), content.to_vec()].concat()
}

fn message(of: TypeRef, value: &Value) -> Vec<u8> {
    let own = of.fields.iter().filter(|f| f.number > 0).map(|f| field(f.number, f.shape, &value[f.name]));
    let embedded = of.embeds.iter().filter(|e| e.number > 0);
    let embedded = embedded.map(|e| bytes(e.number, &message(e.of.resolve(), value)));
    own.chain(embedded).flatten().collect()
}

fn field(at: u32, shape: Shape, value: &Value) -> Vec<u8> {
    match (shape, value) {
        (_, Value::Null) => Vec::new(),
        (Shape::List(of), Value::Array(items)) => {
            items.iter().flat_map(|item| field(at, *of, item)).collect()
        }
        (Shape::Map(of), Value::Object(map)) => map
            .iter()
            .flat_map(|(key, value)| bytes(at, &[bytes(1, key.as_bytes()), field(2, *of, value)].concat()))
            .collect(),
        (Shape::Struct(id), value) => bytes(at, &message(id.resolve(), value)),
        (Shape::Int32 | Shape::Int64, value) => number(at, value.as_i64().unwrap()),
        (Shape::Bool, value) => number(at, i64::from(value.as_bool().unwrap())),
        (Shape::Quantity, Value::String(text)) => bytes(at, &bytes(1, text.as_bytes())),
        (Shape::IntOrString, Value::String(text)) => {
            bytes(at, &[number(1, 1), bytes(3, text.as_bytes())].concat())
        }
        (Shape::IntOrString, value) => {
            bytes(at, &[number(1, 0), number(2, value.as_i64().unwrap())].concat())
        }
        (Shape::Bytes, Value::String(text)) => {
            use base64::Engine;
            bytes(at, &base64::engine::general_purpose::STANDARD.decode(text).unwrap())
        }
        (_, Value::String(text)) => bytes(at, text.as_bytes()),
        (shape, value) => panic!("no test sends {value} as {shape:?}"),
    }
}
