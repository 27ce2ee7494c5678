//! Tables: what `kubectl get` prints.

use std::sync::Arc;

use kontiki_actors::{Kind, Object};
use serde_json::{Value, json};

use super::{query::Query, read::write_metadata};
use crate::{served::Served, status::Status};

/// What stands beside a row's cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Include {
    Nothing,
    Metadata,
    Object,
}

impl Include {
    /// Reads the parameter `includeObject`.
    pub(crate) fn of(query: &Query) -> Result<Include, Status> {
        match query.text("includeObject") {
            None | Some("Metadata") => Ok(Include::Metadata),
            Some("Object") => Ok(Include::Object),
            Some("None") => Ok(Include::Nothing),
            Some(other) => Err(Status::bad_request(format!("unrecognized includeObject value: {other:?}"))),
        }
    }
}

/// The columns of a kind.
pub(crate) fn definitions(served: &Served) -> Value {
    let mut columns = vec![json!({
        "name": "Name", "type": "string", "format": "name", "priority": 0,
        "description": "Name must be unique within a namespace.",
    })];
    columns.extend(served.columns().into_iter().map(|column| column.into_owned()));
    // Events show a name of their own only on request.
    if served.kind == Kind::EVENT {
        columns.remove(0);
        if let Some(name) = columns.last_mut() {
            name["format"] = "name".into();
        }
    }
    Value::Array(columns)
}

/// Appends one row. The revision is the object's, or that of the event that shows it.
pub(crate) fn write_row(
    served: &Served,
    object: &Object,
    revision: u64,
    include: Include,
    version: &str,
    now_ms: i64,
    out: &mut Vec<u8>,
) {
    let mut cells = served.cells(object, now_ms);
    if served.kind != Kind::EVENT {
        cells.insert(0, object.key.name.as_str().into());
    }
    out.extend_from_slice(b"{\"cells\":");
    out.extend_from_slice(Value::Array(cells).to_string().as_bytes());
    match include {
        Include::Nothing => {}
        Include::Metadata => {
            out.extend_from_slice(b",\"object\":");
            write_metadata(object, revision, version, out);
        }
        Include::Object => {
            out.extend_from_slice(b",\"object\":");
            served.write(object, revision, out);
        }
    }
    out.push(b'}');
}

/// Appends the head of a table up to its rows.
pub(crate) fn write_head(version: &str, metadata: &Value, columns: Option<&Served>, out: &mut Vec<u8>) {
    let columns = columns.map_or_else(|| json!([]), definitions);
    let head = format!(
        "{{\"kind\":\"Table\",\"apiVersion\":\"meta.k8s.io/{version}\",\"metadata\":{metadata},\
        \"columnDefinitions\":{columns},\"rows\":["
    );
    out.extend_from_slice(head.as_bytes());
}

/// Appends a table.
pub(crate) fn write(
    served: &Served,
    objects: &[Arc<Object>],
    include: Include,
    version: &str,
    metadata: &Value,
    now_ms: i64,
    out: &mut Vec<u8>,
) {
    write_head(version, metadata, Some(served), out);
    for (at, object) in objects.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write_row(served, object, object.revision, include, version, now_ms, out);
    }
    out.extend_from_slice(b"]}");
}
