//! One client: it does one thing after the other and remembers what it saw.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use http::{Method, StatusCode};
use kontiki_chaos_plan::{
    history::{Answer, Call, OpRecord},
    names,
    plan::Op,
};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Ask, Lost, Outside, requests};
use crate::player::Book;

/// Rounds of a `Put` between update and create.
const ROUNDS: u32 = 3;
/// So long a client insists on an answer.
const INSISTS: Duration = Duration::from_secs(60);
/// Between two attempts.
const INSISTS_EVERY: Duration = Duration::from_millis(500);
/// Pages of a list at most.
const PAGES: u32 = 500;

/// A client.
pub struct Client {
    number: u32,
    outside: Outside,
    requests: u64,
    seen: BTreeMap<u32, u64>,
    last_refused: Option<u16>,
}

/// An answer to a request, judged.
struct Reply {
    answer: Answer,
    body: Value,
}

/// A request that went out. It is written down when it is answered, and as without an answer when its client is gone before.
struct Sent {
    book: Arc<Book>,
    record: Option<OpRecord>,
}

impl Sent {
    fn answered(mut self, answer: Answer) {
        let returned_ns = (answer != Answer::Unknown).then(|| self.book.now_ns());
        if let Some(record) = self.record.take() {
            self.book.op(OpRecord { returned_ns, answer, ..record });
        }
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        if let Some(record) = self.record.take() {
            self.book.op(record);
        }
    }
}

impl Client {
    /// One that has seen nothing yet.
    pub fn new(number: u32, outside: Outside) -> Client {
        Client { number, outside, requests: 0, seen: BTreeMap::new(), last_refused: None }
    }

    /// Does something through a controller.
    pub async fn act(&mut self, via: u32, op: &Op) {
        match op {
            Op::Put { key } => self.put(via, *key).await,
            Op::Cas { key } => self.cas(via, *key).await,
            Op::Remove { key } => self.remove(via, *key).await,
            Op::Get { key } => self.get(via, *key, false).await,
            Op::GetStale { key } => self.get(via, *key, true).await,
            Op::List { page } => self.list(via, *page).await,
            Op::DryRun { key } => self.dry_run(via, *key).await,
            Op::Drain { worker } => self.drain(via, *worker).await,
            other => drop(self.other(via, other).await),
        }
    }

    fn next(&mut self) -> u64 {
        self.requests += 1;
        self.requests
    }

    /// Sends a request and writes down what came of it.
    async fn record(&mut self, via: u32, call: Call, ask: Ask, read: impl FnOnce(&Value) -> Answer) -> Reply {
        let writes = ask.method != Method::GET;
        let number = self.next();
        let id = format!("c{}-{number}", self.number);
        let ask = Ask { id: id.clone(), ..ask };
        let sent = Sent {
            book: self.outside.book.clone(),
            record: Some(OpRecord {
                client: self.number,
                request: writes.then_some(id),
                server: via,
                invoked_ns: self.outside.book.now_ns(),
                returned_ns: None,
                call: call.clone(),
                answer: Answer::Unknown,
            }),
        };
        let answered = self.outside.ask(self.number, via, ask).await;
        let (answer, body) = match answered {
            Err(Lost) => (Answer::Unknown, Value::Null),
            Ok((status, body)) if status.is_success() => (read(&body), body),
            Ok((StatusCode::NOT_FOUND, body)) if matches!(call, Call::Get { .. }) => {
                (Answer::Value { value: None }, body)
            }
            // What may be done or not: a timeout, a defect.
            Ok((status, body)) if status.is_server_error() && status != StatusCode::SERVICE_UNAVAILABLE => {
                if status != StatusCode::GATEWAY_TIMEOUT {
                    self.outside
                        .book
                        .broken("G1", format!("{call:?} was answered {status}: {}", body["message"]));
                }
                (Answer::Unknown, body)
            }
            Ok((status, body)) => (Answer::Refused { code: status.as_u16() }, body),
        };
        sent.answered(answer.clone());
        Reply { answer, body }
    }

    fn value(&mut self) -> String {
        format!("c{}-{}", self.number, self.requests + 1)
    }

    async fn put(&mut self, via: u32, key: u32) {
        for _ in 0..ROUNDS {
            match self.update(via, key, None).await {
                Answer::Refused { code: 404 } => {}
                _ => return,
            }
            let at = names::register(key);
            let value = self.value();
            let ask = Ask::new(Method::POST, requests::collection(&at), "");
            let ask = ask.with(names::register_json(&at, &value));
            let call = Call::Create { key: names::text(&at), value };
            match self.record(via, call, ask, done).await.answer {
                Answer::Done { revision } => {
                    self.seen.insert(key, revision);
                    return;
                }
                Answer::Refused { code: 409 } => {}
                _ => return,
            }
        }
    }

    async fn cas(&mut self, via: u32, key: u32) {
        let Some(revision) = self.seen.get(&key).copied() else { return self.get(via, key, false).await };
        if matches!(self.update(via, key, Some(revision)).await, Answer::Refused { .. } | Answer::Unknown) {
            self.seen.remove(&key);
        }
    }

    async fn update(&mut self, via: u32, key: u32, revision: Option<u64>) -> Answer {
        let at = names::register(key);
        let value = self.value();
        let mut body = names::register_json(&at, &value);
        if let Some(revision) = revision {
            body["metadata"]["resourceVersion"] = revision.to_string().into();
        }
        let ask = Ask::new(Method::PUT, requests::object(&at), "").with(body);
        let call = Call::Update { key: names::text(&at), value, revision };
        let answer = self.record(via, call, ask, done).await.answer;
        if let Answer::Done { revision } = answer {
            self.seen.insert(key, revision);
        }
        answer
    }

    async fn remove(&mut self, via: u32, key: u32) {
        let at = names::register(key);
        let ask = Ask::new(Method::DELETE, requests::object(&at), "");
        self.record(via, Call::Delete { key: names::text(&at) }, ask, |_| Answer::Done { revision: 0 }).await;
    }

    async fn get(&mut self, via: u32, key: u32, stale: bool) {
        let at = names::register(key);
        let query = if stale { "?resourceVersion=0" } else { "" };
        let ask = Ask::new(Method::GET, requests::object(&at) + query, "");
        let read = |body: &Value| Answer::Value { value: Some((names::value_of_json(body), revision(body))) };
        let answer = self.record(via, Call::Get { key: names::text(&at), stale }, ask, read).await.answer;
        if let Answer::Value { value: Some((_, revision)) } = answer {
            self.seen.insert(key, revision);
        }
    }

    async fn dry_run(&mut self, via: u32, key: u32) {
        let at = names::register(key);
        let value = self.value();
        let ask = Ask::new(Method::PUT, requests::object(&at) + "?dryRun=All", "");
        let ask = ask.with(names::register_json(&at, &value));
        self.record(via, Call::DryRun { key: names::text(&at), value }, ask, done).await;
    }

    /// All pages are one answer. A page that is refused ends it. Whoever gives up after too many pages has learned nothing, and says so
    /// to nobody: the cluster has answered each time.
    async fn list(&mut self, via: u32, page: u32) {
        let invoked_ns = self.outside.book.now_ns();
        let mut token = String::new();
        let mut first = None;
        let mut items = Vec::new();
        let mut answer = Answer::Unknown;
        for page_number in 0.. {
            if page_number == PAGES {
                return;
            }
            let more = if token.is_empty() { String::new() } else { format!("&continue={token}") };
            let path = format!("/api/v1/namespaces/{}/configmaps?limit={page}{more}", names::NAMESPACE);
            let (status, body) =
                match self.outside.ask(self.number, via, Ask::new(Method::GET, path, "")).await {
                    Ok(answered) => answered,
                    Err(Lost) => break,
                };
            if !status.is_success() {
                answer = Answer::Refused { code: status.as_u16() };
                break;
            }
            let revision = *first.get_or_insert_with(|| revision(&body));
            items.extend(registers(&body));
            token = body["metadata"]["continue"].as_str().unwrap_or_default().to_owned();
            if token.is_empty() {
                answer = Answer::Listed { revision, items: std::mem::take(&mut items) };
                break;
            }
        }
        let returned_ns = (answer != Answer::Unknown).then(|| self.outside.book.now_ns());
        let call = Call::List { prefix: names::REGISTERS.into() };
        let (client, server) = (self.number, via);
        self.outside.book.op(OpRecord {
            client,
            request: None,
            server,
            invoked_ns,
            returned_ns,
            call,
            answer,
        });
    }

    async fn drain(&mut self, via: u32, worker: u32) {
        self.other(via, &Op::Drain { worker }).await;
        let node = names::worker(worker);
        let path = format!("/api/v1/pods?fieldSelector=spec.nodeName={node}");
        let listed = self.outside.ask(self.number, via, Ask::new(Method::GET, path, "")).await;
        let Ok((_, body)) = listed else { return };
        let pods = body["items"].as_array().cloned().unwrap_or_default();
        for pod in pods {
            let (namespace, name) = (text(&pod, "namespace"), text(&pod, "name"));
            let path = format!("/api/v1/namespaces/{namespace}/pods/{name}/eviction");
            let body = json!({"apiVersion": "policy/v1", "kind": "Eviction",
                "metadata": {"name": name, "namespace": namespace}});
            let call = Call::Other { what: format!("evict {namespace}/{name}") };
            self.record(via, call, Ask::new(Method::POST, path, "").with(body), done).await;
        }
    }

    /// Does something that must be done: where there is no answer the next controller is asked, and the next, as long as anybody would.
    pub async fn insist(&mut self, via: u32, op: &Op) {
        let begun = Instant::now();
        for turn in 0.. {
            let answer = self.other((via + turn) % self.outside.controllers.max(1), op).await;
            let settled = match answer {
                Some(Answer::Unknown) => false,
                Some(Answer::Refused { code }) => !matches!(code, 409 | 429 | 503),
                _ => true,
            };
            if settled || begun.elapsed() >= INSISTS {
                return;
            }
            tokio::time::sleep(INSISTS_EVERY).await;
        }
    }

    /// The last answer, if there was anything to ask.
    async fn other(&mut self, via: u32, op: &Op) -> Option<Answer> {
        let mut last = None;
        let unique = u64::from(self.number) << 32 | self.requests;
        for (after, ask) in requests::of(op, unique).unwrap_or_default() {
            if after.is_some() && self.last_refused != after {
                break;
            }
            let call = Call::Other { what: format!("{op:?}") };
            let reply = self.record(via, call, ask, done).await;
            self.last_refused = match reply.answer {
                Answer::Refused { code } => Some(code),
                _ => None,
            };
            tracing::debug!(?op, answer = ?reply.answer, message = %reply.body["message"], "other");
            last = Some(reply.answer);
        }
        last
    }
}

fn done(body: &Value) -> Answer {
    Answer::Done { revision: revision(body) }
}

/// An object's or a list's revision.
pub(super) fn revision(body: &Value) -> u64 {
    text(body, "resourceVersion").parse().unwrap_or(0)
}

fn text<'a>(body: &'a Value, field: &str) -> &'a str {
    body["metadata"][field].as_str().unwrap_or_default()
}

/// The registers of a list: key, value, revision.
pub(super) fn registers(body: &Value) -> Vec<(String, String, u64)> {
    let items = body["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    items.iter().filter_map(register).collect()
}

/// A register: key, value, revision; none if it is another object.
pub(super) fn register(object: &Value) -> Option<(String, String, u64)> {
    let key = format!("configmaps/{}/{}", text(object, "namespace"), text(object, "name"));
    key.starts_with(names::REGISTERS).then(|| (key, names::value_of_json(object), revision(object)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_its_client_did_not_wait_for_has_no_answer() {
        let book = Arc::new(Book::new());
        let record = OpRecord {
            client: 0,
            request: Some("c0-1".into()),
            server: 0,
            invoked_ns: 1,
            returned_ns: None,
            call: Call::Get { key: "configmaps/default/r0".into(), stale: false },
            answer: Answer::Unknown,
        };
        drop(Sent { book: book.clone(), record: Some(record.clone()) });
        Sent { book: book.clone(), record: Some(record) }.answered(Answer::Refused { code: 409 });
        let answers: Vec<Answer> = book.take().ops.into_iter().map(|op| op.answer).collect();
        assert_eq!(answers, [Answer::Unknown, Answer::Refused { code: 409 }]);
    }
}
