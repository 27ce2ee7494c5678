//! What actors want and what has to be admitted (`kontiki_actors::candidates`): the leader asks webhooks and policies about each, outside of any
//! turn, as the controller that would make it in Kubernetes, and submits what came of it for the very candidate that it asked about. The audit is
//! told of it as of that controller's request.
//!
//! A webhook that does not answer holds up the candidates that it is for: so many of one owner and of one namespace are asked about at a time, and what was
//! refused, or could not be asked about, is not asked about again before its owner has waited. Nothing is kept here: whoever leads next asks about what is
//! there, which webhooks must bear anyway.

use std::{
    collections::{BTreeMap, BTreeSet},
    panic::AssertUnwindSafe,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, stream::FuturesUnordered};
use kontiki_actors::{
    Document, Kind, Object, ObjectKey, Outcome, Request, State, Uid, candidates, input::Admission,
    object::AdmissionDigest,
};
use serde_json::Value;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::{
    audit::Record,
    backend::{Freshness, Unavailable},
    resource::fields::text,
    rest::{Api, User, admitted, call::Call, path::Target, write},
    served::Served,
    status::Status,
};

/// Candidates that are asked about at a time: of all, of one namespace and of one owner.
const AT_ONCE: usize = 256;
const OF_NAMESPACE: usize = 64;
const OF_OWNER: usize = 8;
/// While there are candidates they are looked through no more often than so: each time costs as many steps as there are.
const PAUSE: Duration = Duration::from_millis(10);
/// What could not be submitted, for the want of a majority or of a view, is asked about again after this.
const AGAIN: Duration = Duration::from_millis(500);
/// How often the same is asked again at once, since what is asked about it became something else meanwhile.
const TRIES: usize = 8;
/// Where the accounts of Kubernetes' controllers are.
const SYSTEM: &str = "kube-system";
/// What the audit is told of an object that all let pass and that was not made. Why is not told to whoever asks.
const NOT_MADE: &str = "it was admitted, and then not made: its owner has an event FailedCreate that says why, unless nobody wants it any more";

/// Asks about candidates, for as long as it is run. Only a leader runs it; that two do for a moment does no harm.
#[derive(Clone)]
pub struct Gate(Arc<Api>);

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Gate")
    }
}

/// A candidate at a revision.
type One = (ObjectKey, u64);

impl Gate {
    pub(crate) fn new(api: Arc<Api>) -> Gate {
        Gate(api)
    }

    /// Asks about every candidate that there is and that comes. Does not end; where there is none, it only waits for news.
    pub async fn run(self) {
        let feed = self.0.backend.feed();
        let mut asking = FuturesUnordered::new();
        let mut asked = Asked::default();
        loop {
            let Ok(state) = self.0.backend.view(Freshness::Any).await else {
                sleep(AGAIN).await;
                continue;
            };
            let next = asked.next(&state, asking.len());
            asking.extend(next.into_iter().map(|candidate| self.settle(candidate)));
            let (revision, any) = (state.revision(), !asked.is_idle());
            drop(state);
            tokio::select! {
                biased;
                Some((one, done)) = asking.next() => asked.ends(one, done),
                () = feed.changed(revision) => {}
            }
            if !any {
                continue;
            }
            let until = Instant::now() + PAUSE;
            loop {
                tokio::select! {
                    biased;
                    Some((one, done)) = asking.next() => asked.ends(one, done),
                    () = sleep_until(until) => break,
                }
            }
        }
    }

    /// Asks about a candidate and submits what came of it. Tells whether that is done.
    async fn settle(&self, candidate: Arc<Object>) -> (One, bool) {
        let one = (candidate.key.clone(), candidate.revision);
        let Some(wish) = Wish::of(&candidate) else {
            // Its kind is none that this build asks about.
            sleep(AGAIN).await;
            return (one, false);
        };
        let call = self.call(&wish);
        let record = call.record.as_deref();
        let verdict = match AssertUnwindSafe(self.verdict(&call, &wish)).catch_unwind().await {
            Ok(verdict) => verdict,
            Err(_) => {
                // The panic's message is in the log by the panic hook. Others are asked about all the same.
                tracing::error!(candidate = %one.0, "asking about an object that an actor wants panicked");
                let status = Status::internal("asking about it failed, see the server's log");
                record.inspect(|record| record.panicked(&status));
                Some(Err(status))
            }
        };
        let Some(verdict) = verdict else {
            let status = Status::new(503, "ServiceUnavailable", "it is not known who is to be asked");
            record.inspect(|record| record.refused(&status));
            sleep(AGAIN).await;
            return (one, false);
        };
        let refused = verdict.as_ref().err().cloned();
        let verdict = match verdict {
            Ok(object) => Admission::As(Document::from_value(object)),
            Err(status) => Admission::Not(status.message),
        };
        let request = Request::Admit { key: one.0.clone(), revision: one.1, verdict };
        let done = self.0.backend.submit(request, call.id.clone().into(), None).await;
        if let Some(record) = record {
            tell(record, refused, &done);
        }
        if let Err(error) = &done {
            tracing::warn!(candidate = %one.0, %error, "what came of asking about it could not be written, it is asked about again");
            sleep(AGAIN).await;
        }
        (one, done.is_ok())
    }

    /// The request of the controller that would make it.
    fn call(&self, wish: &Wish<'_>) -> Call {
        let call =
            Call::of_cluster(self.0.clone(), User::account(SYSTEM, wish.account)).audited(&wish.target);
        if let Some(record) = &call.record {
            record.names(wish.told());
            record.sends(|| "application/json".into(), &wish.as_created().to_string().into_bytes().into());
        }
        call
    }

    /// What comes of asking about a candidate; none if nothing can be known now.
    async fn verdict(&self, call: &Call, wish: &Wish<'_>) -> Option<Result<Value, Status>> {
        for _ in 0..TRIES {
            let before = configurations(&self.0.backend.view(Freshness::Any).await.ok()?);
            // As long as a request may take.
            let refused = match timeout(self.0.options.request_timeout, admitted(call, wish)).await {
                Ok(Ok(object)) => return Some(Ok(object)),
                Ok(Err(refused)) => refused,
                Err(_) => Status::new(504, "Timeout", "request did not complete within the allotted timeout"),
            };
            // Without a majority nobody could say anything else. And nobody is refused by a configuration that went meanwhile.
            if configurations(&self.0.backend.view(Freshness::Linearizable).await.ok()?) == before {
                return Some(Err(refused));
            }
        }
        None
    }
}

/// What an actor wants, and as whom it would ask for it.
struct Wish<'c> {
    candidate: &'c Object,
    object: Value,
    account: &'static str,
    target: Target,
    name: &'c str,
    /// Its name is generated, which happens after those had their say who may change it. A stateful set gives its pods theirs.
    generated: bool,
}

impl Wish<'_> {
    fn of(candidate: &Object) -> Option<Wish<'_>> {
        let (kind, name) = candidates::wanted(&candidate.key)?;
        let object = candidates::object(candidate);
        let owner =
            candidate.meta.controller().map(|owner| (owner.api_version.as_str(), owner.kind.as_str()));
        let owner = owner.and_then(|(api_version, kind)| Kind::by_name(api_version, kind));
        Some(Wish {
            account: owner.and_then(candidates::account).unwrap_or("default"),
            target: Target {
                served: Served::from(kind),
                namespace: Some(candidate.key.namespace.to_string()),
                name: None,
                subresource: None,
            },
            name,
            generated: !text(&object["metadata"], "generateName").is_empty()
                && owner != Some(Kind::STATEFUL_SET),
            candidate,
            object,
        })
    }

    /// The name as the request has it.
    fn told(&self) -> &str {
        if self.generated { "" } else { self.name }
    }

    /// The object as a controller of Kubernetes would send it.
    fn as_created(&self) -> Value {
        let mut shown = self.object.clone();
        if let Some(fields) = shown.as_object_mut() {
            fields.remove("status");
        }
        if let Some(metadata) = shown["metadata"].as_object_mut().filter(|_| self.generated) {
            metadata.remove("name");
        }
        shown
    }
}

/// The object as everybody who has a say in it lets it pass.
async fn admitted(call: &Call, wish: &Wish<'_>) -> Result<Value, Status> {
    let (target, name) = (&wish.target, wish.name);
    let mut object = wish.object.clone();
    let state = call.own_view().await?;
    let mut admission = admitted::of_creation(call, target, wish.told(), false, &state).await?;
    drop(state);
    if let Some(changing) = admission.as_ref().filter(|admission| admission.mutates()) {
        let mut shown = wish.as_created();
        admitted::begin(target, &mut shown);
        let changed = changing.mutate(shown.clone(), &Value::Null).await?;
        if changed != shown {
            object = changed;
            object["metadata"]["name"] = name.into();
            write::prepare_create(call, target, &mut object).await?;
        }
    }
    if wish.generated && admission.is_some() {
        // Rules and conditions may be about the name.
        admission = admitted::of_creation(call, target, name, false, &call.own_view().await?).await?;
    }
    if let Some(judging) = &admission {
        let mut shown = object.clone();
        let made = wish.candidate.document.metadata_value();
        for field in ["uid", "creationTimestamp"] {
            shown["metadata"][field] = made[field].clone();
        }
        judging.validate(&shown, &Value::Null).await?;
    }
    Ok(object)
}

/// Tells the audit what came of it: the turn may have refused what others let pass.
fn tell(record: &Record, refused: Option<Status>, done: &Result<Outcome, Unavailable>) {
    let refused = match (refused, done) {
        (_, Err(error)) => Status::from(error.clone()),
        (Some(refused), _) => refused,
        (
            None,
            Ok(Outcome::Object { key, revision, document } | Outcome::Deleted { key, revision, document }),
        ) => {
            let object = document.clone().map(|document| Object::new(key.clone(), *revision, document));
            let json = object.map(|object| Bytes::from(object.to_json()));
            return record.answered(201, json.as_ref());
        }
        (None, Ok(_)) => Status::new(403, "Forbidden", NOT_MADE),
    };
    record.refused(&refused);
}

/// What says who is asked, and at which revisions.
fn configurations(state: &State) -> Vec<One> {
    let all = AdmissionDigest::KINDS.into_iter().flat_map(|kind| state.list(kind, None));
    all.map(|object| (object.key.clone(), object.revision)).collect()
}

/// Which candidates are asked about.
#[derive(Default)]
struct Asked {
    /// Those about which somebody is being asked, with their owners.
    busy: BTreeMap<One, Uid>,
    of_namespace: BTreeMap<String, usize>,
    of_owner: BTreeMap<Uid, usize>,
    /// Those that are done, while a view may still have them.
    done: BTreeSet<One>,
    /// Whether there was none at all.
    idle: bool,
}

impl Asked {
    /// Whether nothing waits and nobody is being asked.
    fn is_idle(&self) -> bool {
        self.idle && self.busy.is_empty()
    }

    /// The candidates to ask about now, so many being asked about already.
    fn next(&mut self, state: &State, under_way: usize) -> Vec<Arc<Object>> {
        let (mut next, mut seen, mut any) = (Vec::new(), BTreeSet::new(), false);
        for candidate in candidates::PLACES.into_iter().flat_map(|place| state.list(place, None)) {
            if candidates::is_record(&candidate.key) {
                continue;
            }
            any = true;
            let one = (candidate.key.clone(), candidate.revision);
            if self.done.contains(&one) {
                seen.insert(one);
                continue;
            }
            if under_way + next.len() >= AT_ONCE || self.busy.contains_key(&one) {
                continue;
            }
            let owner = candidate.meta.controller().map(|owner| owner.uid.clone()).unwrap_or_default();
            let namespace = candidate.key.namespace.as_str();
            let of_namespace = self.of_namespace.get(namespace).copied().unwrap_or(0);
            let of_owner = self.of_owner.get(&owner).copied().unwrap_or(0);
            if of_namespace >= OF_NAMESPACE || of_owner >= OF_OWNER {
                continue;
            }
            *self.of_namespace.entry(namespace.to_owned()).or_default() += 1;
            *self.of_owner.entry(owner.clone()).or_default() += 1;
            self.busy.insert(one, owner);
            next.push(candidate.clone());
        }
        self.done = seen;
        self.idle = !any;
        next
    }

    /// Nobody is being asked about it any more.
    fn ends(&mut self, one: One, done: bool) {
        if let Some(owner) = self.busy.remove(&one) {
            release(&mut self.of_owner, &owner);
            release(&mut self.of_namespace, &one.0.namespace.to_string());
        }
        if done {
            self.done.insert(one);
        }
    }
}

fn release<K: Ord>(counts: &mut BTreeMap<K, usize>, of: &K) {
    if let Some(count) = counts.get_mut(of) {
        *count -= 1;
        if *count == 0 {
            counts.remove(of);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use kontiki_actors::Change;
    use serde_json::json;

    use super::*;

    /// So many candidates of so many owners in each of these namespaces.
    fn state(namespaces: &[&str], owners: usize, each: usize) -> State {
        let mut state = State::default();
        for namespace in namespaces {
            for (owner, n) in (0..owners).flat_map(|owner| (0..each).map(move |n| (owner, n))) {
                let reference = json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "x", "controller": true,
                    "uid": format!("{namespace}-{owner}")});
                let document = Document::from_value(json!({"metadata": {"ownerReferences": [reference]}}));
                let key = ObjectKey::new(Kind::POD_CANDIDATE, namespace, &format!("{owner}-{n}"));
                state.apply(&Change::between(key, None, &document).unwrap());
            }
        }
        state
    }

    #[test]
    fn nobody_takes_all_places() {
        let mut asked = Asked::default();
        assert_eq!(asked.next(&state(&["a"], 1, 100), 0).len(), OF_OWNER);
        let mut asked = Asked::default();
        let many = state(&["a", "b"], 40, 4);
        let first = asked.next(&many, 0);
        assert_eq!(first.len(), 2 * OF_NAMESPACE);
        assert_eq!(asked.next(&many, first.len()).len(), 0);
        // One that ends makes room for one more, and is not asked about again while a view still has it.
        let one = (first[0].key.clone(), first[0].revision);
        asked.ends(one.clone(), true);
        let next = asked.next(&many, first.len() - 1);
        assert_eq!(next.len(), 1);
        assert_ne!(next[0].key, one.0);
        // One that could not be written down is.
        let failed = (first[1].key.clone(), first[1].revision);
        asked.ends(failed.clone(), false);
        assert_eq!(asked.next(&many, first.len() - 1)[0].key, failed.0);
        let mut asked = Asked::default();
        assert_eq!(asked.next(&state(&["a", "b", "c", "d", "e", "f"], 20, 4), 0).len(), AT_ONCE);
    }

    #[test]
    fn what_is_gone_is_forgotten() {
        let mut asked = Asked::default();
        let some = state(&["a"], 1, 3);
        for candidate in asked.next(&some, 0) {
            asked.ends((candidate.key.clone(), candidate.revision), true);
        }
        assert!(asked.next(&some, 0).is_empty() && !asked.is_idle());
        assert_eq!(asked.done.len(), 3);
        assert!(asked.next(&State::default(), 0).is_empty() && asked.is_idle());
        assert!(asked.done.is_empty() && asked.of_owner.is_empty() && asked.of_namespace.is_empty());
    }
}
