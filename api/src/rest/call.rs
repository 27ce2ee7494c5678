//! One request from its arrival to its answer: identity, authorization, bounds, dispatch, and the headers that every
//! answer carries.

use std::{panic::AssertUnwindSafe, sync::Arc};

use axum::{
    body::Body,
    extract::Request,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::FutureExt;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use kontiki_actors::{Document, Object, ObjectKey, Outcome, State};
use kontiki_hooks::{Defect, planted};
use kontiki_pki::Peer;
use tokio::sync::OwnedSemaphorePermit;
use tracing::Instrument;
use uuid::Uuid;

use super::{
    Api,
    access::{self, Access},
    authentication::authenticate,
    body, delete,
    identity::{self, User},
    impersonation::Impersonation,
    list, patch,
    path::{Route, Target},
    presentation::Presentation,
    query::Query,
    read,
    reply::{Answered, Reply},
    review, subresource, system, watch, write,
};
use crate::{
    backend::{Freshness, Unavailable},
    status::Status,
};

const AUDIT_ID: HeaderName = HeaderName::from_static("audit-id");

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
    body: SharedBody,
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
    let body: SharedBody = Arc::new(parking_lot::Mutex::new(Some(body)));
    let route = Route::parse(parts.uri.path());
    let template = route.as_ref().map_or_else(|_| "unknown".to_owned(), Route::template);
    let span = tracing::info_span!(
        "http.request", method = %method, path = %template, audit_id = %audit,
        trace_parent = trace.as_deref().unwrap_or_default(), status = tracing::field::Empty,
    );
    let serving = serve(api.clone(), parts, body.clone(), route, trace);
    let serving = AssertUnwindSafe(serving).catch_unwind().instrument(span.clone());
    let answered = match serving.await {
        Ok(answered) => answered,
        Err(_) => {
            // The panic's message is in the log by the panic hook; clients get no inner details.
            tracing::error!(%method, path = %template, audit_id = %audit, "a request handler panicked");
            Err(Status::internal("the request handler failed, see the server's log"))
        }
    };
    let unread = body.lock().take();
    if let Some(unread) = unread.filter(|_| version < http::Version::HTTP_2 && !waits) {
        body::discard(unread).await;
    }
    let reply = answered.unwrap_or_else(Reply::from);
    let mut response = presentation.apply(&api.presenters, reply).await.into_response();
    span.record("status", response.status().as_u16());
    if let Ok(value) = HeaderValue::from_str(&audit) {
        response.headers_mut().insert(AUDIT_ID, value);
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
) -> Answered {
    let user = authenticate(parts.extensions.get::<Peer>(), &parts.headers)?;
    let user = match Impersonation::take(&mut parts.headers)? {
        Some(wanted) => impersonate(&api, user, wanted).await?,
        None => user,
    };
    let query = Query::of(&parts.uri);
    let public = route.as_ref().is_ok_and(identity::public);
    if !public {
        // Who may not even ask learns nothing, not even which paths exist.
        let (route, query) = (route.as_ref(), query.as_ref().ok());
        let fields = access::fields(&parts.method, route, query);
        let access = Access::of(&parts.method, parts.uri.path(), route, query, fields.as_ref());
        authorize(&api, &user, &access).await?;
    }
    let (route, query) = (route?, query?);
    let streams = is_stream(&parts.method, &route, &query);
    let call = Call {
        api: api.clone(),
        user,
        method: parts.method,
        id: (api.options.request_id)(&parts.headers),
        headers: parts.headers,
        query,
        trace,
        body,
    };
    if streams {
        return dispatch(call, route).await;
    }
    let place = match route {
        Route::Health(..) => None,
        _ => Some(api.requests.clone().try_acquire_owned().map_err(|_| overloaded())?),
    };
    let asked = call.query.text("timeout").and_then(timeout);
    let limit = asked.unwrap_or(api.options.request_timeout).min(api.options.request_timeout);
    let answered = match tokio::time::timeout(limit, dispatch(call, route)).await {
        Ok(answered) => answered,
        Err(_) => {
            let message =
                "Timeout: request did not complete within the allotted timeout; a write may still be done";
            Err(Status::new(504, "Timeout", message).retry(1))
        }
    };
    if planted(Defect::FullStaysFull) && api.requests.available_permits() == 0 {
        place.into_iter().for_each(OwnedSemaphorePermit::forget);
    }
    answered
}

/// `10s`, `500ms`, `1m`.
fn timeout(text: &str) -> Option<std::time::Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let number: u64 = text[..digits].parse().ok()?;
    let millis = match &text[digits..] {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    number.checked_mul(millis).filter(|n| *n > 0).map(std::time::Duration::from_millis)
}

/// The refusal of one request too many.
pub(crate) fn overloaded() -> Status {
    Status::new(429, "TooManyRequests", "too many requests are under way, please try again later").retry(1)
}

fn is_stream(method: &Method, route: &Route, query: &Query) -> bool {
    let Route::Objects(target) = route else { return false };
    *method == Method::GET
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
    // Masters need no view, so they are told why there is none by what they asked for.
    let empty = State::default();
    if api.options.authorizer.allows(user, access, &empty) {
        return Ok(());
    }
    if user.authenticated() {
        let state = api.backend.view(Freshness::Any).await?;
        if api.options.authorizer.allows(user, access, &state) {
            return Ok(());
        }
    }
    Err(access.forbidden(&user.name))
}

async fn dispatch(call: Call, route: Route) -> Answered {
    match route {
        Route::Objects(target) => objects(call, target).await,
        Route::Review(review) => review::answer(call, review).await,
        route => system::answer(call, route).await,
    }
}

async fn objects(call: Call, target: Target) -> Answered {
    if let Some(subresource) = target.subresource.clone() {
        return subresource::answer(call, target, &subresource).await;
    }
    match (call.method.clone(), target.name.is_some()) {
        (Method::GET, _) if call.query.switch("watch") => watch::watch(call, target).await,
        (Method::GET, true) => read::get(call, target).await,
        (Method::GET, false) => list::list(call, target).await,
        (Method::POST, false) => write::create(call, target).await,
        (Method::PUT, true) => write::replace(call, target).await,
        (Method::PATCH, true) => patch::patch(call, target).await,
        (Method::DELETE, true) => delete::delete(call, target).await,
        (Method::DELETE, false) => delete::collection(call, target).await,
        (method, _) => Err(method_not_allowed(&method, target.kind.info().kind)),
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
    /// The whole body.
    pub(crate) async fn body(&mut self) -> Result<Bytes, Status> {
        let taken = self.body.lock().take();
        let Some(mut body) = taken else { return Ok(Bytes::new()) };
        let read = body::read(&mut body, self.api.options.body_limit).await;
        // What is too long is not read to its end here.
        *self.body.lock() = Some(body);
        read
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
