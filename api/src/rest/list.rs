//! LIST: a part of a collection at one revision, in pages if the client likes.

use std::{ops::ControlFlow, sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use kontiki_actors::{Object, ObjectKey};
use kontiki_hooks::{Defect, planted};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    SHORT,
    call::{Call, now_ms},
    negotiate::{Answer, Form, Media, Shape, negotiate},
    path::Target,
    query::{Query, revision},
    read::write_metadata,
    reply::{Answered, Pieces, Reply},
    selection::Selection,
    snapshot::{NoSnapshot, Snapshot},
    table,
};
use crate::{backend::Freshness, conversion, served::Served, status::Status};

/// For so long after its moment has passed a list goes on in pages. To have them all of one moment, what came after is undone for each:
/// that must not become ever more. In Kubernetes, too, clients are promised five minutes.
const PAGES: Duration = Duration::from_secs(5 * 60);

/// Where a list in pages goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Token {
    /// Format.
    v: u8,
    /// The revision of the pages before; 0: as it is now, no matter what they showed.
    rv: u64,
    /// The last key shown.
    ns: String,
    name: String,
}

impl Token {
    fn encode(&self) -> String {
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).unwrap_or_default())
    }

    fn decode(text: &str) -> Result<Token, Status> {
        let invalid = || Status::bad_request("continue key is not valid");
        if text.len() > 2048 {
            return Err(invalid());
        }
        let bytes = URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).map_err(|_| invalid())?;
        let token: Token = serde_json::from_slice(&bytes).map_err(|_| invalid())?;
        if token.v == 1 { Ok(token) } else { Err(invalid()) }
    }
}

const TOO_OLD: &str = "The provided continue parameter is too old to display a consistent list result. You can start a \
    new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the \
    results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or \
    deleted between the time the first chunk was returned and now may show up in the list.";

/// A part of a collection.
pub(crate) struct Page {
    pub(crate) objects: Vec<Arc<Object>>,
    revision: u64,
    next: Option<String>,
    remaining: Option<usize>,
}

/// Answers a LIST.
pub(crate) async fn list(call: Call, target: Target) -> Answered {
    let form = negotiate(&call.headers, Answer::List)?;
    if matches!(form.shape, Shape::Metadata { list: false, .. }) {
        return Err(Status::not_acceptable(
            "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io",
        ));
    }
    let selection = Selection::of(&target, &call.query)?;
    if call.query.text("sendInitialEvents").is_some() {
        return Err(forbidden_option("sendInitialEvents", "sendInitialEvents is forbidden for list"));
    }
    let page = page(&call, &target.served, &selection).await?;
    show(&call, form, &target.served, page).await
}

fn forbidden_option(field: &str, why: &str) -> Status {
    Status::invalid_option("ListOptions", field, "FieldValueForbidden", format!("Forbidden: {why}"))
}

/// Checks resourceVersion and resourceVersionMatch together; tells whether exactly that revision is meant.
pub(crate) fn exactly(query: &Query, limited: bool) -> Result<bool, Status> {
    let (revision, matching) = (query.text("resourceVersion"), query.text("resourceVersionMatch"));
    const FIELD: &str = "resourceVersionMatch";
    match matching {
        None => Ok(limited && revision.is_some_and(|r| r != "0")),
        Some(_) if query.text("continue").is_some() => {
            Err(forbidden_option(FIELD, "resourceVersionMatch is forbidden when continue is provided"))
        }
        Some(_) if revision.is_none() => Err(forbidden_option(
            FIELD,
            "resourceVersionMatch is forbidden unless resourceVersion is provided",
        )),
        Some("Exact") if revision == Some("0") => {
            let why = "resourceVersionMatch \"Exact\" is forbidden for resourceVersion \"0\"";
            Err(forbidden_option(FIELD, why))
        }
        Some("Exact") => Ok(true),
        Some("NotOlderThan") => Ok(false),
        Some(other) => {
            let message =
                format!("Unsupported value: {other:?}: supported values: \"Exact\", \"NotOlderThan\"");
            Err(Status::invalid_option("ListOptions", FIELD, "FieldValueNotSupported", message))
        }
    }
}

/// The page that a request asks for. Its objects are as they are stored, or, where it takes that to select them, in the version that is
/// asked for.
pub(crate) async fn page(call: &Call, served: &Served, selection: &Selection) -> Result<Page, Status> {
    let query = &call.query;
    let limit = query.number("limit")?.and_then(|n| usize::try_from(n).ok()).filter(|n| *n > 0);
    let exactly = exactly(query, limit.is_some())?;
    let wanted = revision(query.text("resourceVersion"))?;
    let backend = &*call.api.backend;
    let (snapshot, after) = match query.text("continue") {
        Some(token) => {
            if wanted.is_some_and(|r| r != 0) {
                let message = "specifying resource version is not allowed when using continue";
                return Err(Status::bad_request(message));
            }
            let token = Token::decode(token)?;
            let after = ObjectKey::new(selection.kind, &token.ns, &token.name);
            let snapshot = if token.rv == 0 || planted(Defect::ListTorn) {
                Snapshot::now(backend, Freshness::Linearizable).await?
            } else if backend.feed().past(token.rv) > PAGES {
                return Err(over(&token));
            } else {
                Snapshot::at(backend, token.rv).await.map_err(|e| expired(e, Some(&token)))?
            };
            (snapshot, Some(after))
        }
        None => {
            let snapshot = match wanted {
                Some(revision) if exactly => {
                    Snapshot::at(backend, revision).await.map_err(|e| expired(e, None))?
                }
                None => Snapshot::now(backend, Freshness::Linearizable).await?,
                Some(0) => Snapshot::now(backend, Freshness::Any).await?,
                Some(revision) => Snapshot::now(backend, Freshness::AtLeast(revision)).await?,
            };
            (snapshot, None)
        }
    };
    if served.converter().is_some() && selection.narrowed() {
        return collect_shown(call, served, &snapshot, selection, after, limit).await;
    }
    Ok(collect(&snapshot, selection, after.as_ref(), limit))
}

fn expired(error: NoSnapshot, token: Option<&Token>) -> Status {
    match (error, token) {
        (NoSnapshot::Status(status), _) => status,
        (NoSnapshot::Expired(expired), None) => {
            let message = format!("The resourceVersion for the provided list is too old: {expired}");
            Status::new(410, "Expired", message)
        }
        (NoSnapshot::Expired(_), Some(token)) => over(token),
    }
}

/// A list is over, and how to go on with what is there now.
fn over(token: &Token) -> Status {
    let mut status = Status::new(410, "Expired", TOO_OLD);
    status.continue_token = Some(Token { rv: 0, ..token.clone() }.encode());
    status
}

fn collect(
    snapshot: &Snapshot,
    selection: &Selection,
    after: Option<&ObjectKey>,
    limit: Option<usize>,
) -> Page {
    let mut page = Page { objects: Vec::new(), revision: snapshot.revision(), next: None, remaining: None };
    if let (Some(name), Some(namespace)) = (&selection.name, place(selection)) {
        // One name: a lookup.
        let key = ObjectKey::new(selection.kind, namespace, name);
        let found =
            snapshot.get(&key).filter(|object| selection.matches(object) && after.is_none_or(|a| key > *a));
        page.objects.extend(found.cloned());
        return page;
    }
    let mut remaining = 0;
    snapshot.visit(selection, after, |object| {
        let full = limit.is_some_and(|limit| page.objects.len() >= limit);
        if full {
            // A count of what a selector leaves would cost as much as the list.
            if selection.narrowed() {
                if selection.matches(object) {
                    remaining = 1;
                    return ControlFlow::Break(());
                }
            } else {
                remaining += 1;
            }
        } else if selection.matches(object) {
            page.objects.push(object.clone());
        }
        ControlFlow::Continue(())
    });
    if remaining > 0 {
        page.goes_on();
        page.remaining = (!selection.narrowed()).then_some(remaining);
    }
    page
}

/// The same where versions are more than names: fields, labels and annotations are those of the version that is asked for.
async fn collect_shown(
    call: &Call,
    served: &Served,
    snapshot: &Snapshot,
    selection: &Selection,
    mut after: Option<ObjectKey>,
    limit: Option<usize>,
) -> Result<Page, Status> {
    let mut page = Page { objects: Vec::new(), revision: snapshot.revision(), next: None, remaining: None };
    loop {
        let some = snapshot.some(selection, after.as_ref());
        let Some(last) = some.last() else { return Ok(page) };
        after = Some(last.key.clone());
        for object in conversion::shown(call.asker(), served, some).await? {
            if !selection.matches(&object) {
                continue;
            }
            if limit.is_some_and(|limit| page.objects.len() >= limit) {
                page.goes_on();
                return Ok(page);
            }
            page.objects.push(object);
        }
    }
}

/// The namespace of a lookup by name: that of the request, or none for cluster-scoped kinds.
fn place(selection: &Selection) -> Option<&str> {
    if selection.kind.info().namespaced { selection.namespace.as_deref() } else { Some("") }
}

/// Shows a page in the form that was agreed on.
pub(crate) async fn show(call: &Call, form: Form, served: &Served, mut page: Page) -> Answered {
    let mut metadata = Map::new();
    metadata.insert("resourceVersion".into(), page.revision.to_string().into());
    if let Some(next) = &page.next {
        metadata.insert("continue".into(), next.as_str().into());
    }
    if let Some(remaining) = page.remaining {
        metadata.insert("remainingItemCount".into(), remaining.into());
    }
    let metadata = Value::Object(metadata);
    let size: usize = page.objects.iter().map(|o| o.document.len() + 160).sum();
    // Objects that were converted are nobody else's.
    let takes = if served.converter().is_some() { 2 * size } else { size };
    let place = match takes > SHORT {
        true => Some(call.api.lists.take(&call.user.name, takes.div_ceil(1024))?),
        false => None,
    };
    page.objects = conversion::shown(call.asker(), served, page.objects).await?;
    let head = |kind: &str, api_version: &str| {
        format!("{{\"kind\":\"{kind}\",\"apiVersion\":\"{api_version}\",\"metadata\":{metadata},\"items\":[")
    };
    let written = match form.shape {
        Shape::Table(version) => {
            let include = table::Include::of(&call.query)?;
            let mut out = Vec::with_capacity(size + 256);
            table::write(served, &page.objects, include, version, &metadata, now_ms(), &mut out);
            return Ok(Reply::in_media(200, form.media, out)?.holding(place));
        }
        Shape::Metadata { version, .. } => Written::new(
            head("PartialObjectMetadataList", &format!("meta.k8s.io/{version}")),
            page.objects,
            move |object, out| write_metadata(object, object.revision, version, out),
        ),
        Shape::Plain => {
            let served = served.clone();
            let head = head(&served.list_name(), &served.api_version());
            Written::new(head, page.objects, move |object, out| served.write(object, object.revision, out))
        }
    };
    let reply = match form.media {
        Media::Json if size > SHORT => {
            Reply::json_pieces(200, Pieces { of: Box::new(written), about: size + 256 })
        }
        media => {
            let mut out = Vec::with_capacity(size + 256);
            written.for_each(|piece| out.extend_from_slice(&piece));
            Reply::in_media(200, media, out)?
        }
    };
    Ok(reply.holding(place))
}

/// A list as JSON, piece by piece: a list of all pods of a large cluster takes hundreds of MB as text, and a second to write, in which the
/// thread would do nothing else.
struct Written {
    /// What stands before the first object, until it is written.
    head: Option<String>,
    objects: std::vec::IntoIter<Arc<Object>>,
    write: Write,
    begun: bool,
    ended: bool,
}

/// Writes one object.
type Write = Box<dyn Fn(&Object, &mut Vec<u8>) + Send>;

/// A piece is as long as that, and what is left of its last object.
const PIECE: usize = 64 << 10;

impl Written {
    fn new(
        head: String,
        objects: Vec<Arc<Object>>,
        write: impl Fn(&Object, &mut Vec<u8>) + Send + 'static,
    ) -> Written {
        let (objects, write) = (objects.into_iter(), Box::new(write));
        Written { head: Some(head), objects, write, begun: false, ended: false }
    }
}

impl Iterator for Written {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        if self.ended {
            return None;
        }
        let mut out = self.head.take().map_or_else(Vec::new, String::into_bytes);
        while out.len() < PIECE {
            let Some(object) = self.objects.next() else {
                out.extend_from_slice(b"]}");
                self.ended = true;
                break;
            };
            if std::mem::replace(&mut self.begun, true) {
                out.push(b',');
            }
            (self.write)(&object, &mut out);
        }
        Some(out.into())
    }
}

impl Page {
    /// Tells where the next page begins: after the last object of this one.
    fn goes_on(&mut self) {
        let Some(last) = self.objects.last() else { return };
        // Also of a list that went on after it had expired: what is left of it is of one moment again.
        let rv = self.revision;
        let token = Token { v: 1, rv, ns: last.key.namespace.to_string(), name: last.key.name.to_string() };
        self.next = Some(token.encode());
    }

    /// A page of objects that belong to no list of the state.
    pub(crate) fn of(objects: Vec<Arc<Object>>, revision: u64) -> Page {
        Page { objects, revision, next: None, remaining: None }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use kontiki_actors::{Document, Kind};
    use serde_json::json;

    use super::*;

    #[test]
    fn a_long_list_is_written_in_pieces_which_are_the_list() {
        let object = |n: usize| {
            let document = json!({"metadata": {"name": format!("m{n}"), "namespace": "default"}, "data": {"x": "x".repeat(500)}});
            let key = ObjectKey::new(Kind::CONFIG_MAP, "default", &format!("m{n}"));
            Arc::new(Object::new(key, 7, Document::from_value(document)))
        };
        for count in [0, 1, 500] {
            let written =
                Written::new("{\"items\":[".into(), (0..count).map(object).collect(), |object, out| {
                    object.document.write_json(Kind::CONFIG_MAP, "v1", object.revision, out);
                });
            let pieces: Vec<Bytes> = written.collect();
            assert!(pieces.len() >= count / 200 && pieces.iter().all(|piece| piece.len() < PIECE + 1000));
            let list: Value = serde_json::from_slice(&pieces.concat()).unwrap();
            let items = list["items"].as_array().unwrap();
            assert_eq!(items.len(), count);
            assert!(items.iter().enumerate().all(|(n, item)| item["metadata"]["name"] == format!("m{n}")));
        }
    }
}
