//! As many pods as are wanted, and for the right completions.

use std::{collections::BTreeSet, sync::Arc};

use serde_json::{Value, json};

use super::{
    COMPONENT, EVENTS, RETRY_MS,
    backoff::{Record, wait_ms},
    pods::{FINALIZER, INDEX, ended_ms, index, untrack},
    tally::{Tally, follow},
};
use crate::{
    candidates::{self, Made},
    input::DeleteOptions,
    kind::Kind,
    kinds::{order, pod},
    object::{JobDigest, Object},
    turn::Turn,
};

/// Pods made or deleted by one reaction. More follow in a next turn.
const BURST: usize = 250;
/// After refusals, the index that is tried is one of so many more.
const OTHERS: usize = 64;
/// A generated name is cut to this before its letters.
const PREFIX_MAX: usize = 58;

/// What was done.
#[derive(Default)]
pub(super) struct Managed {
    /// Pods that run or are to run, now.
    pub active: usize,
    /// Indexes whose failed pod was followed by another one.
    pub followed: Vec<i64>,
    /// When to go on.
    pub wake: Option<i64>,
}

/// Makes the next pods, or deletes those that are too many; never both at once.
pub(super) fn manage(
    turn: &mut Turn,
    me: &Object,
    spec: &JobDigest,
    tally: &Tally,
    backoff: Record,
) -> Managed {
    let active = tally.active.len();
    let wanted = if spec.suspend { 0 } else { wanted(spec, tally) };
    // Pods that wait to be admitted count as those that run, and are the first to go.
    let mut waiting = candidates::of(turn, me, Kind::POD);
    let too_many = (active + waiting.len()).saturating_sub(wanted).min(waiting.len());
    waiting.drain(..too_many).for_each(|candidate| turn.remove(&candidate.key));
    let surplus = surplus(spec, tally, active.saturating_sub(wanted));
    if !surplus.is_empty() {
        return delete(turn, me, active + waiting.len(), surplus);
    }
    let active = active + waiting.len();
    let leaving = if spec.replaces_ended_only { tally.leaving.len() } else { 0 };
    let missing = wanted.saturating_sub(active + leaving);
    if missing == 0 || spec.suspend {
        return Managed { active, ..Managed::default() };
    }
    if spec.backoff_limit_per_index.is_none() && backoff.until_ms() > turn.now_ms() {
        return Managed { active, wake: Some(backoff.until_ms()), ..Managed::default() };
    }
    create(turn, me, spec, tally, missing, &waiting)
}

fn wanted(spec: &JobDigest, tally: &Tally) -> usize {
    let wanted = match spec.completions {
        // After the first success, whoever runs may end, and nobody comes.
        None if tally.succeeded > 0 => return tally.active.len(),
        None => spec.parallelism,
        Some(completions) => (completions - tally.succeeded).min(spec.parallelism),
    };
    usize::try_from(wanted.max(0)).unwrap_or(usize::MAX)
}

/// Pods that go, at least so many: those whose completion another one is for, or that is none, and then those that did the least.
fn surplus(spec: &JobDigest, tally: &Tally, least: usize) -> Vec<Arc<Object>> {
    let mut pods = tally.active.clone();
    order::least_first(&mut pods);
    if !spec.indexed {
        pods.truncate(least);
        return pods;
    }
    let mut taken: BTreeSet<i64> = BTreeSet::new();
    let (mut keep, mut go) = (Vec::new(), Vec::new());
    // Of those for one completion, the one that did the most stays.
    for pod in pods.into_iter().rev() {
        match index(&pod, spec).is_some_and(|index| taken.insert(index)) {
            true => keep.push(pod),
            false => go.push(pod),
        }
    }
    while go.len() < least
        && let Some(pod) = keep.pop()
    {
        go.push(pod);
    }
    go
}

/// These are not counted: nobody can say that they failed.
fn delete(turn: &mut Turn, me: &Object, active: usize, surplus: Vec<Arc<Object>>) -> Managed {
    let mut managed = Managed { active, ..Managed::default() };
    for (done, pod) in surplus.into_iter().enumerate() {
        if turn.full() || done == BURST {
            managed.wake = Some(turn.now_ms());
            return managed;
        }
        untrack(turn, &pod.key);
        if turn.delete(&pod.key, &DeleteOptions::default()).is_ok() && done < EVENTS {
            turn.event(me, "Normal", "SuccessfulDelete", format!("Deleted pod: {}", pod.key.name), COMPONENT);
        }
        managed.active -= 1;
    }
    managed
}

fn create(
    turn: &mut Turn,
    me: &Object,
    spec: &JobDigest,
    tally: &Tally,
    missing: usize,
    waiting: &[Arc<Object>],
) -> Managed {
    let mut managed = Managed { active: tally.active.len() + waiting.len(), ..Managed::default() };
    let leave = candidates::leave(turn, me, Kind::POD, missing);
    if leave.most == 0 {
        managed.wake = leave.wake;
        return managed;
    }
    let missing = leave.most;
    let template = template(me, spec);
    let indexes: Vec<Option<i64>> = match spec.indexed {
        true => {
            let busy: BTreeSet<i64> = waiting.iter().filter_map(|candidate| index(candidate, spec)).collect();
            let look = missing.saturating_add(busy.len()).saturating_add(leave.refusals % OTHERS);
            let mut pending = tally.pending(spec, look);
            pending.retain(|index| !busy.contains(index));
            let first = leave.refusals.checked_rem(pending.len()).unwrap_or(0);
            pending.rotate_left(first);
            pending.into_iter().take(missing).map(Some).collect()
        }
        false => vec![None; missing.min(BURST + 1)],
    };
    let mut made = 0;
    for index in indexes {
        if turn.full() || made == BURST {
            managed.wake = Some(turn.now_ms());
            return managed;
        }
        let before = index.and_then(|index| tally.followed.get(&index)).map(|at| &tally.ended[*at]);
        let (annotations, failures) = follow(before);
        if let Some(before) = before.filter(|_| failures > 0) {
            let due = ended_ms(turn, &before.pod) + wait_ms(failures);
            if due > turn.now_ms() {
                managed.wake = managed.wake.into_iter().chain(Some(due)).min();
                continue;
            }
        }
        let made_pod = match index {
            None => pod::new_from_template(turn, me, &template),
            Some(index) => {
                let mut template = for_index(&template, me, index);
                if spec.backoff_limit_per_index.is_some() {
                    for (name, count) in
                        annotations.into_iter().filter(|(name, n)| *n > 0 || !name.contains("ignored"))
                    {
                        template["metadata"]["annotations"][name] = count.to_string().into();
                    }
                }
                pod::new_with_prefix(turn, me, &template, &prefix(me, index))
            }
        };
        let pod = match made_pod {
            Ok(pod) => match candidates::make(turn, me, Kind::POD, pod) {
                Made::There(pod) => Some(pod),
                Made::Waits => {
                    // Whoever it follows is counted when it is there: only then it carries the index's failures on.
                    made += 1;
                    managed.active += 1;
                    continue;
                }
                Made::Taken => None,
            },
            Err(why) => {
                turn.event(me, "Warning", "FailedCreate", format!("Error creating: {why}"), COMPONENT);
                managed.wake = managed.wake.into_iter().chain(Some(turn.now_ms() + RETRY_MS)).min();
                return managed;
            }
        };
        if let Some(pod) = pod.filter(|_| made < EVENTS) {
            turn.event(me, "Normal", "SuccessfulCreate", format!("Created pod: {}", pod.key.name), COMPONENT);
        }
        made += 1;
        managed.active += 1;
        managed.followed.extend(index);
    }
    managed
}

/// The template of all pods: with the finalizer by which each is counted once.
fn template(me: &Object, spec: &JobDigest) -> Value {
    let mut template = me.document.spec_value()["template"].take();
    let finalizers = &mut template["metadata"]["finalizers"];
    if !finalizers.is_array() {
        *finalizers = json!([]);
    }
    if let Some(list) = finalizers.as_array_mut().filter(|list| !list.iter().any(|f| f == FINALIZER)) {
        list.push(FINALIZER.into());
    }
    if spec.indexed {
        let variable = json!({"name": "JOB_COMPLETION_INDEX", "valueFrom": {
            "fieldRef": {"apiVersion": "v1", "fieldPath": format!("metadata.labels['{INDEX}']")}}});
        for list in ["initContainers", "containers"] {
            for container in
                template["spec"].get_mut(list).and_then(Value::as_array_mut).into_iter().flatten()
            {
                let told =
                    container["env"].as_array().into_iter().flatten().any(|e| e["name"] == variable["name"]);
                if !container["env"].is_array() {
                    container["env"] = json!([]);
                }
                if let Some(env) = container["env"].as_array_mut().filter(|_| !told) {
                    env.push(variable.clone());
                }
            }
        }
    }
    template
}

fn for_index(template: &Value, me: &Object, index: i64) -> Value {
    let mut template = template.clone();
    for field in ["annotations", "labels"] {
        let map = &mut template["metadata"][field];
        if !map.is_object() {
            *map = json!({});
        }
        map[INDEX] = index.to_string().into();
    }
    template["spec"]["hostname"] = format!("{}-{index}", me.key.name).into();
    template
}

/// `sum-3-`: what the name of a pod for a completion begins with.
fn prefix(me: &Object, index: i64) -> String {
    let end = format!("-{index}-");
    let mut length = me.key.name.len().min(PREFIX_MAX.saturating_sub(end.len()));
    while !me.key.name.is_char_boundary(length) {
        length -= 1;
    }
    format!("{}{end}", &me.key.name[..length])
}
