//! One request from its arrival to its answer: identity, authorization, bounds, dispatch, and the headers that every
//! answer carries.

use std::{
    panic::AssertUnwindSafe,
    sync::{Arc, OnceLock},
    time::Duration,
};

use axum::{
    body::Body,
    extract::Request,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::{FutureExt, future::BoxFuture};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use hyper::upgrade::OnUpgrade;
use kontiki_actors::{Document, Object, ObjectKey, Outcome, State};
use kontiki_pki::{Peer, PeerAddr};
use tokio::time::Instant;
use tracing::Instrument;
use uuid::Uuid;

use super::{
    Api, SHORT,
    access::{self, Access, Attributes, On},
    authentication::{Known, authenticate},
    body, delete,
    identity::{self, User},
    impersonation::Impersonation,
    list,
    negotiate::{Answer, Media, negotiate, without_protobuf},
    patch,
    path::{Route, Target},
    places::{Place, Places},
    presentation::Presentation,
    query::Query,
    read,
    reply::{Answered, Content, Reply},
    review,
    stream::{self, upgrade::Upgrade},
    subresource, system, usage, watch, write,
};
use crate::{
    audit::{Asked, Record},
    backend::{Freshness, Unavailable},
    conversion::Asker,
    status::Status,
};

const AUDIT_ID: HeaderName = HeaderName::from_static("audit-id");
/// The uids of the flow schema and of the priority level of a request.
const FLOW_HEADERS: [HeaderName; 2] = [
    HeaderName::from_static("x-kubernetes-pf-flowschema-uid"),
    HeaderName::from_static("x-kubernetes-pf-prioritylevel-uid"),
];
/// A request waits for its seat for at most this part of its time, as in Kubernetes.
const WAITING_PART: u32 = 4;
/// Warnings of others that a client is told; of how many characters is decided with the answer.
const WARNINGS: usize = 256;

/// What is found out about a request while it is served, for its answer.
#[derive(Default)]
struct Notes {
    flow: OnceLock<[Option<HeaderValue>; 2]>,
    record: OnceLock<Arc<Record>>,
    /// What others want the client to know, whatever comes of its request.
    warnings: Warnings,
}

type Warnings = Arc<parking_lot::Mutex<Vec<String>>>;

/// A request that may be served.
pub(crate) struct Call {
    pub(crate) api: Arc<Api>,
    pub(crate) user: User,
    pub(crate) method: Method,
    pub(crate) headers: HeaderMap,
    pub(crate) query: Query,
    /// The id under which its writes are done once.
    pub(crate) id: String,
    pub(crate) trace: Option<String>,
    /// The wish to become a stream, of requests that may.
    pub(crate) upgrade: Option<Upgrade>,
    /// The connection of a request that is handed on, when its protocol changes.
    pub(crate) connection: Option<OnUpgrade>,
    /// Where it comes from.
    pub(crate) address: Option<PeerAddr>,
    /// As it was asked.
    pub(crate) uri: http::Uri,
    body: SharedBody,
    /// Holds what a long body takes of the memory for them.
    body_place: Option<Place>,
    /// What is audited of it.
    pub(crate) record: Option<Arc<Record>>,
    warnings: Warnings,
}

/// A body for whoever reads it, and what is left of it for whoever answers.
type SharedBody = Arc<parking_lot::Mutex<Option<Body>>>;

/// Answers a request, whatever happens.
pub(crate) async fn answer(api: Arc<Api>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let (audit, trace) = (audit_id(&parts.headers), trace_parent(&parts.headers));
    let (method, version) = (parts.method.clone(), parts.version);
    let waits = parts.headers.contains_key(http::header::EXPECT);
    let presentation = Presentation::of(&parts.uri, &parts.headers);
    let protobuf = negotiate(&parts.headers, Answer::Other).is_ok_and(|form| form.media == Media::Protobuf);
    let body: SharedBody = Arc::new(parking_lot::Mutex::new(Some(body)));
    let route = Route::parse(parts.uri.path());
    let template = route.as_ref().map_or_else(|_| "unknown".to_owned(), Route::template);
    let span = tracing::info_span!(
        "http.request", method = %method, path = %template, audit_id = %audit,
        trace_parent = trace.as_deref().unwrap_or_default(), status = tracing::field::Empty,
    );
    let notes = Notes::default();
    let serving = serve(api.clone(), parts, body.clone(), route, trace, &audit, &notes);
    let serving = AssertUnwindSafe(serving).catch_unwind().instrument(span.clone());
    let answered = match serving.await {
        Ok(answered) => answered,
        Err(_) => {
            // The panic's message is in the log by the panic hook; clients get no inner details.
            tracing::error!(%method, path = %template, audit_id = %audit, "a request handler panicked");
            let status = Status::internal("the request handler failed, see the server's log");
            if let Some(record) = notes.record.get() {
                record.panicked(&status);
            }
            Err(status)
        }
    };
    let unread = body.lock().take();
    if let Some(unread) = unread.filter(|_| version < http::Version::HTTP_2 && !waits) {
        body::discard(unread).await;
    }
    let answered = match notes.record.get() {
        Some(record) => note_answer(record, answered),
        None => answered,
    };
    // What the client does not accept is told in JSON, as in Kubernetes: there may be no message of what it asked for.
    let refusal = |status: Status| Reply { protobuf: protobuf && status.code != 406, ..Reply::from(status) };
    let reply = answered.unwrap_or_else(refusal).warned(std::mem::take(&mut *notes.warnings.lock()));
    let mut response = presentation.apply(&api.presenters, reply).await.into_response();
    span.record("status", response.status().as_u16());
    if let Ok(value) = HeaderValue::from_str(&audit) {
        response.headers_mut().insert(AUDIT_ID, value);
    }
    for (name, uid) in FLOW_HEADERS.into_iter().zip(notes.flow.into_inner().into_iter().flatten()) {
        if let Some(uid) = uid {
            response.headers_mut().insert(name, uid);
        }
    }
    response
}

/// The client's audit id if it is a sane one, else a new one.
fn audit_id(headers: &HeaderMap) -> String {
    let given = headers.get(AUDIT_ID).and_then(|v| v.to_str().ok()).map(str::trim);
    let sane = |id: &&str| {
        (1..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    given.filter(sane).map_or_else(|| Uuid::new_v4().to_string(), str::to_owned)
}

/// A W3C trace context, if it is a well-formed one.
fn trace_parent(headers: &HeaderMap) -> Option<String> {
    let text = headers.get("traceparent")?.to_str().ok()?;
    let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b) || b == b'-';
    (text.len() == 55 && text.bytes().all(hex)).then(|| text.to_owned())
}

async fn serve(
    api: Arc<Api>,
    mut parts: http::request::Parts,
    body: SharedBody,
    route: Result<Route, Status>,
    trace: Option<String>,
    id: &str,
    notes: &Notes,
) -> Answered {
    let came = Instant::now();
    let query = Query::of(&parts.uri);
    let limit = time_limit(&api, query.as_ref().ok());
    let public = route.as_ref().is_ok_and(identity::public);
    let mut seat = None;
    let user = {
        let (route, query) = (route.as_ref(), query.as_ref().ok());
        let fields = access::fields(&parts.method, route, query);
        let access = Access::of(&parts.method, parts.uri.path(), route, query, fields.as_ref());
        let peer = parts.extensions.get::<Peer>();
        let known = authenticate(&api, peer, parts.uri.path(), &mut parts.headers).await;
        let asked = || Asked {
            id,
            uri: &parts.uri,
            headers: &parts.headers,
            address: parts.extensions.get::<PeerAddr>().copied(),
            access: &access,
            version: route.map_or_else(|_| access::unknown_version(parts.uri.path()), Route::version),
        };
        let record = record(&api, known.as_ref().map(|known| &known.user), asked, notes);
        let Known { user, stale } = known?;
        if let (Some(record), Some(stale)) = (record, stale) {
            record.annotate("authentication.k8s.io/stale-token", stale);
        }
        let user = match Impersonation::take(&mut parts.headers)? {
            Some(wanted) => {
                let user = impersonate(&api, user, wanted).await?;
                record.inspect(|record| record.acts_as(&user));
                user
            }
            None => user,
        };
        // Who may not even ask learns nothing, not even which paths exist.
        if !public {
            // Before it is asked whether they may: that costs something, too.
            let entered = api.flow.enter(&*api.backend, &user, &access, limit / WAITING_PART).await;
            let _ = notes.flow.set(entered.uids);
            seat = Some(entered.seat?);
            let mut may = authorize(&api, &user, &access).await;
            if let Some(also) = stream::also(&access).filter(|_| may.is_ok()) {
                may = authorize(&api, &user, &also).await;
            }
            if let Some(record) = record {
                let reason = reason(&api, &user, &access).await;
                record.judged(may.is_ok(), reason);
            }
            may?;
        }
        user
    };
    let route = defined(&api, parts.uri.path(), route).await?;
    let proxy = is_proxy(&route);
    if has_no_messages(&route) {
        without_protobuf(&mut parts.headers)?;
    }
    // What is behind a proxy may read its own as it likes.
    let query = if proxy { query.unwrap_or_default() } else { query? };
    if proxy {
        // It runs for as long as its client wants; its place among the streams bounds it.
        drop(seat.take());
    }
    let streams = is_stream(&parts.method, &route, &query);
    let upgrade = if stream::may_upgrade(&route) {
        Upgrade::take(&mut parts, stream::tunnel(&route)).await
    } else {
        None
    };
    let connection = if proxy { parts.extensions.remove::<OnUpgrade>() } else { None };
    let (asker, reads) = (user.name.clone(), parts.method == Method::GET);
    let call = Call {
        api: api.clone(),
        user,
        method: parts.method,
        id: (api.options.request_id)(&parts.headers),
        headers: parts.headers,
        query,
        trace,
        upgrade,
        connection,
        address: parts.extensions.get::<PeerAddr>().copied(),
        uri: parts.uri,
        body,
        body_place: None,
        record: notes.record.get().cloned(),
        warnings: notes.warnings.clone(),
    };
    // A stream gives its seat to others when it has begun.
    let answered = if streams {
        dispatch(call, route).await
    } else {
        match tokio::time::timeout_at(came + limit, dispatch(call, route)).await {
            Ok(answered) => answered,
            Err(_) => {
                let message = "Timeout: request did not complete within the allotted timeout; a write may still be done";
                Err(Status::new(504, "Timeout", message).retry(1))
            }
        }
    };
    drop(seat);
    let mut reply = answered?;
    let counted = reply.count(&api.lists, &asker);
    // What was done is told, however much is told already.
    if reads {
        counted?;
    }
    Ok(reply)
}

/// The record of a request, if it is audited.
fn record<'a, 'n>(
    api: &Api,
    user: Result<&User, &Status>,
    asked: impl FnOnce() -> Asked<'a>,
    notes: &'n Notes,
) -> Option<&'n Arc<Record>> {
    let audit = api.options.audit.as_ref()?;
    match user {
        Ok(user) => {
            let record = Record::begin(audit, &api.options.clock, user, &asked())?;
            Some(notes.record.get_or_init(|| record))
        }
        Err(status) => {
            Record::unauthenticated(audit, &api.options.clock, &asked(), status);
            None
        }
    }
}

/// Notes what a request is answered with. Gives the answer, whole if that is noted.
fn note_answer(record: &Record, answered: Answered) -> Answered {
    let reply = answered.inspect_err(|status| record.refused(status))?;
    let reply = if record.keeps_answer() { reply.whole() } else { reply };
    let json = match &reply.content {
        Content::Whole(bytes) if reply.content_type == "application/json" => Some(bytes),
        _ => None,
    };
    record.answered(reply.code, json);
    if matches!(reply.content, Content::Stream(_) | Content::Switching(_)) {
        record.started();
    }
    Ok(reply)
}

/// Why somebody may or may not, in words.
async fn reason(api: &Api, user: &User, access: &Access<'_>) -> String {
    match api.backend.view(Freshness::Any).await {
        Ok(state) => api.options.authorizer.reason(user, access, &state),
        Err(_) => String::new(),
    }
}

/// How long a request may take.
fn time_limit(api: &Api, query: Option<&Query>) -> Duration {
    let asked = query.and_then(|query| query.text("timeout")).and_then(timeout);
    asked.unwrap_or(api.options.request_timeout).min(api.options.request_timeout)
}

/// `10s`, `500ms`, `1m`.
fn timeout(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let number: u64 = text[..digits].parse().ok()?;
    let millis = match &text[digits..] {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    number.checked_mul(millis).filter(|n| *n > 0).map(Duration::from_millis)
}

fn is_proxy(route: &Route) -> bool {
    matches!(route, Route::Objects(target) if target.subresource.as_deref() == Some("proxy"))
}

/// Whether nothing that a route shows can be shown as protobuf.
fn has_no_messages(route: &Route) -> bool {
    match route {
        Route::Objects(target) => target.served.kind.is_custom(),
        Route::Usage(_) => true,
        _ => false,
    }
}

fn is_stream(method: &Method, route: &Route, query: &Query) -> bool {
    let Route::Objects(target) = route else { return false };
    stream::is_one(route)
        || is_proxy(route)
        || *method == Method::GET
            && match target.subresource.as_deref() {
                None => query.switch("watch"),
                Some("log") => true,
                Some(_) => false,
            }
}

async fn impersonate(api: &Api, by: User, wanted: Impersonation) -> Result<User, Status> {
    for access in &wanted.accesses() {
        authorize(api, &by, access).await?;
    }
    let user = wanted.into_user();
    tracing::info!(by = %by.name, user = %user.name, groups = ?user.groups, "acts as somebody else");
    Ok(user)
}

async fn authorize(api: &Api, user: &User, access: &Access<'_>) -> Result<(), Status> {
    let authorizer = &api.options.authorizer;
    // Masters need no view, so they are told why there is none by what they asked for.
    if user.is_master() && authorizer.allows(user, access, &State::default()) {
        return Ok(());
    }
    let mut state = api.backend.view(Freshness::Any).await?;
    if authorizer.allows(user, access, &state) {
        return Ok(());
    }
    // A right that was given counts at once, also on a controller that has not folded it yet. Strangers have none to wait for, and while
    // there is no majority, what is known here decides.
    if user.name != User::ANONYMOUS
        && let Ok(newer) = api.backend.view(Freshness::Linearizable).await
        && newer.revision() > state.revision()
    {
        if authorizer.allows(user, access, &newer) {
            return Ok(());
        }
        state = newer;
    }
    Err(access.forbidden(&user.name, &authorizer.reason(user, access, &state)))
}

/// Paths that are not built in may be those of custom resources: of what this controller holds, or else of a view with every acknowledged
/// write, since a definition counts at once.
async fn defined(api: &Api, path: &str, route: Result<Route, Status>) -> Result<Route, Status> {
    let refused = match route {
        Err(refused) if refused.code == 404 && path.starts_with("/apis/") => refused,
        route => return route,
    };
    for freshness in [Freshness::Any, Freshness::Linearizable] {
        let state = api.backend.view(freshness).await?;
        if let Some(route) = Route::custom(path, &state, &api.definitions) {
            return Ok(route);
        }
    }
    Err(refused)
}

/// What answers a request, on the heap: it is large, as large as the largest of all, and would be copied whole from each caller to the next.
type Answering<'a> = BoxFuture<'a, Answered>;

fn dispatch(call: Call, route: Route) -> Answering<'static> {
    match route {
        Route::Objects(target) => Box::pin(objects(call, target)),
        Route::Review(review) => Box::pin(review::answer(call, review)),
        Route::Usage(target) => Box::pin(usage::answer(call, target)),
        route => Box::pin(system::answer(call, route)),
    }
}

async fn objects(call: Call, target: Target) -> Answered {
    let deprecation = target.served.deprecation().map(str::to_owned);
    let subresource = target.subresource.clone();
    let reply = match &subresource {
        Some(subresource) => Box::pin(subresource::answer(call, target, subresource)) as Answering<'_>,
        None => on_objects(call, target),
    };
    Ok(reply.await?.warned(deprecation.into_iter().collect()))
}

fn on_objects(call: Call, target: Target) -> Answering<'static> {
    match (call.method.clone(), target.name.is_some()) {
        (Method::GET, _) if call.query.switch("watch") => Box::pin(watch::watch(call, target)),
        (Method::GET, true) => Box::pin(read::get(call, target)),
        (Method::GET, false) => Box::pin(list::list(call, target)),
        (Method::POST, false) => Box::pin(write::create(call, target)),
        (Method::PUT, true) => Box::pin(write::replace(call, target)),
        (Method::PATCH, true) => Box::pin(patch::patch(call, target)),
        (Method::DELETE, true) => Box::pin(delete::delete(call, target)),
        (Method::DELETE, false) => Box::pin(delete::collection(call, target)),
        (method, _) => {
            let refused = method_not_allowed(&method, target.served.kind.info().kind);
            Box::pin(std::future::ready(Err(refused)))
        }
    }
}

/// The refusal of a method.
pub(crate) fn method_not_allowed(method: &Method, on: &str) -> Status {
    let verb = match *method {
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        Method::GET => "get",
        _ => "this method",
    };
    Status::method_not_allowed(verb, on)
}

impl Call {
    /// What the cluster does by itself as this user, for whom no request came: nobody waits for its answer.
    pub(crate) fn of_cluster(api: Arc<Api>, user: User) -> Call {
        let headers = HeaderMap::new();
        Call {
            id: (api.options.request_id)(&headers),
            api,
            user,
            method: Method::POST,
            headers,
            query: Query::default(),
            trace: None,
            upgrade: None,
            connection: None,
            address: None,
            uri: http::Uri::default(),
            body: SharedBody::default(),
            body_place: None,
            record: None,
            warnings: Warnings::default(),
        }
    }

    /// The same, told to the audit as this user's request for a new object: whoever has it tells what came of it.
    pub(crate) fn audited(mut self, target: &Target) -> Call {
        let Some(audit) = &self.api.options.audit else { return self };
        let (served, info) = (&target.served, target.served.kind.info());
        let namespace = target.namespace.as_deref().unwrap_or_default();
        let attributes =
            Attributes { group: served.group(), resource: info.plural, namespace, ..Attributes::default() };
        let root = if served.group().is_empty() { "api" } else { "apis" };
        let path = format!("/{root}/{}/namespaces/{namespace}/{}", served.api_version(), info.plural);
        self.uri = path.parse().unwrap_or_default();
        let asked = Asked {
            id: &self.id,
            uri: &self.uri,
            headers: &self.headers,
            address: None,
            access: &Access { verb: "create", on: On::Resource(attributes) },
            version: served.version(),
        };
        self.record = Record::begin(audit, &self.api.options.clock, &self.user, &asked);
        self
    }

    /// Who has objects converted for this request.
    pub(crate) fn asker(&self) -> Asker<'_> {
        Asker { api: &self.api, user: &self.user.name }
    }

    /// A place among others for this request's user, with which the request goes on.
    pub(crate) fn place(&self, among: &Places) -> Result<Place, Status> {
        Ok(among.take(&self.user.name, 1)?.recorded(self.record.clone()))
    }

    /// The body as it comes, for whoever hands it on.
    pub(crate) fn take_body(&self) -> Body {
        self.body.lock().take().unwrap_or_default()
    }

    /// The whole body.
    pub(crate) async fn body(&mut self) -> Result<Bytes, Status> {
        let taken = self.body.lock().take();
        let Some(mut body) = taken else { return Ok(Bytes::new()) };
        let limit = self.api.options.body_limit;
        let length = body::length(&body, limit);
        if length > SHORT {
            match self.api.bodies.take(&self.user.name, length.div_ceil(1024)) {
                Ok(place) => self.body_place = Some(place),
                Err(refused) => {
                    *self.body.lock() = Some(body);
                    return Err(refused);
                }
            }
        }
        let read = body::read(&mut body, limit).await;
        // What is too long is not read to its end here.
        *self.body.lock() = Some(body);
        if let (Some(record), Ok(bytes)) = (&self.record, &read) {
            record.sends(|| body::media_type(&self.headers), bytes);
        }
        read
    }

    /// Tells the client what others want it to know, once, also with a refusal.
    pub(crate) fn warn(&self, warnings: impl Iterator<Item = String>) {
        let mut told = self.warnings.lock();
        for warning in warnings {
            if told.len() < WARNINGS && !told.contains(&warning) {
                told.push(warning);
            }
        }
    }

    /// What this controller holds: it may miss what others acknowledged a moment ago.
    pub(crate) async fn own_view(&self) -> Result<State, Status> {
        Ok(self.api.backend.view(Freshness::Any).await?)
    }

    /// Refuses whoever may write what is there, and not create what is not.
    pub(crate) async fn may_create(&self, target: &Target) -> Result<(), Status> {
        let attributes = Attributes {
            group: target.served.group(),
            resource: target.served.kind.info().plural,
            namespace: target.namespace.as_deref().unwrap_or_default(),
            name: target.name.as_deref().unwrap_or_default(),
            ..Attributes::default()
        };
        authorize(&self.api, &self.user, &Access { verb: "create", on: On::Resource(attributes) }).await
    }

    /// Whether this user may approve or sign for a signer, or with `DOMAIN/*`, for all of a domain.
    pub(crate) async fn may_for_signer(&self, verb: &str, signer: &str) -> bool {
        let attributes = Attributes {
            group: "certificates.k8s.io",
            resource: "signers",
            name: signer,
            ..Attributes::default()
        };
        authorize(&self.api, &self.user, &Access { verb, on: On::Resource(attributes) }).await.is_ok()
    }

    /// A view that contains every acknowledged write.
    pub(crate) async fn view(&self) -> Result<State, Status> {
        Ok(self.api.backend.view(Freshness::Linearizable).await?)
    }

    /// Submits a write and tells the object as it stands after it, and whether it is gone.
    pub(crate) async fn submit(
        &self,
        request: kontiki_actors::Request,
        attempt: usize,
    ) -> Result<Written, Status> {
        let id = if attempt == 0 { self.id.clone() } else { format!("{}-{attempt}", self.id) };
        let (gone, key, revision, document) =
            match self.api.backend.submit(request, id.into(), self.trace.clone()).await? {
                Outcome::Done => return Ok(Written::Done),
                Outcome::Rejected(rejection) => return Err(rejection.into()),
                Outcome::Object { key, revision, document } => (false, key, revision, document),
                Outcome::Deleted { key, revision, document } => (true, key, revision, document),
            };
        let object = match document {
            Some(document) => Arc::new(Object::new(key, revision, document)),
            None => self.as_answered(key, revision, gone).await?,
        };
        Ok(if gone { Written::Deleted(object) } else { Written::Object(object) })
    }

    /// The object of a retry of an answered request, whose answer is remembered without its document: as it was then. What others have
    /// written since is not what this request came to, and whoever took its revision for his own would overwrite it unseen.
    async fn as_answered(&self, key: ObjectKey, revision: u64, gone: bool) -> Result<Arc<Object>, Status> {
        let state = self.api.backend.view(Freshness::AtLeast(revision)).await?;
        if let Some(object) = state.get(&key).filter(|object| object.revision == revision) {
            return Ok(object.clone());
        }
        let feed = self.api.backend.feed();
        // The view is there before the feed tells of it.
        feed.changed(revision.saturating_sub(1)).await;
        match feed.written(revision).filter(|object| object.key == key) {
            Some(object) => Ok(object),
            None if gone => Ok(Arc::new(Object::new(key, revision, Document::default()))),
            None => {
                let reason = "the write was done, and the object was written again since then: read it";
                Err(Unavailable::Timeout { reason: reason.into() }.into())
            }
        }
    }
}

/// What a write came to.
pub(crate) enum Written {
    /// Nothing to show.
    Done,
    /// The object as it stands.
    Object(Arc<Object>),
    /// The object as it was last.
    Deleted(Arc<Object>),
}

impl Written {
    /// The object, if there is one to show.
    pub(crate) fn object(self) -> Option<Arc<Object>> {
        match self {
            Written::Done => None,
            Written::Object(object) | Written::Deleted(object) => Some(object),
        }
    }
}

/// Now, Unix milliseconds: ages in tables, deadlines of tokens.
pub(crate) fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}
