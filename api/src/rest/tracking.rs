//! Who owns which field, kept with every write of a client: from a request to a [`Writer`], and from its answer into the object.

use http::{HeaderMap, header::USER_AGENT};
use kontiki_actors::Object;
use serde_json::{Map, Value};

use super::{body::type_of, subresource::EPHEMERAL, write::Write};
use crate::{
    apply::{Owners, Reach, ScaleWriter, Writer},
    resource::{kept_by_status, metadata::metadata_of},
    served::{Served, Typed},
    status::Status,
};

/// Bytes of a manager's name.
const NAME_LIMIT: usize = 128;

/// The manager of a request that names none: its program, by the first part of the User-Agent.
pub(crate) fn manager_of(headers: &HeaderMap) -> String {
    let agent = headers.get(USER_AGENT).map(|value| String::from_utf8_lossy(value.as_bytes()));
    let mut name = String::new();
    for c in agent.as_deref().and_then(|agent| agent.split('/').next()).unwrap_or_default().chars() {
        if name.len() + c.len_utf8() > NAME_LIMIT {
            break;
        }
        if !c.is_control() {
            name.push(c);
        }
    }
    name
}

/// Takes out what a client says of owners.
pub(crate) fn take_given(value: &mut Value) -> Option<Value> {
    value.get_mut("metadata")?.as_object_mut()?.remove("managedFields")
}

/// Who writes an object of a kind, or something below it.
pub(crate) fn writer<'a>(
    write: &'a Write,
    served: &'a Served,
    api_version: &'a str,
    subresource: &'a str,
) -> Result<Writer<'a>, Status> {
    let reach = match subresource {
        "status" | "approval" if served.kind.is_custom() => Reach::Status,
        "status" | "approval" => Reach::StatusAndMetadata(kept_by_status(served.kind)),
        EPHEMERAL => Reach::EphemeralContainers,
        _ if served.has_status() => Reach::NoStatus,
        _ => Reach::All,
    };
    let of = match served.typed()? {
        Typed::Table(of) => of.into(),
        Typed::Custom(version) => (&*version.schema).into(),
    };
    Ok(Writer { manager: &write.manager, subresource, of, api_version, reach, now: &write.now })
}

/// Who writes the scale of an object.
pub(crate) fn scale_writer<'a>(write: &'a Write, served: &Served, api_version: &'a str) -> ScaleWriter<'a> {
    let path = served.replicas();
    ScaleWriter { manager: &write.manager, api_version, path, now: &write.now }
}

/// Makes whoever writes a new object the owner of what it begins with.
pub(crate) fn created(
    write: &Write,
    served: &Served,
    value: &mut Value,
    given: Option<&Value>,
) -> Result<(), Status> {
    writer(write, served, &served.api_version(), "")?.created(value, given).store(value);
    Ok(())
}

/// Makes whoever updates an object the owner of what he changes.
pub(crate) fn updated(
    write: &Write,
    served: &Served,
    subresource: &str,
    old: &Value,
    value: &mut Value,
    given: Option<&Value>,
) -> Result<(), Status> {
    let owners = writer(write, served, &served.api_version(), subresource)?.updated(old, value, given);
    settle(old, value, &owners);
    Ok(())
}

/// Makes whoever updates the scale of an object the owner of its replicas, if he changes them. `scale` is the new scale, `value` the
/// object with it.
pub(crate) fn rescaled(
    write: &Write,
    served: &Served,
    old: &Object,
    scale: &Value,
    value: &mut Value,
) -> Result<(), Status> {
    let (api_version, parent) = (served.api_version(), served.value(old));
    let of = type_of("autoscaling/v1", "Scale")?;
    let owners =
        scale_writer(write, served, &api_version).updated(of, &parent, &super::scale::of(served, old), scale);
    settle(&parent, value, &owners);
    Ok(())
}

/// Puts owners into an object as it is to be. Where nothing changes but times, nothing changes at all.
pub(crate) fn settle(old: &Value, value: &mut Value, owners: &Owners) {
    if owners.same_but_times(&Owners::of(old)) && same_but_owners(old, value) {
        match old["metadata"].get("managedFields") {
            Some(list) => metadata_of(value).insert("managedFields".into(), list.clone()),
            None => metadata_of(value).remove("managedFields"),
        };
        return;
    }
    owners.store(value);
}

fn same_but_owners(a: &Value, b: &Value) -> bool {
    let (Some(a), Some(b)) = (a.as_object(), b.as_object()) else { return false };
    let metadata = |map: &Map<String, Value>| map.get("metadata").and_then(Value::as_object).cloned();
    let asked = |map: &Map<String, Value>| {
        let mut metadata = metadata(map).unwrap_or_default();
        metadata.retain(|key, _| key != "managedFields" && key != "resourceVersion");
        metadata
    };
    a.len() == b.len()
        && a.iter().all(|(key, value)| key == "metadata" || b.get(key) == Some(value))
        && asked(a) == asked(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_named_by_their_user_agent() {
        for (agent, name) in [
            ("kubectl/v1.32.3 (linux/amd64) kubernetes/32cc146", "kubectl"),
            ("OpenAPI-Generator/32.0.1/python", "OpenAPI-Generator"),
            ("curl", "curl"),
            ("/x", ""),
        ] {
            let headers = HeaderMap::from_iter([(USER_AGENT, http::HeaderValue::from_static(agent))]);
            assert_eq!(manager_of(&headers), name);
        }
        assert_eq!(manager_of(&HeaderMap::new()), "");
        let long = http::HeaderValue::from_str(&"x".repeat(200));
        let headers = HeaderMap::from_iter(long.map(|long| (USER_AGENT, long)));
        assert_eq!(manager_of(&headers).len(), NAME_LIMIT);
    }
}
