//! A v2 document as protobuf: the messages of `openapi.v2` (gnostic's OpenAPIv2.proto), as far as documents made here use them.

use serde_json::Value;

/// Encodes a document.
pub(super) fn encode(document: &Value) -> Vec<u8> {
    let mut out = Message::default();
    out.text(1, &document["swagger"]);
    out.message(2, |info| {
        info.text(1, &document["info"]["title"]);
        info.text(2, &document["info"]["version"]);
    });
    out.message(8, |paths| paths.named(2, &document["paths"], path_item));
    out.message(9, |definitions| definitions.named(1, &document["definitions"], schema));
    out.0
}

fn path_item(out: &mut Message, item: &Value) {
    for (field, method) in [(2, "get"), (3, "put"), (4, "post"), (5, "delete"), (8, "patch")] {
        if item[method].is_object() {
            out.message(field, |out| operation(out, &item[method]));
        }
    }
    out.each(9, &item["parameters"], parameter);
}

fn operation(out: &mut Message, operation: &Value) {
    out.texts(6, &operation["produces"]);
    out.texts(7, &operation["consumes"]);
    out.each(8, &operation["parameters"], parameter);
    out.message(9, |out| {
        out.named(1, &operation["responses"], |out, answer| out.message(1, |out| response(out, answer)))
    });
    out.extensions(13, operation);
}

fn parameter(out: &mut Message, parameter: &Value) {
    out.message(1, |out| match parameter["in"].as_str() {
        Some("body") => out.message(1, |out| {
            out.text(2, &parameter["name"]);
            out.text(3, &parameter["in"]);
            out.switch(4, &parameter["required"]);
            out.message(5, |out| schema(out, &parameter["schema"]));
        }),
        // In the two messages the fields after the name are one apart.
        place => {
            let (message, shift) = if place == Some("path") { (4, 0) } else { (3, 1) };
            out.message(2, |out| {
                out.message(message, |out| {
                    out.switch(1, &parameter["required"]);
                    out.text(2, &parameter["in"]);
                    out.text(4, &parameter["name"]);
                    out.text(5 + shift, &parameter["type"]);
                    out.switch(19 + shift, &parameter["uniqueItems"]);
                });
            });
        }
    });
}

fn response(out: &mut Message, response: &Value) {
    out.text(1, &response["description"]);
    if response["schema"].is_object() {
        out.message(2, |out| out.message(1, |out| schema(out, &response["schema"])));
    }
}

fn schema(out: &mut Message, value: &Value) {
    out.text(1, &value["$ref"]);
    out.text(2, &value["format"]);
    out.text(4, &value["description"]);
    out.texts(19, &value["required"]);
    if value["additionalProperties"].is_object() {
        out.message(21, |out| out.message(1, |out| schema(out, &value["additionalProperties"])));
    }
    if value["type"].is_string() {
        out.message(22, |out| out.text(1, &value["type"]));
    }
    if value["items"].is_object() {
        out.message(23, |out| out.message(1, |out| schema(out, &value["items"])));
    }
    if value["properties"].is_object() {
        out.message(25, |out| out.named(1, &value["properties"], schema));
    }
    out.extensions(31, value);
}

/// A message while it is written. What is absent in JSON is left out.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push((number & 0x7f) as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    fn bytes(&mut self, field: u64, bytes: &[u8]) {
        self.number(field << 3 | 2);
        self.number(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn text(&mut self, field: u64, text: &Value) {
        if let Some(text) = text.as_str() {
            self.bytes(field, text.as_bytes());
        }
    }

    fn switch(&mut self, field: u64, on: &Value) {
        if on.as_bool() == Some(true) {
            self.number(field << 3);
            self.number(1);
        }
    }

    fn texts(&mut self, field: u64, texts: &Value) {
        texts.as_array().into_iter().flatten().for_each(|text| self.text(field, text));
    }

    fn message(&mut self, field: u64, write: impl FnOnce(&mut Message)) {
        let mut inner = Message::default();
        write(&mut inner);
        self.bytes(field, &inner.0);
    }

    fn each(&mut self, field: u64, values: &Value, write: impl Fn(&mut Message, &Value)) {
        values
            .as_array()
            .into_iter()
            .flatten()
            .for_each(|value| self.message(field, |out| write(out, value)));
    }

    /// A map, as pairs of a name and a message.
    fn named(&mut self, field: u64, values: &Value, write: impl Fn(&mut Message, &Value)) {
        for (name, value) in values.as_object().into_iter().flatten() {
            self.message(field, |out| {
                out.bytes(1, name.as_bytes());
                out.message(2, |out| write(out, value));
            });
        }
    }

    /// Marks beyond OpenAPI, as YAML, which JSON is.
    fn extensions(&mut self, field: u64, values: &Value) {
        let values = values.as_object().into_iter().flatten().filter(|(name, _)| name.starts_with("x-"));
        for (name, value) in values {
            self.message(field, |out| {
                out.bytes(1, name.as_bytes());
                out.message(2, |out| out.bytes(2, value.to_string().as_bytes()));
            });
        }
    }
}
