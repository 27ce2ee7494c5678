//! Placing pods, on the turn's own state: what is planned is true, there is nothing to conflict with.

use std::{collections::BTreeSet, sync::Arc};

use compact_str::CompactString;
use serde_json::{Value, json};

use super::Turn;
use crate::{
    input::DeleteOptions,
    kind::Kind,
    kinds::{pod, storage},
    object::{Document, Object, ObjectKey},
    scheduling::{self, Preemption, Rejected},
};

impl Turn {
    /// Places the pods that this turn is for, and those that come up meanwhile, as far as it may. Says whether any was placed or told
    /// why not.
    pub(super) fn place(&mut self) -> bool {
        if self.placements_left == 0 || self.full() {
            return false;
        }
        let mut candidates = std::mem::take(&mut self.unplaced);
        candidates.extend(self.found_company());
        let mut candidates: Vec<ObjectKey> =
            candidates.into_iter().filter(|key| self.state.is_unplaced(key)).collect();
        if candidates.is_empty() {
            return false;
        }
        // More than the turn was given come up only where actors react to placements.
        self.unplaced.extend(candidates.split_off(candidates.len().min(self.placements_left)));
        self.placements_left -= candidates.len();
        let placements = scheduling::plan(&self.state, &candidates, self.context.now_ms);
        if placements.len() < candidates.len() {
            // What the plan left out would take this turn too long.
            let planned: BTreeSet<&ObjectKey> = placements.iter().map(|placement| &placement.pod).collect();
            candidates.retain(|key| !planned.contains(key));
            self.unplaced.extend(candidates);
            self.placements_left = 0;
        }
        for placement in placements {
            let Some(pod) = self.state.get(&placement.pod).cloned() else { continue };
            match placement.node {
                // What a full turn does not do, a next one does.
                _ if self.full() => drop(self.unplaced.insert(placement.pod)),
                // Another pod of this plan was faster: it is planned anew, on what is there now.
                Ok(node) if !storage::take_place(self, &pod, &node) => {
                    self.unplaced.insert(placement.pod);
                }
                Ok(node) => self.assign(&pod, &node),
                Err(message) => {
                    let nominated = placement.preemption.as_ref().map(|preemption| &preemption.node);
                    self.unschedulable(&pod, message, nominated);
                    if let Some(preemption) = &placement.preemption {
                        self.preempt(&pod, preemption);
                    }
                }
            }
        }
        true
    }

    /// Waiting pods that want one near which got its place in this turn.
    pub(super) fn found_company(&mut self) -> Vec<ObjectKey> {
        let placed = std::mem::take(&mut self.newly_placed);
        let placed: Vec<&Object> =
            placed.iter().filter_map(|key| self.state.get(key)).map(|object| &**object).collect();
        let wants = |key: &&ObjectKey| {
            let waiting = self.state.get(key);
            waiting.is_some_and(|waiting| {
                placed.iter().any(|other| scheduling::wants(&self.state, waiting, other))
            })
        };
        self.state.wanting().filter(wants).cloned().collect()
    }

    /// Puts a pod that names its node, since somebody else than the scheduler wants it there. Nobody is to start one that its node
    /// does not take, not even for a moment: it has failed from the beginning.
    pub(crate) fn put_on_its_node(&mut self, key: &ObjectKey, document: Document) -> Arc<Object> {
        match self.rejected(key, &document) {
            None => self.put(key, document),
            Some(rejected) => self.put_rejected(key, document, rejected),
        }
    }

    /// The same of a pod that is there already and had no node.
    pub(super) fn bind_to(&mut self, pod: &Object, node: &str) {
        let mut spec = pod.document.spec_value();
        spec["nodeName"] = node.into();
        let named = pod.document.with_spec(spec);
        match self.rejected(&pod.key, &named) {
            None => self.assign(pod, node),
            Some(rejected) => drop(self.put_rejected(&pod.key, named, rejected)),
        }
    }

    /// Why the node that a pod names does not take it.
    fn rejected(&self, key: &ObjectKey, document: &Document) -> Option<Rejected> {
        let pod = Object::new(key.clone(), 0, document.clone());
        let digest = pod.pod().filter(|digest| !digest.terminal())?;
        let node = self.state.get(&ObjectKey::new(Kind::NODE, "", digest.node.as_ref()?))?;
        scheduling::rejected(&self.state, digest, node)
    }

    fn put_rejected(&mut self, key: &ObjectKey, document: Document, rejected: Rejected) -> Arc<Object> {
        let Rejected { reason, message } = rejected;
        let mut status = document.status_value();
        if !status.is_object() {
            status = json!({});
        }
        status["phase"] = "Failed".into();
        status["reason"] = reason.as_str().into();
        status["message"] = format!("{}{message}", pod::REJECTED).into();
        status["startTime"] = self.now().into();
        let pod = self.put(key, document.with_status(status));
        self.event(&pod, "Warning", &reason, message, "kubelet");
        pod
    }

    /// Puts a pod on a node.
    pub(super) fn assign(&mut self, pod: &Object, node: &str) {
        let document = pod.document.whole();
        let mut spec = document.spec_value();
        spec["nodeName"] = node.into();
        let status = with_condition(document.status_value(), "True", None, None, &self.now());
        self.put(&pod.key, document.with_spec(spec).with_status(status));
        let message = format!("Successfully assigned {}/{} to {node}", pod.key.namespace, pod.key.name);
        self.event(pod, "Normal", "Scheduled", message, "default-scheduler");
    }

    /// Sends pods away for a more important one, with the grace that they have.
    fn preempt(&mut self, pod: &Object, preemption: &Preemption) {
        let now = self.now();
        for key in &preemption.victims {
            let Some(victim) = self.state.get(key).cloned() else { continue };
            let mut status = victim.document.status_value();
            let message = "default-scheduler: preempting to accommodate a higher priority pod";
            pod::disrupted(&mut status, "PreemptionByScheduler", message, &now);
            self.put_status(&victim, status);
            let message = format!("Preempted by pod {} on node {}", pod.meta.uid, preemption.node);
            self.event(&victim, "Normal", "Preempted", message, "default-scheduler");
            // It exists and there are no preconditions, so this is not refused.
            let _ = self.delete(key, &DeleteOptions::default());
        }
    }

    fn unschedulable(&mut self, pod: &Object, message: String, nominated: Option<&CompactString>) {
        let known = pod.pod().is_some_and(|digest| {
            digest.unscheduled_message.as_deref() == Some(&message) && digest.nominated.as_ref() == nominated
        });
        if known {
            return;
        }
        let status = with_condition(
            pod.document.status_value(),
            "False",
            Some(("Unschedulable", &message)),
            nominated,
            &self.now(),
        );
        self.put(&pod.key, pod.document.with_status(status));
        // Putting it made it a candidate again: it was just tried.
        self.unplaced.remove(&pod.key);
        self.event(pod, "Warning", "FailedScheduling", message, "default-scheduler");
    }
}

/// The status with a PodScheduled condition; its transition time stays while its status does. The nominated node is the one where room
/// is being made, if any.
fn with_condition(
    mut status: Value,
    value: &str,
    why: Option<(&str, &str)>,
    nominated: Option<&CompactString>,
    now: &str,
) -> Value {
    if !status.is_object() {
        status = json!({"phase": "Pending"});
    }
    if let Some(fields) = status.as_object_mut() {
        match nominated {
            Some(node) => drop(fields.insert("nominatedNodeName".into(), node.as_str().into())),
            None => drop(fields.remove("nominatedNodeName")),
        }
    }
    if !status["conditions"].is_array() {
        status["conditions"] = json!([]);
    }
    let mut condition = json!({
        "type": "PodScheduled", "status": value, "lastProbeTime": null, "lastTransitionTime": now,
    });
    if let Some((reason, message)) = why {
        condition["reason"] = reason.into();
        condition["message"] = message.into();
    }
    if let Some(list) = status["conditions"].as_array_mut() {
        match list.iter_mut().find(|c| c["type"] == "PodScheduled") {
            Some(old) => {
                if old["status"] == value {
                    condition["lastTransitionTime"] = old["lastTransitionTime"].clone();
                }
                *old = condition;
            }
            None => list.push(condition),
        }
    }
    status
}
