//! What clients want, as requests of a turn. Documents are completed and checked by the API's own code.

use std::collections::BTreeMap;

use kontiki_actors::{
    Document, Kind, Object, ObjectKey, Request, State,
    input::{DeleteOptions, Part, Propagation},
};
use kontiki_api::resource;
use kontiki_chaos_plan::{
    history::{Answer, Call},
    names,
    plan::{Client, Op},
};
use serde_json::{Value, json};

use crate::{clients::Clients, documents};

/// How a client wants an object changed.
type Edit = fn(&mut Value, &State, u64);

/// What a client wants.
#[derive(Clone, Debug)]
pub(crate) enum Intent {
    /// Write a register, whatever it holds; create it if it is absent.
    Put { key: u32, value: String, create: bool },
    /// Write it if it is as it was seen last.
    Cas { key: u32, value: String, revision: Option<u64> },
    /// Read it.
    Get { key: u32, stale: bool },
    /// Read all.
    List,
    /// The list before a watch.
    ListForWatch { watch: usize },
    /// Only pretend to write it.
    DryRun { key: u32, value: String },
    /// Write an object that is no register; `Err` to create it first.
    Create { key: ObjectKey, document: Value },
    /// Change an object; if it is absent and there is a document, create it.
    Edit { key: ObjectKey, edit: Edit, number: u64, otherwise: Option<Value> },
    /// Delete something.
    Delete { key: ObjectKey, options: DeleteOptions },
}

/// All registers of a state as histories write them.
pub(crate) fn registers(state: &State) -> Vec<(String, String, u64)> {
    let all = state.list(Kind::CONFIG_MAP, Some(names::NAMESPACE));
    let items = all.map(|object| names::item(object));
    items.filter(|(key, ..)| key.starts_with(names::REGISTERS)).collect()
}

impl Intent {
    /// What an operation of a plan wants, in order.
    pub(crate) fn of(op: &Op, client: Client, clients: &mut Clients) -> Vec<Intent> {
        let edit =
            |key: ObjectKey, edit: Edit, number: u64| Intent::Edit { key, edit, number, otherwise: None };
        let delete = |key: ObjectKey, propagation: Option<Propagation>| Intent::Delete {
            key,
            options: DeleteOptions { propagation, ..DeleteOptions::default() },
        };
        let resize: Edit = |value, _, number| value["spec"]["replicas"] = number.into();
        vec![match op {
            Op::Put { key } => Intent::Put { key: *key, value: String::new(), create: false },
            Op::Cas { key } => {
                let revision = clients.seen.get(&(client, *key)).copied();
                let read = revision.is_none().then_some(Intent::Get { key: *key, stale: false });
                let write = Intent::Cas { key: *key, value: String::new(), revision: None };
                return read.into_iter().chain([write]).collect();
            }
            Op::Remove { key } => delete(names::register(*key), None),
            Op::Get { key } => Intent::Get { key: *key, stale: false },
            Op::GetStale { key } => Intent::Get { key: *key, stale: true },
            Op::List { .. } => Intent::List,
            Op::DryRun { key } => Intent::DryRun { key: *key, value: String::new() },
            Op::Watch { .. } | Op::WatchSlowly { .. } => return Vec::new(),
            Op::Deploy { name, replicas, cpu_m, max_surge, max_unavailable } => {
                let key = names::deployment(*name);
                let bounds = (*max_surge, *max_unavailable);
                let document = documents::deployment(&key, *replicas, *cpu_m, bounds);
                Intent::Edit { key, edit: resize, number: u64::from(*replicas), otherwise: Some(document) }
            }
            Op::Scale { name, replicas } => edit(names::deployment(*name), resize, u64::from(*replicas)),
            Op::Rollout { name } => {
                clients.templates += 1;
                edit(names::deployment(*name), documents::other_template, clients.templates)
            }
            Op::Undo { name } => edit(names::deployment(*name), documents::template_before, 0),
            Op::Undeploy { name, orphan } => {
                let how = if *orphan { Propagation::Orphan } else { Propagation::Background };
                delete(names::deployment(*name), Some(how))
            }
            Op::StatefulSet { name, replicas, cpu_m, parallel } => {
                let key = names::stateful_set(*name);
                let document = documents::stateful_set(&key, *replicas, *cpu_m, *parallel);
                Intent::Edit { key, edit: resize, number: u64::from(*replicas), otherwise: Some(document) }
            }
            Op::ScaleStatefulSet { name, replicas } => {
                edit(names::stateful_set(*name), resize, u64::from(*replicas))
            }
            Op::RolloutStatefulSet { name } => {
                clients.templates += 1;
                edit(names::stateful_set(*name), documents::other_template, clients.templates)
            }
            Op::DeleteStatefulSet { name } => {
                delete(names::stateful_set(*name), Some(Propagation::Background))
            }
            Op::Job { name, .. } => {
                let key = names::job(*name);
                let Some(document) = documents::job(&key, op) else { return Vec::new() };
                Intent::Create { key, document }
            }
            Op::DeleteJob { name } => delete(names::job(*name), Some(Propagation::Background)),
            Op::Pod { name, cpu_m } => {
                let key = names::pod(*name);
                let document = documents::pod(&key, *cpu_m);
                Intent::Create { key, document }
            }
            Op::DeletePod { name, at_once } => Intent::Delete {
                key: names::pod(*name),
                options: DeleteOptions { grace_s: at_once.then_some(0), ..DeleteOptions::default() },
            },
            Op::Drain { worker } => edit(documents::node(*worker), documents::cordon, 1),
            Op::Uncordon { worker } => edit(documents::node(*worker), documents::cordon, 0),
            Op::Taint { worker, on } => edit(documents::node(*worker), documents::taint, u64::from(*on)),
            Op::Finalize { key, add: true } => {
                let key = names::finalized(*key);
                let document = documents::held(&key);
                Intent::Create { key, document }
            }
            Op::Finalize { key, add: false } => {
                let key = names::finalized(*key);
                return vec![delete(key.clone(), None), edit(key, documents::release, 0)];
            }
            Op::Namespace { name, create: true } => {
                let key = names::namespace(*name);
                let document = json!({"metadata": {"name": key.name}});
                let inside = ObjectKey::new(Kind::DEPLOYMENT, &key.name, "inside");
                let deployment = documents::deployment(&inside, 2, 50, (1, 1));
                return vec![
                    Intent::Create { key, document },
                    Intent::Create { key: inside, document: deployment },
                ];
            }
            Op::Namespace { name, create: false } => delete(names::namespace(*name), None),
        }]
    }

    /// It is about to be done: values are made up and revisions looked up only now.
    pub(crate) fn begin(&mut self, client: Client, clients: &mut Clients) {
        match self {
            Intent::Put { value, .. } | Intent::DryRun { value, .. } if value.is_empty() => {
                *value = clients.value(client);
            }
            Intent::Cas { key, value, revision } => {
                *value = clients.value(client);
                *revision = clients.seen.get(&(client, *key)).copied();
            }
            _ => {}
        }
    }

    /// As histories write it.
    pub(crate) fn call(&self) -> Call {
        let register = |key: &u32| names::text(&names::register(*key));
        match self {
            Intent::Put { key, value, create: true } => {
                Call::Create { key: register(key), value: value.clone() }
            }
            Intent::Put { key, value, create: false } => {
                Call::Update { key: register(key), value: value.clone(), revision: None }
            }
            Intent::Cas { key, value, revision } => {
                // One that never saw it says a revision that never was.
                Call::Update {
                    key: register(key),
                    value: value.clone(),
                    revision: Some(revision.unwrap_or(1)),
                }
            }
            Intent::Get { key, stale } => Call::Get { key: register(key), stale: *stale },
            Intent::List | Intent::ListForWatch { .. } => Call::List { prefix: names::REGISTERS.into() },
            Intent::DryRun { key, value } => Call::DryRun { key: register(key), value: value.clone() },
            Intent::Delete { key, .. } if names::text(key).starts_with(names::REGISTERS) => {
                Call::Delete { key: names::text(key) }
            }
            Intent::Create { key, .. } => Call::Other { what: format!("create {}", names::text(key)) },
            Intent::Edit { key, .. } => Call::Other { what: format!("edit {}", names::text(key)) },
            Intent::Delete { key, .. } => Call::Other { what: format!("delete {}", names::text(key)) },
        }
    }

    /// Whether it changes something, or pretends to.
    pub(crate) fn writes(&self) -> bool {
        !matches!(self, Intent::Get { .. } | Intent::List | Intent::ListForWatch { .. })
    }

    /// Whether any view will do.
    pub(crate) fn stale(&self) -> bool {
        matches!(self, Intent::Get { stale: true, .. })
    }

    /// Whether a conflict is the client's answer and not tried again.
    pub(crate) fn locked(&self) -> bool {
        matches!(self, Intent::Cas { .. })
    }

    /// The answer to a read.
    pub(crate) fn read(&self, state: &State) -> Answer {
        match self {
            Intent::Get { key, .. } => {
                let found = state.get(&names::register(*key));
                let value = found.map(|object| (names::value_of(&object.document.whole()), object.revision));
                Answer::Value { value }
            }
            _ => Answer::Listed { revision: state.revision(), items: registers(state) },
        }
    }

    /// The write as a request of a turn, worked out on a view; or what HTTP would say of it.
    pub(crate) fn request(&self, state: &State) -> Result<Request, u16> {
        match self {
            Intent::Put { key, value, create: true } => {
                let key = names::register(*key);
                create(&key, names::register_json(&key, value), state, false)
            }
            Intent::Put { key, value, create: false } => write_register(*key, value, None, state, false),
            Intent::Cas { key, value, revision } => {
                write_register(*key, value, Some(revision.unwrap_or(1)), state, false)
            }
            Intent::DryRun { key, value } => {
                let register = names::register(*key);
                if state.get(&register).is_some() {
                    write_register(*key, value, None, state, true)
                } else {
                    create(&register, names::register_json(&register, value), state, true)
                }
            }
            Intent::Create { key, document } => create(key, document.clone(), state, false),
            Intent::Edit { key, edit, number, otherwise } => match (state.get(key), otherwise) {
                (Some(old), _) => update(old, None, state, false, |value| edit(value, state, *number)),
                (None, Some(document)) => create(key, document.clone(), state, false),
                (None, None) => Err(404),
            },
            Intent::Delete { key, options } => {
                Ok(Request::Delete { key: key.clone(), options: options.clone(), dry_run: false })
            }
            Intent::Get { .. } | Intent::List | Intent::ListForWatch { .. } => Err(405),
        }
    }

    /// What the client remembers of an answer.
    pub(crate) fn learn(&self, client: Client, answer: &Answer, seen: &mut BTreeMap<(Client, u32), u64>) {
        match (self, answer) {
            (Intent::Put { key, .. } | Intent::Cas { key, .. }, Answer::Done { revision })
            | (Intent::Get { key, .. }, Answer::Value { value: Some((_, revision)) }) => {
                seen.insert((client, *key), *revision);
            }
            _ => {}
        }
    }

    /// What the client does because of an answer: the last comes first.
    pub(crate) fn follow_ups(
        &self,
        answer: &Answer,
        view: &State,
        client: Client,
        clients: &mut Clients,
    ) -> Vec<Intent> {
        match (self, answer) {
            (Intent::Put { key, create: false, .. }, Answer::Refused { code: 404 }) => {
                vec![Intent::Put { key: *key, value: clients.value(client), create: true }]
            }
            // A drain: the pods that are there leave.
            (Intent::Edit { key, number: 1, .. }, Answer::Done { .. })
                if key.kind == Kind::NODE
                    && view.get(key).and_then(|o| o.node()).is_some_and(|n| n.unschedulable) =>
            {
                let options = DeleteOptions { eviction: true, ..DeleteOptions::default() };
                let evict = |pod: &std::sync::Arc<Object>| Intent::Delete {
                    key: pod.key.clone(),
                    options: options.clone(),
                };
                view.pods_on(&key.name).filter(|pod| !pod.meta.deleting()).map(evict).collect()
            }
            _ => Vec::new(),
        }
    }
}

fn create(key: &ObjectKey, mut value: Value, state: &State, dry_run: bool) -> Result<Request, u16> {
    resource::prepare_create(&key.kind.into(), &mut value, &key.namespace, Some(state))
        .map_err(|status| status.code)?;
    let document = Document::from_value(value);
    Ok(Request::Create { key: key.clone(), generate_name: None, document, dry_run })
}

fn write_register(
    key: u32,
    value: &str,
    revision: Option<u64>,
    state: &State,
    dry_run: bool,
) -> Result<Request, u16> {
    let key = names::register(key);
    let old = state.get(&key).ok_or(404_u16)?;
    update(old, revision, state, dry_run, |object| object["data"]["value"] = value.into())
}

fn update(
    old: &Object,
    revision: Option<u64>,
    _: &State,
    dry_run: bool,
    edit: impl FnOnce(&mut Value),
) -> Result<Request, u16> {
    if revision.is_some_and(|revision| revision != old.revision) {
        return Err(409);
    }
    let before = old.to_value();
    let mut value = before.clone();
    edit(&mut value);
    resource::prepare_update(&old.key.kind.into(), &mut value, &before).map_err(|status| status.code)?;
    Ok(Request::Update {
        key: old.key.clone(),
        document: Document::from_value(value),
        part: Part::Main,
        revision: Some(old.revision),
        uid: Some(old.meta.uid.clone()),
        dry_run,
    })
}
