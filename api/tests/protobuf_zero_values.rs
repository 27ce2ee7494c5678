//! Kubernetes' encoders write plain zeros that JSON writers leave out, and pointers to zero that must survive.
#![allow(clippy::unwrap_used)]

use kontiki_api::schema::reader::Limits;
use kontiki_api::wire::protobuf::{self, Decoded, ProtobufError};
use serde_json::{Value, json};

/// A message under construction.
#[derive(Default, Clone)]
struct Message(Vec<u8>);

impl Message {
    fn new() -> Self {
        Self::default()
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn number(mut self, field: u64, value: i64) -> Self {
        self.varint(field << 3);
        self.varint(value as u64);
        self
    }

    fn bytes(mut self, field: u64, bytes: &[u8]) -> Self {
        self.varint(field << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
        self
    }

    fn text(self, field: u64, text: &str) -> Self {
        self.bytes(field, text.as_bytes())
    }

    fn message(self, field: u64, message: Message) -> Self {
        self.bytes(field, &message.0)
    }
}

fn body(api_version: &str, kind: &str, message: Message) -> Vec<u8> {
    let unknown =
        Message::new().message(1, Message::new().text(1, api_version).text(2, kind)).message(2, message);
    [&protobuf::MAGIC[..], &unknown.text(3, "").text(4, "").0].concat()
}

fn decode(api_version: &str, kind: &str, message: Message) -> Result<Decoded, ProtobufError> {
    protobuf::decode(&body(api_version, kind, message), None, Limits::default())
}

fn value(api_version: &str, kind: &str, message: Message) -> Value {
    decode(api_version, kind, message).unwrap().value
}

/// ObjectMeta as Kubernetes writes it for an object that has only a name.
fn metadata(name: &str) -> Message {
    Message::new()
        .text(1, name)
        .text(2, "")
        .text(3, "")
        .text(4, "")
        .text(5, "")
        .text(6, "")
        .number(7, 0)
        .bytes(8, &[])
}

#[test]
fn plain_zeros_vanish_and_pointers_to_zero_survive() {
    let pod = Message::new().text(3, "").text(6, "").text(10, "").number(11, 0).number(13, 0).number(21, 0);
    let template = Message::new().message(1, metadata("")).message(2, pod);
    let spec = Message::new()
        .number(1, 0)
        .message(2, Message::new())
        .message(3, template)
        .message(4, Message::new().text(1, ""))
        .number(5, 0)
        .number(7, 0);
    let status = Message::new().number(1, 0).number(2, 0).number(3, 0).number(4, 0).number(5, 0).number(7, 0);
    let deployment = Message::new().message(1, metadata("a")).message(2, spec).message(3, status);
    assert_eq!(
        value("apps/v1", "Deployment", deployment),
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a"}, "status": {},
            "spec": {"replicas": 0, "selector": {}, "strategy": {},
                // A pointer to false, 21 being automountServiceAccountToken.
                "template": {"metadata": {}, "spec": {"automountServiceAccountToken": false}}}
        })
    );
}

#[test]
fn an_empty_storage_class_and_empty_map_values_survive() {
    let claim = Message::new().message(1, metadata("a")).message(2, Message::new().text(3, "").text(5, ""));
    assert_eq!(value("v1", "PersistentVolumeClaim", claim)["spec"], json!({"storageClassName": ""}));
    let entry = |key: &str| Message::new().text(1, key).bytes(2, &[]);
    let secret = Message::new()
        .message(1, metadata("a"))
        .message(2, entry("empty"))
        .message(2, Message::new().text(1, "bare"));
    assert_eq!(value("v1", "Secret", secret)["data"], json!({"empty": "", "bare": ""}));
}

#[test]
fn plain_fields_without_omitempty_stay_even_when_zero() {
    let class = Message::new().message(1, metadata("low")).number(2, 0).number(3, 0).text(4, "");
    assert_eq!(
        value("scheduling.k8s.io/v1", "PriorityClass", class),
        json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "low"}, "value": 0})
    );
    let status = Message::new().number(1, 0).number(3, 0).number(4, 0).number(5, 0).number(6, 0);
    let budget = Message::new().message(3, status);
    assert_eq!(
        value("policy/v1", "PodDisruptionBudget", budget)["status"],
        json!({"disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0})
    );
}

#[test]
fn delete_options_of_any_group_decode() {
    let options = Message::new().number(1, 0).message(2, Message::new().text(1, "u-1")).text(4, "Background");
    for api_version in ["v1", "policy/v1", "apps/v1"] {
        let decoded = decode(api_version, "DeleteOptions", options.clone()).unwrap();
        assert_eq!(
            decoded.value,
            json!({"apiVersion": api_version, "kind": "DeleteOptions", "gracePeriodSeconds": 0,
                "preconditions": {"uid": "u-1"}, "propagationPolicy": "Background"})
        );
    }
}

#[test]
fn negative_numbers_and_ports_by_name_decode() {
    let port = |target: Message| Message::new().text(1, "").number(3, 80).message(4, target).number(5, 0);
    let spec = Message::new()
        .message(1, port(Message::new().number(1, 1).number(2, 0).text(3, "web")))
        .message(1, port(Message::new().number(1, 0).number(2, -1).text(3, "")));
    let service = value("v1", "Service", Message::new().message(2, spec));
    assert_eq!(
        service["spec"]["ports"],
        json!([{"port": 80, "targetPort": "web"}, {"port": 80, "targetPort": -1}])
    );
}

#[test]
fn bodies_without_a_kind_take_that_of_the_url() {
    let bytes = body("", "", Message::new().message(1, metadata("a")));
    let decoded = protobuf::decode(&bytes, Some(("v1", "Namespace")), Limits::default()).unwrap();
    assert_eq!(decoded.value, json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a"}}));
    let unknown = protobuf::decode(&bytes, None, Limits::default()).unwrap_err();
    assert_eq!(unknown, ProtobufError::UnknownKind { api_version: String::new(), kind: String::new() });
}

#[test]
fn custom_resources_and_foreign_bytes_are_refused() {
    let unknown = decode("example.org/v1", "Widget", Message::new()).unwrap_err();
    assert_eq!(unknown.to_string(), "no kind \"Widget\" is registered for version \"example.org/v1\"");
    assert_eq!(protobuf::decode(b"{}", None, Limits::default()).unwrap_err(), ProtobufError::NoMagic);
    assert_eq!(decode("v1", "Pod", Message::new().bytes(1, &[0xff])).unwrap_err(), ProtobufError::Truncated);
    let loose = Message::new().number(1, 5);
    assert!(matches!(decode("v1", "Pod", loose).unwrap_err(), ProtobufError::Malformed(_)));
}

#[test]
fn numbers_of_other_releases_are_skipped() {
    let namespace = Message::new().message(1, metadata("a").text(200, "later")).number(3000, 1);
    assert_eq!(value("v1", "Namespace", namespace)["metadata"], json!({"name": "a"}));
}
