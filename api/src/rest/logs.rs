//! The output of containers.

use axum::body::Body;
use futures_util::StreamExt;
use kontiki_actors::object::parse_time_ms;
use serde_json::Value;

use super::{
    call::Call,
    path::Target,
    read,
    reply::{Answered, Reply},
    stream::{reader, upgrade::Upgrade},
};
use crate::{
    backend::LogsQuery,
    resource::{
        fields::{items, text},
        pod,
    },
    status::{Cause, Status},
};

/// Answers a GET of a pod's log.
pub(crate) async fn logs(mut call: Call, target: Target) -> Answered {
    let key = read::key(&target)?;
    let query = &call.query;
    let mut causes = Vec::new();
    let mut number = |name: &str, least: i64| -> Result<Option<i64>, Status> {
        let number = query.number(name)?;
        if number.is_some_and(|n| n < least) {
            let message =
                format!("Invalid value: {}: must be greater than or equal to {least}", number.unwrap_or(0));
            causes.push(Cause { reason: "FieldValueInvalid".into(), message, field: name.to_owned() });
        }
        Ok(number)
    };
    let (since_s, tail_lines) = (number("sinceSeconds", 1)?, number("tailLines", 0)?);
    let limit_bytes = number("limitBytes", 1)?;
    let since_ms =
        match query.text("sinceTime") {
            None => None,
            Some(text) => Some(parse_time_ms(text).ok_or_else(|| {
                Status::bad_request(format!("sinceTime {text:?} is not a time as RFC 3339"))
            })?),
        };
    if since_s.is_some() && since_ms.is_some() {
        let message = "Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified".into();
        causes.push(Cause { reason: "FieldValueForbidden".into(), message, field: String::new() });
    }
    if !causes.is_empty() {
        return Err(Status::invalid("", "PodLogOptions", &key.name, causes));
    }
    let object = read::find(&call, &key).await?;
    let spec = object.document.spec_value();
    let container = container(&spec, &key.name, query.text("container"))?;
    let socket = match call.upgrade.take() {
        Some(Upgrade::WebSocket(socket)) => Some(*socket),
        _ => None,
    };
    if text(&spec, "nodeName").is_empty() {
        // Not placed yet: there is nothing, and nobody to ask.
        return match socket {
            Some(socket) => {
                reader::serve(socket, futures_util::stream::empty().boxed(), call.place(&call.api.watches)?)
            }
            None => Ok(Reply::text(200, "")),
        };
    }
    let query = LogsQuery {
        container,
        follow: query.switch("follow"),
        previous: query.switch("previous"),
        since_s,
        since_ms,
        tail_lines,
        timestamps: query.switch("timestamps"),
        limit_bytes,
    };
    let place = call.place(&call.api.watches)?;
    let stream = call.api.backend.logs(object, query).await?;
    if let Some(socket) = socket {
        return reader::serve(socket, stream, place);
    }
    let stream = stream.map(move |chunk| {
        // The stream holds its place among the streams until it ends.
        let _held = &place;
        chunk
    });
    Ok(Reply::stream("text/plain", Body::from_stream(stream)))
}

/// The container that is meant: the named one, or the only one.
pub(super) fn container(spec: &Value, name: &str, asked: Option<&str>) -> Result<String, Status> {
    if let Some(asked) = asked {
        let known = pod::containers(spec).any(|(_, _, c)| text(c, "name") == asked);
        if known {
            return Ok(asked.to_owned());
        }
        return Err(Status::bad_request(format!("container {asked} is not valid for pod {name}")));
    }
    let names = |list: &str| items(spec, list).map(|(_, c)| text(c, "name").to_owned()).collect::<Vec<_>>();
    let (mains, inits) = (names("containers"), names("initContainers"));
    match mains.as_slice() {
        [only] => Ok(only.clone()),
        _ => {
            let mut message = format!(
                "a container name must be specified for pod {name}, choose one of: [{}]",
                mains.join(" ")
            );
            if !inits.is_empty() {
                message.push_str(&format!(" or one of the init containers: [{}]", inits.join(" ")));
            }
            Err(Status::bad_request(message))
        }
    }
}
