//! What is found out about one request while it is served, and told at its stages. Whoever still serves a request holds its record; when
//! the last one lets go of it, the request is complete.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, Uri, header};
use kontiki_pki::PeerAddr;
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::{
    Audit,
    event::{Event, ObjectRef, UserInfo},
    policy::{Decision, Level, Stage},
};
use crate::{
    rest::{Access, Clock, On, User},
    schema::reader,
    status::Status,
    wire::protobuf,
};

/// Longer objects are left out of events, and long names of clients are cut, as Kubernetes does.
const OBJECT_LIMIT: usize = 1 << 20;
const USER_AGENT_LIMIT: usize = 1024;
/// Says of an event that something was left out.
const TRUNCATED: &str = "audit.k8s.io/truncated";
/// Addresses that a client may claim to come from.
const SOURCES_LIMIT: usize = 16;
const JSON: &str = "application/json";

/// A request that came.
pub(crate) struct Asked<'a> {
    pub(crate) id: &'a str,
    pub(crate) uri: &'a Uri,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) address: Option<PeerAddr>,
    pub(crate) access: &'a Access<'a>,
    /// The version of the API, where a resource is asked for.
    pub(crate) version: &'a str,
}

/// The record of a request.
pub(crate) struct Record {
    audit: Audit,
    clock: Clock,
    decision: Decision,
    found: Mutex<Found>,
}

struct Found {
    event: Event,
    /// What was sent: its media type and its bytes.
    sent: Option<(String, Bytes)>,
    /// What was answered, as JSON.
    got: Option<Bytes>,
    panicked: bool,
}

impl Record {
    /// The record of a request, if it is to be told, and tells that it came. `user` is whoever shows the certificate or token, also where
    /// he then acts as somebody else.
    pub(crate) fn begin(audit: &Audit, clock: &Clock, user: &User, asked: &Asked<'_>) -> Option<Arc<Record>> {
        let record = Record::of(audit, clock, user, asked)?;
        record.tell(Stage::RequestReceived);
        Some(Arc::new(record))
    }

    /// Tells of a request of which it is not known whose it is.
    pub(crate) fn unauthenticated(audit: &Audit, clock: &Clock, asked: &Asked<'_>, refused: &Status) {
        let Some(record) = Record::of(audit, clock, &User::anonymous(), asked) else { return };
        {
            let mut found = record.found.lock();
            found.event.user = UserInfo::default();
            found.event.response_status = Some(failure(refused));
            found.panicked = true;
        }
        record.tell(Stage::ResponseStarted);
    }

    fn of(audit: &Audit, clock: &Clock, user: &User, asked: &Asked<'_>) -> Option<Record> {
        let decision = audit.policy.decide(user, asked.access);
        if decision.level == Level::None {
            return None;
        }
        let now = micros(clock);
        let event = Event {
            kind: "Event",
            api_version: "audit.k8s.io/v1",
            level: decision.level,
            audit_id: asked.id.to_owned(),
            stage: Stage::RequestReceived,
            request_uri: asked.uri.path_and_query().map_or("/", |uri| uri.as_str()).to_owned(),
            verb: asked.access.verb.to_owned(),
            user: user.into(),
            impersonated_user: None,
            source_ips: sources(asked.headers, asked.address),
            user_agent: user_agent(asked.headers),
            object_ref: object_ref(asked),
            response_status: None,
            request_object: None,
            response_object: None,
            request_received_timestamp: now.clone(),
            stage_timestamp: now,
            annotations: BTreeMap::new(),
        };
        let found = Mutex::new(Found { event, sent: None, got: None, panicked: false });
        Some(Record { audit: audit.clone(), clock: clock.clone(), decision, found })
    }

    /// Whom he acts as.
    pub(crate) fn acts_as(&self, user: &User) {
        self.found.lock().event.impersonated_user = Some(user.into());
    }

    /// Whether he may, and why.
    pub(crate) fn judged(&self, allowed: bool, reason: String) {
        let annotations = &mut self.found.lock().event.annotations;
        let decision = if allowed { "allow" } else { "forbid" };
        annotations.insert("authorization.k8s.io/decision".into(), decision.into());
        annotations.insert("authorization.k8s.io/reason".into(), reason);
    }

    /// Something else that was found out.
    pub(crate) fn annotate(&self, name: impl Into<Cow<'static, str>>, text: String) {
        self.found.lock().event.annotations.insert(name.into(), text);
    }

    /// Something that shows contents: told where the policy wants these, unless it is too long.
    pub(crate) fn annotate_contents(
        &self,
        name: impl Into<Cow<'static, str>>,
        text: impl FnOnce() -> String,
    ) {
        if self.decision.level < Level::Request {
            return;
        }
        let text = text();
        match text.len() <= OBJECT_LIMIT {
            true => self.annotate(name, text),
            false => self.annotate(TRUNCATED, "true".into()),
        }
    }

    /// The name of what is created, where it does not stand in the path.
    pub(crate) fn names(&self, name: &str) {
        if let Some(object) = &mut self.found.lock().event.object_ref
            && object.name.is_empty()
        {
            name.clone_into(&mut object.name);
        }
    }

    /// What he sends.
    pub(crate) fn sends(&self, media_type: impl FnOnce() -> String, bytes: &Bytes) {
        if self.decision.level >= Level::Request && !bytes.is_empty() {
            self.found.lock().sent = Some((media_type(), bytes.clone()));
        }
    }

    /// Whether it holds what he is answered.
    pub(crate) fn keeps_answer(&self) -> bool {
        self.decision.level == Level::RequestResponse
    }

    /// What he is answered: a code, and the object if it is one.
    pub(crate) fn answered(&self, code: u16, json: Option<&Bytes>) {
        let mut found = self.found.lock();
        found.event.response_status = Some(json!({"metadata": {}, "code": code}));
        if self.keeps_answer() && found.event.object_ref.is_some() {
            found.got = json.cloned();
        }
    }

    /// What he is refused with.
    pub(crate) fn refused(&self, status: &Status) {
        self.found.lock().event.response_status = Some(failure(status));
    }

    /// A stream has begun.
    pub(crate) fn started(&self) {
        self.tell(Stage::ResponseStarted);
    }

    /// The request's handler failed.
    pub(crate) fn panicked(&self, status: &Status) {
        self.refused(status);
        self.found.lock().panicked = true;
        self.tell(Stage::Panic);
    }

    fn tell(&self, stage: Stage) {
        if !self.decision.tells(stage) {
            return;
        }
        let mut found = self.found.lock();
        if stage != Stage::RequestReceived {
            found.event.stage_timestamp = micros(&self.clock);
        }
        let Found { event, sent, got, .. } = &mut *found;
        event.stage = stage;
        if let Some((media_type, bytes)) = sent.take() {
            event.request_object = self.object(&media_type, &bytes, &mut event.annotations);
        }
        if let Some(bytes) = got.take() {
            event.response_object = self.object(JSON, &bytes, &mut event.annotations);
        }
        if let Ok(mut line) = serde_json::to_vec(event) {
            line.push(b'\n');
            self.audit.sink.take(line);
        }
    }

    /// An object as JSON; none when it is too long, or cannot be read.
    fn object(
        &self,
        media_type: &str,
        bytes: &Bytes,
        annotations: &mut BTreeMap<Cow<'static, str>, String>,
    ) -> Option<Value> {
        if bytes.len() > OBJECT_LIMIT {
            annotations.insert(TRUNCATED.into(), "true".into());
            return None;
        }
        let mut value: Value = match media_type {
            "application/yaml" | "application/apply-patch+yaml" => {
                reader::read_yaml(std::str::from_utf8(bytes).ok()?).ok()?
            }
            "application/vnd.kubernetes.protobuf" => {
                protobuf::decode(bytes, None, reader::Limits::default()).ok()?.value
            }
            _ => serde_json::from_slice(bytes).ok()?,
        };
        if self.decision.omit_managed_fields {
            omit_managed_fields(&mut value);
        }
        Some(value)
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let found = self.found.get_mut();
        if found.panicked {
            return;
        }
        if found.event.response_status.is_none() {
            // In Kubernetes' words: the client went away before it was answered.
            let status = json!({"metadata": {}, "status": "Success", "message": "Connection closed early", "code": 200});
            found.event.response_status = Some(status);
        }
        self.tell(Stage::ResponseComplete);
    }
}

/// Of an object, of the objects of a list, and of those in the rows of a table.
fn omit_managed_fields(value: &mut Value) {
    let omit = |object: &mut Value| {
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("managedFields");
        }
    };
    omit(value);
    for list in ["items", "rows"] {
        for item in value.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            match item.get_mut("object") {
                Some(object) if list == "rows" => omit(object),
                _ => omit(item),
            }
        }
    }
}

fn failure(status: &Status) -> Value {
    let mut value = status.to_value();
    if let Some(map) = value.as_object_mut() {
        map.remove("kind");
        map.remove("apiVersion");
    }
    value
}

fn micros(clock: &Clock) -> String {
    let now = jiff::Timestamp::from_millisecond(clock()).unwrap_or_default();
    format!("{now:.6}")
}

/// The addresses that a request is said to come from, and the one that it does come from at the end.
fn sources(headers: &HeaderMap, address: Option<PeerAddr>) -> Vec<String> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let forwarded = text("x-forwarded-for").split(',').take(SOURCES_LIMIT);
    let claimed = forwarded.chain([text("x-real-ip")]);
    let own = address.map(|PeerAddr(address)| address.ip().to_canonical());
    let mut all: Vec<String> = Vec::new();
    for ip in claimed
        .filter_map(|text| text.trim().parse().ok())
        .chain(own)
        .map(|ip: std::net::IpAddr| ip.to_string())
    {
        if all.last() != Some(&ip) {
            all.push(ip);
        }
    }
    all
}

fn user_agent(headers: &HeaderMap) -> String {
    let agent = headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match agent.get(..USER_AGENT_LIMIT) {
        Some(start) if agent.len() > USER_AGENT_LIMIT => format!("{start}...TRUNCATED"),
        _ => agent.to_owned(),
    }
}

fn object_ref(asked: &Asked<'_>) -> Option<ObjectRef> {
    let On::Resource(on) = asked.access.on else { return None };
    Some(ObjectRef {
        resource: on.resource.to_owned(),
        namespace: on.namespace.to_owned(),
        name: on.name.to_owned(),
        api_group: on.group.to_owned(),
        api_version: asked.version.to_owned(),
        subresource: on.subresource.to_owned(),
    })
}
