//! Exec, attach and port-forward: requests that become streams.
//!
//! ```text
//!   request -> upgrade.rs (does it want to become one) -> options.rs (of what) -> Backend::open_stream
//!                websocket.rs  exec and attach: messages of a channel and bytes, see channels.rs
//!                remote.rs     the same over SPDY, for clients of before 1.30
//!                forward.rs    port-forward: streams in one connection, often inside of a WebSocket, see spdy/
//!                ports.rs      port-forward: channels of a WebSocket
//!                reader.rs     logs: a WebSocket that is only read from
//! ```
//!
//! Everything that can be refused is refused before the protocol changes, as a Status like any other; what goes wrong later
//! is told in the stream, see outcome.rs.

mod channels;
mod forward;
pub(crate) mod fuzzing;
mod options;
mod outcome;
mod ports;
pub(crate) mod reader;
mod remote;
mod spdy;
pub(crate) mod upgrade;
mod websocket;

use std::sync::Arc;

use futures_util::FutureExt;
use kontiki_actors::Object;

use super::{
    access::{Access, On},
    admitted,
    call::Call,
    path::{Route, Target},
    places::Place,
    read,
    reply::{Answered, Reply},
};
use crate::{
    flow::too_many,
    resource::fields::text,
    status::Status,
    streams::{StreamError, StreamTo},
};
use upgrade::Upgrade;

/// The subresources of a pod that are streams.
const STREAMS: [&str; 3] = ["attach", "exec", "portforward"];

/// Whether a request is for a stream.
pub(crate) fn is_one(route: &Route) -> bool {
    let Route::Objects(target) = route else { return false };
    target.subresource.as_deref().is_some_and(|subresource| STREAMS.contains(&subresource))
}

/// Whether a request may become something else than an answer: a stream, or a log in a WebSocket.
pub(crate) fn may_upgrade(route: &Route) -> bool {
    let Route::Objects(target) = route else { return false };
    is_one(route) || target.subresource.as_deref() == Some("log")
}

/// The subprotocol of a WebSocket in which a connection may be tunnelled.
pub(crate) fn tunnel(route: &Route) -> Option<&'static str> {
    let Route::Objects(target) = route else { return None };
    (target.subresource.as_deref() == Some("portforward")).then_some(forward::TUNNEL)
}

/// What else a user must be allowed to who asks for this. A WebSocket is opened by a GET, and whoever may only look at pods
/// must not get a shell in them, as in Kubernetes since 1.35.
pub(crate) fn also<'a>(access: &Access<'a>) -> Option<Access<'a>> {
    let On::Resource(asked) = access.on else { return None };
    let is_stream = asked.resource == "pods" && STREAMS.contains(&asked.subresource);
    (is_stream && access.verb != "create").then_some(Access { verb: "create", ..*access })
}

/// Answers a request for a stream.
pub(crate) async fn answer(mut call: Call, target: Target, subresource: &str) -> Answered {
    let key = read::key(&target)?;
    let upgrade = call.upgrade.take();
    let object = read::find(&call, &key).await?;
    let place = call.place(&call.api.streams)?;
    let (kind, told) = options::told(&call.query, subresource);
    admitted::connect(&call, &target, kind, told).await?;
    if subresource == "portforward" {
        hosted(&object)?;
        return forward_ports(call, object, upgrade.ok_or_else(upgrade::required)?, place);
    }
    let (to, streams) = options::of_process(&call.query, &object, subresource)?;
    hosted(&object)?;
    let upgrade = upgrade.ok_or_else(upgrade::required)?;
    match upgrade {
        Upgrade::WebSocket(upgrade) => {
            let (upgrade, protocol) = websocket::agree(*upgrade)?;
            let opened = open(&call, object, to).await?;
            Ok(websocket::serve(upgrade, protocol, opened, streams, place))
        }
        Upgrade::Tunnel(_) => Err(upgrade::required()),
        Upgrade::Spdy(upgrade) => {
            let protocol = upgrade.agree(&remote::VERSIONS)?;
            let opened = open(&call, object, to).await?;
            Ok(upgrade.serve(protocol, move |wire| async move {
                let _place = place;
                let version = remote::Version::of(protocol);
                wire.serve(|session| remote::serve(session, version, streams, opened)).await;
            }))
        }
    }
}

fn forward_ports(call: Call, pod: Arc<Object>, upgrade: Upgrade, place: Place) -> Answered {
    let (name, backend) = (pod.key.name.to_string(), call.api.backend.clone());
    let dial: forward::Dial = Arc::new(move |port| {
        let (backend, pod) = (backend.clone(), pod.clone());
        async move { backend.open_stream(pod, StreamTo::Port(port)).await }.boxed()
    });
    match upgrade {
        Upgrade::WebSocket(upgrade) => {
            let [binary, base64] = ports::PROTOCOLS;
            let upgrade = upgrade.protocols(ports::PROTOCOLS);
            let chosen = upgrade.selected_protocol().and_then(|name| name.to_str().ok());
            let form = channels::FORMS.into_iter().find(|form| Some(form.name) == chosen);
            let form = form.ok_or_else(|| {
                let tunnel = forward::TUNNEL;
                let message = format!(
                    "unable to upgrade: the subprotocols for ports are {tunnel}, {binary} and {base64}"
                );
                Status::bad_request(message)
            })?;
            let asked = ports::asked(&call.query)?;
            Ok(Reply::switching(upgrade.on_upgrade(move |socket| async move {
                let _place = place;
                ports::serve(socket, form, name, asked, dial).await;
            })))
        }
        Upgrade::Tunnel(upgrade) => Ok(upgrade.serve(move |wire| async move {
            let _place = place;
            wire.serve(|session| forward::serve(session, name, dial)).await;
        })),
        Upgrade::Spdy(upgrade) => {
            let protocol = upgrade.agree(&[forward::PROTOCOL])?;
            Ok(upgrade.serve(protocol, move |wire| async move {
                let _place = place;
                wire.serve(|session| forward::serve(session, name, dial)).await;
            }))
        }
    }
}

/// A pod that no worker has yet has nothing to stream from.
pub(super) fn hosted(object: &Object) -> Result<(), Status> {
    match text(&object.document.spec_value(), "nodeName") {
        "" => Err(Status::bad_request(format!("pod {} does not have a host assigned", object.key.name))),
        _ => Ok(()),
    }
}

/// The stream, or why the command failed, which is told in the stream as Kubernetes does.
async fn open(call: &Call, object: Arc<Object>, to: StreamTo) -> Result<websocket::Opened, Status> {
    match call.api.backend.open_stream(object, to).await {
        Ok(stream) => Ok(Ok(stream)),
        Err(StreamError::Failed(cause)) => Ok(Err(cause)),
        Err(error) => Err(error.into()),
    }
}

impl From<StreamError> for Status {
    fn from(error: StreamError) -> Status {
        let message = format!("unable to upgrade connection: {error}");
        match error {
            StreamError::NotFound(_) => Status::new(404, "NotFound", message),
            StreamError::Refused(_) => Status::bad_request(message),
            StreamError::Busy(_) => too_many(),
            StreamError::Unreachable(_) | StreamError::Failed(_) => Status::internal(message),
        }
    }
}
